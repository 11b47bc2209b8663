// Mean and variance of one row, for values of any size: the same as moments.py, from the kept values of a row.

// a / d for a ≥ 0 with a·d < 2⁶², from ⌈2⁶²/d⌉: no branch, so that loads before and after it move freely.
// In 32 bits for indices and sizes of a row that registers hold (KEPT > 0): up to 2¹⁵.
template <int KEPT = 0>
__device__ __forceinline__ long long quotient(long long a, long long inverse_d) {
  if constexpr (KEPT > 0) return __umulhi(unsigned(2 * a), unsigned(inverse_d >> 31) + 1);
  return __mul64hi(4 * a, inverse_d);
}

// The moments of scale·x, not of x: scale is 1, 1/FAR or FAR. Their mean is mean + rest, where rest is less than the
// last digits of mean; offset = rest·rstd. x - mean is exact for x near the mean, so x̂ has all digits of x.
template <class A>
struct Moments {
  A scale, mean, rest, var, rstd, offset;

  __device__ __forceinline__ A normalize(A value) const { return (value * scale - mean) * rstd - offset; }
  __device__ __forceinline__ A unscaled(A value) const {
    return scale == A(1) ? value : value * (scale < A(1) ? FAR<A> : A(1) / FAR<A>);
  }
  __device__ __forceinline__ A var_of_row() const { return unscaled(unscaled(var)); }
  __device__ __forceinline__ A rstd_of_row() const { return rstd * scale > LARGEST<A> ? LARGEST<A> : rstd * scale; }
};

// The mean of a row, in the type M = Mean<T>.
template <class M, class A>
__device__ __forceinline__ M mean_of_row(const Moments<A>& statistics) {
  return M(statistics.unscaled(statistics.mean)) + M(statistics.unscaled(statistics.rest));
}

// What rounding took from a mean; 0 if the mean is infinite or NaN.
template <class A>
__device__ __forceinline__ A rest_of_mean(A rest) {
  return rest == rest ? rest : A(0);
}

// The moments of a row from the mean and rstd that forward wrote; scaled again if x - mean could overflow.
template <class A, class M>
__device__ __forceinline__ Moments<A> written_moments(M written, A rstd) {
  M upper = written;
  A rest = 0, offset = 0;
  if constexpr (sizeof(M) > sizeof(A)) {
    // The upper half of a double, which a float holds. Rounding it would take longer, and hold up the loads of a row.
    upper = __longlong_as_double(__double_as_longlong(written) & ~0xffffffffLL);
    rest = rest_of_mean(A(written - upper));
    offset = rest * rstd;
  }
  const A down = A(1) / FAR<A>, mean = A(upper);
  return rstd < down ? Moments<A>{down, mean * down, rest * down, A(0), rstd * FAR<A>, offset}
                     : Moments<A>{A(1), mean, rest, A(0), rstd, offset};
}

// Whether rows of this warp must be summed again. Changes `scale` of rows whose squares overflow, or underflow
// without an eps that hides it. With |mean| ≥ 1 they cannot underflow: x has too few digits.
// All teams take part in the second pass, but each row keeps its own scale.
template <int TEAM, class A>
__device__ __forceinline__ bool rescale(A square, A mean, A eps, A& scale) {
  if (!(square < infinity<A>())) scale = A(1) / FAR<A>;
  if (square < VANISHING<A> && eps < VANISHING<A> && fabs(mean) < A(1)) scale = FAR<A>;
  return any_team<TEAM>(scale != A(1));
}

// The first value of a row, of which the first lane of the team has `own`; teams of several warps read it again.
template <int TEAM, class A, class T>
__device__ __forceinline__ A first_of_row(A own, const T* x, bool there) {
  if constexpr (TEAM <= 32) return __shfl_sync(ALL_LANES, own, 0, TEAM);
  return there ? A(*x) : A(0);
}

// Two passes; the first sums differences from the first value, so that a constant row has exactly its value
// as mean and exactly 0 as variance. The second sums (x - mean)², which is D·(var + rest²): rest² is at most var, as
// no x lies between mean and its last digit. `inverse_count` is 1/D: a division here would cost registers.
template <class T, int VEC, int TEAM, int KEPT>
__device__ __forceinline__ Moments<Accumulator<T>> moments(const Row<T, VEC, TEAM, KEPT>& row, Accumulator<T> first,
                                                           Accumulator<T> inverse_count, Accumulator<T> eps) {
  using A = Accumulator<T>;
  A scale = 1, var;
  Two<A> mean;
  for (bool again = false;; again = true) {
    const A shift = first * scale;
    mean = exact_sum(shift, row_sum(row, [=](A value) { return (value * scale - shift) * inverse_count; }));
    const A centre = mean.first;
    var = row_sum(row, [=](A value) {
      const A centered = value * scale - centre;
      return centered * (centered * inverse_count);
    });
    if (again || !rescale<TEAM>(var, mean.first, eps, scale)) break;
  }
  const A rest = rest_of_mean(mean.second);
  var -= rest * rest;
  const A rstd = inverse_root(var + eps * scale * scale);
  return {scale, mean.first, rest, var, rstd, rest * rstd};
}

// The same for a row whose first value only its first thread has; x is the row.
template <class T, int VEC, int TEAM, int KEPT>
__device__ __forceinline__ Moments<Accumulator<T>> moments(const Row<T, VEC, TEAM, KEPT>& row, const T* x,
                                                           Accumulator<T> inverse_count, Accumulator<T> eps) {
  using A = Accumulator<T>;
  A own = 0;
  if constexpr (KEPT > 0) own = A(row.packs[0].at[0]);
  return moments(row, first_of_row<(KEPT > 0 ? TEAM : 512)>(own, x, row.D > 0), inverse_count, eps);
}

// The same without a mean: `var` is the mean square.
template <class T, int VEC, int TEAM, int KEPT>
__device__ __forceinline__ Moments<Accumulator<T>> mean_square(const Row<T, VEC, TEAM, KEPT>& row,
                                                               Accumulator<T> inverse_count, Accumulator<T> eps) {
  using A = Accumulator<T>;
  A scale = 1, square;
  for (bool again = false;; again = true) {
    square = row_sum(row, [=](A value) {
      const A scaled = value * scale;
      return scaled * (scaled * inverse_count);
    });
    if (again || !rescale<TEAM>(square, A(0), eps, scale)) break;
  }
  return {scale, A(0), A(0), square, inverse_root(square + eps * scale * scale), A(0)};
}
