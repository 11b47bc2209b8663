// The soft cap y = c·tanh(x/c), forward and backward, as derived in softcap.py.
//
// Owner, traffic and accumulation as in elements.cuh: forward moves 2·n values, backward 3·n.

template <class A>
__device__ __forceinline__ Curve<A> softcap(A x, A cap) {
  const A t = tanh_of(x / cap);
  return {cap * t, A(1) - t * t};
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    softcap_forward(const T* __restrict__ x, T* __restrict__ y, long long n, Accumulator<T> cap) {
  each_element<VEC>(x, y, n, [=](Accumulator<T> x) { return softcap(x, cap).y; });
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    softcap_backward(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx, long long n,
                     Accumulator<T> cap) {
  each_slope<VEC>(dy, x, dx, n, [=](Accumulator<T> x) { return softcap(x, cap).slope; });
}
