// Layer normalization of x (N, D), one mean and one variance per row.
//
// Owner         a team of 8 to 1024 threads has a row; a block has 1 to 64 teams and goes through many rows.
// Forward       reads x once, writes y once: 2·N·D values. The next row is loaded while a row is worked on. A row
//               stays in registers or shared memory for its mean, its variance and its output, and so do weight
//               and bias from row to row. In rows that are too long for that, they are read from the cache.
// Backward      reads x and dy once, writes dx once: 3·N·D values. Each block accumulates Σ dy·x̂ and Σ dy of
//               each column (rowgradients.cuh); column_sums adds the sums of all blocks.
// Order         mean(g) is subtracted last. In a row of one value, dx is 0; with mean(g) subtracted first, a
//               fused multiply-add would leave the rounding error of w·dy, times r.
// inverse_count 1/D.
// Accumulation  float; double for double. weight, bias, rstd, dweight, dbias have that type, means are Mean<T>.

// Blocks of forward that a multiprocessor must hold. For sm_100 and above, the compiler needs 80 registers for float.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
template <class T, int THREADS, int KEPT>
constexpr int RESIDENT_FORWARD = sizeof(T) == 4 ? 1 : RESIDENT<T, THREADS, KEPT>;
#else
template <class T, int THREADS, int KEPT>
constexpr int RESIDENT_FORWARD = RESIDENT<T, THREADS, KEPT>;
#endif

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, RESIDENT_FORWARD<T, BLOCK<TEAM>, KEPT>)
    layer_norm_forward(const T* __restrict__ x, const Accumulator<T>* __restrict__ weight,
                       const Accumulator<T>* __restrict__ bias, T* __restrict__ y,
                       Mean<T>* __restrict__ mean, Accumulator<T>* __restrict__ rstd, long long N,
                       long long D, Accumulator<T> inverse_count, Accumulator<T> eps, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  A* const vectors = reinterpret_cast<A*>(shared_memory);
  T* const kept = KEPT == 0 && keep ? reinterpret_cast<T*>(shared_memory) : nullptr;
  const Vector<A, VEC, TEAM, KEPT> weights(weight, A(1), D, vectors), biases(bias, A(0), D, vectors + D);
  each_row<T, VEC, TEAM, KEPT>(x, N, D, kept, [&](long long n, const auto& row, A first) {
    const Moments<A> statistics = moments(row, first, inverse_count, eps);
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
__global__ void __launch_bounds__(WIDE_BLOCK<TEAM>, RESIDENT_BACKWARD<T, WIDE_BLOCK<TEAM>, KEPT>)
    layer_norm_backward(const T* __restrict__ dy, const T* __restrict__ x, const Accumulator<T>* __restrict__ weight,
                        const Mean<T>* __restrict__ mean, const Accumulator<T>* __restrict__ rstd,
                        T* __restrict__ dx, Accumulator<T>* __restrict__ dweights,
                        Accumulator<T>* __restrict__ dbiases, long long N, long long D,
                        Accumulator<T> inverse_count, bool keep) {
  const T* const no_ds = nullptr;
  layer_norm_gradients<T, VEC, TEAM, KEPT, false>(dy, no_ds, x, weight, mean, rstd, dx, dweights, dbiases, N, D,
                                                  inverse_count, keep);
}
