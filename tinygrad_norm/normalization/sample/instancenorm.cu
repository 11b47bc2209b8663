// Instance normalization of x (N, C, S): the S positions of one channel of one sample are a pool.
//
// Owner         a team of 8 to 512 threads has a pool; a block has 1 to 16 teams.
// Forward       reads x once, writes y once: 2·N·C·S values.
// Backward      reads x and dy once, writes dx once: 3·N·C·S values; what registers do not hold is kept in shared
//               memory, and read again (5·N·C·S values) if that is too small. Also writes Σ dy·x̂ and Σ dy of every
//               pool; column_sums adds them over the samples.
// inverse_count 1/S.
// Accumulation  float; double for double. All but x, y, dy, dx and means have that type; means are Mean<T>.

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, RESIDENT_OF_POOLS<T, BLOCK<TEAM>>)
    instance_norm_forward(const T* __restrict__ x, const Accumulator<T>* __restrict__ weight,
                          const Accumulator<T>* __restrict__ bias, T* __restrict__ y,
                          Mean<T>* __restrict__ mean, Accumulator<T>* __restrict__ var,
                          Accumulator<T>* __restrict__ rstd, long long pools, long long C, long long S,
                          long long inverse_C, Accumulator<T> inverse_count, Accumulator<T> eps, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  const long long n = row_of_team<TEAM>();
  const Row<T, VEC, TEAM, KEPT> row(x + n * S, n < pools ? S : 0,
                                    keep ? reinterpret_cast<T*>(shared_memory) : nullptr);
  const Moments<A> of_pool = moments(row, x + n * S, inverse_count, eps);
  if (n < pools && lane_of_team<TEAM>() == 0) {
    mean[n] = mean_of_row<Mean<T>>(of_pool);
    var[n] = of_pool.var_of_row();
    rstd[n] = of_pool.rstd_of_row();
  }
  const long long c = n - quotient(n, inverse_C) * C;
  const A w = weight == nullptr ? A(1) : weight[c], b = bias == nullptr ? A(0) : bias[c];
  row.each_pack([&](int, long long i, const Pack<T, VEC>& values) {
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) out.at[v] = T(of_pool.normalize(A(values.at[v])) * w + b);
    store(y + n * S + i, out);
  });
}

// dx = r·w·(dy - mean(dy) - x̂·mean(dy·x̂)): w is one number per pool.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, RESIDENT_OF_POOLS<T, BLOCK<TEAM>>)
    instance_norm_backward(const T* __restrict__ dy, const T* __restrict__ x,
                           const Accumulator<T>* __restrict__ weight, const Mean<T>* __restrict__ mean,
                           const Accumulator<T>* __restrict__ rstd, T* __restrict__ dx,
                           Accumulator<T>* __restrict__ sums_dy_x_hat, Accumulator<T>* __restrict__ sums_dy,
                           long long pools, long long C, long long S, long long inverse_C,
                           Accumulator<T> inverse_count, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  T* const kept = reinterpret_cast<T*>(shared_memory);
  const long long n = row_of_team<TEAM>(), values_here = n < pools ? S : 0;
  const Row<T, VEC, TEAM, KEPT> row(x + n * S, values_here, keep ? kept : nullptr);
  const Row<T, VEC, TEAM, KEPT> dy_row(dy + n * S, values_here, keep ? kept + S : nullptr);
  const A r = broadcast<TEAM>(load_first<TEAM>(rstd + n, n < pools));
  const Moments<A> of_pool = written_moments<A>(broadcast<TEAM>(load_first<TEAM>(mean + n, n < pools)), r);
  Two<A> sums = {0, 0};
  row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
    const Pack<T, VEC>& dys = dy_row.pack(k, i);
#pragma unroll
    for (int v = 0; v < VEC; v++) {
      sums.first += A(dys.at[v]);
      sums.second += A(dys.at[v]) * of_pool.normalize(A(values.at[v]));
    }
  });
  sums = reduce<TEAM>(sums, Sum{});
  const A scale = weight == nullptr ? r : r * weight[n - quotient(n, inverse_C) * C];
  const A mean_dy = sums.first * inverse_count, mean_dy_x_hat = sums.second * inverse_count;
  row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
    const Pack<T, VEC>& dys = dy_row.pack(k, i);
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) {
      const A x_hat = of_pool.normalize(A(values.at[v]));
      out.at[v] = T(scale * (A(dys.at[v]) - mean_dy - x_hat * mean_dy_x_hat));
    }
    store(dx + n * S + i, out);
  });
  if (n < pools && lane_of_team<TEAM>() == 0) {
    sums_dy_x_hat[n] = sums.second;
    sums_dy[n] = sums.first;
  }
}
