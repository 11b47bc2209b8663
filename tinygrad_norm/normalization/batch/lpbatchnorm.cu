// L1 and L∞ batch normalization of x (N, C, S): the deviation of a channel is mean|x - m| or max|x - m|.
//
// Owner         x is cut into strips (strips.cuh), as in batchnorm.cu.
// Forward       strip_shifts and strip_deviations read x, column_sums and channel_deviations combine the strips of a
//               channel, lp_batch_norm_forward reads x and writes y: 4 values per entry. The deviation needs the mean
//               of the whole channel first, so it cannot be found in the same pass, as a variance can.
// Backward      strip_slopes reads x and dy, column_sums adds the sums of the strips, lp_batch_norm_backward reads x
//               and dy and writes dx: 5 values per entry.
// mean, rest    the mean in two parts: (x - mean) - rest keeps its digits if the mean is large beside the deviation.
//               Forward and backward compute it alike, so that backward finds the entries with |x - m| = deviation.
// largest       true for L∞.
// Accumulation  float; double for double. All but x, y, dy and dx have that type. Nothing is squared but the share
//               of a deviation beside √eps, so there is no guard.

template <class A>
__device__ __forceinline__ A centered(A x, A mean, A rest) {
  return (x - mean) - rest;
}

// What rounding leaves of origin + shift.
template <class A>
__device__ __forceinline__ A rest_of(A origin, A shift, A mean) {
  return (origin - mean) + shift;
}

// shifts = Σ (x - first of the channel)/n over the strip, where n counts the whole channel.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    strip_shifts(const T* __restrict__ x, Accumulator<T>* __restrict__ shifts, long long N, long long C, long long S,
                 long long I, long long whole, long long inverse_C, long long inverse_I, long long strips,
                 Accumulator<T> inverse_count) {
  using A = Accumulator<T>;
  const long long j = row_of_team<TEAM>();
  const Strip s = strip<TEAM>(j, N, C, S, I, whole, inverse_C, inverse_I);
  const Packs<T, VEC, TEAM, KEPT> kept(x, s);
  const A origin = A(x[s.channel * S]);
  A sum = 0;
  each_pack<VEC, TEAM, KEPT>(s, 0, [&](int k, long long) {
#pragma unroll
    for (int v = 0; v < VEC; v++) sum += (A(kept.at[k].at[v]) - origin) * inverse_count;
  });
  sum = reduce<TEAM>(sum, Sum{});
  if (j < strips && lane_of_team<TEAM>() == 0) shifts[s.place] = sum;
}

// deviations = Σ |x - m|/n over the strip, or its largest |x - m|; m is the first of the channel + its shift.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    strip_deviations(const T* __restrict__ x, const Accumulator<T>* __restrict__ shift,
                     Accumulator<T>* __restrict__ deviations, long long N, long long C, long long S, long long I,
                     long long whole, long long inverse_C, long long inverse_I, long long strips,
                     Accumulator<T> inverse_count, bool largest) {
  using A = Accumulator<T>;
  const long long j = row_of_team<TEAM>();
  const Strip s = strip<TEAM>(j, N, C, S, I, whole, inverse_C, inverse_I);
  const Packs<T, VEC, TEAM, KEPT> kept(x, s);
  const A origin = A(x[s.channel * S]), mean = origin + shift[s.channel];
  const A rest = rest_of(origin, shift[s.channel], mean);
  A sum = 0, top = 0;
  each_pack<VEC, TEAM, KEPT>(s, 0, [&](int k, long long) {
#pragma unroll
    for (int v = 0; v < VEC; v++) {
      const A size = fabs(centered(A(kept.at[k].at[v]), mean, rest));
      sum += size * inverse_count;
      top = Largest{}(size, top);
    }
  });
  sum = reduce<TEAM>(sum, Sum{});
  top = reduce<TEAM>(top, Largest{});
  if (j < strips && lane_of_team<TEAM>() == 0) deviations[s.place] = largest ? top : sum;
}

// The statistics of every channel, from those of its P strips: a block has 32 channels, each of its 32 warps every
// 32nd strip, always in the same order. rstd = 1/√((factor·deviation)² + root_eps²), and 0 for 1/0.
template <class T>
__global__ void __launch_bounds__(1024)
    channel_deviations(const T* __restrict__ x, const Accumulator<T>* __restrict__ shift,
                       const Accumulator<T>* __restrict__ deviations, Accumulator<T>* __restrict__ mean,
                       Accumulator<T>* __restrict__ rest, Accumulator<T>* __restrict__ deviation,
                       Accumulator<T>* __restrict__ rstd, long long P, long long C, long long S,
                       Accumulator<T> factor, Accumulator<T> root_eps, bool largest) {
  using A = Accumulator<T>;
  __shared__ A of_warp[32][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const long long c = (long long)blockIdx.x * 32 + lane;
  auto combine = [=](A a, A b) { return largest ? Largest{}(a, b) : a + b; };
  A found = 0;
  if (c < C) {
    for (long long j = warp; j < P; j += 32) found = combine(found, deviations[j * C + c]);
  }
  of_warp[warp][lane] = found;
  __syncthreads();
  if (warp > 0 || c >= C) return;
#pragma unroll
  for (int other = 1; other < 32; other++) found = combine(found, of_warp[other][lane]);
  const A origin = A(x[c * S]), divisor = root_of_squares(factor * found, root_eps), r = A(1) / divisor;
  mean[c] = origin + shift[c];
  rest[c] = rest_of(origin, shift[c], mean[c]);
  deviation[c] = found;
  rstd[c] = divisor == A(0) ? A(0) : (r > LARGEST<A> ? LARGEST<A> : r);
}

// y = (x - m)·r·w + b
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    lp_batch_norm_forward(const T* __restrict__ x, const Accumulator<T>* __restrict__ weight,
                          const Accumulator<T>* __restrict__ bias, const Accumulator<T>* __restrict__ mean,
                          const Accumulator<T>* __restrict__ rest, const Accumulator<T>* __restrict__ rstd,
                          T* __restrict__ y, long long N, long long C, long long S, long long I, long long whole,
                          long long inverse_C, long long inverse_I) {
  using A = Accumulator<T>;
  const Strip s = strip<TEAM>(row_of_team<TEAM>(), N, C, S, I, whole, inverse_C, inverse_I);
  constexpr int COUNT = PAIRS<VEC, KEPT> * (PAIRS<VEC, KEPT> < KEPT ? 2 : 1);
#pragma unroll
  for (int first = 0; first < KEPT; first += COUNT) {
    const Packs<T, VEC, TEAM, COUNT> values(x, s, first);
    const long long c = s.channel;
    const A m = mean[c], left = rest[c], r = rstd[c];
    const A w = weight == nullptr ? A(1) : weight[c], b = bias == nullptr ? A(0) : bias[c];
    each_pack<VEC, TEAM, COUNT>(s, first, [&](int k, long long at) {
      Pack<T, VEC> out;
#pragma unroll
      for (int v = 0; v < VEC; v++) out.at[v] = T(centered(A(values.at[k].at[v]), m, left) * r * w + b);
      store(y + at, out);
    });
  }
}

// s of an entry: sign(x - m) for L1; for L∞ only where |x - m| is the deviation, else 0.
template <class A>
__device__ __forceinline__ A slope_of(A value, A deviation, bool largest) {
  return largest && fabs(value) != deviation ? A(0) : sign_of(value);
}

// Over the strip: sums[0] = Σ dy·x̂, then Σ dy, Σ s and Σ |s|, each (P, C).
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    strip_slopes(const T* __restrict__ dy, const T* __restrict__ x, const Accumulator<T>* __restrict__ mean,
                 const Accumulator<T>* __restrict__ rest, const Accumulator<T>* __restrict__ deviation,
                 const Accumulator<T>* __restrict__ rstd, Accumulator<T>* __restrict__ sums, long long N, long long C,
                 long long S, long long I, long long whole, long long inverse_C, long long inverse_I,
                 long long strips, long long P, bool largest) {
  using A = Accumulator<T>;
  constexpr int COUNT = PAIRS<VEC, KEPT>;
  const long long j = row_of_team<TEAM>();
  const Strip s = strip<TEAM>(j, N, C, S, I, whole, inverse_C, inverse_I);
  Two<A> products = {0, 0}, slopes = {0, 0};
#pragma unroll
  for (int first = 0; first < KEPT; first += COUNT) {
    const Packs<T, VEC, TEAM, COUNT> values(x, s, first), dys(dy, s, first);
    const long long c = s.channel;
    const A m = mean[c], left = rest[c], a = deviation[c], r = rstd[c];
    each_pack<VEC, TEAM, COUNT>(s, first, [&](int k, long long) {
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        const A value = centered(A(values.at[k].at[v]), m, left), of_y = A(dys.at[k].at[v]);
        const A slope_here = slope_of(value, a, largest);
        products.first += of_y * (value * r);
        products.second += of_y;
        slopes.first += slope_here;
        slopes.second += fabs(slope_here);
      }
    });
  }
  products = reduce<TEAM>(products, Sum{});
  slopes = reduce<TEAM>(slopes, Sum{});
  if (j < strips && lane_of_team<TEAM>() == 0) {
    sums[s.place] = products.first;
    sums[P * C + s.place] = products.second;
    sums[2 * P * C + s.place] = slopes.first;
    sums[3 * P * C + s.place] = slopes.second;
  }
}

// dx = r·w·(dy - mean(dy) - q·(s - mean(s))·mean(dy·x̂)), q = r·factor²·deviation·(n/Σ|s| for L∞)
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    lp_batch_norm_backward(const T* __restrict__ dy, const T* __restrict__ x,
                           const Accumulator<T>* __restrict__ weight, const Accumulator<T>* __restrict__ mean,
                           const Accumulator<T>* __restrict__ rest, const Accumulator<T>* __restrict__ deviation,
                           const Accumulator<T>* __restrict__ rstd, const Accumulator<T>* __restrict__ sums,
                           T* __restrict__ dx, long long N, long long C, long long S, long long I, long long whole,
                           long long inverse_C, long long inverse_I, Accumulator<T> inverse_count,
                           Accumulator<T> factor, bool largest) {
  using A = Accumulator<T>;
  constexpr int COUNT = PAIRS<VEC, KEPT>;
  const Strip s = strip<TEAM>(row_of_team<TEAM>(), N, C, S, I, whole, inverse_C, inverse_I);
#pragma unroll
  for (int first = 0; first < KEPT; first += COUNT) {
    const Packs<T, VEC, TEAM, COUNT> values(x, s, first), dys(dy, s, first);
    const long long c = s.channel;
    const A m = mean[c], left = rest[c], a = deviation[c], r = rstd[c];
    const A scale = weight == nullptr ? r : r * weight[c], ties = sums[3 * C + c];
    const A share = largest ? A(1) / (ties > A(0) ? ties : A(1)) : inverse_count;
    const A mean_dy = sums[C + c] * inverse_count, mean_s = sums[2 * C + c] * inverse_count;
    const A along = r * factor * (factor * a) * share * sums[c];
    each_pack<VEC, TEAM, COUNT>(s, first, [&](int k, long long at) {
      Pack<T, VEC> out;
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        const A slope_here = slope_of(centered(A(values.at[k].at[v]), m, left), a, largest);
        out.at[v] = T(scale * (A(dys.at[k].at[v]) - mean_dy - (slope_here - mean_s) * along));
      }
      store(dx + at, out);
    });
  }
}
