// Rectifiers, forward and backward, as described in rectifiers.py; CuPy's own kernel is the forward of relu.
//
// Owner, traffic and accumulation as in elements.cuh: forward moves 2·n values, backward 3·n.

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    relu_backward(const T* __restrict__ dy, const T* __restrict__ y, T* __restrict__ dx, long long n) {
  each_slope<VEC>(dy, y, dx, n, [](Accumulator<T> y) { return Accumulator<T>(y != 0); });
}

template <class A>
__device__ __forceinline__ Curve<A> leaky_relu(A x, A negative_slope) {
  return {x > A(0) ? x : negative_slope * x, x > A(0) ? A(1) : negative_slope};
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    leaky_relu_forward(const T* __restrict__ x, T* __restrict__ y, long long n, Accumulator<T> negative_slope) {
  each_element<VEC>(x, y, n, [=](Accumulator<T> x) { return leaky_relu(x, negative_slope).y; });
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    leaky_relu_backward(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx,
                        long long n, Accumulator<T> negative_slope) {
  each_slope<VEC>(dy, x, dx, n, [=](Accumulator<T> x) { return leaky_relu(x, negative_slope).slope; });
}

template <class A>
__device__ __forceinline__ Curve<A> cut_off(A x, A bound, A fill) {
  return {x <= bound ? fill : x, x <= bound ? A(0) : A(1)};
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    threshold_forward(const T* __restrict__ x, T* __restrict__ y,
                    long long n, Accumulator<T> bound, Accumulator<T> fill) {
  each_element<VEC>(x, y, n, [=](Accumulator<T> x) { return cut_off(x, bound, fill).y; });
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    threshold_backward(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx,
                     long long n, Accumulator<T> bound, Accumulator<T> fill) {
  each_slope<VEC>(dy, x, dx, n, [=](Accumulator<T> x) { return cut_off(x, bound, fill).slope; });
}
