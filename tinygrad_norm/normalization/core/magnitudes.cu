// largest (N,): the largest |x| of each row of x (N, D), without NaN.
//
// Owner         a team of 8 to 512 threads has a row; a block has 1 to 16 teams.
// Traffic       reads x once: N·D values.
// Accumulation  float; double for double. largest has that type.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    largest_of_rows(const T* __restrict__ x, Accumulator<T>* __restrict__ largest, long long N, long long D) {
  using A = Accumulator<T>;
  const long long n = row_of_team<TEAM>();
  const Row<T, VEC, TEAM, KEPT> row(x + n * D, n < N ? D : 0);
  const A found = row_max(row, [](A value) { return abs(value); });
  if (n < N && lane_of_team<TEAM>() == 0) largest[n] = found;
}
