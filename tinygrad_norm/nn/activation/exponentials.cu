// Exponential units, forward and backward, as derived in exponentials.py.
//
// Owner, traffic and accumulation as in elements.cuh: forward moves 2·n values, backward 3·n.

template <class A>
__device__ __forceinline__ Curve<A> exponential_unit(A x, A s, A a, A c) {
  const A z = x / c;
  return {x > A(0) ? s * x : s * a * expm1(z), x > A(0) ? s : s * a / c * exp(z)};
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    exponential_unit_forward(const T* __restrict__ x, T* __restrict__ y,
                             long long n, Accumulator<T> s, Accumulator<T> a, Accumulator<T> c) {
  each_element<VEC>(x, y, n, [=](Accumulator<T> x) { return exponential_unit(x, s, a, c).y; });
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    exponential_unit_backward(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx,
                              long long n, Accumulator<T> s, Accumulator<T> a, Accumulator<T> c) {
  each_slope<VEC>(dy, x, dx, n, [=](Accumulator<T> x) { return exponential_unit(x, s, a, c).slope; });
}
