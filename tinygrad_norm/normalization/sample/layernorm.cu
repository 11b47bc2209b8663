// Layer normalization of x (N, D), one mean and one variance per row.
//
// Owner         a team of 8 to 512 threads has a row; a block has 1 to 16 teams.
// Forward       reads x once, writes y once: 2·N·D values. The row stays in registers or shared memory
//               for its mean, its variance and its output. weight and bias are read from the cache.
// Backward      reads x and dy once, writes dx once: 3·N·D values. Each block goes through many rows and
//               accumulates Σ dy·x̂ and Σ dy of each column; column_sums adds the sums of all blocks.
// Order         mean(g) is subtracted last. In a row of one value, dx is 0; with mean(g) subtracted first, a
//               fused multiply-add would leave the rounding error of w·dy, times r.
// inverse_count 1/D.
// Accumulation  float; double for double. weight, bias, mean, rstd, dweight, dbias have that type.

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    layer_norm_forward(const T* __restrict__ x, const Accumulator<T>* __restrict__ weight,
                       const Accumulator<T>* __restrict__ bias, T* __restrict__ y,
                       Accumulator<T>* __restrict__ mean, Accumulator<T>* __restrict__ rstd, long long N,
                       long long D, Accumulator<T> inverse_count, Accumulator<T> eps, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  const long long n = row_of_team<TEAM>();
  const Row<T, VEC, TEAM, KEPT> row(x + n * D, n < N ? D : 0, keep ? reinterpret_cast<T*>(shared_memory) : nullptr);
  const Moments<A> statistics = moments(row, x + n * D, inverse_count, eps);
  row.each_pack([&](int, long long i, const Pack<T, VEC>& values) {
    const Pack<A, VEC> w = load_or<VEC>(weight, i, A(1)), b = load_or<VEC>(bias, i, A(0));
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) out.at[v] = T(statistics.normalize(A(values.at[v])) * w.at[v] + b.at[v]);
    store(y + n * D + i, out);
  });
  if (n < N && lane_of_team<TEAM>() == 0) {
    mean[n] = statistics.mean_of_row();
    rstd[n] = statistics.rstd_of_row();
  }
}

// dx = r·(g - x̂·mean(g·x̂) - mean(g)) with g = w·dy; dweights and dbiases (blocks, D) are partial sums.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    layer_norm_backward(const T* __restrict__ dy, const T* __restrict__ x, const Accumulator<T>* __restrict__ weight,
                        const Accumulator<T>* __restrict__ mean, const Accumulator<T>* __restrict__ rstd,
                        T* __restrict__ dx, Accumulator<T>* __restrict__ dweights,
                        Accumulator<T>* __restrict__ dbiases, long long N, long long D,
                        Accumulator<T> inverse_count) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  constexpr int TEAMS = BLOCK<TEAM> / TEAM;
  A* const block_sums = dweights + blockIdx.x * D;
  A* const dbias_of_block = dbiases + blockIdx.x * D;
  Columns<A, VEC, TEAM, KEPT> dweight(block_sums, D), dbias(dbias_of_block, D);
  for (long long first = (long long)blockIdx.x * TEAMS; first < N; first += (long long)gridDim.x * TEAMS) {
    const long long n = first + team_of_block<TEAM>();
    const A r = n < N ? rstd[n] : A(0);
    const Moments<A> statistics = written_moments(n < N ? mean[n] : A(0), r);
    const Row<T, VEC, TEAM, KEPT> row(x + n * D, n < N ? D : 0), dy_row(dy + n * D, n < N ? D : 0);
    Two<A> sums = {0, 0};
    row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
      const Pack<T, VEC>& dys = dy_row.pack(k, i);
      const Pack<A, VEC> w = load_or<VEC>(weight, i, A(1));
      Pack<A, VEC> dy_wide, dy_x_hat;
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        dy_wide.at[v] = A(dys.at[v]);
        dy_x_hat.at[v] = dy_wide.at[v] * statistics.normalize(A(values.at[v]));
        sums.first += w.at[v] * dy_wide.at[v];
        sums.second += w.at[v] * dy_x_hat.at[v];
      }
      dweight.add(k, i, dy_x_hat);
      dbias.add(k, i, dy_wide);
    });
    sums = reduce<TEAM>(sums, Sum{});
    const A mean_g = sums.first * inverse_count, mean_g_x_hat = sums.second * inverse_count;
    row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
      const Pack<T, VEC>& dys = dy_row.pack(k, i);
      const Pack<A, VEC> w = load_or<VEC>(weight, i, A(1));
      Pack<T, VEC> out;
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        const A x_hat = statistics.normalize(A(values.at[v]));
        out.at[v] = T(r * (w.at[v] * A(dys.at[v]) - x_hat * mean_g_x_hat - mean_g));
      }
      store(dx + n * D + i, out);
    });
  }
  if constexpr (KEPT > 0) {
    A* const shared = reinterpret_cast<A*>(shared_memory);
    write_columns(dweight, block_sums, D, shared);
    write_columns(dbias, dbias_of_block, D, shared);
  }
}
