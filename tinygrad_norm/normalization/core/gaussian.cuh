// Gaussian windows over planes (N, H, W): sums along one axis, as in gaussian.py.
//
// Owner         a thread has a position. Those of a warp are neighbours, so the windows come from the caches.
// Order         from the first to the last position of the window: nothing is added to memory that others write.

// The positions of a window along an axis of S positions that are inside, relative to `at`: from `from` to `to`.
struct Inside {
  long long from, to;
};

__device__ __forceinline__ Inside inside(long long at, long long S, long long reach) {
  return {at < reach ? -at : -reach, S - 1 - at < reach ? S - 1 - at : reach};
}

// Σ weight·f(t) along an axis whose positions are `step` apart; t is the own position, weights the whole window.
template <class A, class F>
__device__ __forceinline__ A window_sum(const A* t, const A* weights, long long at, long long S, long long step,
                                        long long reach, F f) {
  const Inside window = inside(at, S, reach);
  A sum = 0;
  for (long long k = window.from; k <= window.to; k++) sum += weights[reach + k] * f(t[k * step]);
  return sum;
}

template <class A>
__device__ __forceinline__ A window_sum(const A* t, const A* weights, long long at, long long S, long long step,
                                        long long reach) {
  return window_sum(t, weights, at, S, step, reach, [](A value) { return value; });
}

// Along rows of W positions.
template <class T>
__global__ void __launch_bounds__(256)
    window_sums(const Accumulator<T>* __restrict__ t, const Accumulator<T>* __restrict__ weights,
                Accumulator<T>* __restrict__ sums, long long total, long long W, long long reach) {
  const long long o = (long long)blockIdx.x * 256 + threadIdx.x;
  if (o < total) sums[o] = window_sum(t + o, weights, o % W, W, 1, reach);
}
