// L2 and Lp normalization of the rows of x (N, D): y = x/max(‖x‖, eps). The first two kernels are for p = 2.
//
// Owner         a team of 8 to 512 threads has a row; a block has 1 to 16 teams.
// Forward       reads x once, writes y once: 2·N·D values. The row stays in registers or shared memory.
// Backward      reads dy and y once, writes dx once: 3·N·D values.
// at_eps        1/eps, the rnorm of a row with ‖x‖ ≤ eps; 0 for eps = 0.
// most          the largest rnorm.
// p             of normalize_power_…: any but 2, up to ∞.
// Accumulation  float; double for double. rnorm has that type.

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    normalize_forward(const T* __restrict__ x, T* __restrict__ y, Accumulator<T>* __restrict__ rnorm, long long N,
                      long long D, Accumulator<T> eps, Accumulator<T> at_eps, Accumulator<T> most, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  const long long n = row_of_team<TEAM>();
  const Row<T, VEC, TEAM, KEPT> row(x + n * D, n < N ? D : 0, keep ? reinterpret_cast<T*>(shared_memory) : nullptr);
  const Two<A> found = scaled_square(row, eps);
  const A scale = found.second, norm = sqrt(found.first), floor = eps * scale;
  const A r = norm <= floor ? (floor > A(0) ? A(1) / floor : A(0)) : A(1) / norm;
  row.each_pack([&](int, long long i, const Pack<T, VEC>& values) {
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) out.at[v] = T(A(values.at[v]) * scale * r);
    store(y + n * D + i, out);
  });
  if (n < N && lane_of_team<TEAM>() == 0) {
    const A unscaled = r * scale;
    rnorm[n] = norm <= floor ? at_eps : (unscaled > most ? most : unscaled);
  }
}

// dx = r·(dy - y·Σ(dy·y)), without the second term if r is at_eps.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    normalize_backward(const T* __restrict__ dy, const T* __restrict__ y, const Accumulator<T>* __restrict__ rnorm,
                       T* __restrict__ dx, long long N, long long D, Accumulator<T> at_eps) {
  using A = Accumulator<T>;
  const long long n = row_of_team<TEAM>();
  const A r = n < N ? rnorm[n] : A(0);
  const Row<T, VEC, TEAM, KEPT> y_row(y + n * D, n < N ? D : 0), dy_row(dy + n * D, n < N ? D : 0);
  A sum = 0;
  y_row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
    const Pack<T, VEC>& dys = dy_row.pack(k, i);
#pragma unroll
    for (int v = 0; v < VEC; v++) sum += A(dys.at[v]) * A(values.at[v]);
  });
  sum = reduce<TEAM>(sum, Sum{});
  const A along = r == at_eps ? A(0) : sum;
  y_row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
    const Pack<T, VEC>& dys = dy_row.pack(k, i);
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) out.at[v] = T(r * (A(dys.at[v]) - A(values.at[v]) * along));
    store(dx + n * D + i, out);
  });
}

// For p = ∞ the largest entries of y are exactly ±1: backward finds them by that.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    normalize_power_forward(const T* __restrict__ x, T* __restrict__ y, Accumulator<T>* __restrict__ rnorm,
                            long long N, long long D, Accumulator<T> eps, Accumulator<T> at_eps, Accumulator<T> most,
                            Accumulator<T> p, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  const long long n = row_of_team<TEAM>();
  const Row<T, VEC, TEAM, KEPT> row(x + n * D, n < N ? D : 0, keep ? reinterpret_cast<T*>(shared_memory) : nullptr);
  const Power<A> norm = power_of_row(row, p, A(1));
  const bool is_short = norm.root <= eps / norm.scale;
  const A first = is_short ? A(1) : norm.scale, second = is_short ? (eps > A(0) ? eps : A(1)) : norm.root;
  row.each_pack([&](int, long long i, const Pack<T, VEC>& values) {
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) out.at[v] = T(A(values.at[v]) / first / second);
    store(y + n * D + i, out);
  });
  if (n < N && lane_of_team<TEAM>() == 0) {
    const A r = A(1) / second / first;
    rnorm[n] = is_short ? at_eps : (r > most ? most : r);
  }
}

// dx = r·(dy - s·Σ(dy·y)) with s = sign(y)·|y|ᵖ⁻¹ or, for p = ∞, sign(y) where |y| = 1, which ties share; without the second term if r is at_eps.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    normalize_power_backward(const T* __restrict__ dy, const T* __restrict__ y,
                             const Accumulator<T>* __restrict__ rnorm, T* __restrict__ dx, long long N, long long D,
                             Accumulator<T> at_eps, Accumulator<T> p) {
  using A = Accumulator<T>;
  const long long n = row_of_team<TEAM>();
  const A r = n < N ? rnorm[n] : A(0);
  const Row<T, VEC, TEAM, KEPT> y_row(y + n * D, n < N ? D : 0), dy_row(dy + n * D, n < N ? D : 0);
  Two<A> sums = {0, 0};  // Σ dy·y, and how many entries have |y| = 1
  y_row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
    const Pack<T, VEC>& dys = dy_row.pack(k, i);
#pragma unroll
    for (int v = 0; v < VEC; v++) {
      sums.first += A(dys.at[v]) * A(values.at[v]);
      sums.second += A(fabs(A(values.at[v])) == A(1));
    }
  });
  sums = reduce<TEAM>(sums, Sum{});
  const bool largest = p == infinity<A>();
  const A along = r == at_eps ? A(0) : largest ? sums.first / sums.second : sums.first;
  y_row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
    const Pack<T, VEC>& dys = dy_row.pack(k, i);
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) {
      const A value = A(values.at[v]);
      const A s = largest ? (fabs(value) == A(1) ? sign_of(value) : A(0)) : slope(value, p);
      out.at[v] = T(r * (A(dys.at[v]) - s * along));
    }
    store(dx + n * D + i, out);
  });
}
