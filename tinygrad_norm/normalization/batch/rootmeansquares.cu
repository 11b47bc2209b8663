// Σ (factor·x)² over the columns of x (N, C), for the factors 1/FAR, 1 and FAR: one of them keeps the squares in range.
//
// Owner         a thread has ROWS values of one column; neighbouring threads have neighbouring columns.
// Traffic       reads x once, writes three sums for every thread; column_sums adds them.
// Accumulation  float; double for double.

constexpr int ROWS = 32;

template <class T>
__global__ void __launch_bounds__(256, 1)
    squares_of_columns(const T* __restrict__ x, Accumulator<T>* __restrict__ of_large,
                       Accumulator<T>* __restrict__ plain, Accumulator<T>* __restrict__ of_small, long long N,
                       long long C, long long inverse_C) {
  using A = Accumulator<T>;
  const long long t = (long long)blockIdx.x * 256 + threadIdx.x, part = quotient(t, inverse_C), c = t - part * C;
  const long long first = part * ROWS;
  if (first >= N) return;
  const int length = int(min(N - first, (long long)ROWS));
  A large = 0, sum = 0, small = 0;
#pragma unroll 8
  for (int k = 0; k < length; k++) {
    const A value = A(x[(first + k) * C + c]), down = value * (A(1) / FAR<A>), up = value * FAR<A>;
    large += down * down;
    sum += value * value;
    small += up * up;
  }
  of_large[t] = large;
  plain[t] = sum;
  of_small[t] = small;
}
