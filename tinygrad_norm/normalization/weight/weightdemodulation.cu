// Weight demodulation: W = u·d with u = s·w and d = 1/√(Σ u² + eps), for a weight w (O, I·K) and styles s (N, I).
//
// Owner         a team of 8 to 1024 threads has a row (n, o) of D = I·K values; a block has 1 to 16 teams.
// Forward       reads w once for each sample, writes W (N, O, D) once. The row of w stays in registers or shared
//               memory; s is read from the cache, K times for each of its values.
// Backward      reads G and w once for each sample, writes the terms s·du and w·du (N, O, D), whose sums over
//               samples and over outputs column_sums makes. With rows that registers do not hold, reads twice.
// inverse_K     ⌈2⁶²/K⌉: value i of a row belongs to the input i/K.
// eps           that of the mean square: eps/D. r = 1/√(mean u² + eps/D) = √D·d.
// Accumulation  float; double for double. s, r and the terms have that type.

template <class A, int KEPT>
struct Style {
  const A* values;
  long long inverse_K;

  __device__ __forceinline__ A at(long long i) const { return values[quotient<KEPT>(i, inverse_K)]; }
};

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    weight_demodulation_forward(const T* __restrict__ w, const Accumulator<T>* __restrict__ s, T* __restrict__ W,
                                Accumulator<T>* __restrict__ r, long long rows, long long O, long long I, long long K,
                                long long inverse_K, Accumulator<T> inverse_count, Accumulator<T> eps, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  const long long row_index = row_of_team<TEAM>(), D = I * K;
  const bool there = row_index < rows;
  const long long n = there ? row_index / O : 0, o = there ? row_index - n * O : 0;
  T* const kept = KEPT == 0 && keep ? reinterpret_cast<T*>(shared_memory) : nullptr;
  const Row<T, VEC, TEAM, KEPT> row(w + o * D, there ? D : 0, kept);
  const Style<A, KEPT> style{s + n * I, inverse_K};
  A scale = 1, square;
  for (bool again = false;; again = true) {
    A sum = 0;
    row.each_pack([&](int, long long i, const Pack<T, VEC>& values) {
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        const A u = A(values.at[v]) * scale * style.at(i + v);
        sum += u * (u * inverse_count);
      }
    });
    square = reduce<TEAM>(sum, Sum{});
    if (again || !rescale<TEAM>(square, A(0), eps, scale)) break;
  }
  const A found = inverse_root(square + eps * scale * scale), length = found * sqrt(inverse_count);
  row.each_pack([&](int, long long i, const Pack<T, VEC>& values) {
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) out.at[v] = T(A(values.at[v]) * scale * style.at(i + v) * length);
    store(W + row_index * D + i, out);
  });
  if (there && lane_of_team<TEAM>() == 0) r[row_index] = found * scale > LARGEST<A> ? LARGEST<A> : found * scale;
}

// du = d·(G - W·Σ G·W), of_w = s·du, of_s = w·du.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    weight_demodulation_backward(const T* __restrict__ G, const T* __restrict__ w,
                                 const Accumulator<T>* __restrict__ s, const Accumulator<T>* __restrict__ r,
                                 Accumulator<T>* __restrict__ of_w, Accumulator<T>* __restrict__ of_s, long long rows,
                                 long long O, long long I, long long K, long long inverse_K,
                                 Accumulator<T> inverse_count) {
  using A = Accumulator<T>;
  const long long row_index = row_of_team<TEAM>(), D = I * K;
  const bool there = row_index < rows;
  const long long n = there ? row_index / O : 0, o = there ? row_index - n * O : 0;
  const Row<T, VEC, TEAM, KEPT> row(w + o * D, there ? D : 0), g_row(G + row_index * D, there ? D : 0);
  const Style<A, KEPT> style{s + n * I, inverse_K};
  const A d = there ? r[row_index] * sqrt(inverse_count) : A(0);
  A sum = 0;
  row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
    const Pack<T, VEC>& gs = g_row.pack(k, i);
#pragma unroll
    for (int v = 0; v < VEC; v++) sum += A(gs.at[v]) * (A(values.at[v]) * style.at(i + v) * d);
  });
  const A along = reduce<TEAM>(sum, Sum{});
  row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
    const Pack<T, VEC>& gs = g_row.pack(k, i);
    Pack<A, VEC> to_w, to_s;
#pragma unroll
    for (int v = 0; v < VEC; v++) {
      const A weight = A(values.at[v]), scale = style.at(i + v);
      const A du = d * (A(gs.at[v]) - weight * scale * d * along);
      to_w.at[v] = scale * du;
      to_s.at[v] = weight * du;
    }
    store(of_w + row_index * D + i, to_w);
    store(of_s + row_index * D + i, to_s);
  });
}
