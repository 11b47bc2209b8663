// The length ‖x‖ of one row, for values of any size: as lengths.py, from the kept values of a row.

// Σ (scale·x)² of a row, and the scale: 1, or a power of two that keeps the squares in range.
template <class T, int VEC, int TEAM, int KEPT>
__device__ __forceinline__ Two<Accumulator<T>> scaled_square(const Row<T, VEC, TEAM, KEPT>& row,
                                                             Accumulator<T> eps) {
  using A = Accumulator<T>;
  A scale = 1, square;
  for (bool again = false;; again = true) {
    square = row_sum(row, [=](A value) {
      const A scaled = value * scale;
      return scaled * scaled;
    });
    if (again) break;
    if (!(square < infinity<A>())) scale = A(1) / FAR<A>;
    if (square < VANISHING<A> && eps < A(1)) scale = FAR<A>;
    if (!any_team<TEAM>(scale != A(1))) break;
  }
  return {square, scale};
}
