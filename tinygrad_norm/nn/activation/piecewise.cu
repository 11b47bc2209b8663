// Piecewise linear functions, forward and backward, as derived in piecewise.py.
//
// Owner, traffic and accumulation as in elements.cuh: forward moves 2·n values, backward 3·n.

template <class A>
__device__ __forceinline__ A gate_of(A x) {
  const A y = (x + A(3)) * (A(1) / A(6));
  return y < A(0) ? A(0) : y > A(1) ? A(1) : y;
}

template <class A>
__device__ __forceinline__ Curve<A> hardtanh(A x, A low, A high) {
  return {x < low ? low : x > high ? high : x, low < x && x < high ? A(1) : A(0)};
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    hardtanh_forward(const T* __restrict__ x, T* __restrict__ y,
                     long long n, Accumulator<T> low, Accumulator<T> high) {
  each_element<VEC>(x, y, n, [=](Accumulator<T> x) { return hardtanh(x, low, high).y; });
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    hardtanh_backward(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx,
                      long long n, Accumulator<T> low, Accumulator<T> high) {
  each_slope<VEC>(dy, x, dx, n, [=](Accumulator<T> x) { return hardtanh(x, low, high).slope; });
}

template <class A>
__device__ __forceinline__ Curve<A> hardsigmoid(A x) {
  return {gate_of(x), abs(x) < A(3) ? A(1) / A(6) : A(0)};
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    hardsigmoid_forward(const T* __restrict__ x, T* __restrict__ y, long long n) {
  each_element<VEC>(x, y, n, [=](Accumulator<T> x) { return hardsigmoid(x).y; });
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    hardsigmoid_backward(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx, long long n) {
  each_slope<VEC>(dy, x, dx, n, [=](Accumulator<T> x) { return hardsigmoid(x).slope; });
}

template <class A>
__device__ __forceinline__ Curve<A> hardswish(A x) {
  const A gate = gate_of(x);
  return {x * gate, gate + (abs(x) < A(3) ? gate - A(0.5) : A(0))};
}

template <class T, int VEC>
__global__ void __launch_bounds__(256) hardswish_forward(const T* __restrict__ x, T* __restrict__ y, long long n) {
  each_element<VEC>(x, y, n, [=](Accumulator<T> x) { return hardswish(x).y; });
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    hardswish_backward(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx, long long n) {
  each_slope<VEC>(dy, x, dx, n, [=](Accumulator<T> x) { return hardswish(x).slope; });
}
