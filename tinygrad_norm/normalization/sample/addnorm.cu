// Residual sum and normalization in one pass: s = x + z (N, D), y = norm(s).
//
// Owner         a team of 8 to 1024 threads has a row; a block has 1 to 64 teams and goes through many rows.
// Forward       reads x and z once, writes s and y once: 4·N·D values. The sum stays in registers or
//               shared memory, rounded to its storage type, so that y equals norm(s). So do weight and bias
//               from row to row; in rows that are too long for that, they are read from the cache.
// Backward      reads dy, s and ds once, writes dx once: 4·N·D values. dx is the gradient of x and of z.
//               Each block accumulates Σ dy·x̂ and Σ dy of each column (rowgradients.cuh); column_sums adds
//               the sums of all blocks.
// Order         mean(g) is subtracted last, as in layernorm.cu.
// inverse_count 1/D.
// Accumulation  float; double for double. weight, bias, rstd, dweight, dbias have that type, means are Mean<T>.

// A row of x + z: read, added, written to `s` and kept by the same threads.
template <class T, int VEC, int TEAM, int KEPT>
struct SumRow : Row<T, VEC, TEAM, KEPT> {
  __device__ __forceinline__ SumRow(const T* x, const T* z, T* s, long long D, T*) : Row<T, VEC, TEAM, KEPT>(x, D) {
    const Row<T, VEC, TEAM, KEPT> others(z, D);
#pragma unroll
    for (int k = 0; k < KEPT; k++) {
      this->packs[k] = added(this->packs[k], others.packs[k]);
      if (this->index(k) < D) store(s + this->index(k), this->packs[k]);
    }
  }

  __device__ __forceinline__ static Pack<T, VEC> added(Pack<T, VEC> values, const Pack<T, VEC>& others) {
    using A = Accumulator<T>;
#pragma unroll
    for (int v = 0; v < VEC; v++) values.at[v] = T(A(values.at[v]) + A(others.at[v]));
    return values;
  }
};

template <class T, int VEC, int TEAM>
struct SumRow<T, VEC, TEAM, 0> : Row<T, VEC, TEAM, 0> {
  __device__ __forceinline__ SumRow(const T* x, const T* z, T* s, long long D, T* kept) : Row<T, VEC, TEAM, 0>(x, D) {
    const Row<T, VEC, TEAM, 0> others(z, D);
    this->each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
      const Pack<T, VEC> sums = SumRow<T, VEC, TEAM, 1>::added(values, others.pack(k, i));
      store(s + i, sums);
      if (kept != nullptr) store(kept + i, sums);
    });
    this->source = kept == nullptr ? s : kept;
  }
};

// Call f(n, row, first) for the rows of s = x + z that this team has, as each_row does.
template <class T, int VEC, int TEAM, int KEPT, class F>
__device__ __forceinline__ void each_sum(const T* x, const T* z, T* s, long long N, long long D, T* kept, F f) {
  using A = Accumulator<T>;
  const long long step = (long long)gridDim.x * (BLOCK<TEAM> / TEAM);
  long long n = row_of_team<TEAM>();
  for (long long start = n - team_of_block<TEAM>(); start < N; start += step, n += step) {
    const bool there = n < N;
    const T x_first = load_first<TEAM>(x + n * D, there), z_first = load_first<TEAM>(z + n * D, there);
    const SumRow<T, VEC, TEAM, KEPT> row(x + n * D, z + n * D, s + n * D, there ? D : 0, kept);
    f(n, row, broadcast<TEAM>(A(T(A(x_first) + A(z_first)))));
  }
}

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, RESIDENT<T, BLOCK<TEAM>, KEPT>)
    add_layer_norm_forward(const T* __restrict__ x, const T* __restrict__ z,
                           const Accumulator<T>* __restrict__ weight, const Accumulator<T>* __restrict__ bias,
                           T* __restrict__ y, T* __restrict__ s, Mean<T>* __restrict__ mean,
                           Accumulator<T>* __restrict__ rstd, long long N, long long D, Accumulator<T> inverse_count,
                           Accumulator<T> eps, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  A* const vectors = reinterpret_cast<A*>(shared_memory);
  T* const kept = KEPT == 0 && keep ? reinterpret_cast<T*>(shared_memory) : nullptr;
  const Vector<A, VEC, TEAM, KEPT> weights(weight, A(1), D, vectors), biases(bias, A(0), D, vectors + D);
  each_sum<T, VEC, TEAM, KEPT>(x, z, s, N, D, kept, [&](long long n, const auto& row, A first) {
    const Moments<A> statistics = moments<T, VEC, TEAM, KEPT>(row, first, inverse_count, eps);
    if (n < N && lane_of_team<TEAM>() == 0) {
      mean[n] = mean_of_row<Mean<T>>(statistics);
      rstd[n] = statistics.rstd_of_row();
    }
    row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
      Pack<T, VEC> out;
#pragma unroll
      for (int v = 0; v < VEC; v += PART<A, VEC>) {
        const Pack<A, PART<A, VEC>> w = weights.part(k, i, v), b = biases.part(k, i, v);
#pragma unroll
        for (int u = 0; u < PART<A, VEC>; u++) {
          out.at[v + u] = T(statistics.normalize(A(values.at[v + u])) * w.at[u] + b.at[u]);
        }
      }
      store(y + n * D + i, out);
    });
  });
}

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, RESIDENT<T, BLOCK<TEAM>, KEPT>)
    add_rms_norm_forward(const T* __restrict__ x, const T* __restrict__ z,
                         const Accumulator<T>* __restrict__ weight, T* __restrict__ y, T* __restrict__ s,
                         Accumulator<T>* __restrict__ rstd, long long N, long long D, Accumulator<T> inverse_count,
                         Accumulator<T> eps, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  T* const kept = KEPT == 0 && keep ? reinterpret_cast<T*>(shared_memory) : nullptr;
  const Vector<A, VEC, TEAM, KEPT> weights(weight, A(1), D, reinterpret_cast<A*>(shared_memory));
  each_sum<T, VEC, TEAM, KEPT>(x, z, s, N, D, kept, [&](long long n, const auto& row, A) {
    const Moments<A> statistics = mean_square<T, VEC, TEAM, KEPT>(row, inverse_count, eps);
    row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
      Pack<T, VEC> out;
#pragma unroll
      for (int v = 0; v < VEC; v += PART<A, VEC>) {
        const Pack<A, PART<A, VEC>> w = weights.part(k, i, v);
#pragma unroll
        for (int u = 0; u < PART<A, VEC>; u++) {
          out.at[v + u] = T(statistics.normalize(A(values.at[v + u])) * w.at[u]);
        }
      }
      store(y + n * D + i, out);
    });
    if (n < N && lane_of_team<TEAM>() == 0) rstd[n] = statistics.rstd_of_row();
  });
}

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(WIDE_BLOCK<TEAM>, RESIDENT_BACKWARD<T, WIDE_BLOCK<TEAM>, KEPT>)
    add_layer_norm_backward(const T* __restrict__ dy, const T* __restrict__ ds, const T* __restrict__ s,
                            const Accumulator<T>* __restrict__ weight, const Mean<T>* __restrict__ mean,
                            const Accumulator<T>* __restrict__ rstd, T* __restrict__ dx,
                            Accumulator<T>* __restrict__ dweights, Accumulator<T>* __restrict__ dbiases, long long N,
                            long long D, Accumulator<T> inverse_count, bool keep) {
  layer_norm_gradients<T, VEC, TEAM, KEPT, true>(dy, ds, s, weight, mean, rstd, dx, dweights, dbiases, N, D,
                                                 inverse_count, keep);
}

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(WIDE_BLOCK<TEAM>, RESIDENT<T, WIDE_BLOCK<TEAM>, KEPT>)
    add_rms_norm_backward(const T* __restrict__ dy, const T* __restrict__ ds, const T* __restrict__ s,
                          const Accumulator<T>* __restrict__ weight, const Accumulator<T>* __restrict__ rstd,
                          T* __restrict__ dx, Accumulator<T>* __restrict__ dweights, long long N, long long D,
                          Accumulator<T> inverse_count, bool keep) {
  rms_norm_gradients<T, VEC, TEAM, KEPT, true>(dy, ds, s, weight, rstd, dx, dweights, N, D, inverse_count, keep);
}
