// Mean and variance of one row, guarded: what moments.py computes, from values that are kept.

// A row whose squares overflow is scaled by this power of two, exactly, and then none of them does.
template <class A>
constexpr A DOWN = 0x1p-80f;
template <>
constexpr double DOWN<double> = 0x1p-600;

// Of scale·x, not of x: scale is 1, or DOWN.
template <class A>
struct Moments {
  A scale, mean, var, rstd;

  __device__ __forceinline__ A normalize(A value) const { return (value * scale - mean) * rstd; }
  __device__ __forceinline__ A up() const { return scale == A(1) ? A(1) : A(1) / DOWN<A>; }
  __device__ __forceinline__ A mean_of_row() const { return mean * up(); }
  __device__ __forceinline__ A var_of_row() const { return var * up() * up(); }
  __device__ __forceinline__ A rstd_of_row() const { return rstd * scale; }
};

// The moments of a row from what forward wrote of them: scaled again where x - mean could overflow.
template <class A>
__device__ __forceinline__ Moments<A> written_moments(A mean, A rstd) {
  const A scale = rstd < DOWN<A> ? DOWN<A> : A(1);
  return {scale, mean * scale, A(0), rstd < DOWN<A> ? rstd / DOWN<A> : rstd};
}

// Whether rows of this warp must be summed up again: `scale` of those whose sum is infinite, or NaN, is
// changed. All teams take part in the second round, but a row keeps the scale that is right for itself.
template <int TEAM, class A>
__device__ __forceinline__ bool scale_down(A sum, A& scale) {
  const bool overflows = !(sum < infinity<A>());
  if (overflows) scale = DOWN<A>;
  return any_team<TEAM>(overflows);
}

// In two passes, the first over differences from the first value: a constant row has exactly its value
// as mean and exactly 0 as variance. `each` is 1/D: a division here would cost registers.
template <class T, int VEC, int TEAM, int KEPT>
__device__ __forceinline__ Moments<Accumulator<T>> moments(const Row<T, VEC, TEAM, KEPT>& row, const T* x,
                                                           Accumulator<T> each, Accumulator<T> eps) {
  using A = Accumulator<T>;
  const A first = row.D > 0 ? A(x[0]) : A(0);
  A scale = 1, mean, var;
  for (bool again = false;; again = true) {
    const A shift = first * scale;
    mean = shift + row_sum(row, [=](A value) { return (value * scale - shift) * each; });
    const A centre = mean;
    var = row_sum(row, [=](A value) {
      const A centered = value * scale - centre;
      return centered * (centered * each);
    });
    if (again || !scale_down<TEAM>(var, scale)) break;
  }
  return {scale, mean, var, inverse_root(var + eps * scale * scale)};
}

// The same without a mean: var is the mean square.
template <class T, int VEC, int TEAM, int KEPT>
__device__ __forceinline__ Moments<Accumulator<T>> mean_square(const Row<T, VEC, TEAM, KEPT>& row,
                                                               Accumulator<T> each, Accumulator<T> eps) {
  using A = Accumulator<T>;
  A scale = 1, square;
  for (bool again = false;; again = true) {
    square = row_sum(row, [=](A value) {
      const A scaled = value * scale;
      return scaled * (scaled * each);
    });
    if (again || !scale_down<TEAM>(square, scale)) break;
  }
  return {scale, A(0), square, inverse_root(square + eps * scale * scale)};
}
