// RMS normalization of groups of K values, with or without a gate: x, z (N, G, K), one mean square per group of a row.
//
// Owner         a block has one of the G groups, of which it keeps the weight; its teams of 8 to 1024 threads go
//               through many rows, as in rmsnorm.cu.
// Forward       reads x and z once, writes y once: 3·N·G·K values, 2 without a gate. z comes from the cache when it is
//               needed again, and so does x in groups that registers cannot hold.
// Backward      reads x, z and dy once, writes dx and dz once: 5·N·G·K values, 3 without a gate. Each block accumulates
//               Σ dy·x̂·p of the columns of its group (rowgradients.cuh); column_sums adds the sums of all blocks.
// inverse_count 1/K.
// Accumulation  float; double for double. weight, rstd and dweight have that type.

// What multiplies x before the norm (a), and x̂ after it (p): one of them is silu(z), with its slope; 1 without a gate.
template <class A>
struct Gate {
  A a, p, slope;
};

template <class A, class T>
__device__ __forceinline__ Gate<A> gate_of(T z, bool gated, bool norm_first) {
  const A x = A(z), s = logistic_of(x), silu = gated ? x * s : A(1);
  return {norm_first ? A(1) : silu, norm_first ? silu : A(1), s * (A(1) + x * (A(1) - s))};
}

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, RESIDENT<T, BLOCK<TEAM>, KEPT>)
    gated_rms_norm_forward(const T* __restrict__ x, const T* __restrict__ z,
                           const Accumulator<T>* __restrict__ weight, T* __restrict__ y,
                           Accumulator<T>* __restrict__ rstd, long long N, long long G, long long K,
                           Accumulator<T> inverse_count, Accumulator<T> eps, bool norm_first) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  constexpr int TEAMS = BLOCK<TEAM> / TEAM;
  const unsigned group = blockIdx.x % unsigned(G), part = blockIdx.x / unsigned(G), parts = gridDim.x / unsigned(G);
  const A* const weight_of_group = weight == nullptr ? nullptr : weight + group * K;
  const Vector<A, VEC, TEAM, KEPT> weights(weight_of_group, A(1), K, reinterpret_cast<A*>(shared_memory));
  for (long long first = (long long)part * TEAMS; first < N; first += (long long)parts * TEAMS) {
    const long long n = first + team_of_block<TEAM>(), at = (n * G + group) * K;
    const bool there = n < N;
    const Row<T, VEC, TEAM, KEPT> row(x + at, there ? K : 0);
    A scale = 1, square;
    for (bool again = false;; again = true) {
      A sum = 0;
      row.each_pack([&](int, long long i, const Pack<T, VEC>& values) {
        const Pack<T, VEC> gates = z == nullptr ? values : load<VEC>(z + at + i);
#pragma unroll
        for (int v = 0; v < VEC; v++) {
          const A u = A(values.at[v]) * scale * gate_of<A>(gates.at[v], z != nullptr, norm_first).a;
          sum += u * (u * inverse_count);
        }
      });
      square = reduce<TEAM>(sum, Sum{});
      if (again || !rescale<TEAM>(square, A(0), eps, scale)) break;
    }
    const Moments<A> statistics = {scale, A(0), A(0), square, inverse_root(square + eps * scale * scale), A(0)};
    row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
      const Pack<T, VEC> gates = z == nullptr ? values : load<VEC>(z + at + i);
      Pack<T, VEC> out;
#pragma unroll
      for (int v = 0; v < VEC; v += PART<A, VEC>) {
        const Pack<A, PART<A, VEC>> w = weights.part(k, i, v);
#pragma unroll
        for (int u = 0; u < PART<A, VEC>; u++) {
          const Gate<A> gate = gate_of<A>(gates.at[v + u], z != nullptr, norm_first);
          const A x_hat = A(values.at[v + u]) * statistics.scale * gate.a * statistics.rstd;
          out.at[v + u] = T(w.at[u] * x_hat * gate.p);
        }
      }
      store(y + at + i, out);
    });
    if (there && lane_of_team<TEAM>() == 0) rstd[n * G + group] = statistics.rstd_of_row();
  }
}

// dx = a·r·(g - x̂·mean(g·x̂)) with g = w·p·dy; dz is silu's slope times what its factor a or p is multiplied by.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(WIDE_BLOCK<TEAM>, RESIDENT_BACKWARD<T, WIDE_BLOCK<TEAM>, KEPT>)
    gated_rms_norm_backward(const T* __restrict__ dy, const T* __restrict__ x, const T* __restrict__ z,
                            const Accumulator<T>* __restrict__ weight, const Accumulator<T>* __restrict__ rstd,
                            T* __restrict__ dx, T* __restrict__ dz, Accumulator<T>* __restrict__ dweights,
                            long long N, long long G, long long K, Accumulator<T> inverse_count, bool norm_first,
                            bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  constexpr int TEAMS = WIDE_BLOCK<TEAM> / TEAM;
  const unsigned group = blockIdx.x % unsigned(G), part = blockIdx.x / unsigned(G), parts = gridDim.x / unsigned(G);
  A* const shared = reinterpret_cast<A*>(shared_memory);
  A* const block_sums = dweights + (part * G + group) * K;
  const A* const weight_of_group = weight == nullptr ? nullptr : weight + group * K;
  const Vector<A, VEC, TEAM, KEPT> weights(weight_of_group, A(1), K, shared);
  Columns<A, VEC, TEAM, KEPT> dweight(memory_of_columns<KEPT>(shared, block_sums, 0, K, keep), K);
  for (long long first = (long long)part * TEAMS; first < N; first += (long long)parts * TEAMS) {
    const long long n = first + team_of_block<TEAM>(), at = (n * G + group) * K;
    const bool there = n < N;
    const A rstd_there = load_first<TEAM>(rstd + n * G + group, there);
    const Row<T, VEC, TEAM, KEPT> row(x + at, there ? K : 0), dy_row(dy + at, there ? K : 0);
    const A r = broadcast<TEAM>(rstd_there);
    A sum = 0;
    row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
      const Pack<T, VEC> dys = dy_row.pack(k, i), gates = z == nullptr ? values : load<VEC>(z + at + i);
#pragma unroll
      for (int v = 0; v < VEC; v += PART<A, VEC>) {
        const Pack<A, PART<A, VEC>> w = weights.part(k, i, v);
        Pack<A, PART<A, VEC>> dy_x_hat;
#pragma unroll
        for (int u = 0; u < PART<A, VEC>; u++) {
          const Gate<A> gate = gate_of<A>(gates.at[v + u], z != nullptr, norm_first);
          dy_x_hat.at[u] = A(dys.at[v + u]) * gate.p * (A(values.at[v + u]) * gate.a * r);
          sum += w.at[u] * dy_x_hat.at[u];
        }
        dweight.add(k, i, v, dy_x_hat);
      }
    });
    const A mean_g_x_hat = reduce<TEAM, WIDE_BLOCK<TEAM>>(sum, Sum{}) * inverse_count;
    row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
      const Pack<T, VEC> dys = dy_row.pack(k, i), gates = z == nullptr ? values : load<VEC>(z + at + i);
      Pack<T, VEC> out, out_of_gate;
#pragma unroll
      for (int v = 0; v < VEC; v += PART<A, VEC>) {
        const Pack<A, PART<A, VEC>> w = weights.part(k, i, v);
#pragma unroll
        for (int u = 0; u < PART<A, VEC>; u++) {
          const Gate<A> gate = gate_of<A>(gates.at[v + u], z != nullptr, norm_first);
          const A value = A(values.at[v + u]), x_hat = value * gate.a * r, w_dy = w.at[u] * A(dys.at[v + u]);
          const A through = r * (w_dy * gate.p - x_hat * mean_g_x_hat);
          out.at[v + u] = T(gate.a * through);
          out_of_gate.at[v + u] = T((norm_first ? w_dy * x_hat : through * value) * gate.slope);
        }
      }
      store(dx + at + i, out);
      if (z != nullptr) store(dz + at + i, out_of_gate);
    });
  }
  dweight.write(block_sums, K, shared);
}
