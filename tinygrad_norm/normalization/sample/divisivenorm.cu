// Divisive normalization of x (N, C, H, W): y = x/max(σ, c), σ the root mean square of a Gaussian window.
//
// Owner         a thread has a position of a sample, (n, h, w), in all channels: a warp reads 32 neighbours of one.
// Forward       channel_norms reads x; window_norms reads and writes planes (N, H, W), 1/C of x, along rows and then
//               along columns; divide_by_deviations reads x again and writes y: 3 values per entry, and windows from
//               the caches.
// Backward      divisor_gradients reads dy and x, divided_gradients both again, and writes dx: 5 values per entry.
// Guard         planes hold norms, not their squares. A sum of squares that overflows or underflows is computed
//               again of numbers scaled by a power of two.
// least         c of every sample.
// Accumulation  float; double for double. Planes, weights, scale and least have that type.

// √square(1), where square(scale) is the sum of squares of scaled numbers.
template <class A, class F>
__device__ __forceinline__ A root_of(F square) {
  const A found = square(A(1));
  if (found >= VANISHING<A> && found < infinity<A>()) return sqrt(found);
  const bool down = !(found < VANISHING<A>);
  return sqrt(square(down ? A(1) / FAR<A> : FAR<A>)) * (down ? FAR<A> : A(1) / FAR<A>);
}

// max(σ, c); NaN if one is.
template <class A>
__device__ __forceinline__ A divisor_of(A deviation, A least) {
  return deviation > least || deviation != deviation ? deviation : least;
}

template <class T>
__global__ void __launch_bounds__(256)
    channel_norms(const T* __restrict__ x, Accumulator<T>* __restrict__ norms, long long total, long long C,
                  long long S) {
  using A = Accumulator<T>;
  const long long o = (long long)blockIdx.x * 256 + threadIdx.x;
  if (o >= total) return;
  const long long n = o / S, p = o - n * S;
  norms[o] = root_of<A>([=](A scale) {
    A sum = 0;
    for (long long c = 0; c < C; c++) {
      const A value = A(x[(n * C + c) * S + p]) * scale;
      sum += value * value;
    }
    return sum;
  });
}

// √(Σ weight·t²) along an axis of S positions, `step` apart; times √scale, if given, of the position in its plane.
template <class T>
__global__ void __launch_bounds__(256)
    window_norms(const Accumulator<T>* __restrict__ t, const Accumulator<T>* __restrict__ weights,
                 const Accumulator<T>* __restrict__ scale, Accumulator<T>* __restrict__ norms, long long total,
                 long long S, long long step, long long reach, long long plane) {
  using A = Accumulator<T>;
  const long long o = (long long)blockIdx.x * 256 + threadIdx.x;
  if (o >= total) return;
  const A norm = root_of<A>([=](A factor) {
    return window_sum(t + o, weights, o / step % S, S, step, reach, [=](A value) {
      const A scaled = value * factor;
      return scaled * scaled;
    });
  });
  norms[o] = scale == nullptr ? norm : norm * sqrt(scale[o % plane]);
}

template <class T>
__global__ void __launch_bounds__(256)
    divide_by_deviations(const T* __restrict__ x, const Accumulator<T>* __restrict__ deviation,
                         const Accumulator<T>* __restrict__ least, T* __restrict__ y, long long total, long long C,
                         long long S) {
  using A = Accumulator<T>;
  const long long o = (long long)blockIdx.x * 256 + threadIdx.x;
  if (o >= total) return;
  const long long n = o / S, p = o - n * S;
  const A divisor = divisor_of(deviation[o], least[n]);
  for (long long c = 0; c < C; c++) {
    const long long i = (n * C + c) * S + p;
    y[i] = T(A(x[i]) / divisor);
  }
}

// ds = -(Σ dy·y)/s of every position.
template <class T>
__global__ void __launch_bounds__(256)
    divisor_gradients(const T* __restrict__ dy, const T* __restrict__ x, const Accumulator<T>* __restrict__ deviation,
                      const Accumulator<T>* __restrict__ least, Accumulator<T>* __restrict__ ds, long long total,
                      long long C, long long S) {
  using A = Accumulator<T>;
  const long long o = (long long)blockIdx.x * 256 + threadIdx.x;
  if (o >= total) return;
  const long long n = o / S, p = o - n * S;
  const A divisor = divisor_of(deviation[o], least[n]);
  A sum = 0;
  for (long long c = 0; c < C; c++) {
    const long long i = (n * C + c) * S + p;
    sum += A(dy[i]) * (A(x[i]) / divisor);
  }
  ds[o] = -sum / divisor;
}

// dx = dy/s + (x/unit)·(windows along columns, from those along rows of dσ·unit/σ); unit is one of each sample.
template <class T>
__global__ void __launch_bounds__(256)
    divided_gradients(const T* __restrict__ dy, const T* __restrict__ x, const Accumulator<T>* __restrict__ deviation,
                      const Accumulator<T>* __restrict__ least, const Accumulator<T>* __restrict__ unit,
                      const Accumulator<T>* __restrict__ along_rows,
                      const Accumulator<T>* __restrict__ weights, T* __restrict__ dx, long long total, long long C,
                      long long H, long long W, long long reach) {
  using A = Accumulator<T>;
  const long long o = (long long)blockIdx.x * 256 + threadIdx.x;
  if (o >= total) return;
  const long long n = o / (H * W), p = o - n * (H * W);
  const A divisor = divisor_of(deviation[o], least[n]);
  const A g = window_sum(along_rows + o, weights, p / W, H, W, reach);
  for (long long c = 0; c < C; c++) {
    const long long i = (n * C + c) * (H * W) + p;
    dx[i] = T(A(dy[i]) / divisor + A(x[i]) / unit[n] * g);
  }
}
