// Functions of one number, applied to every element of flat arrays of n values.
//
// Owner         a thread has VEC neighbouring values: one pack of 16 bytes, or one value.
// Traffic       reads each argument once, writes the result once.
// Accumulation  in float, or double for double; only the result is rounded to T.

// A function at one number: its value, and its derivative.
template <class A>
struct Curve {
  A y, slope;
};

// 1/(1 + exp(-x)). The exponential never overflows, so the left tail is accurate too.
template <class A>
__device__ __forceinline__ A logistic_of(A x) {
  const A e = exp(-abs(x));
  return (x >= A(0) ? A(1) : e) / (A(1) + e);
}

// tanh(x). CUDA's own flushes subnormals inside.
template <class A>
__device__ __forceinline__ A tanh_of(A x) {
  const A e = expm1(A(2) * (abs(x) < A(20) ? abs(x) : A(20)));  // for larger |x|, the result is 1 or -1
  return x != x ? x : copysign(e / (e + A(2)), x);
}

// log(1 + exp(x)), NaN for NaN.
template <class A>
__device__ __forceinline__ A softplus_of(A x) {
  return (x > A(0) ? x : A(0)) + log1p(exp(-abs(x)));
}

// y = f(x).
template <int VEC, class T, class F>
__device__ __forceinline__ void each_element(const T* x, T* y, long long n, F f) {
  const long long i = ((long long)blockIdx.x * 256 + threadIdx.x) * VEC;
  if (i >= n) return;
  const Pack<T, VEC> given = load<VEC>(x + i);
  Pack<T, VEC> result;
#pragma unroll
  for (int v = 0; v < VEC; v++) result.at[v] = T(f(Accumulator<T>(given.at[v])));
  store(y + i, result);
}

// dx = dy·slope(x).
template <int VEC, class T, class F>
__device__ __forceinline__ void each_slope(const T* dy, const T* x, T* dx, long long n, F slope) {
  const long long i = ((long long)blockIdx.x * 256 + threadIdx.x) * VEC;
  if (i >= n) return;
  const Pack<T, VEC> outer = load<VEC>(dy + i), given = load<VEC>(x + i);
  Pack<T, VEC> result;
#pragma unroll
  for (int v = 0; v < VEC; v++) {
    result.at[v] = T(Accumulator<T>(outer.at[v]) * slope(Accumulator<T>(given.at[v])));
  }
  store(dx + i, result);
}
