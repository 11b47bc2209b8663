// The error function, forward and backward, and erfc = 1 - erf: CUDA's own, erf correct to 2 units in the last
// place and erfc to 5. erfc is that of doubles: CUDA's of floats flushes subnormal numbers to zero inside.
//
// Owner, traffic and accumulation as in elements.cuh: forward moves 2·n values, backward 3·n.

template <class T, int VEC>
__global__ void __launch_bounds__(256) erf_forward(const T* __restrict__ x, T* __restrict__ y, long long n) {
  each_element<VEC>(x, y, n, [](Accumulator<T> x) { return erf(x); });
}

template <class T, int VEC>
__global__ void __launch_bounds__(256) erfc_forward(const T* __restrict__ x, T* __restrict__ y, long long n) {
  each_element<VEC>(x, y, n, [](Accumulator<T> x) { return Accumulator<T>(erfc(double(x))); });
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    erf_backward(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx, long long n) {
  using A = Accumulator<T>;
  each_slope<VEC>(dy, x, dx, n, [](A x) { return exp(-(x * x)) * A(1.12837916709551257390); });  // 2/√π
}
