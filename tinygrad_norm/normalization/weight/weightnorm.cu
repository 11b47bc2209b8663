// Weight normalization of the rows of v (K, D): w = g·u with the direction u = v/‖v‖ of each row.
//
// Owner         a team of 8 to 1024 threads has a row; a block has 1 to 16 teams.
// Forward       reads v once, writes w once: 2·K·D values. The row stays in registers or shared memory.
// Backward      reads dw and v once, writes dv once: 3·K·D values. It finds the length again, so that u has all its
//               digits; rows that registers cannot hold are read for that too (6·K·D values).
// most          the largest rnorm = 1/‖v‖.
// Accumulation  float; double for double. g, dg and rnorm have that type.

// u = value·scale·r: scale is a power of two. A row of zeros has no direction: u is 0, and so is rnorm.
template <class A>
struct Direction {
  A scale, r;

  __device__ __forceinline__ A of(A value) const { return value * scale * r; }
  __device__ __forceinline__ A rnorm(A most) const { return r * scale > most ? most : r * scale; }
};

template <class T, int VEC, int TEAM, int KEPT>
__device__ __forceinline__ Direction<Accumulator<T>> direction(const Row<T, VEC, TEAM, KEPT>& row) {
  using A = Accumulator<T>;
  const Two<A> found = scaled_square(row, A(0));
  return {found.second, found.first == A(0) ? A(0) : A(1) / sqrt(found.first)};
}

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    weight_norm_forward(const T* __restrict__ v, const Accumulator<T>* __restrict__ g, T* __restrict__ w,
                        Accumulator<T>* __restrict__ rnorm, long long K, long long D, Accumulator<T> most, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  const long long n = row_of_team<TEAM>();
  const Row<T, VEC, TEAM, KEPT> row(v + n * D, n < K ? D : 0, keep ? reinterpret_cast<T*>(shared_memory) : nullptr);
  const Direction<A> unit = direction(row);
  const A length = n < K ? g[n] : A(0);
  row.each_pack([&](int, long long i, const Pack<T, VEC>& values) {
    Pack<T, VEC> out;
#pragma unroll
    for (int u = 0; u < VEC; u++) out.at[u] = T(length * unit.of(A(values.at[u])));
    store(w + n * D + i, out);
  });
  if (n < K && lane_of_team<TEAM>() == 0) rnorm[n] = unit.rnorm(most);
}

// dg = Σ dw·u, dv = g·(rnorm·(dw - dg·u)).
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    weight_norm_backward(const T* __restrict__ dw, const T* __restrict__ v, const Accumulator<T>* __restrict__ g,
                         T* __restrict__ dv, Accumulator<T>* __restrict__ dg, long long K, long long D,
                         Accumulator<T> most) {
  using A = Accumulator<T>;
  const long long n = row_of_team<TEAM>();
  const Row<T, VEC, TEAM, KEPT> row(v + n * D, n < K ? D : 0), dw_row(dw + n * D, n < K ? D : 0);
  const Direction<A> unit = direction(row);
  A sum = 0;
  row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
    const Pack<T, VEC>& dws = dw_row.pack(k, i);
#pragma unroll
    for (int u = 0; u < VEC; u++) sum += A(dws.at[u]) * unit.of(A(values.at[u]));
  });
  const A along = reduce<TEAM>(sum, Sum{}), r = unit.rnorm(most), length = n < K ? g[n] : A(0);
  row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
    const Pack<T, VEC>& dws = dw_row.pack(k, i);
    Pack<T, VEC> out;
#pragma unroll
    for (int u = 0; u < VEC; u++) {
      out.at[u] = T(length * (r * (A(dws.at[u]) - along * unit.of(A(values.at[u])))));
    }
    store(dv + n * D + i, out);
  });
  if (n < K && lane_of_team<TEAM>() == 0) dg[n] = along;
}
