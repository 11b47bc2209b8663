// Softplus, log-sigmoid and softsign, forward and backward, as derived in sigmoids.py.
//
// Owner, traffic and accumulation as in elements.cuh: forward moves 2·n values, backward 3·n.

template <class A>
__device__ __forceinline__ Curve<A> softplus(A x, A beta, A threshold) {
  const A z = beta * x;
  return {z > threshold ? x : softplus_of(z) / beta, z > threshold ? A(1) : logistic_of(z)};
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    softplus_forward(const T* __restrict__ x, T* __restrict__ y,
                     long long n, Accumulator<T> beta, Accumulator<T> threshold) {
  each_element<VEC>(x, y, n, [=](Accumulator<T> x) { return softplus(x, beta, threshold).y; });
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    softplus_backward(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx,
                      long long n, Accumulator<T> beta, Accumulator<T> threshold) {
  each_slope<VEC>(dy, x, dx, n, [=](Accumulator<T> x) { return softplus(x, beta, threshold).slope; });
}

template <class A>
__device__ __forceinline__ Curve<A> logsigmoid(A x) {
  return {-softplus_of(-x), logistic_of(-x)};
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    logsigmoid_forward(const T* __restrict__ x, T* __restrict__ y, long long n) {
  each_element<VEC>(x, y, n, [=](Accumulator<T> x) { return logsigmoid(x).y; });
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    logsigmoid_backward(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx, long long n) {
  each_slope<VEC>(dy, x, dx, n, [=](Accumulator<T> x) { return logsigmoid(x).slope; });
}

template <class A>
__device__ __forceinline__ Curve<A> softsign(A x) {
  const A size = A(1) + abs(x), r = A(1) / size;
  return {x / size, r * r};
}

template <class T, int VEC>
__global__ void __launch_bounds__(256) softsign_forward(const T* __restrict__ x, T* __restrict__ y, long long n) {
  each_element<VEC>(x, y, n, [=](Accumulator<T> x) { return softsign(x).y; });
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    softsign_backward(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx, long long n) {
  each_slope<VEC>(dy, x, dx, n, [=](Accumulator<T> x) { return softsign(x).slope; });
}
