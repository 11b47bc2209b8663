// Moving average of rows x (N, L): y_0 = x_0, y_t = (1 - share)·y_{t-1} + share·x_t, and its gradient.
//
// Owner         a thread has a row: the steps depend on each other.
// Traffic       reads a row once, writes one. Threads of a warp read different rows, so lines are used through the cache.
// Accumulation  double.

template <class T>
__global__ void __launch_bounds__(64)
    moving_average_forward(const T* __restrict__ x, T* __restrict__ y, long long N, long long L, double share) {
  const long long n = (long long)blockIdx.x * 64 + threadIdx.x;
  if (n >= N || L == 0) return;
  double m = double(x[n * L]);
  y[n * L] = T(m);
  for (long long t = 1; t < L; t++) {
    m = (1 - share) * m + share * double(x[n * L + t]);
    y[n * L + t] = T(m);
  }
}

// From the last step to the first: c_t = dy_t + (1 - share)·c_{t+1}, dx_t = share·c_t, and dx_0 = c_0.
template <class T>
__global__ void __launch_bounds__(64)
    moving_average_backward(const T* __restrict__ dy, T* __restrict__ dx, long long N, long long L, double share) {
  const long long n = (long long)blockIdx.x * 64 + threadIdx.x;
  if (n >= N || L == 0) return;
  double c = 0;
  for (long long t = L - 1; t >= 0; t--) {
    c = double(dy[n * L + t]) + (1 - share) * c;
    dx[n * L + t] = T(t == 0 ? c : share * c);
  }
}
