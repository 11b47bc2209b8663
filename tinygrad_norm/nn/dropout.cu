// Dropout that draws its own mask: y = x·scale where the random word of an element is at least `threshold`, else
// x·0. Forward and backward are the same kernel: backward draws the mask again, and nothing is stored.
//
// Owner         a thread has VEC neighbouring values.
// Traffic       reads x once, writes y once: 2·n values.
// Accumulation  in float, or double for double.
// Random words  element i has word i mod 4 of block i/4 of Philox 4x32-10, with the counter (i/4, draw) and the key
//               in backends/philox.py. In a captured step, the key and the number of the step's first draw are read
//               from memory, where the host writes them before each replay.

struct Words {
  unsigned at[4];
};

// The block of four random words at this counter.
__device__ __forceinline__ Words philox(long long block, long long draw, long long key) {
  Words c{{(unsigned)block, (unsigned)(block >> 32), (unsigned)draw, (unsigned)(draw >> 32)}};
  Words round_key{{(unsigned)key, (unsigned)(key >> 32), 0, 0}};
#pragma unroll
  for (int k = 0; k < 10; k++) {
    const unsigned long long first = 0xD2511F53ull * c.at[0], second = 0xCD9E8D57ull * c.at[2];
    c = Words{{(unsigned)(second >> 32) ^ c.at[1] ^ round_key.at[0], (unsigned)second,
               (unsigned)(first >> 32) ^ c.at[3] ^ round_key.at[1], (unsigned)first}};
    round_key.at[0] += 0x9E3779B9u, round_key.at[1] += 0xBB67AE85u;
  }
  return c;
}

// An index that is not constant would put the words into memory.
__device__ __forceinline__ unsigned word_at(const Words& words, long long i) {
  return i == 0 ? words.at[0] : i == 1 ? words.at[1] : i == 2 ? words.at[2] : words.at[3];
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    random_dropout(const T* __restrict__ x, T* __restrict__ y, const long long* __restrict__ key_at,
                   const long long* __restrict__ first_at, long long n, long long key, long long draw,
                   long long threshold, Accumulator<T> scale) {
  using A = Accumulator<T>;
  const long long i = ((long long)blockIdx.x * 256 + threadIdx.x) * VEC;
  if (i >= n) return;
  if (key_at != nullptr) key = *key_at, draw += *first_at;
  const Pack<T, VEC> given = load<VEC>(x + i);
  Pack<T, VEC> result;
  Words words;
#pragma unroll
  for (int v = 0; v < VEC; v++) {
    if (v % 4 == 0) words = philox((i + v) / 4, draw, key);
    const long long word = word_at(words, VEC > 2 ? v % 4 : (i + v) % 4);
    result.at[v] = T(A(given.at[v]) * (word >= threshold ? scale : A(0)));
  }
  store(y + i, result);
}
