// Spectral normalization of a matrix W (H, D): everything but the products with u and v, which are cuBLAS's.
//
// Owner         a team of 8 to 1024 threads has a row; a block has 1 to 16 teams.
// Forward       with the largest |W| of each row (magnitudes.cu), and with s = uᵀ·W·v/root² by cuBLAS, y = W/(s·root²):
//               reads W once, writes y once: 2·H·D values, and what those two read.
// Backward      Σ dy·y of each row, which column_sums adds; then dW = (dy - Σ dy·y·u·vᵀ)/σ: 4·H·D values.
// root          a power of two, about the root of the largest |W|: uᵀ·W·v, divided by it twice, cannot overflow.
// Accumulation  float; double for double. u, v, s, sigma and root have that type.

// root (): a power of two with root² within a factor of 4 of the largest of n; 1 if that is 0 or infinite.
template <class T>
__global__ void __launch_bounds__(256)
    root_of_largest(const T* __restrict__ largest, T* __restrict__ root, long long n) {
  T found = 0;
  for (long long i = threadIdx.x; i < n; i += 256) found = max(found, largest[i]);
  found = reduce<256>(found, Max{});
  if (threadIdx.x > 0) return;
  *root = found > T(0) && found < infinity<T>() ? scalbn(T(1), ilogb(found) / 2) : T(1);
}

// y = W/(s·root²) of n values, and sigma = s·root². If s is 0, zeros stay 0.
template <class T, int VEC>
__global__ void __launch_bounds__(256)
    spectral_norm_forward(const T* __restrict__ x, const Accumulator<T>* __restrict__ s,
                          const Accumulator<T>* __restrict__ root, T* __restrict__ y,
                          Accumulator<T>* __restrict__ sigma, long long n) {
  using A = Accumulator<T>;
  const A scale = A(1) / *root, divisor = *s * *root;
  const long long i = ((long long)blockIdx.x * 256 + threadIdx.x) * VEC;
  if (i == 0) *sigma = divisor * *root;
  if (i >= n) return;
  const Pack<T, VEC> values = load<VEC>(x + i);
  Pack<T, VEC> out;
#pragma unroll
  for (int v = 0; v < VEC; v++) {
    const A value = A(values.at[v]) * scale;
    out.at[v] = T(value == A(0) && divisor == A(0) ? A(0) : value / divisor);
  }
  store(y + i, out);
}

// products (H,): Σ dy·y of each row.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    products_of_rows(const T* __restrict__ dy, const T* __restrict__ y, Accumulator<T>* __restrict__ products,
                     long long H, long long D) {
  using A = Accumulator<T>;
  const long long n = row_of_team<TEAM>();
  const Row<T, VEC, TEAM, KEPT> y_row(y + n * D, n < H ? D : 0), dy_row(dy + n * D, n < H ? D : 0);
  A sum = 0;
  y_row.each_pack([&](int k, long long i, const Pack<T, VEC>& values) {
    const Pack<T, VEC>& dys = dy_row.pack(k, i);
#pragma unroll
    for (int v = 0; v < VEC; v++) sum += A(dys.at[v]) * A(values.at[v]);
  });
  sum = reduce<TEAM>(sum, Sum{});
  if (n < H && lane_of_team<TEAM>() == 0) products[n] = sum;
}

// dx = (dy - along·u·vᵀ)/sigma, along = Σ dy·y of the whole matrix; 0 for a sigma of 0.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    spectral_norm_backward(const T* __restrict__ dy, const Accumulator<T>* __restrict__ u,
                           const Accumulator<T>* __restrict__ v, const Accumulator<T>* __restrict__ along,
                           const Accumulator<T>* __restrict__ sigma, T* __restrict__ dx, long long H, long long D) {
  using A = Accumulator<T>;
  const long long n = row_of_team<TEAM>();
  const Row<T, VEC, TEAM, KEPT> row(dy + n * D, n < H ? D : 0);
  const A of_row = n < H ? *along * u[n] : A(0), divisor = *sigma;
  row.each_pack([&](int, long long i, const Pack<T, VEC>& dys) {
    Pack<T, VEC> out;
#pragma unroll
    for (int k = 0; k < VEC; k++) {
      out.at[k] = T(divisor == A(0) ? A(0) : (A(dys.at[k]) - of_row * v[i + k]) / divisor);
    }
    store(dx + n * D + i, out);
  });
}
