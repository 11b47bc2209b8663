// The weights of attention, p = softmax(cap(scale·q @ kᵀ) + mask), from the products of q/a and k/b, in place.
//
// Powers of two     a and b are above all |q| and |k|: one kernel finds the largest of each block, and one of one
//                   block the power. Both read their array once and write almost nothing.
// attention_weights A team of 8 to 512 threads has a row of p (N, S), a block has 1 to 16 teams. Reads and writes p
//                   once, 2·N·S values, and reads the mask once. A row that registers do not hold stays in shared
//                   memory, or is read and written three times.
// attention_gradient  ds = p·(dp - Σ dp·p), in place: reads dp and p once, writes ds once: 3·N·S values.
// softcap_gradient  ds·(1 - tanh²(s/c)), in place, from the products of q/a and k/b: 3·N·S values.
// Accumulation      float; double for double. There are no half types: attention is computed in float32.

constexpr int THREADS = 256;

// largest (blocks,): the largest |x| of each block's part of x (n,), without NaN.
template <class T, int VEC>
__global__ void __launch_bounds__(THREADS)
    largest_magnitudes(const T* __restrict__ x, Accumulator<T>* __restrict__ largest, long long n) {
  using A = Accumulator<T>;
  A found = 0;
#pragma unroll 4
  for (long long i = ((long long)blockIdx.x * THREADS + threadIdx.x) * VEC; i < n;
       i += (long long)gridDim.x * THREADS * VEC) {
    const Pack<T, VEC> values = load<VEC>(x + i);
#pragma unroll
    for (int v = 0; v < VEC; v++) found = max(found, abs(A(values.at[v])));
  }
  found = reduce<THREADS>(found, Max{});
  if (threadIdx.x == 0) largest[blockIdx.x] = found;
}

// power (): 1, or the power of two above the largest of n, but at most `highest`; 2 for infinity, as in the body.
template <class T>
__global__ void __launch_bounds__(THREADS)
    power_of_two_above(const Accumulator<T>* __restrict__ largest, T* __restrict__ power, long long n,
                       Accumulator<T> highest) {
  using A = Accumulator<T>;
  A found = 0;
  for (long long i = threadIdx.x; i < n; i += THREADS) found = max(found, largest[i]);
  found = reduce<THREADS>(found, Max{});
  if (threadIdx.x > 0) return;
  if (found == infinity<A>()) found = 1;
  A above = 1;
  while (above <= found && above < highest) above *= 2;
  *power = T(above);
}

// Let a pack of a row have other values, where it is kept: in registers, shared memory, or p itself.
template <class T, int VEC, int TEAM, int KEPT>
__device__ __forceinline__ void replace(Row<T, VEC, TEAM, KEPT>& row, int k, long long i, const Pack<T, VEC>& values) {
  if constexpr (KEPT > 0) {
    row.packs[k] = values;
  } else {
    store(const_cast<T*>(row.source) + i, values);
  }
}

// Row n of p has the row l = n mod L of head h = n/L mod H of batch n/(L·H); the mask has its steps along these and
// along the row, 0 where it is broadcast. `added` is added to the scores, `allowed` masks them where it is false.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    attention_weights(T* p, const T* __restrict__ added, const bool* __restrict__ allowed, const T* __restrict__ a_at,
                      const T* __restrict__ b_at, long long N, long long S, long long L, long long H,
                      long long batch_step, long long head_step, long long row_step, long long step,
                      Accumulator<T> scale, Accumulator<T> cap, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  const long long n = row_of_team<TEAM>();
  Row<T, VEC, TEAM, KEPT> row(p + n * S, n < N ? S : 0, keep ? reinterpret_cast<T*>(shared_memory) : nullptr);
  const bool capped = cap > A(0);  // then the scores are as they are, no longer divided by a·b
  const A a = capped ? A(1) : A(*a_at), b = capped ? A(1) : A(*b_at);
  const long long masked = n / (L * H) * batch_step + n / L % H * head_step + n % L * row_step;
  A m = -infinity<A>(), total = 0;
  row.each_pack([&](int k, long long i, Pack<T, VEC> scores) {  // divided by a·b
#pragma unroll
    for (int v = 0; v < VEC; v++) {
      A score = A(scores.at[v]) * scale;
      if (capped) score = cap * tanh_of(score / cap * A(*a_at) * A(*b_at));
      if (added != nullptr) score += A(added[masked + (i + v) * step]) / a / b;
      if (allowed != nullptr && !allowed[masked + (i + v) * step]) score = -infinity<A>();
      m = max(m, score);
      scores.at[v] = T(score);
    }
    replace(row, k, i, scores);
  });
  m = reduce<TEAM>(m, Max{});
  if (m == -infinity<A>()) m = 0;  // the whole row is masked
  row.each_pack([&](int k, long long i, Pack<T, VEC> scores) {
#pragma unroll
    for (int v = 0; v < VEC; v++) {
      const A e = exp((A(scores.at[v]) - m) * a * b);
      total += e;
      scores.at[v] = T(e);
    }
    replace(row, k, i, scores);
  });
  total = reduce<TEAM>(total, Sum{});
  const A share = A(1) / (total == A(0) ? A(1) : total);
  row.each_pack([&](int, long long i, Pack<T, VEC> scores) {
#pragma unroll
    for (int v = 0; v < VEC; v++) scores.at[v] = T(A(scores.at[v]) * share);
    store(p + n * S + i, scores);
  });
}

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    attention_gradient(T* ds, const T* __restrict__ p, long long N, long long S) {
  using A = Accumulator<T>;
  const long long n = row_of_team<TEAM>();
  const Row<T, VEC, TEAM, KEPT> p_row(p + n * S, n < N ? S : 0), dp_row(ds + n * S, n < N ? S : 0);
  A sum = 0;
  p_row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
    const Pack<T, VEC>& dps = dp_row.pack(k, i);
#pragma unroll
    for (int v = 0; v < VEC; v++) sum += A(dps.at[v]) * A(values.at[v]);
  });
  sum = reduce<TEAM>(sum, Sum{});
  p_row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
    const Pack<T, VEC>& dps = dp_row.pack(k, i);
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) out.at[v] = T((A(dps.at[v]) - sum) * A(values.at[v]));
    store(ds + n * S + i, out);
  });
}

template <class T, int VEC>
__global__ void __launch_bounds__(THREADS)
    softcap_gradient(T* ds, const T* __restrict__ s, const T* __restrict__ a_at, const T* __restrict__ b_at,
                     long long n, Accumulator<T> scale, Accumulator<T> cap) {
  using A = Accumulator<T>;
  const A a = A(*a_at), b = A(*b_at);
  for (long long i = ((long long)blockIdx.x * THREADS + threadIdx.x) * VEC; i < n;
       i += (long long)gridDim.x * THREADS * VEC) {
    const Pack<T, VEC> scores = load<VEC>(s + i), given = load<VEC>(ds + i);
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) {
      const A t = tanh_of(A(scores.at[v]) * scale / cap * a * b);
      out.at[v] = T(A(given.at[v]) * (A(1) - t * t));
    }
    store(ds + i, out);
  }
}
