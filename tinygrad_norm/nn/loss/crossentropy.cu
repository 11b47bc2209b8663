// Cross entropy of the rows of x (N, C) against one class each.
//
// Owner         a team of 8 to 512 threads has a row; a block has 1 to 16 teams.
// Forward       reads x once, writes p once: 2·N·C values; writes one loss per row.
// Backward      reads p once, writes dx once: 2·N·C values.
// Index         index[n] is the flat index of row n's target in x and p.
// Accumulation  float; double for double.

// loss = log Σ exp(x - m) - (x_t - m), p = softmax(x)
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    cross_entropy_forward(const T* __restrict__ x, const long long* __restrict__ index, T* __restrict__ losses,
                          T* __restrict__ p, long long N, long long C, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  const long long n = row_of_team<TEAM>();
  const Row<T, VEC, TEAM, KEPT> row(x + n * C, n < N ? C : 0, keep ? reinterpret_cast<T*>(shared_memory) : nullptr);
  const A m = row_max(row, [](A value) { return value; });
  const A total = row_sum(row, [=](A value) { return exp(value - m); });
  const A share = A(1) / total;
  row.each_pack([&](int, long long i, const Pack<T, VEC>& values) {
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) out.at[v] = T(exp(A(values.at[v]) - m) * share);
    store(p + n * C + i, out);
  });
  if (n < N && lane_of_team<TEAM>() == 0) losses[n] = T(log(total) - (A(x[index[n]]) - m));
}

// dx = dloss·(p - onehot(t)); dlosses has one value per row, or one value for all rows.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    cross_entropy_backward(const T* __restrict__ dlosses, const T* __restrict__ p,
                           const long long* __restrict__ index, T* __restrict__ dx, long long N, long long C,
                           bool one_for_all) {
  using A = Accumulator<T>;
  const long long n = row_of_team<TEAM>();
  if (n >= N) return;
  const A dloss = A(dlosses[one_for_all ? 0 : n]);
  const long long target = index[n] - n * C;
  const Row<T, VEC, TEAM, KEPT> row(p + n * C, C);
  row.each_pack([&](int, long long i, const Pack<T, VEC>& values) {
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) out.at[v] = T(dloss * (A(values.at[v]) - A(i + v == target ? 1 : 0)));
    store(dx + n * C + i, out);
  });
}
