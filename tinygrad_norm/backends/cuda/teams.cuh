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

  __device__ __forceinline__ Pack<T, VEC> pack(int k, long long) const { return opaque(packs[k]); }

  // Call f(k, i, pack) for every pack of this thread: k counts them, i is the index of its first value.
  template <class F>
  __device__ __forceinline__ void each_pack(F f) const {
#pragma unroll
    for (int k = 0; k < KEPT; k++) {
      if (index(k) < D) f(k, index(k), opaque(packs[k]));
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

// Call f(k, i) for every pack of this thread, of a row that it keeps or not.
template <int VEC, int TEAM, int KEPT, class F>
__device__ __forceinline__ void each_index(long long D, F f) {
  if constexpr (KEPT > 0) {
#pragma unroll
    for (int k = 0; k < KEPT; k++) {
      const long long i = (k * TEAM + lane_of_team<TEAM>()) * VEC;
      if (i < D) f(k, i);
    }
  } else {
    int k = 0;
#pragma unroll 4
    for (long long i = lane_of_team<TEAM>() * VEC; i < D; i += TEAM * VEC) f(k++, i);
  }
}

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

// ---- blocks that go through many rows, and read the weight once

// Threads of a block that accumulates sums over rows: more teams in fewer blocks make fewer partial sums.
template <int TEAM>
constexpr int WIDE_BLOCK = TEAM < 512 ? 512 : TEAM;

// Blocks of this size that a multiprocessor must hold: then a thread has at most 64 registers, and 1024 threads are
// resident. Rows of double, and rows that are not kept, need more registers.
template <class T, int THREADS, int KEPT>
constexpr int RESIDENT = KEPT > 0 && sizeof(T) <= 4 ? 1024 / THREADS : 1;

// As RESIDENT, for kernels over pools: for sm_80 to sm_89, and from sm_100 on, the compiler needs more registers.
#if defined(__CUDA_ARCH__) && ((__CUDA_ARCH__ >= 800 && __CUDA_ARCH__ < 900) || __CUDA_ARCH__ >= 1000)
template <class T, int THREADS>
constexpr int RESIDENT_OF_POOLS = 1;
#else
template <class T, int THREADS>
constexpr int RESIDENT_OF_POOLS = RESIDENT<T, THREADS, 1>;
#endif

// Whether a thread has so few columns that their weight, bias and sums stay in registers.
template <class A, int VEC, int KEPT>
constexpr bool FEW = KEPT > 0 && KEPT * VEC * sizeof(A) <= 32;

// The columns of a pack that sums and weights are added to or read at once: 16 bytes of them.
template <class A, int VEC>
constexpr int PART = VEC * sizeof(A) > 16 ? 16 / sizeof(A) : VEC;

template <class A, int VEC>
__device__ __forceinline__ Pack<A, PART<A, VEC>> part_of(const Pack<A, VEC>& pack, int v) {
  Pack<A, PART<A, VEC>> part;
#pragma unroll
  for (int u = 0; u < PART<A, VEC>; u++) part.at[u] = pack.at[v + u];
  return part;
}

// Whether a row is loaded while the row before it is worked on: if registers can hold both. From sm_100 on, the
// compiler needs more of them.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
template <class T, int VEC, int KEPT>
constexpr bool AHEAD = KEPT > 0 && sizeof(T) <= 4 && KEPT * VEC * sizeof(T) <= 32;
#else
template <class T, int VEC, int KEPT>
constexpr bool AHEAD = KEPT > 0 && sizeof(T) <= 4;
#endif

// The first value of a row, or any number of a team: one lane of each warp loads it, `broadcast` gives it to all.
template <int TEAM, class T>
__device__ __forceinline__ T load_first(const T* p, bool there) {
  return there && threadIdx.x % (TEAM < 32 ? TEAM : 32) == 0 ? *p : T(0);
}
template <int TEAM, class A>
__device__ __forceinline__ A broadcast(A value) {
  return __shfl_sync(ALL_LANES, value, 0, TEAM < 32 ? TEAM : 32);
}

// Call f(n, row, first) for the rows n of x (N, D) that this team has, and for n ≥ N with an empty row, as often as
// the other teams of its block. `first` is the first value of the row.
template <class T, int VEC, int TEAM, int KEPT, class F>
__device__ __forceinline__ void each_row(const T* x, long long N, long long D, T* kept, F f) {
  using A = Accumulator<T>;
  const long long step = (long long)gridDim.x * (BLOCK<TEAM> / TEAM);
  long long n = row_of_team<TEAM>();
  if constexpr (AHEAD<T, VEC, KEPT>) {
    Row<T, VEC, TEAM, KEPT> row(x + n * D, n < N ? D : 0);
    T first = load_first<TEAM>(x + n * D, n < N);
    for (long long start = n - team_of_block<TEAM>(); start < N; start += step, n += step) {
      const bool more = n + step < N;
      const Row<T, VEC, TEAM, KEPT> following(x + (n + step) * D, more ? D : 0);
      const T first_of_following = load_first<TEAM>(x + (n + step) * D, more);
      f(n, row, broadcast<TEAM>(A(first)));
      row = following;
      first = first_of_following;
    }
  } else {
    for (long long start = n - team_of_block<TEAM>(); start < N; start += step, n += step) {
      const T first = load_first<TEAM>(x + n * D, n < N);
      const Row<T, VEC, TEAM, KEPT> row(x + n * D, n < N ? D : 0, kept);
      f(n, row, broadcast<TEAM>(A(first)));
    }
  }
}

// The values of a vector (D,), or `missing`, for the columns of this thread: part(k, i, v) is the part of pack k that
// begins at its value v, with i the index of the pack's first value. FEW are in registers, more in `copy` (D,)
// in shared memory; those of a row that is not kept (KEPT = 0) are read from the cache.
template <class A, int VEC, int TEAM, int KEPT, bool = FEW<A, VEC, KEPT>>
struct Vector {
  const A* copy;

  __device__ __forceinline__ Vector(const A* source, A missing, long long D, A* copy) : copy(copy) {
    each_index<VEC, TEAM, KEPT>(D, [&](int, long long i) { store(copy + i, load_or<VEC>(source, i, missing)); });
  }

  __device__ __forceinline__ Pack<A, PART<A, VEC>> part(int, long long i, int v) const {
    return load<PART<A, VEC>>(copy + i + v);
  }
};

template <class A, int VEC, int TEAM, int KEPT>
struct Vector<A, VEC, TEAM, KEPT, true> {
  Pack<A, VEC> packs[KEPT];

  __device__ __forceinline__ Vector(const A* source, A missing, long long D, A*) {
    each_index<VEC, TEAM, KEPT>(D, [&](int k, long long i) { packs[k] = load_or<VEC>(source, i, missing); });
  }

  __device__ __forceinline__ Pack<A, PART<A, VEC>> part(int k, long long, int v) const {
    return part_of(packs[k], v);
  }
};

template <class A, int VEC, int TEAM>
struct Vector<A, VEC, TEAM, 0, false> {
  const A* source;
  A missing;

  __device__ __forceinline__ Vector(const A* source, A missing, long long, A*) : source(source), missing(missing) {}

  __device__ __forceinline__ Pack<A, PART<A, VEC>> part(int, long long i, int v) const {
    return load_or<PART<A, VEC>>(source, i + v, missing);
  }
};

// ---- sums over columns, for dweight and dbias: accumulated while a team goes through its rows

// The sums of this thread's columns, to which `add` adds a part of a pack: FEW in registers, more in memory (D,), of
// which each thread uses its own columns only.
template <class A, int VEC, int TEAM, int KEPT, bool = FEW<A, VEC, KEPT>>
struct Columns {
  A* memory;

  __device__ __forceinline__ Columns(A* memory, long long D) : memory(memory) {
    each_index<VEC, TEAM, KEPT>(D, [&](int, long long i) { store(memory + i, Pack<A, VEC>{}); });
  }

  __device__ __forceinline__ void add(int, long long i, int v, const Pack<A, PART<A, VEC>>& values) {
    Pack<A, PART<A, VEC>> part = load<PART<A, VEC>>(memory + i + v);
#pragma unroll
    for (int u = 0; u < PART<A, VEC>; u++) part.at[u] += values.at[u];
    store(memory + i + v, part);
  }

  // Write the sums of the block, which has one team, to `out` (D,), unless they are there already.
  __device__ __forceinline__ void write(A* out, long long D, A*) {
    if (out == memory) return;
    each_index<VEC, TEAM, KEPT>(D, [&](int, long long i) { store(out + i, load<VEC>(memory + i)); });
  }
};

template <class A, int VEC, int TEAM, int KEPT>
struct Columns<A, VEC, TEAM, KEPT, true> {
  Pack<A, VEC> sums[KEPT];

  __device__ __forceinline__ Columns(A*, long long) {
#pragma unroll
    for (int k = 0; k < KEPT; k++) sums[k] = Pack<A, VEC>{};
  }

  __device__ __forceinline__ void add(int k, long long, int v, const Pack<A, PART<A, VEC>>& values) {
#pragma unroll
    for (int u = 0; u < PART<A, VEC>; u++) sums[k].at[v + u] += values.at[u];
  }

  // Add the sums of all teams of the block, always in the same order, and write them to `out` (D,). `shared` has
  // a vector (D,) for every warp, or for every team if those are larger; a block of one team needs none.
  __device__ __forceinline__ void write(A* out, long long D, A* shared) {
    constexpr int WIDTH = TEAM < 32 ? 32 : TEAM, PARTS = WIDE_BLOCK<TEAM> / WIDTH;
    if constexpr (TEAM < 32) {
#pragma unroll
      for (int k = 0; k < KEPT; k++) {
#pragma unroll
        for (int v = 0; v < VEC; v++) {
#pragma unroll
          for (int distance = 16; distance >= TEAM; distance /= 2) {
            sums[k].at[v] += from_lane(sums[k].at[v], distance);
          }
        }
      }
    }
    A* const part = PARTS == 1 ? out : shared + threadIdx.x / WIDTH * D;
    if (threadIdx.x % WIDTH < TEAM) {
      each_index<VEC, TEAM, KEPT>(D, [&](int k, long long i) { store(part + i, sums[k]); });
    }
    if constexpr (PARTS > 1) {
      __syncthreads();
#pragma unroll 1
      for (long long i = threadIdx.x; i < D; i += WIDE_BLOCK<TEAM>) {
        A sum = shared[i];
#pragma unroll
        for (int other = 1; other < PARTS; other++) sum += shared[other * D + i];
        out[i] = sum;
      }
      __syncthreads();  // `shared` will be used again
    }
  }
};

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
