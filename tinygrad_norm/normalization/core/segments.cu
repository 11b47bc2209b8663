// Pools by index: segment s of B has the rows order[begin[s]] to order[begin[s + 1] - 1] of x (N, D).
//
// Owner         segment_moments, segment_sums: a block has a segment and 32 columns, and each of its 8 warps takes every
//               8th row. A few long segments of few columns leave a large GPU partly idle.
//               segment_rows: a warp has a row.
// Traffic       segment_moments reads x twice, the second time mostly from the cache; segment_sums reads dy and x once;
//               segment_rows reads dy, if given, and x once, and writes y. Tables (B, D) are small beside them.
// Accumulation  double, always in the same order.

constexpr int LINES = 8;

// The sum over the warps of the block, for each of its 32 columns. All threads get it.
__device__ __forceinline__ double over_lines(double value) {
  __shared__ double of_warp[LINES][32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  __syncthreads();  // the previous sum may still be read
  of_warp[warp][lane] = value;
  __syncthreads();
  double sum = 0;
#pragma unroll
  for (int other = 0; other < LINES; other++) sum += of_warp[other][lane];
  return sum;
}

// The rows of a block's segment, of which this thread takes first, first + LINES, ..., and its column d.
struct Part {
  long long segment, first, end, size, d;

  __device__ __forceinline__ Part(const long long* begin, long long D) {
    const long long slices = (D + 31) / 32;
    segment = blockIdx.x / slices, d = blockIdx.x % slices * 32 + threadIdx.x % 32;
    first = begin[segment] + threadIdx.x / 32, end = begin[segment + 1], size = end - begin[segment];
    if (d >= D) first = end;
  }
  __device__ __forceinline__ bool writes(long long D) const { return threadIdx.x < 32 && d < D; }
};

// mean = Σ x/n, square = Σ (x - factor·mean)²/n, of which an empty segment has 0; factor (D,) is 1 if null.
template <class T>
__global__ void __launch_bounds__(32 * LINES, 1)
    segment_moments(const T* __restrict__ x, const double* __restrict__ factor, const long long* __restrict__ order,
                    const long long* __restrict__ begin, double* __restrict__ mean, double* __restrict__ square,
                    long long D) {
  const Part part(begin, D);
  double sum = 0, squares = 0;
  for (long long k = part.first; k < part.end; k += LINES) sum += double(x[order[k] * D + part.d]);
  const double share = part.size > 0 ? 1 / double(part.size) : 0.0, m = over_lines(sum) * share;
  const double shift = factor == nullptr || part.d >= D ? m : factor[part.d] * m;
  for (long long k = part.first; k < part.end; k += LINES) {
    const double o = double(x[order[k] * D + part.d]) - shift;
    squares += o * o;
  }
  squares = over_lines(squares) * share;
  if (!part.writes(D)) return;
  mean[part.segment * D + part.d] = m;
  square[part.segment * D + part.d] = squares;
}

// sum_dy = Σ dy, sum_dy_o = Σ dy·(x - shift).
template <class T>
__global__ void __launch_bounds__(32 * LINES, 1)
    segment_sums(const T* __restrict__ dy, const T* __restrict__ x, const double* __restrict__ shift,
                 const long long* __restrict__ order, const long long* __restrict__ begin, double* __restrict__ sum_dy,
                 double* __restrict__ sum_dy_o, long long D) {
  const Part part(begin, D);
  const double middle = part.d < D ? shift[part.segment * D + part.d] : 0.0;
  double sum = 0, products = 0;
  for (long long k = part.first; k < part.end; k += LINES) {
    const long long at = order[k] * D + part.d;
    sum += double(dy[at]);
    products += double(dy[at]) * (double(x[at]) - middle);
  }
  sum = over_lines(sum), products = over_lines(products);
  if (!part.writes(D)) return;
  sum_dy[part.segment * D + part.d] = sum;
  sum_dy_o[part.segment * D + part.d] = products;
}

// y = scale·(x - shift), plus slope·(dy - offset), or offset without dy; all are tables (B, D). A row with an index out of
// range is NaN.
template <class T>
__global__ void __launch_bounds__(32 * LINES, 1)
    segment_rows(const T* __restrict__ x, const double* __restrict__ shift, const double* __restrict__ scale,
                 const double* __restrict__ offset, const long long* __restrict__ index, const T* __restrict__ dy,
                 const double* __restrict__ slope, T* __restrict__ y, long long N, long long D, long long B) {
  const long long n = (long long)blockIdx.x * LINES + threadIdx.x / 32;
  if (n >= N) return;
  const long long s = index[n];
  const bool valid = s >= 0 && s < B;
  for (long long d = threadIdx.x % 32; d < D; d += 32) {
    double value = double(infinity<float>()) - double(infinity<float>());
    if (valid) {
      value = scale[s * D + d] * (double(x[n * D + d]) - shift[s * D + d]);
      if (dy != nullptr)
        value += slope[s * D + d] * (double(dy[n * D + d]) - offset[s * D + d]);
      else if (offset != nullptr)
        value += offset[s * D + d];
    }
    y[n * D + d] = T(value);
  }
}
