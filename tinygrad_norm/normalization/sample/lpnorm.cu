// Lp normalization of x (N, D), one power mean per row: size = (mean(|x|ᵖ))^(1/p), y = w·x/√(size² + root_eps²).
//
// Owner         a team of 8 to 1024 threads has a row; a block has 1 to 64 teams and goes through many rows.
// Forward       reads x once, writes y once: 2·N·D values. A row stays in registers or shared memory, and so does the
//               weight from row to row.
// Backward      reads x and dy once, writes dx once: 3·N·D values. Each block accumulates Σ dy·x̂ of each column, as
//               in rowgradients.cuh; column_sums adds the sums of all blocks.
// p             any above 0, ∞ too. inverse_count is 1/D.
// Accumulation  float; double for double. weight, size and dweight have that type.

// √(size² + root_eps²), the number that a row is divided by: 1 for a row of zeros without eps.
template <class A>
__device__ __forceinline__ A divisor_of(A size, A root_eps) {
  const A length = root_of_squares(size, root_eps);
  return length == A(0) ? A(1) : length;
}

template <class A>
__device__ __forceinline__ A inverse_of(A length) {
  const A inverse = A(1) / length;
  return inverse > LARGEST<A> ? LARGEST<A> : inverse;
}

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    lp_norm_forward(const T* __restrict__ x, const Accumulator<T>* __restrict__ weight, T* __restrict__ y,
                    Accumulator<T>* __restrict__ sizes, long long N, long long D, Accumulator<T> inverse_count,
                    Accumulator<T> p, Accumulator<T> root_eps, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  T* const kept = KEPT == 0 && keep ? reinterpret_cast<T*>(shared_memory) : nullptr;
  const Vector<A, VEC, TEAM, KEPT> weights(weight, A(1), D, reinterpret_cast<A*>(shared_memory));
  constexpr int TEAMS = BLOCK<TEAM> / TEAM;
  for (long long first = (long long)blockIdx.x * TEAMS; first < N; first += (long long)gridDim.x * TEAMS) {
    const long long n = first + team_of_block<TEAM>();
    const Row<T, VEC, TEAM, KEPT> row(x + n * D, n < N ? D : 0, kept);
    const Power<A> found = power_of_row(row, p, inverse_count);
    const A size = found.scale * found.root, divisor = divisor_of(size, root_eps);
    row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
      Pack<T, VEC> out;
#pragma unroll
      for (int v = 0; v < VEC; v += PART<A, VEC>) {
        const Pack<A, PART<A, VEC>> w = weights.part(k, i, v);
#pragma unroll
        for (int u = 0; u < PART<A, VEC>; u++) out.at[v + u] = T(A(values.at[v + u]) / divisor * w.at[u]);
      }
      store(y + n * D + i, out);
    });
    if (n < N && lane_of_team<TEAM>() == 0) sizes[n] = size;
  }
}

// dx = (g - (size/divisor)·s·Σ(g·x̂))/divisor with g = w·dy; s = sign(x)·(|x|/size)ᵖ⁻¹/D or, for p = ∞, sign(x) at the
// largest |x|, which ties share; dweights (blocks, D).
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(WIDE_BLOCK<TEAM>, 1)
    lp_norm_backward(const T* __restrict__ dy, const T* __restrict__ x, const Accumulator<T>* __restrict__ weight,
                     const Accumulator<T>* __restrict__ sizes, T* __restrict__ dx,
                     Accumulator<T>* __restrict__ dweights, long long N, long long D, Accumulator<T> inverse_count,
                     Accumulator<T> p, Accumulator<T> root_eps, bool keep) {
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
    const A size_there = load_first<TEAM>(sizes + n, there);
    const Row<T, VEC, TEAM, KEPT> row(x + n * D, there ? D : 0), dy_row(dy + n * D, there ? D : 0);
    const A size = broadcast<TEAM>(size_there), r = inverse_of(divisor_of(size, root_eps));
    Two<A> sums = {0, 0};  // Σ(g·x̂), and how many entries have |x| = size
    row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
      const Pack<T, VEC> dys = dy_row.pack(k, i);
#pragma unroll
      for (int v = 0; v < VEC; v += PART<A, VEC>) {
        const Pack<A, PART<A, VEC>> w = weights.part(k, i, v);
        Pack<A, PART<A, VEC>> dy_x_hat;
#pragma unroll
        for (int u = 0; u < PART<A, VEC>; u++) {
          const A value = A(values.at[v + u]);
          dy_x_hat.at[u] = A(dys.at[v + u]) * (value * r);
          sums.first += w.at[u] * dy_x_hat.at[u];
          sums.second += A(fabs(value) == size);
        }
        dweight.add(k, i, v, dy_x_hat);
      }
    });
    sums = reduce<TEAM, WIDE_BLOCK<TEAM>>(sums, Sum{});
    const bool largest = p == infinity<A>();
    const A along = size * r * sums.first * (largest ? A(1) / sums.second : inverse_count);
    const A inverse_size = inverse_of(size > A(0) ? size : A(1));
    row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
      const Pack<T, VEC> dys = dy_row.pack(k, i);
      Pack<T, VEC> out;
#pragma unroll
      for (int v = 0; v < VEC; v += PART<A, VEC>) {
        const Pack<A, PART<A, VEC>> w = weights.part(k, i, v);
#pragma unroll
        for (int u = 0; u < PART<A, VEC>; u++) {
          const A value = A(values.at[v + u]);
          const A s = largest ? (fabs(value) == size ? sign_of(value) : A(0)) : slope(value * inverse_size, p);
          out.at[v + u] = T(r * (w.at[u] * A(dys.at[v + u]) - s * along));
        }
      }
      store(dx + n * D + i, out);
    });
  }
  dweight.write(block_sums, D, shared);
}
