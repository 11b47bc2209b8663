// Powers of the values of a row, for any p above 0; p = ∞ stands for the largest |x|.

// The larger of two numbers, NaN if one is.
struct Largest {
  template <class A>
  __device__ __forceinline__ A operator()(A a, A b) const {
    return a > b || a != a ? a : b;
  }
};

// sizeᵖ for a size of at least 0 and a finite p. CUDA's pow would flush subnormals in float.
template <class A>
__device__ __forceinline__ A power(A size, A p) {
  return p == A(1) ? size : exp2(p * log2(size));
}

template <class A>
__device__ __forceinline__ A sign_of(A value) {
  return A((value > A(0)) - (value < A(0)));
}

// sign(y)·|y|ᵖ⁻¹ for a finite p: the slope of ‖x‖p for y = x/‖x‖p. At an entry of 0 it is 0, also for p < 1.
template <class A>
__device__ __forceinline__ A slope(A y, A p) {
  const A size = fabs(y);
  return p == A(1) || size == A(0) ? sign_of(y) : sign_of(y) * power(size, p - A(1));
}

// √(a² + b²) without overflow, for numbers of at least 0. CUDA's hypot would flush subnormals in double.
template <class A>
__device__ __forceinline__ A root_of_squares(A a, A b) {
  const A larger = Largest{}(a, b), share = larger == A(0) ? A(0) : (larger == a ? b : a) / larger;
  return larger * sqrt(A(1) + share * share);
}

// scale·root = (Σ inverse_count·|x|ᵖ)^(1/p). The scale is the largest |x|, so no power overflows.
template <class A>
struct Power {
  A scale, root;
};

template <class T, int VEC, int TEAM, int KEPT>
__device__ __forceinline__ Power<Accumulator<T>> power_of_row(const Row<T, VEC, TEAM, KEPT>& row, Accumulator<T> p,
                                                              Accumulator<T> inverse_count) {
  using A = Accumulator<T>;
  A largest = 0;
  each_value(row, [&](A value) { largest = Largest{}(fabs(value), largest); });
  largest = reduce<TEAM>(largest, Largest{});
  const A scale = largest > A(0) && largest < infinity<A>() ? largest : A(1);
  A sum = 0;  // every thread of the block takes part in the reduction, so there is no branch around it
  if (p < infinity<A>()) {
    each_value(row, [&](A value) { sum += power(fabs(value) / scale, p) * inverse_count; });
  }
  sum = reduce<TEAM>(sum, Sum{});
  return {scale, p < infinity<A>() ? power(sum, A(1) / p) : largest / scale};
}
