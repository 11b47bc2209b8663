// Code that every kernel shares: accumulation types, 16-byte loads and stores, sums and maxima over threads.
//
// A team is TEAM threads that work on one row: 1 to 32 lanes of a warp, or (above 32) the whole block.
// All threads of a block take part in every reduction, including those without a row.

template <class T>
struct AccumulatorOf {
  using type = float;
};
template <>
struct AccumulatorOf<double> {
  using type = double;
};
// Half types and float accumulate in float, double in double.
template <class T>
using Accumulator = typename AccumulatorOf<T>::type;

template <class T>
struct MeanOf {
  using type = Accumulator<T>;
};
template <>
struct MeanOf<float> {
  using type = double;
};
// The mean of a pool as kernels write it. Values such as 1e4 ± 1e-2 are rounded to steps of 1e-3, and so would their
// mean be in float: by up to 5 % of the standard deviation. Half types have far larger steps than float.
template <class T>
using Mean = typename MeanOf<T>::type;

constexpr unsigned ALL_LANES = 0xffffffffu;

// A block has one team, or as many small teams as fill 128 threads.
template <int TEAM>
constexpr int BLOCK = TEAM < 128 ? 128 : TEAM;

// ---- packs: N neighbouring values, moved 16 bytes at a time

template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
  T at[N];
};

template <int N, class T>
__device__ __forceinline__ Pack<T, N> load(const T* p) {
  return *reinterpret_cast<const Pack<T, N>*>(p);
}

template <class T, int N>
__device__ __forceinline__ void store(T* p, const Pack<T, N>& values) {
  *reinterpret_cast<Pack<T, N>*>(p) = values;
}

// The same pack. The compiler cannot know that, so it converts half types again in every pass over a row, instead of
// keeping twice as many registers of converted values.
template <class T, int N>
__device__ __forceinline__ Pack<T, N> opaque(Pack<T, N> values) {
#ifdef __CUDACC__
  if constexpr (sizeof(T) == 2 && N % 2 == 0) {
    unsigned* const words = reinterpret_cast<unsigned*>(&values);
#pragma unroll
    for (int v = 0; v < N / 2; v++) asm volatile("" : "+r"(words[v]));
  }
#endif
  return values;
}

// N values of an optional vector, starting at index i; N times `missing` if there is no vector.
template <int N, class T>
__device__ __forceinline__ Pack<T, N> load_or(const T* p, long long i, T missing) {
  if (p != nullptr) return load<N>(p + i);
  Pack<T, N> values;
#pragma unroll
  for (int v = 0; v < N; v++) values.at[v] = missing;
  return values;
}

// ---- reductions

template <class A>
struct Two {
  A first, second;
};

// a + b, rounded, and what rounding took from it. The sum of both is exact.
template <class A>
__device__ __forceinline__ Two<A> exact_sum(A a, A b) {
  const A sum = a + b, of_b = sum - a;
  return {sum, (a - (sum - of_b)) + (b - of_b)};
}

struct Sum {
  template <class A>
  __device__ __forceinline__ A operator()(A a, A b) const {
    return a + b;
  }
  template <class A>
  __device__ __forceinline__ Two<A> operator()(Two<A> a, Two<A> b) const {
    return {a.first + b.first, a.second + b.second};
  }
};

struct Max {
  template <class A>
  __device__ __forceinline__ A operator()(A a, A b) const {
    return max(a, b);
  }
};

template <class A>
__device__ __forceinline__ A from_lane(A value, int distance) {
  return __shfl_xor_sync(ALL_LANES, value, distance);
}
template <class A>
__device__ __forceinline__ Two<A> from_lane(Two<A> value, int distance) {
  return {from_lane(value.first, distance), from_lane(value.second, distance)};
}

// A butterfly: each step halves the distance; at the end, all lanes have the same bits.
template <int LANES, class A, class Combine>
__device__ __forceinline__ A reduce_lanes(A value, Combine combine) {
#pragma unroll
  for (int distance = LANES / 2; distance > 0; distance /= 2) {
    value = combine(value, from_lane(value, distance));
  }
  return value;
}

// Every thread of the team gets the result. Lanes of a warp are combined first, then one value per warp.
template <int TEAM, int THREADS = BLOCK<TEAM>, class A, class Combine>
__device__ __forceinline__ A reduce(A value, Combine combine) {
  value = reduce_lanes<(TEAM < 32 ? TEAM : 32)>(value, combine);
  if constexpr (TEAM > 32) {
    constexpr int WARPS = TEAM / 32;
    __shared__ A of_warp[THREADS / 32];
    __syncthreads();  // the previous result may still be read
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    value = reduce_lanes<WARPS>(of_warp[threadIdx.x / TEAM * WARPS + threadIdx.x % WARPS], combine);
  }
  return value;
}

// Whether a condition is true for any team of the warp; it must be the same for all threads of a team.
template <int TEAM>
__device__ __forceinline__ bool any_team(bool condition) {
  return TEAM < 32 ? __any_sync(ALL_LANES, condition) != 0 : condition;
}

template <class A>
__device__ __forceinline__ A inverse_root(A variance) {
  return variance == A(0) ? A(0) : rsqrt(variance);  // only with eps = 0; then all entries are 0 too
}

template <class A>
__device__ __forceinline__ A infinity() {
  return A(1) / A(0);
}

template <class A>
constexpr A LARGEST = 0x1.fffffep127f;
template <>
constexpr double LARGEST<double> = 0x1.fffffffffffffp1023;

// Rows whose squares overflow are scaled by 1/FAR, rows whose squares underflow by FAR: powers of two.
template <class A>
constexpr A FAR = 0x1p100f;
template <>
constexpr double FAR<double> = 0x1p700;

// A sum of squares below this has lost digits to underflow.
template <class A>
constexpr A VANISHING = 0x1p-102f;
template <>
constexpr double VANISHING<double> = 0x1p-969;
