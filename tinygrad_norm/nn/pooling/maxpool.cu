// Max pooling over up to 3 spatial axes: y (N, C, P1, P2, P3) of x (N, C, S1, S2, S3), and where its entries were.
//
// Owner         a thread has an entry of y, and goes through its window in order.
// Traffic       reads each entry of x once for each window that it is in, mostly from the caches; writes y and index,
//               8 bytes, once.
// Positions     those of one plane have 32 bits; the launch checks that they fit.

// The first entry inside of x in a window that begins at `begin`, with entries `step` apart.
__device__ __forceinline__ int first_inside(int begin, int step) {
  return begin >= 0 ? begin : begin + (step - 1 - begin) / step * step;
}

template <class T>
__global__ void __launch_bounds__(256)
    max_pool_forward(const T* __restrict__ x, T* __restrict__ y, long long* __restrict__ index, long long total,
                     long long S1, long long S2, long long S3, long long P1, long long P2, long long P3,
                     long long extent1, long long extent2, long long extent3, long long stride1, long long stride2,
                     long long stride3, long long step1, long long step2, long long step3, long long before1,
                     long long before2, long long before3) {
  using A = Accumulator<T>;
  const long long o = (long long)blockIdx.x * 256 + threadIdx.x;
  if (o >= total) return;
  const long long n = o / (P1 * P2 * P3);
  const int place = o - n * (P1 * P2 * P3), d1 = step1, d2 = step2, d3 = step3;
  const int b3 = place % int(P3) * int(stride3) - int(before3);
  const int b2 = place / int(P3) % int(P2) * int(stride2) - int(before2);
  const int b1 = place / int(P3) / int(P2) * int(stride1) - int(before1);
  const int e1 = min(S1, b1 + extent1), e2 = min(S2, b2 + extent2), e3 = min(S3, b3 + extent3);
  const int f1 = first_inside(b1, d1), f2 = first_inside(b2, d2), f3 = first_inside(b3, d3);
  const T* plane = x + n * (S1 * S2 * S3);
  A largest = -infinity<A>();
  int at = (f1 * int(S2) + f2) * int(S3) + f3;
  for (int q1 = f1; q1 < e1; q1 += d1) {
    for (int q2 = f2; q2 < e2; q2 += d2) {
      for (int q3 = f3; q3 < e3; q3 += d3) {
        const int q = (q1 * int(S2) + q2) * int(S3) + q3;
        const A value = A(plane[q]);
        if (value > largest || value != value) largest = value, at = q;
      }
    }
  }
  y[o] = T(largest);
  index[o] = at;
}
