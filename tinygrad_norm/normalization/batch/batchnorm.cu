// Batch normalization of x (N, C, S): all values of one channel are a pool, which is too large for one block.
//
// Owner         x is cut into strips: parts of one channel that are short enough to stay in registers. If S is
//               large, a strip is a part of the S positions of one sample, and a team of 8 to 256 threads
//               has it. If S is small, a strip is one position of KEPT samples, and one thread has it (TEAM =
//               1): neighbouring threads have neighbouring positions, so a warp still reads 128 bytes at once.
//               A thread loads its packs before it uses the first, four pairs at a time in backward.
// Forward       strip_moments reads x, batch_norm_moments combines the strips of a channel,
//               fixed_norm_forward reads x and writes y: 3 values per entry. Evaluation runs only the last.
// Backward      strip_sums reads x and dy, column_sums adds the sums of the strips, batch_norm_backward reads
//               x and dy and writes dx: 5 values per entry. In evaluation strip_sums also writes dx: 3.
// Guard         strips and channels whose squares overflow or underflow are scaled, as in moments.cuh. The
//               variance of a strip is written as its root, which does neither.
// Order         strip j = (o·C + c)·I + i has channel c; (O, I) is (N, pieces), or (chunks of samples, S). What
//               is written for each strip lies in the order (O, I, C): a row for every part of the channels.
// Accumulation  float; double for double. All but x, y, dy, dx and means have that type; means are Mean<T>, or given
//               in the accumulation type.

// means = mean of the strip, deviations = √(Σ (x - mean of the strip)²/n), where n counts the whole channel.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    strip_moments(const T* __restrict__ x, Mean<T>* __restrict__ means, Accumulator<T>* __restrict__ deviations,
                  long long N, long long C, long long S, long long I, long long whole, long long inverse_C,
                  long long inverse_I, long long strips, Accumulator<T> inverse_count) {
  using A = Accumulator<T>;
  const long long j = row_of_team<TEAM>();
  const Strip s = strip<TEAM>(j, N, C, S, I, whole, inverse_C, inverse_I);
  const Packs<T, VEC, TEAM, KEPT> kept(x, s);
  const A own = s.length > 0 ? A(kept.at[0].at[0]) : A(0), inverse_length = A(1) / A(s.length);
  const A first = first_of_row<TEAM>(own, x + s.start, s.length > 0);
  A scale = 1, var;
  Two<A> mean;
  for (bool again = false;; again = true) {
    const A shift = first * scale;
    A sum = 0, var_of_thread = 0;
    each_pack<VEC, TEAM, KEPT>(s, 0, [&](int k, long long) {
#pragma unroll
      for (int v = 0; v < VEC; v++) sum += (A(kept.at[k].at[v]) * scale - shift) * inverse_length;
    });
    mean = exact_sum(shift, reduce<TEAM>(sum, Sum{}));
    each_pack<VEC, TEAM, KEPT>(s, 0, [&](int k, long long) {
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        const A centered = A(kept.at[k].at[v]) * scale - mean.first;
        var_of_thread += centered * (centered * inverse_count);
      }
    });
    var = reduce<TEAM>(var_of_thread, Sum{});
    if (again || !rescale<TEAM>(var, mean.first, A(0), scale)) break;
  }
  if (j < strips && lane_of_team<TEAM>() == 0) {
    const A rest = rest_of_mean(mean.second);
    var -= rest * rest * (A(s.length) * inverse_count);
    const Moments<A> statistics = {scale, mean.first, rest, var, A(0), A(0)};
    means[s.place] = mean_of_row<Mean<T>>(statistics);
    deviations[s.place] = statistics.unscaled(sqrt(var));
  }
}

// Σ over the threads of a block of 512 that have the same channel, which is one of 8.
template <class A>
__device__ __forceinline__ A sum_of_channel(A value) {
  __shared__ A of_warp[16][8];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  value += from_lane(value, 8);
  value += from_lane(value, 16);
  __syncthreads();  // the previous result may still be read
  if (lane < 8) of_warp[warp][lane] = value;
  __syncthreads();
  value = of_warp[0][lane % 8];
#pragma unroll
  for (int other = 1; other < 16; other++) value += of_warp[other][lane % 8];
  return value;
}

// The mean of a channel is the weighted mean of its strips' means. Its variance is the variance within the
// strips plus the variance of their means. A block of 512 threads has 8 channels, which lie in one sector of
// the memory, and each thread every 64th strip of a channel. A strip has `whole` of `parted` values, which are
// the samples (I = S) or the positions.
template <class T>
__global__ void __launch_bounds__(512, 1)
    batch_norm_moments(const Mean<T>* __restrict__ means, const Accumulator<T>* __restrict__ deviations,
                       Mean<T>* __restrict__ mean, Accumulator<T>* __restrict__ var,
                       Accumulator<T>* __restrict__ rstd, long long C, long long O, long long I, long long whole,
                       long long parted, long long inverse_I, bool samples, Accumulator<T> inverse_count,
                       Accumulator<T> eps) {
  using A = Accumulator<T>;
  using M = Mean<T>;
  const long long c = (long long)blockIdx.x * 8 + threadIdx.x % 8, strips = c < C ? O * I : 0;
  auto weight = [=](long long j) {
    const long long outer = quotient(j, inverse_I), part = samples ? outer : j - outer * I;
    return A(min(whole, parted - part * whole)) * inverse_count;
  };
  constexpr int KEPT = 4;  // of the means; the others are read twice
  M kept[KEPT];
#pragma unroll
  for (int k = 0; k < KEPT; k++) {
    const long long j = threadIdx.x / 8 + 64 * k;
    kept[k] = j < strips ? means[j * C + c] : M(0);
  }
  // Call f(j, mean) for every strip of this thread.
  auto each_strip = [&](auto f) {
#pragma unroll
    for (int k = 0; k < KEPT; k++) {
      const long long j = threadIdx.x / 8 + 64 * k;
      if (j < strips) f(j, kept[k]);
    }
#pragma unroll 4
    for (long long j = threadIdx.x / 8 + 64 * KEPT; j < strips; j += 64) f(j, means[j * C + c]);
  };
  const A first = sum_of_channel(threadIdx.x < 8 ? A(kept[0]) : A(0));
  A scale = 1, v;
  Two<A> m;
  for (bool again = false;; again = true) {
    const A shift = first * scale;
    A sum = 0, var_of_thread = 0;
    each_strip([&](long long j, M mean_of_strip) { sum += A(mean_of_strip * M(scale) - M(shift)) * weight(j); });
    m = exact_sum(shift, sum_of_channel(sum));
    m.second = rest_of_mean(m.second);
    each_strip([&](long long j, M mean_of_strip) {
      const A centered = A(mean_of_strip * M(scale) - M(m.first)) - m.second, within = deviations[j * C + c] * scale;
      var_of_thread += within * within + centered * (centered * weight(j));
    });
    v = sum_of_channel(var_of_thread);
    if (again || !__syncthreads_or(rescale<32>(v, m.first, eps, scale))) break;
  }
  if (threadIdx.x < 8 && strips > 0) {
    const Moments<A> statistics = {scale, m.first, m.second, v, inverse_root(v + eps * scale * scale), A(0)};
    mean[c] = mean_of_row<M>(statistics);
    var[c] = statistics.var_of_row();
    rstd[c] = statistics.rstd_of_row();
  }
}

// The moments of channel c from the mean that batch_norm_moments wrote, or in evaluation from a `given` one.
template <class T>
__device__ __forceinline__ Moments<Accumulator<T>> moments_of_channel(const Mean<T>* mean,
                                                                      const Accumulator<T>* given,
                                                                      const Accumulator<T>* rstd, long long c) {
  using A = Accumulator<T>;
  return written_moments<A>(given == nullptr ? mean[c] : Mean<T>(given[c]), rstd[c]);
}

// y = (x - m)·r·w + b with statistics that were written or given
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    fixed_norm_forward(const T* __restrict__ x, const Accumulator<T>* __restrict__ weight,
                       const Accumulator<T>* __restrict__ bias, const Mean<T>* __restrict__ mean,
                       const Accumulator<T>* __restrict__ given, const Accumulator<T>* __restrict__ rstd,
                       T* __restrict__ y, long long N, long long C, long long S, long long I, long long whole,
                       long long inverse_C, long long inverse_I) {
  using A = Accumulator<T>;
  const Strip s = strip<TEAM>(row_of_team<TEAM>(), N, C, S, I, whole, inverse_C, inverse_I);
  constexpr int COUNT = PAIRS<VEC, KEPT> * (PAIRS<VEC, KEPT> < KEPT ? 2 : 1);
#pragma unroll
  for (int first = 0; first < KEPT; first += COUNT) {
    const Packs<T, VEC, TEAM, COUNT> values(x, s, first);
    const long long c = s.channel;
    const Moments<A> statistics = moments_of_channel<T>(mean, given, rstd, c);
    const A w = weight == nullptr ? A(1) : weight[c], b = bias == nullptr ? A(0) : bias[c];
    each_pack<VEC, TEAM, COUNT>(s, first, [&](int k, long long at) {
      Pack<T, VEC> out;
#pragma unroll
      for (int v = 0; v < VEC; v++) out.at[v] = T(statistics.normalize(A(values.at[k].at[v])) * w + b);
      store(y + at, out);
    });
  }
}

// With `dx`, the statistics are constants, and dx = r·w·dy is written too.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    strip_sums(const T* __restrict__ dy, const T* __restrict__ x, const Accumulator<T>* __restrict__ weight,
               const Mean<T>* __restrict__ mean, const Accumulator<T>* __restrict__ given,
               const Accumulator<T>* __restrict__ rstd, Accumulator<T>* __restrict__ sums_dy_x_hat,
               Accumulator<T>* __restrict__ sums_dy, T* __restrict__ dx, long long N, long long C, long long S,
               long long I, long long whole, long long inverse_C, long long inverse_I, long long strips) {
  using A = Accumulator<T>;
  constexpr int COUNT = PAIRS<VEC, KEPT>;
  const long long j = row_of_team<TEAM>();
  const Strip s = strip<TEAM>(j, N, C, S, I, whole, inverse_C, inverse_I);
  const long long c = s.channel;
  const Moments<A> statistics = moments_of_channel<T>(mean, given, rstd, c);
  Two<A> sums = {0, 0};
#pragma unroll
  for (int first = 0; first < KEPT; first += COUNT) {
    const Packs<T, VEC, TEAM, COUNT> values(x, s, first), dys(dy, s, first);
    const A scale = weight == nullptr ? rstd[c] : rstd[c] * weight[c];
    each_pack<VEC, TEAM, COUNT>(s, first, [&](int k, long long at) {
      Pack<T, VEC> out;
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        const A of_y = A(dys.at[k].at[v]);
        sums.first += of_y;
        sums.second += of_y * statistics.normalize(A(values.at[k].at[v]));
        out.at[v] = T(scale * of_y);
      }
      if (dx != nullptr) store(dx + at, out);
    });
  }
  sums = reduce<TEAM>(sums, Sum{});
  if (j < strips && lane_of_team<TEAM>() == 0) {
    sums_dy_x_hat[s.place] = sums.second;
    sums_dy[s.place] = sums.first;
  }
}

// dx = r·w·(dy - mean(dy) - x̂·mean(dy·x̂))
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    batch_norm_backward(const T* __restrict__ dy, const T* __restrict__ x, const Accumulator<T>* __restrict__ weight,
                        const Mean<T>* __restrict__ mean, const Accumulator<T>* __restrict__ rstd,
                        const Accumulator<T>* __restrict__ dweight, const Accumulator<T>* __restrict__ dbias,
                        T* __restrict__ dx, long long N, long long C, long long S, long long I, long long whole,
                        long long inverse_C, long long inverse_I, Accumulator<T> inverse_count) {
  using A = Accumulator<T>;
  constexpr int COUNT = PAIRS<VEC, KEPT>;
  const Strip s = strip<TEAM>(row_of_team<TEAM>(), N, C, S, I, whole, inverse_C, inverse_I);
#pragma unroll
  for (int first = 0; first < KEPT; first += COUNT) {
    const Packs<T, VEC, TEAM, COUNT> values(x, s, first), dys(dy, s, first);
    const long long c = s.channel;
    const A r = rstd[c], scale = weight == nullptr ? r : r * weight[c];
    const Moments<A> statistics = written_moments<A>(mean[c], r);
    const A mean_dy = dbias[c] * inverse_count, mean_dy_x_hat = dweight[c] * inverse_count;
    each_pack<VEC, TEAM, COUNT>(s, first, [&](int k, long long at) {
      Pack<T, VEC> out;
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        const A x_hat = statistics.normalize(A(values.at[k].at[v]));
        out.at[v] = T(scale * (A(dys.at[k].at[v]) - mean_dy - x_hat * mean_dy_x_hat));
      }
      store(dx + at, out);
    });
  }
}
