// RMS normalization of x (N, D), one mean square per row.
//
// Owner         a team of 8 to 512 threads has a row; a block has 1 to 16 teams.
// Forward       reads x once, writes y once: 2·N·D values. The row stays in registers or shared memory.
// Backward      reads x and dy once, writes dx once: 3·N·D values. Each block goes through many rows and
//               accumulates Σ dy·x̂ of each column; column_sums adds the sums of all blocks.
// inverse_count 1/D.
// Accumulation  float; double for double. weight, rstd and dweight have that type.

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    rms_norm_forward(const T* __restrict__ x, const Accumulator<T>* __restrict__ weight, T* __restrict__ y,
                     Accumulator<T>* __restrict__ rstd, long long N, long long D, Accumulator<T> inverse_count,
                     Accumulator<T> eps, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  const long long n = row_of_team<TEAM>();
  const Row<T, VEC, TEAM, KEPT> row(x + n * D, n < N ? D : 0, keep ? reinterpret_cast<T*>(shared_memory) : nullptr);
  const Moments<A> statistics = mean_square(row, inverse_count, eps);
  row.each_pack([&](int, long long i, const Pack<T, VEC>& values) {
    const Pack<A, VEC> w = load_or<VEC>(weight, i, A(1));
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) out.at[v] = T(statistics.normalize(A(values.at[v])) * w.at[v]);
    store(y + n * D + i, out);
  });
  if (n < N && lane_of_team<TEAM>() == 0) rstd[n] = statistics.rstd_of_row();
}

// dx = r·(g - x̂·mean(g·x̂)) with g = w·dy; dweights (blocks, D) are partial sums.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    rms_norm_backward(const T* __restrict__ dy, const T* __restrict__ x, const Accumulator<T>* __restrict__ weight,
                      const Accumulator<T>* __restrict__ rstd, T* __restrict__ dx,
                      Accumulator<T>* __restrict__ dweights, long long N, long long D, Accumulator<T> inverse_count) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  constexpr int TEAMS = BLOCK<TEAM> / TEAM;
  A* const block_sums = dweights + blockIdx.x * D;
  Columns<A, VEC, TEAM, KEPT> dweight(block_sums, D);
  for (long long first = (long long)blockIdx.x * TEAMS; first < N; first += (long long)gridDim.x * TEAMS) {
    const long long n = first + team_of_block<TEAM>();
    const A r = n < N ? rstd[n] : A(0);
    const Row<T, VEC, TEAM, KEPT> row(x + n * D, n < N ? D : 0), dy_row(dy + n * D, n < N ? D : 0);
    A sum = 0;
    row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
      const Pack<T, VEC>& dys = dy_row.pack(k, i);
      const Pack<A, VEC> w = load_or<VEC>(weight, i, A(1));
      Pack<A, VEC> dy_x_hat;
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        dy_x_hat.at[v] = A(dys.at[v]) * (A(values.at[v]) * r);
        sum += w.at[v] * dy_x_hat.at[v];
      }
      dweight.add(k, i, dy_x_hat);
    });
    const A mean_g_x_hat = reduce<TEAM>(sum, Sum{}) * inverse_count;
    row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
      const Pack<T, VEC>& dys = dy_row.pack(k, i);
      const Pack<A, VEC> w = load_or<VEC>(weight, i, A(1));
      Pack<T, VEC> out;
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        out.at[v] = T(r * (w.at[v] * A(dys.at[v]) - A(values.at[v]) * r * mean_g_x_hat));
      }
      store(dx + n * D + i, out);
    });
  }
  if constexpr (KEPT > 0) write_columns(dweight, block_sums, D, reinterpret_cast<A*>(shared_memory));
}
