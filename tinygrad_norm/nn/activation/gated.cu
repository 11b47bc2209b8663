// Gated activations, forward and backward: y = f(x) and dx = dy·f'(x), as derived in gated.py.
//
// Owner, traffic and accumulation as in elements.cuh: forward moves 2·n values, backward 3·n. Backward computes
// the derivative again from x, so forward does not write it.

template <class A>
__device__ __forceinline__ Curve<A> silu(A x) {
  const A s = logistic_of(x);
  return {x * s, s * (A(1) + x * (A(1) - s))};
}

template <class T, int VEC>
__global__ void __launch_bounds__(256) silu_forward(const T* __restrict__ x, T* __restrict__ y, long long n) {
  each_element<VEC>(x, y, n, [=](Accumulator<T> x) { return silu(x).y; });
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    silu_backward(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx, long long n) {
  each_slope<VEC>(dy, x, dx, n, [=](Accumulator<T> x) { return silu(x).slope; });
}

// 1 - Φ(z) for 0 ≤ z ≤ 40, where e is exp(-z²/2), without cancellation: e·M(z), with the quotient for float32 in
// loop_math.py: CUDA's erfc takes nearly twice the registers.
__device__ __forceinline__ float tail_of(float z, float e) {
  const float above = (((0.00402189747f * z + 0.0399956322f) * z + 0.181340714f) * z + 0.435732066f) * z + 0.5f;
  const float below = ((((0.0100812591f * z + 0.100261548f) * z + 0.464469986f) * z + 1.19462511f) * z +
                       1.66934906f) * z + 1.0f;
  return e * (above / below);
}
__device__ __forceinline__ double tail_of(double z, double) { return 0.5 * erfc(z * 0.70710678118654752440); }

template <class A>
__device__ __forceinline__ Curve<A> gelu(A x) {
  const A z = abs(x) < A(40) ? abs(x) : A(40), e = exp(A(-0.5) * z * z);
  const A tail = tail_of(z, e), cdf = x > A(0) ? A(1) - tail : tail;
  return {x * cdf, cdf + x * e * A(0.39894228040143267794)};
}

template <class T, int VEC>
__global__ void __launch_bounds__(256) gelu_forward(const T* __restrict__ x, T* __restrict__ y, long long n) {
  each_element<VEC>(x, y, n, [=](Accumulator<T> x) { return gelu(x).y; });
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    gelu_backward(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx, long long n) {
  each_slope<VEC>(dy, x, dx, n, [=](Accumulator<T> x) { return gelu(x).slope; });
}

template <class A>
__device__ __forceinline__ Curve<A> gelu_tanh(A x) {
  constexpr A SCALE = 1.59576912160573071176, CUBIC = SCALE * A(0.044715);  // 2·√(2/π)
  const A near = x > A(25) ? A(25) : x < A(-25) ? A(-25) : x;  // for larger |x|, s is 0 or 1
  const A u = CUBIC * near * near, s = logistic_of(near * (u + SCALE));
  return {x * s, s + near * s * (A(1) - s) * (A(3) * u + SCALE)};
}

template <class T, int VEC>
__global__ void __launch_bounds__(256) gelu_tanh_forward(const T* __restrict__ x, T* __restrict__ y, long long n) {
  each_element<VEC>(x, y, n, [=](Accumulator<T> x) { return gelu_tanh(x).y; });
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    gelu_tanh_backward(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx, long long n) {
  each_slope<VEC>(dy, x, dx, n, [=](Accumulator<T> x) { return gelu_tanh(x).slope; });
}

template <class A>
__device__ __forceinline__ Curve<A> mish(A x) {
  const A near = x > A(20) ? A(20) : x;  // for larger x, t rounds to 1
  const A e = exp(near), n = e * (e + A(2)), r = A(1) / (n + A(2)), t = n * r;
  return {x * t, t + near * (A(4) * (n + A(1)) * r * r * (e / (A(1) + e)))};
}

template <class T, int VEC>
__global__ void __launch_bounds__(256) mish_forward(const T* __restrict__ x, T* __restrict__ y, long long n) {
  each_element<VEC>(x, y, n, [=](Accumulator<T> x) { return mish(x).y; });
}

template <class T, int VEC>
__global__ void __launch_bounds__(256)
    mish_backward(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx, long long n) {
  each_slope<VEC>(dy, x, dx, n, [=](Accumulator<T> x) { return mish(x).slope; });
}
