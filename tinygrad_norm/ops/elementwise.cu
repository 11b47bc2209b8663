// Sigmoid, and the gradients of sigmoid, tanh and sqrt from their results y, as in elementwise.py.
//
// Owner, traffic and accumulation as in elements.cuh: forward moves 2·n values, backward 3·n.

template <class T, int VEC>
__global__ void __launch_bounds__(256) logistic(const T* __restrict__ x, T* __restrict__ y, long long n) {
  each_element<VEC>(x, y, n, [](Accumulator<T> x) { return logistic_of(x); });
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    sigmoid_backward(const T* __restrict__ dy, const T* __restrict__ y, T* __restrict__ dx, long long n) {
  using A = Accumulator<T>;
  each_slope<VEC>(dy, y, dx, n, [](A y) { return y * (A(1) - y); });
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    tanh_backward(const T* __restrict__ dy, const T* __restrict__ y, T* __restrict__ dx, long long n) {
  using A = Accumulator<T>;
  each_slope<VEC>(dy, y, dx, n, [](A y) { return A(1) - y * y; });
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    sqrt_backward(const T* __restrict__ dy, const T* __restrict__ y, T* __restrict__ dx, long long n) {
  using A = Accumulator<T>;
  each_slope<VEC>(dy, y, dx, n, [](A y) { return y == A(0) ? A(0) : A(0.5) / y; });
}
