// Subtractive normalization of x (N, C, H, W): y = x - m, m the mean of a Gaussian window over all channels.
//
// Owner         a thread has a position of a sample, (n, h, w), in all channels: a warp reads 32 neighbours of one.
// Forward       channel_sums reads x; window_sums reads and writes planes (N, H, W), 1/C of x; less_windows reads x
//               again and writes y: 3 values per entry, and windows from the caches.
// Backward      the same on dy, with the scale before the sums instead of after them.
// shifted       whether the first entry of a sample is taken off first, so that a flat image becomes exactly 0, and a
//               mean that is large beside the deviation costs no digits. (One that is far from all others costs some.)
// scale         1/(C·Z) of every position, or none.
// Accumulation  float; double for double. Planes, weights and scale have that type.

// What is taken off the sample that begins at x.
template <class T>
__device__ __forceinline__ Accumulator<T> shift_of(const T* x, bool shifted) {
  const Accumulator<T> first = shifted ? Accumulator<T>(*x) : Accumulator<T>(0);
  return fabs(first) <= LARGEST<Accumulator<T>> ? first : Accumulator<T>(0);
}

template <class T>
__global__ void __launch_bounds__(256)
    channel_sums(const T* __restrict__ x, const Accumulator<T>* __restrict__ scale, Accumulator<T>* __restrict__ sums,
                 long long total, long long C, long long S, bool shifted) {
  using A = Accumulator<T>;
  const long long o = (long long)blockIdx.x * 256 + threadIdx.x;
  if (o >= total) return;
  const long long n = o / S, p = o - n * S;
  const T* const sample = x + n * C * S;
  const A shift = shift_of(sample, shifted), factor = scale == nullptr ? A(1) : scale[p];
  A sum = 0;
  for (long long c = 0; c < C; c++) sum += A(sample[c * S + p]) - shift;
  sums[o] = factor * sum;
}

// The sums of windows along columns, from those along rows, and y.
template <class T>
__global__ void __launch_bounds__(256)
    less_windows(const T* __restrict__ x, const Accumulator<T>* __restrict__ along_rows,
                 const Accumulator<T>* __restrict__ weights, const Accumulator<T>* __restrict__ scale,
                 T* __restrict__ y, long long total, long long C, long long H, long long W, long long reach,
                 bool shifted) {
  using A = Accumulator<T>;
  const long long o = (long long)blockIdx.x * 256 + threadIdx.x;
  if (o >= total) return;
  const long long n = o / (H * W), p = o - n * (H * W);
  const A shift = shift_of(x + n * C * H * W, shifted), factor = scale == nullptr ? A(1) : scale[p];
  const A m = factor * window_sum(along_rows + o, weights, p / W, H, W, reach);
  for (long long c = 0; c < C; c++) {
    const long long i = (n * C + c) * (H * W) + p;
    y[i] = T((A(x[i]) - shift) - m);
  }
}
