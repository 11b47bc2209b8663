// Embedding. Forward: y (N, D), each row that row of weight (V, D) which its index names. Backward: dweight (V, D),
// each row the sum of the rows of dy (N, D) with that index.
//
// For backward, the positions 0 to N - 1 are sorted by index, stably, so that equal indices follow each other in
// their first order: a radix sort, one pass for each 8 bits. Then sums are taken over 32 sorted positions at a
// time, however long the runs of equal indices are, and a second kernel adds up the runs that go on beyond them.
// Nothing depends on the order in which threads run: the same input gives the same bits.
//
// An index out of range gives a row of NaN. In backward it is sorted to the last row, and nothing is added there.

constexpr int DIGITS = 256;  // in one pass
constexpr int WARPS = 16;    // of a block that sorts
constexpr int KEYS = 8;      // of a thread that sorts
constexpr long long TILE = 32LL * WARPS * KEYS;  // positions of a block that sorts
constexpr long long CHUNK = 32;                  // sorted positions that are added up at a time
constexpr int LINES = 8;                         // teams of a block that adds up pieces

// Owner         a team of 8 or 32 threads has a row of y, a block 256 threads.
// Traffic       reads the rows and the indices once, writes y once: 2·N·D values and 8·N bytes.
template <class T, int VEC, int TEAM>
__global__ void __launch_bounds__(256)
    embedding_forward(const T* __restrict__ weight, const long long* __restrict__ index, T* __restrict__ y,
                      long long N, long long V, long long D) {
  using A = Accumulator<T>;
  const long long n = (long long)blockIdx.x * (256 / TEAM) + threadIdx.x / TEAM;
  if (n >= N) return;
  const long long row = index[n];
  const bool valid = row >= 0 && row < V;
#pragma unroll 4
  for (long long i = threadIdx.x % TEAM * VEC; i < D; i += TEAM * VEC) {
    Pack<T, VEC> values;
    if (valid) {
      values = load<VEC>(weight + row * D + i);
    } else {
#pragma unroll
      for (int v = 0; v < VEC; v++) values.at[v] = T(infinity<A>() - infinity<A>());
    }
    store(y + n * D + i, values);
  }
}

// ---- backward

__device__ __forceinline__ long long row_at(const long long* index, long long n, long long V) {
  const long long row = index[n];
  return row < 0 || row >= V ? V - 1 : row;
}

// ---- sort

// The lanes with the digit of this lane. A lane without a key has the digit -1, and its result means nothing.
__device__ __forceinline__ unsigned lanes_with(int digit) {
  unsigned lanes = __ballot_sync(ALL_LANES, digit >= 0);
#pragma unroll
  for (int k = 0; k < 8; k++) {
    const bool bit = (digit >> k) & 1;
    lanes &= __ballot_sync(ALL_LANES, bit) ^ (bit ? 0u : ALL_LANES);
  }
  return lanes;
}

// The keys of a thread in one pass: the warps of a block have 256 positions each, one after the other.
struct Keys {
  long long position[KEYS];
  int digit[KEYS];
  int rank[KEYS];  // how many earlier keys of the warp have this digit

  // Count the digits of each warp in `of_warp`.
  __device__ __forceinline__ Keys(const long long* index, const long long* order, long long N, long long V,
                                  long long shift, int (*of_warp)[DIGITS]) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const long long first = (long long)blockIdx.x * TILE + warp * (32 * KEYS) + lane;
#pragma unroll
    for (int k = 0; k < KEYS; k++) {
      const long long i = first + 32 * k;
      position[k] = i < N ? (order == nullptr ? i : order[i]) : 0;
      digit[k] = i < N ? (row_at(index, position[k], V) >> shift) % DIGITS : -1;
    }
#pragma unroll
    for (int k = 0; k < DIGITS / 32; k++) of_warp[warp][k * 32 + lane] = 0;
    __syncwarp();
#pragma unroll
    for (int k = 0; k < KEYS; k++) {
      const unsigned lanes = lanes_with(digit[k]);
      const int before = __popc(lanes & ((1u << lane) - 1));
      const int earlier = digit[k] < 0 ? 0 : of_warp[warp][digit[k]];
      rank[k] = earlier + before;
      __syncwarp();
      if (digit[k] >= 0 && before == 0) of_warp[warp][digit[k]] = earlier + __popc(lanes);
      __syncwarp();
    }
  }
};

// Every lane gets the sum over the lanes up to it.
__device__ __forceinline__ long long sum_up_to(long long value) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const long long other = __shfl_up_sync(ALL_LANES, value, distance);
    if (lane >= distance) value += other;
  }
  return value;
}

// counts (256, blocks): how often each digit occurs in the tile of each block.
//
// Owner         a block has 4096 positions of `order` (N,), or of 0 to N - 1 if it is null.
// Traffic       reads order, and the index of each position, once; writes 256 numbers a block.
template <class T>
__global__ void __launch_bounds__(512, 1) count_digits(const long long* __restrict__ index,
                                                     const long long* __restrict__ order,
                                                     long long* __restrict__ counts, long long N, long long V,
                                                     long long shift) {
  __shared__ int of_warp[WARPS][DIGITS];
  const Keys keys(index, order, N, V, shift, of_warp);
  __syncthreads();
  if (threadIdx.x >= DIGITS) return;
  long long count = 0;
  for (int warp = 0; warp < WARPS; warp++) count += of_warp[warp][threadIdx.x];
  counts[(long long)threadIdx.x * gridDim.x + blockIdx.x] = count;
}

// Replace counts (256, blocks) by the sums over earlier blocks; totals (256,) are the sums over all.
//
// Owner         a warp has a digit, a block 8 of them.
// Traffic       reads and writes counts once.
template <class T>
__global__ void __launch_bounds__(256) sum_counts(long long* __restrict__ counts, long long* __restrict__ totals,
                                                  long long blocks) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const long long digit = (long long)blockIdx.x * 8 + warp;
  long long before = 0;
  for (long long first = 0; first < blocks; first += 32) {
    const long long block = first + lane;
    const long long count = block < blocks ? counts[digit * blocks + block] : 0;
    const long long sum = sum_up_to(count);
    if (block < blocks) counts[digit * blocks + block] = before + sum - count;
    before += __shfl_sync(ALL_LANES, sum, 31);
  }
  if (lane == 0) totals[digit] = before;
}

// Write the positions of `order` to `sorted` (N,), stably sorted by their digits.
//
// Owner         a block has 4096 positions, as in count_digits.
// Traffic       reads order, and the index of each position, once; writes sorted once.
// Counts        counts and totals are those of sum_counts, or null if there is only one block.
template <class T>
__global__ void __launch_bounds__(512, 1)
    sort_by_digit(const long long* __restrict__ index, const long long* __restrict__ order,
                  const long long* __restrict__ counts, const long long* __restrict__ totals,
                  long long* __restrict__ sorted, long long N, long long V, long long shift) {
  __shared__ int of_warp[WARPS][DIGITS];
  __shared__ long long start[DIGITS];  // in sorted, of the keys of this block
  __shared__ long long of_digits[DIGITS / 32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const Keys keys(index, order, N, V, shift, of_warp);
  __syncthreads();
  long long total = 0;
  if (threadIdx.x < DIGITS) {
    int before = 0;
    for (int other = 0; other < WARPS; other++) {
      const int count = of_warp[other][threadIdx.x];
      of_warp[other][threadIdx.x] = before;
      before += count;
    }
    total = totals == nullptr ? before : totals[threadIdx.x];
  }
  const long long sum = sum_up_to(total);
  if (lane == 31 && warp < DIGITS / 32) of_digits[warp] = sum;
  __syncthreads();
  if (threadIdx.x < DIGITS) {
    long long at = sum - total;
    for (int other = 0; other < warp; other++) at += of_digits[other];
    if (counts != nullptr) at += counts[(long long)threadIdx.x * gridDim.x + blockIdx.x];
    start[threadIdx.x] = at;
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < KEYS; k++) {
    if (keys.digit[k] < 0) continue;
    sorted[start[keys.digit[k]] + of_warp[warp][keys.digit[k]] + keys.rank[k]] = keys.position[k];
  }
}

// ---- sums

// Add up the rows of dy over chunks of 32 sorted positions. The sum of a run of equal indices goes to its row
// of dweight (V, D), which is 0 before; if the run began before this chunk, to the row of `pieces` (chunks, D).
//
// Owner         a team has a chunk and TEAM·VEC columns; the teams of a block follow each other.
// Traffic       reads dy once, order and the index of each position once per TEAM·VEC columns; writes each row
//               of dweight that occurs, and up to one piece per chunk.
// Accumulation  float; double for double.
template <class T, int VEC, int TEAM>
__global__ void __launch_bounds__(256, 1)
    embedding_backward(const T* __restrict__ dy, const long long* __restrict__ index,
                       const long long* __restrict__ order, Accumulator<T>* __restrict__ dweight,
                       Accumulator<T>* __restrict__ pieces, long long N, long long V, long long D) {
  using A = Accumulator<T>;
  constexpr int AT_ONCE = 8;
  const long long slices = (D + TEAM * VEC - 1) / (TEAM * VEC);
  const long long unit = (long long)blockIdx.x * (256 / TEAM) + threadIdx.x / TEAM;
  const long long chunk = unit / slices, i = (unit % slices * TEAM + threadIdx.x % TEAM) * VEC;
  const long long first = chunk * CHUNK, end = min(first + CHUNK, N);
  if (first >= N || i >= D) return;
  long long row = row_at(index, order[first], V);
  bool begun = first > 0 && row_at(index, order[first - 1], V) == row;
  Pack<A, VEC> sums{};
  const auto write = [&] { store((begun ? pieces + chunk * D : dweight + row * D) + i, sums); };
  for (long long p = first; p < end; p += AT_ONCE) {
    Pack<T, VEC> values[AT_ONCE];
    long long wanted[AT_ONCE];
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++) {
      const long long n = order[min(p + k, end - 1)];
      wanted[k] = index[n];
      values[k] = load<VEC>(dy + n * D + i);
    }
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++) {
      if (p + k >= end) continue;
      const bool valid = wanted[k] >= 0 && wanted[k] < V;
      const long long next = valid ? wanted[k] : V - 1;
      if (next != row) {
        write();
        row = next, begun = false, sums = Pack<A, VEC>{};
      }
      if (!valid) continue;
#pragma unroll
      for (int v = 0; v < VEC; v++) sums.at[v] += A(values[k].at[v]);
    }
  }
  write();
}

// Add to each row of dweight the pieces of its run. Its first piece is there already.
//
// Owner         a block has the run that goes on into its chunk for the first time, if there is one, and
//               TEAM·VEC columns; each of its 8 teams takes every 8th piece.
// Traffic       reads pieces once, and reads and writes the rows of dweight that have any.
// Accumulation  in A, always in the same order.
template <class T, int VEC, int TEAM>
__global__ void __launch_bounds__(LINES * TEAM, 1)
    embedding_backward_pieces(const long long* __restrict__ index, const long long* __restrict__ order,
                              Accumulator<T>* __restrict__ dweight, const Accumulator<T>* __restrict__ pieces,
                              long long N, long long V, long long D) {
  using A = Accumulator<T>;
  constexpr int AT_ONCE = 4;
  __shared__ Pack<A, VEC> of_line[LINES][TEAM];
  const long long slices = (D + TEAM * VEC - 1) / (TEAM * VEC);
  const int team = threadIdx.x / TEAM, lane = threadIdx.x % TEAM;
  const long long chunk = blockIdx.x / slices + 1, i = (blockIdx.x % slices * TEAM + lane) * VEC;
  const long long first = chunk * CHUNK;
  const long long row = row_at(index, order[first], V);
  const auto goes_on = [&](long long p) {  // whether the run of `row` goes on at p
    return p < N && row_at(index, order[p], V) == row && row_at(index, order[p - 1], V) == row;
  };
  if (!goes_on(first) || (chunk > 1 && goes_on(first - CHUNK))) return;  // the same for the whole block
  Pack<A, VEC> sums{};
  bool more = i < D;
  for (long long next = chunk + team; more; next += LINES * AT_ONCE) {
    Pack<A, VEC> values[AT_ONCE];
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++) {
      const long long piece = next + LINES * k;
      more = goes_on(piece * CHUNK);
      values[k] = more ? load<VEC>(pieces + piece * D + i) : Pack<A, VEC>{};
    }
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++) {
#pragma unroll
      for (int v = 0; v < VEC; v++) sums.at[v] += values[k].at[v];
    }
  }
  of_line[team][lane] = sums;
  __syncthreads();
  if (team > 0 || i >= D) return;
  Pack<A, VEC> total = load<VEC>(dweight + row * D + i);
#pragma unroll
  for (int other = 0; other < LINES; other++) {
#pragma unroll
    for (int v = 0; v < VEC; v++) total.at[v] += of_line[other][lane].at[v];
  }
  store(dweight + row * D + i, total);
}
