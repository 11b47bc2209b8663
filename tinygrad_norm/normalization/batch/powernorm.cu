// Power normalization of x (N, C), backward: dx = r·(w·dy - ν·x̂), x̂ = x·r.
//
// Owner         a thread has ROWS values of one column; neighbouring threads have neighbouring columns.
// Traffic       reads dy and x once, writes dx once: 3·N·C values. Also writes Σ dy·x̂ and Σ dy of every thread;
//               column_sums adds them. ν is known before the sums are, so one pass is enough; in warm-up, where
//               it is made of them, there are two. Forward has the kernels of rootmeansquares.cu and batchnorm.cu.
// Without ν     dx = r·w·dy, also where x̂ is not finite.
// Accumulation  float; double for double. All but x, dy and dx have that type.

constexpr int ROWS = 32;

template <class T>
__global__ void __launch_bounds__(256, 1)
    power_norm_backward(const T* __restrict__ dy, const T* __restrict__ x, const Accumulator<T>* __restrict__ weight,
                        const Accumulator<T>* __restrict__ rstd, const Accumulator<T>* __restrict__ projection,
                        T* __restrict__ dx, Accumulator<T>* __restrict__ sums_dy_x_hat,
                        Accumulator<T>* __restrict__ sums_dy, long long N, long long C, long long inverse_C) {
  using A = Accumulator<T>;
  const long long t = (long long)blockIdx.x * 256 + threadIdx.x, part = quotient(t, inverse_C), c = t - part * C;
  const long long first = part * ROWS;
  if (first >= N) return;
  const int length = int(min(N - first, (long long)ROWS));
  const A r = rstd[c], w = weight == nullptr ? A(1) : weight[c];
  const A along = projection == nullptr ? A(0) : projection[c];
  A sum_dy_x_hat = 0, sum_dy = 0;
#pragma unroll 8
  for (int k = 0; k < length; k++) {
    const long long at = (first + k) * C + c;
    const A of_y = A(dy[at]), x_hat = A(x[at]) * r, g = w * of_y;
    sum_dy_x_hat += of_y * x_hat;
    sum_dy += of_y;
    dx[at] = T(r * (projection == nullptr ? g : g - along * x_hat));
  }
  sums_dy_x_hat[t] = sum_dy_x_hat;
  sums_dy[t] = sum_dy;
}
