// Softmax and its logarithm over the rows of x (N, D).
//
// Owner         a team of 8 to 512 threads has a row; a block has 1 to 16 teams.
// Forward       reads x once, writes y once: 2·N·D values. The row stays in registers or shared memory
//               for its maximum, the sum of its exponentials and its output.
// Backward      reads dy and y once, writes dx once: 3·N·D values.
// Accumulation  float; double for double.

// Every thread of the team gets m = max x and Σ exp(x - m).
template <class T, int VEC, int TEAM, int KEPT>
__device__ __forceinline__ Two<Accumulator<T>> largest_and_total(const Row<T, VEC, TEAM, KEPT>& row) {
  using A = Accumulator<T>;
  const A m = row_max(row, [](A value) { return value; });
  return {m, row_sum(row, [=](A value) { return exp(value - m); })};
}

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    softmax_forward(const T* __restrict__ x, T* __restrict__ y, long long N, long long D, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  const long long n = row_of_team<TEAM>();
  const Row<T, VEC, TEAM, KEPT> row(x + n * D, n < N ? D : 0, keep ? reinterpret_cast<T*>(shared_memory) : nullptr);
  const Two<A> found = largest_and_total(row);
  const A m = found.first, share = A(1) / found.second;
  row.each_pack([&](int, long long i, const Pack<T, VEC>& values) {
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) out.at[v] = T(exp(A(values.at[v]) - m) * share);
    store(y + n * D + i, out);
  });
}

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    log_softmax_forward(const T* __restrict__ x, T* __restrict__ y, long long N, long long D, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  const long long n = row_of_team<TEAM>();
  const Row<T, VEC, TEAM, KEPT> row(x + n * D, n < N ? D : 0, keep ? reinterpret_cast<T*>(shared_memory) : nullptr);
  const Two<A> found = largest_and_total(row);
  const A m = found.first, log_total = log(found.second);
  row.each_pack([&](int, long long i, const Pack<T, VEC>& values) {
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) out.at[v] = T(A(values.at[v]) - m - log_total);
    store(y + n * D + i, out);
  });
}

// dx = y·(dy - Σ dy·y)
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    softmax_backward(const T* __restrict__ dy, const T* __restrict__ y, T* __restrict__ dx, long long N, long long D) {
  using A = Accumulator<T>;
  const long long n = row_of_team<TEAM>();
  const Row<T, VEC, TEAM, KEPT> y_row(y + n * D, n < N ? D : 0), dy_row(dy + n * D, n < N ? D : 0);
  A sum = 0;
  y_row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
    const Pack<T, VEC>& dys = dy_row.pack(k, i);
#pragma unroll
    for (int v = 0; v < VEC; v++) sum += A(dys.at[v]) * A(values.at[v]);
  });
  sum = reduce<TEAM>(sum, Sum{});
  y_row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
    const Pack<T, VEC>& dys = dy_row.pack(k, i);
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) out.at[v] = T((A(dys.at[v]) - sum) * A(values.at[v]));
    store(dx + n * D + i, out);
  });
}

// dx = dy - exp(y)·Σ dy
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    log_softmax_backward(const T* __restrict__ dy, const T* __restrict__ y, T* __restrict__ dx, long long N,
                         long long D) {
  using A = Accumulator<T>;
  const long long n = row_of_team<TEAM>();
  const Row<T, VEC, TEAM, KEPT> y_row(y + n * D, n < N ? D : 0), dy_row(dy + n * D, n < N ? D : 0);
  const A sum = row_sum(dy_row, [](A value) { return value; });
  y_row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
    const Pack<T, VEC>& dys = dy_row.pack(k, i);
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) out.at[v] = T(A(dys.at[v]) - exp(A(values.at[v])) * sum);
    store(dx + n * D + i, out);
  });
}
