// The rows of a team: thread t has the packs t, t + TEAM, t + 2·TEAM, …
//
// Row<T, VEC, TEAM, KEPT> reads a row of D values once, VEC values at a time, and keeps KEPT packs per
// thread in registers. With KEPT = 0, the row is kept in shared memory; if `kept` is null, it is not kept
// and read again. A thread reads and writes only its own packs, so no barrier is needed. A team without a
// row has D = 0. teams.py chooses VEC, TEAM and KEPT.

template <int TEAM>
__device__ __forceinline__ int lane_of_team() {
  return threadIdx.x % TEAM;
}

template <int TEAM>
__device__ __forceinline__ int team_of_block() {
  return threadIdx.x / TEAM;
}

// The row of this team, if every team has one row.
template <int TEAM>
__device__ __forceinline__ long long row_of_team() {
  return (long long)blockIdx.x * (BLOCK<TEAM> / TEAM) + team_of_block<TEAM>();
}

template <class T, int VEC, int TEAM, int KEPT>
struct Row {
  Pack<T, VEC> packs[KEPT];
  long long D;

  __device__ __forceinline__ Row(const T* x, long long D, T* = nullptr) : D(D) {
#pragma unroll
    for (int k = 0; k < KEPT; k++) {
      packs[k] = index(k) < D ? load<VEC>(x + index(k)) : Pack<T, VEC>{};
    }
  }

  __device__ __forceinline__ static long long index(int k) { return (k * TEAM + lane_of_team<TEAM>()) * VEC; }

  __device__ __forceinline__ const Pack<T, VEC>& pack(int k, long long) const { return packs[k]; }

  // Call f(k, i, pack) for every pack of this thread: k counts them, i is the index of its first value.
  template <class F>
  __device__ __forceinline__ void each_pack(F f) const {
#pragma unroll
    for (int k = 0; k < KEPT; k++) {
      if (index(k) < D) f(k, index(k), packs[k]);
    }
  }
};

template <class T, int VEC, int TEAM>
struct Row<T, VEC, TEAM, 0> {
  const T* source;
  long long D;

  __device__ __forceinline__ Row(const T* x, long long D, T* kept = nullptr) : source(x), D(D) {
    if (kept == nullptr) return;
    each_pack([&](int, long long i, const Pack<T, VEC>& values) { store(kept + i, values); });
    source = kept;
  }

  __device__ __forceinline__ Pack<T, VEC> pack(int, long long i) const { return load<VEC>(source + i); }

  template <class F>
  __device__ __forceinline__ void each_pack(F f) const {
    constexpr int AT_ONCE = VEC > 4 ? 2 : 4;  // more would not fit in the registers
    int k = 0;
#pragma unroll AT_ONCE
    for (long long i = lane_of_team<TEAM>() * VEC; i < D; i += TEAM * VEC) f(k++, i, load<VEC>(source + i));
  }
};

// Call f(value) for every value of this thread, converted to the accumulation type.
template <class T, int VEC, int TEAM, int KEPT, class F>
__device__ __forceinline__ void each_value(const Row<T, VEC, TEAM, KEPT>& row, F f) {
  row.each_pack([&](int, long long, const Pack<T, VEC>& values) {
#pragma unroll
    for (int v = 0; v < VEC; v++) f(Accumulator<T>(values.at[v]));
  });
}

// Every thread of the team gets Σ f(value) over the row, or the maximum of f(value).
template <class T, int VEC, int TEAM, int KEPT, class F>
__device__ __forceinline__ Accumulator<T> row_sum(const Row<T, VEC, TEAM, KEPT>& row, F f) {
  Accumulator<T> sum = 0;
  each_value(row, [&](Accumulator<T> value) { sum += f(value); });
  return reduce<TEAM>(sum, Sum{});
}
template <class T, int VEC, int TEAM, int KEPT, class F>
__device__ __forceinline__ Accumulator<T> row_max(const Row<T, VEC, TEAM, KEPT>& row, F f) {
  Accumulator<T> largest = -infinity<Accumulator<T>>();
  each_value(row, [&](Accumulator<T> value) { largest = max(largest, f(value)); });
  return reduce<TEAM>(largest, Max{});
}

// ---- sums over columns, for dweight and dbias: accumulated while a team goes through its rows

// The sums of this thread's columns: in registers, or (KEPT = 0) in memory that only this thread uses.
template <class A, int VEC, int TEAM, int KEPT>
struct Columns {
  Pack<A, VEC> sums[KEPT];

  __device__ __forceinline__ Columns(A*, long long) {
#pragma unroll
    for (int k = 0; k < KEPT; k++) sums[k] = Pack<A, VEC>{};
  }

  __device__ __forceinline__ void add(int k, long long, const Pack<A, VEC>& values) {
#pragma unroll
    for (int v = 0; v < VEC; v++) sums[k].at[v] += values.at[v];
  }

  template <class F>
  __device__ __forceinline__ void each_pack(long long D, F f) const {
#pragma unroll
    for (int k = 0; k < KEPT; k++) {
      const long long i = (k * TEAM + lane_of_team<TEAM>()) * VEC;
      if (i < D) f(i, sums[k]);
    }
  }
};

template <class A, int VEC, int TEAM>
struct Columns<A, VEC, TEAM, 0> {
  A* memory;

  __device__ __forceinline__ Columns(A* memory, long long D) : memory(memory) {
    for (long long i = lane_of_team<TEAM>() * VEC; i < D; i += TEAM * VEC) store(memory + i, Pack<A, VEC>{});
  }

  __device__ __forceinline__ void add(int, long long i, const Pack<A, VEC>& values) {
    Pack<A, VEC> sums = load<VEC>(memory + i);
#pragma unroll
    for (int v = 0; v < VEC; v++) sums.at[v] += values.at[v];
    store(memory + i, sums);
  }

  template <class F>
  __device__ __forceinline__ void each_pack(long long D, F f) const {
    for (long long i = lane_of_team<TEAM>() * VEC; i < D; i += TEAM * VEC) f(i, load<VEC>(memory + i));
  }
};

// Add the sums of all teams of this block, one team after the other, in `shared` (D,); write them to `out` (D,).
template <class A, int VEC, int TEAM, int KEPT>
__device__ __forceinline__ void write_columns(const Columns<A, VEC, TEAM, KEPT>& columns, A* out, long long D,
                                              A* shared) {
  constexpr int TEAMS = BLOCK<TEAM> / TEAM;
  for (int team = 0; team < TEAMS; team++) {
    if (team_of_block<TEAM>() == team) {
      columns.each_pack(D, [&](long long i, Pack<A, VEC> sums) {
        if (team > 0) {
          const Pack<A, VEC> before = load<VEC>(shared + i);
#pragma unroll
          for (int v = 0; v < VEC; v++) sums.at[v] += before.at[v];
        }
        store((team == TEAMS - 1 ? out : shared) + i, sums);
      });
    }
    if (TEAMS > 1) __syncthreads();
  }
}

// sums (V, D) = Σ over the P rows of each of the V matrices in partials (V, P, D), always in the same order.
//
// Owner         a block has 32 columns of a matrix; each of its 32 warps takes every 32nd row.
// Traffic       reads partials once, 128 bytes per warp and 8 rows at a time, writes sums once:
//               V·(P + 1)·D values.
// Accumulation  in T, which is an accumulation type.
template <class T>
__global__ void __launch_bounds__(1024) column_sums(const T* __restrict__ partials, T* __restrict__ sums, long long P,
                                                    long long D) {
  __shared__ T of_warp[32][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const long long blocks = (D + 31) / 32, matrix = blockIdx.x / blocks;
  const long long column = (blockIdx.x - matrix * blocks) * 32 + lane;
  partials += matrix * P * D;
  T sum = 0;
  if (column < D) {
#pragma unroll 8
    for (long long p = warp; p < P; p += 32) sum += partials[p * D + column];
  }
  of_warp[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || column >= D) return;
#pragma unroll
  for (int other = 1; other < 32; other++) sum += of_warp[other][lane];
  sums[matrix * D + column] = sum;
}
