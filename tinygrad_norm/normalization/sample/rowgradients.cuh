// Backward of layer and RMS normalization over rows, alone or after a residual sum.
//
// A block goes through many rows. Its threads keep the weight, Σ dy·x̂ and Σ dy of their columns, so these cost no
// traffic per row:
//
//   FEW columns   in registers; a block has 1 to 64 teams, which add their sums in shared memory at the end
//   more columns  in shared memory, three vectors (D,); two blocks of 512 threads on a multiprocessor, or one of 1024
//   KEPT = 0      sums in shared memory (`keep`) or, if that is too small, in the partial sums in global memory;
//                 x, dy and the weight are read twice
//
// A row of x and dy is loaded at once, before the first value is used; ds before the sums of the team are known, if
// registers can hold it.

// Blocks of layer and gated RMS normalization's backward that a multiprocessor must hold. For sm_100 and above, the
// compiler needs more than the 64 registers that two blocks of 512 threads leave to a thread.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
template <class T, int THREADS, int KEPT>
constexpr int RESIDENT_BACKWARD = 1;
#else
template <class T, int THREADS, int KEPT>
constexpr int RESIDENT_BACKWARD = RESIDENT<T, THREADS, KEPT>;
#endif

// The shared memory where the columns' sums are accumulated, or the block's partial sums in global memory.
template <int KEPT, class A>
__device__ __forceinline__ A* memory_of_columns(A* shared, A* partial, long long index, long long D, bool keep) {
  return KEPT > 0 ? shared + (1 + index) * D : keep ? shared + index * D : partial;
}

// dx = r·(g - x̂·mean(g·x̂) - mean(g)) with g = w·dy, + ds if ADDED; dweights and dbiases (blocks, D).
template <class T, int VEC, int TEAM, int KEPT, bool ADDED>
__device__ __forceinline__ void layer_norm_gradients(const T* dy, const T* ds, const T* x,
                                                     const Accumulator<T>* weight, const Mean<T>* mean,
                                                     const Accumulator<T>* rstd, T* dx, Accumulator<T>* dweights,
                                                     Accumulator<T>* dbiases, long long N, long long D,
                                                     Accumulator<T> inverse_count, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  constexpr int TEAMS = WIDE_BLOCK<TEAM> / TEAM;
  A* const shared = reinterpret_cast<A*>(shared_memory);
  A* const block_sums = dweights + blockIdx.x * D;
  A* const dbias_of_block = dbiases + blockIdx.x * D;
  const Vector<A, VEC, TEAM, KEPT> weights(weight, A(1), D, shared);
  Columns<A, VEC, TEAM, KEPT> dweight(memory_of_columns<KEPT>(shared, block_sums, 0, D, keep), D);
  Columns<A, VEC, TEAM, KEPT> dbias(memory_of_columns<KEPT>(shared, dbias_of_block, 1, D, keep), D);
  for (long long first = (long long)blockIdx.x * TEAMS; first < N; first += (long long)gridDim.x * TEAMS) {
    const long long n = first + team_of_block<TEAM>();
    const bool there = n < N;
    const Row<T, VEC, TEAM, KEPT> row(x + n * D, there ? D : 0), dy_row(dy + n * D, there ? D : 0);
    const Mean<T> mean_there = load_first<TEAM>(mean + n, there);
    const A rstd_there = load_first<TEAM>(rstd + n, there), r = broadcast<TEAM>(rstd_there);
    const Moments<A> statistics = written_moments<A>(broadcast<TEAM>(mean_there), r);
    Two<A> sums = {0, 0};
    row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
      const Pack<T, VEC> dys = dy_row.pack(k, i);
#pragma unroll
      for (int v = 0; v < VEC; v += PART<A, VEC>) {
        const Pack<A, PART<A, VEC>> w = weights.part(k, i, v);
        Pack<A, PART<A, VEC>> dy_wide, dy_x_hat;
#pragma unroll
        for (int u = 0; u < PART<A, VEC>; u++) {
          dy_wide.at[u] = A(dys.at[v + u]);
          dy_x_hat.at[u] = dy_wide.at[u] * statistics.normalize(A(values.at[v + u]));
          sums.first += w.at[u] * dy_wide.at[u];
          sums.second += w.at[u] * dy_x_hat.at[u];
        }
        dweight.add(k, i, v, dy_x_hat);
        dbias.add(k, i, v, dy_wide);
      }
    });
    constexpr bool AT_ONCE = FEW<A, VEC, KEPT> && sizeof(A) == 4 && TEAM >= 32;  // smaller teams would spill
    const Row<T, VEC, TEAM, AT_ONCE ? KEPT : 0> direct(ADDED ? ds + n * D : x, ADDED && there ? D : 0);
    sums = reduce<TEAM, WIDE_BLOCK<TEAM>>(sums, Sum{});
    const A mean_g = sums.first * inverse_count, mean_g_x_hat = sums.second * inverse_count;
    row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
      const Pack<T, VEC> dys = dy_row.pack(k, i);
      Pack<T, VEC> out, added = {};
      if constexpr (ADDED) added = direct.pack(k, i);
#pragma unroll
      for (int v = 0; v < VEC; v += PART<A, VEC>) {
        const Pack<A, PART<A, VEC>> w = weights.part(k, i, v);
#pragma unroll
        for (int u = 0; u < PART<A, VEC>; u++) {
          const A x_hat = statistics.normalize(A(values.at[v + u]));
          const A through = r * (w.at[u] * A(dys.at[v + u]) - x_hat * mean_g_x_hat - mean_g);
          out.at[v + u] = T(ADDED ? A(added.at[v + u]) + through : through);
        }
      }
      store(dx + n * D + i, out);
    });
  }
  dweight.write(block_sums, D, shared);
  dbias.write(dbias_of_block, D, shared);
}

// dx = r·(g - x̂·mean(g·x̂)) with g = w·dy, + ds if ADDED; dweights (blocks, D).
template <class T, int VEC, int TEAM, int KEPT, bool ADDED>
__device__ __forceinline__ void rms_norm_gradients(const T* dy, const T* ds, const T* x, const Accumulator<T>* weight,
                                                   const Accumulator<T>* rstd, T* dx, Accumulator<T>* dweights,
                                                   long long N, long long D, Accumulator<T> inverse_count,
                                                   bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  constexpr int TEAMS = WIDE_BLOCK<TEAM> / TEAM;
  A* const shared = reinterpret_cast<A*>(shared_memory);
  A* const block_sums = dweights + blockIdx.x * D;
  const Vector<A, VEC, TEAM, KEPT> weights(weight, A(1), D, shared);
  Columns<A, VEC, TEAM, KEPT> dweight(memory_of_columns<KEPT>(shared, block_sums, 0, D, keep), D);
  for (long long first = (long long)blockIdx.x * TEAMS; first < N; first += (long long)gridDim.x * TEAMS) {
    const long long n = first + team_of_block<TEAM>();
    const bool there = n < N;
    const A rstd_there = load_first<TEAM>(rstd + n, there);
    const Row<T, VEC, TEAM, KEPT> row(x + n * D, there ? D : 0), dy_row(dy + n * D, there ? D : 0);
    const A r = broadcast<TEAM>(rstd_there);
    A sum = 0;
    row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
      const Pack<T, VEC> dys = dy_row.pack(k, i);
#pragma unroll
      for (int v = 0; v < VEC; v += PART<A, VEC>) {
        const Pack<A, PART<A, VEC>> w = weights.part(k, i, v);
        Pack<A, PART<A, VEC>> dy_x_hat;
#pragma unroll
        for (int u = 0; u < PART<A, VEC>; u++) {
          dy_x_hat.at[u] = A(dys.at[v + u]) * (A(values.at[v + u]) * r);
          sum += w.at[u] * dy_x_hat.at[u];
        }
        dweight.add(k, i, v, dy_x_hat);
      }
    });
    const Row<T, VEC, TEAM, FEW<A, VEC, KEPT> && sizeof(A) == 4 ? KEPT : 0> direct(ADDED ? ds + n * D : x,
                                                                                   ADDED && there ? D : 0);
    const A mean_g_x_hat = reduce<TEAM, WIDE_BLOCK<TEAM>>(sum, Sum{}) * inverse_count;
    row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
      const Pack<T, VEC> dys = dy_row.pack(k, i);
      Pack<T, VEC> out, added = {};
      if constexpr (ADDED) added = direct.pack(k, i);
#pragma unroll
      for (int v = 0; v < VEC; v += PART<A, VEC>) {
        const Pack<A, PART<A, VEC>> w = weights.part(k, i, v);
#pragma unroll
        for (int u = 0; u < PART<A, VEC>; u++) {
          const A through = r * (w.at[u] * A(dys.at[v + u]) - A(values.at[v + u]) * r * mean_g_x_hat);
          out.at[v + u] = T(ADDED ? A(added.at[v + u]) + through : through);
        }
      }
      store(dx + n * D + i, out);
    });
  }
  dweight.write(block_sums, D, shared);
}
