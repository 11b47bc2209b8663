// Residual sum and normalization in one pass: s = x + z (N, D), y = norm(s).
//
// Owner         a team of 8 to 512 threads has a row; a block has 1 to 16 teams.
// Forward       reads x and z once, writes s and y once: 4·N·D values. The sum stays in registers or
//               shared memory, rounded to its storage type, so that y equals norm(s).
// Backward      reads dy, s and ds once, writes dx once: 4·N·D values. dx is the gradient of x and of z.
//               Each block goes through many rows and accumulates Σ dy·x̂ and Σ dy of each column;
//               column_sums adds the sums of all blocks.
// Order         mean(g) is subtracted last, as in layernorm.cu.
// inverse_count 1/D.
// Accumulation  float; double for double. weight, bias, mean, rstd, dweight, dbias have that type.

// A row of x + z: read, added, written to `s` and kept by the same threads.
template <class T, int VEC, int TEAM, int KEPT>
struct SumRow : Row<T, VEC, TEAM, KEPT> {
  __device__ __forceinline__ SumRow(const T* x, const T* z, T* s, long long D, T* kept)
      : Row<T, VEC, TEAM, KEPT>(x, 0) {
    this->D = D;
    if constexpr (KEPT > 0) {
#pragma unroll
      for (int k = 0; k < KEPT; k++) {
        const long long i = this->index(k);
        if (i < D) store(s + i, this->packs[k] = added(x + i, z + i));
      }
    } else {
      for (long long i = lane_of_team<TEAM>() * VEC; i < D; i += TEAM * VEC) {
        const Pack<T, VEC> values = added(x + i, z + i);
        store(s + i, values);
        if (kept != nullptr) store(kept + i, values);
      }
      this->source = kept == nullptr ? s : kept;
    }
  }

  __device__ __forceinline__ static Pack<T, VEC> added(const T* x, const T* z) {
    using A = Accumulator<T>;
    Pack<T, VEC> values = load<VEC>(x);
    const Pack<T, VEC> others = load<VEC>(z);
#pragma unroll
    for (int v = 0; v < VEC; v++) values.at[v] = T(A(values.at[v]) + A(others.at[v]));
    return values;
  }
};

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    add_layer_norm_forward(const T* __restrict__ x, const T* __restrict__ z,
                           const Accumulator<T>* __restrict__ weight, const Accumulator<T>* __restrict__ bias,
                           T* __restrict__ y, T* __restrict__ s, Accumulator<T>* __restrict__ mean,
                           Accumulator<T>* __restrict__ rstd, long long N, long long D, Accumulator<T> inverse_count,
                           Accumulator<T> eps, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  const long long n = row_of_team<TEAM>();
  const SumRow<T, VEC, TEAM, KEPT> row(x + n * D, z + n * D, s + n * D, n < N ? D : 0,
                                       keep ? reinterpret_cast<T*>(shared_memory) : nullptr);
  const T first = n < N ? T(A(x[n * D]) + A(z[n * D])) : T(0);
  const Moments<A> statistics = moments<T, VEC, TEAM, KEPT>(row, &first, inverse_count, eps);
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

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    add_rms_norm_forward(const T* __restrict__ x, const T* __restrict__ z,
                         const Accumulator<T>* __restrict__ weight, T* __restrict__ y, T* __restrict__ s,
                         Accumulator<T>* __restrict__ rstd, long long N, long long D, Accumulator<T> inverse_count,
                         Accumulator<T> eps, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  const long long n = row_of_team<TEAM>();
  const SumRow<T, VEC, TEAM, KEPT> row(x + n * D, z + n * D, s + n * D, n < N ? D : 0,
                                       keep ? reinterpret_cast<T*>(shared_memory) : nullptr);
  const Moments<A> statistics = mean_square<T, VEC, TEAM, KEPT>(row, inverse_count, eps);
  row.each_pack([&](int, long long i, const Pack<T, VEC>& values) {
    const Pack<A, VEC> w = load_or<VEC>(weight, i, A(1));
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) out.at[v] = T(statistics.normalize(A(values.at[v])) * w.at[v]);
    store(y + n * D + i, out);
  });
  if (n < N && lane_of_team<TEAM>() == 0) rstd[n] = statistics.rstd_of_row();
}

// dx = ds + r·(g - x̂·mean(g·x̂) - mean(g)) with g = w·dy; dweights and dbiases (blocks, D) are partial sums.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    add_layer_norm_backward(const T* __restrict__ dy, const T* __restrict__ ds, const T* __restrict__ s,
                            const Accumulator<T>* __restrict__ weight, const Accumulator<T>* __restrict__ mean,
                            const Accumulator<T>* __restrict__ rstd, T* __restrict__ dx,
                            Accumulator<T>* __restrict__ dweights, Accumulator<T>* __restrict__ dbiases, long long N,
                            long long D, Accumulator<T> inverse_count) {
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
    const Row<T, VEC, TEAM, KEPT> row(s + n * D, n < N ? D : 0), dy_row(dy + n * D, n < N ? D : 0);
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
      const Pack<T, VEC> direct = load<VEC>(ds + n * D + i);
      const Pack<A, VEC> w = load_or<VEC>(weight, i, A(1));
      Pack<T, VEC> out;
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        const A x_hat = statistics.normalize(A(values.at[v]));
        out.at[v] = T(A(direct.at[v]) + r * (w.at[v] * A(dys.at[v]) - x_hat * mean_g_x_hat - mean_g));
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

// dx = ds + r·(g - x̂·mean(g·x̂)) with g = w·dy; dweights (blocks, D) are partial sums.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    add_rms_norm_backward(const T* __restrict__ dy, const T* __restrict__ ds, const T* __restrict__ s,
                          const Accumulator<T>* __restrict__ weight, const Accumulator<T>* __restrict__ rstd,
                          T* __restrict__ dx, Accumulator<T>* __restrict__ dweights, long long N, long long D,
                          Accumulator<T> inverse_count) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  constexpr int TEAMS = BLOCK<TEAM> / TEAM;
  A* const block_sums = dweights + blockIdx.x * D;
  Columns<A, VEC, TEAM, KEPT> dweight(block_sums, D);
  for (long long first = (long long)blockIdx.x * TEAMS; first < N; first += (long long)gridDim.x * TEAMS) {
    const long long n = first + team_of_block<TEAM>();
    const A r = n < N ? rstd[n] : A(0);
    const Row<T, VEC, TEAM, KEPT> row(s + n * D, n < N ? D : 0), dy_row(dy + n * D, n < N ? D : 0);
    A total = 0;
    row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
      const Pack<T, VEC>& dys = dy_row.pack(k, i);
      const Pack<A, VEC> w = load_or<VEC>(weight, i, A(1));
      Pack<A, VEC> dy_x_hat;
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        dy_x_hat.at[v] = A(dys.at[v]) * (A(values.at[v]) * r);
        total += w.at[v] * dy_x_hat.at[v];
      }
      dweight.add(k, i, dy_x_hat);
    });
    const A mean_g_x_hat = reduce<TEAM>(total, Sum{}) * inverse_count;
    row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
      const Pack<T, VEC>& dys = dy_row.pack(k, i);
      const Pack<T, VEC> direct = load<VEC>(ds + n * D + i);
      const Pack<A, VEC> w = load_or<VEC>(weight, i, A(1));
      Pack<T, VEC> out;
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        out.at[v] = T(A(direct.at[v]) + r * (w.at[v] * A(dys.at[v]) - A(values.at[v]) * r * mean_g_x_hat));
      }
      store(dx + n * D + i, out);
    });
  }
  if constexpr (KEPT > 0) write_columns(dweight, block_sums, D, reinterpret_cast<A*>(shared_memory));
}
