// Local response normalization of x (N, C, S): the window of a channel is `below` channels down to `above` up.
//
// Owner         a thread has one position of CHANNELS neighbouring channels, one after the other, so that a window
//               finds in the cache what it shares with the one before.
// Forward       reads x once, and from the cache for every window; writes y, scale and root: 4·N·C·S values.
// Backward      reads dy, x, scale and root once, and from the cache for every window; writes dx: 5·N·C·S values.
// Guard         squares that overflow or underflow are scaled, as in moments.cuh. Where a root is so far from 1 that
//               its powers may leave the range, backward takes scale out of the sum: powers of ratios are left.
// root_share    √(alpha/size), so that d = root_k² + Σ (root_share·x)².
// Accumulation  float; double for double. scale and root have that type.

constexpr int CHANNELS = 16;

// Channels `first` to `last` - 1 at one position of one sample; channel c is at `start` + c·S.
struct Walk {
  long long start, first, last;
};

__device__ __forceinline__ Walk walk(long long N, long long C, long long S, long long inverse_S,
                                     long long inverse_parts) {
  const long long t = (long long)blockIdx.x * 256 + threadIdx.x, row = quotient(t, inverse_S);
  const long long n = quotient(row, inverse_parts), first = (row - n * ((C + CHANNELS - 1) / CHANNELS)) * CHANNELS;
  return {n * C * S + t - row * S, first, n < N ? min(first + CHANNELS, C) : first};
}

// a·b, where nothing times what overflowed is nothing.
template <class A>
__device__ __forceinline__ A product(A a, A b) {
  return a == A(0) && b == b ? A(0) : a * b;
}

template <class A>
__device__ __forceinline__ A ratio(A a, A root) {
  return root == A(0) ? a : a / root;
}

// 0 for root = 0, unless the exponent is 0. CUDA's pow flushes subnormals inside.
template <class A>
__device__ __forceinline__ A power(A root, A exponent) {
  if (exponent == A(0)) return A(1);
  return root == A(0) ? A(0) : exp2(exponent * log2(root));
}

template <class T>
__global__ void __launch_bounds__(256, 1)
    local_response_norm_forward(const T* __restrict__ x, T* __restrict__ y, Accumulator<T>* __restrict__ scale,
                                Accumulator<T>* __restrict__ root, long long N, long long C, long long S,
                                long long inverse_S, long long inverse_parts, long long below, long long above,
                                Accumulator<T> root_share, Accumulator<T> root_k, Accumulator<T> beta) {
  using A = Accumulator<T>;
  const Walk w = walk(N, C, S, inverse_S, inverse_parts);
  for (long long c = w.first; c < w.last; c++) {
    const long long low = max(c - below, 0LL), high = min(c + above + 1, C), at = w.start + c * S;
    A factor = 1, d;
    for (bool again = false;; again = true) {
      d = root_k * factor * (root_k * factor);
      for (long long j = low; j < high; j++) {
        const A z = A(x[w.start + j * S]) * factor * root_share;
        d += z * z;
      }
      if (again) break;
      if (!(d < infinity<A>())) factor = A(1) / FAR<A>;
      if (d < VANISHING<A>) factor = FAR<A>;
      if (factor == A(1)) break;
    }
    const A value = A(x[at]), r = sqrt(d) * (factor == A(1) ? A(1) : factor < A(1) ? FAR<A> : A(1) / FAR<A>);
    // For beta > 0, s may be too large or too small while x·s is not: then s·r is, too.
    const bool finite = r < infinity<A>(), from_s = !finite || beta <= A(0);
    A s = power(r, A(-2) * beta + (from_s ? A(0) : A(1))), s_r = s;
    if (from_s) s_r = s * r;
    if (!from_s) s = r == A(0) ? A(0) : s / r;
    const A of_y = finite ? product(ratio(value, r), s_r) : value * s;
    y[at] = T(of_y);
    scale[at] = s;
    root[at] = r;
  }
}

// dx of channel c, whose mirrored window is `low` to `high` - 1: as _extreme_backward in localresponsenorm.py.
template <class T, class A>
__device__ __forceinline__ A extreme_gradient(const T* dy, const T* x, const A* scale, const A* root, long long start, long long S,
                              long long c, long long low, long long high, A slope, A beta) {
  const long long at = start + c * S;
  const A value = A(x[at]), r = root[at];
  A relative = 0, plain = 0;
  bool finite = true;
  for (long long j = start + low * S; j < start + high * S; j += S) {
    const A other = root[j], of_y = A(dy[j]), of_x = A(x[j]);
    finite = finite && other < infinity<A>();
    relative += product(of_y * ratio(of_x, other) * ratio(value, other), power(ratio(other, r), A(-2) * beta));
    plain += beta == A(0) ? A(0) : of_y * of_x * power(other, A(-2) * beta - A(2));
  }
  if (!finite) return scale[at] * A(dy[at]) - slope * value * plain;
  return product(A(dy[at]) - relative * slope, scale[at]);
}

// dx = s·dy - slope·x·Σ dy·x·s/d over the mirrored window, with slope = 2·alpha·beta/size.
template <class T>
__global__ void __launch_bounds__(256, 1)
    local_response_norm_backward(const T* __restrict__ dy, const T* __restrict__ x,
                                 const Accumulator<T>* __restrict__ scale, const Accumulator<T>* __restrict__ root,
                                 T* __restrict__ dx, long long N, long long C, long long S, long long inverse_S,
                                 long long inverse_parts, long long below, long long above, Accumulator<T> slope,
                                 Accumulator<T> beta, Accumulator<T> most) {
  using A = Accumulator<T>;
  const Walk w = walk(N, C, S, inverse_S, inverse_parts);
  const A least = A(1) / most;
  for (long long c = w.first; c < w.last; c++) {
    const long long low = max(c - above, 0LL), high = min(c + below + 1, C), at = w.start + c * S;
    A sum = 0;
    bool ordinary = true;
    for (long long j = w.start + low * S; j < w.start + high * S; j += S) {
      const A r = root[j];
      ordinary = ordinary && least < r && r < most;
      sum += A(dy[j]) * A(x[j]) * (scale[j] / (r * r));
    }
    dx[at] = T(ordinary ? scale[at] * A(dy[at]) - slope * A(x[at]) * sum
                        : extreme_gradient(dy, x, scale, root, w.start, S, c, low, high, slope, beta));
  }
}
