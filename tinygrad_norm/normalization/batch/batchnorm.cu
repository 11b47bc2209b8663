// Batch normalization of x (N, C, S): all values of one channel are a pool, which is too large for one block.
//
// Owner         x is cut into strips: parts of one channel that are short enough to stay in registers. If S is
//               large, a strip is a part of the S positions of one sample, and a team of 8 to 256 threads
//               has it. If S is small, a strip is one position of KEPT samples, and one thread has it (TEAM =
//               1): neighbouring threads have neighbouring positions, so a warp still reads 128 bytes at once.
// Forward       strip_moments reads x, batch_norm_moments combines the strips of a channel,
//               fixed_norm_forward reads x and writes y: 3 values per entry. Evaluation runs only the last.
// Backward      strip_sums reads x and dy, column_sums adds the sums of the strips, batch_norm_backward reads
//               x and dy and writes dx: 5 values per entry.
// Guard         strips and channels whose squares overflow or underflow are scaled, as in moments.cuh. The
//               variance of a strip is written as its root, which does neither.
// Order         strip j = (o·C + c)·I + i has channel c; (O, I) is (N, pieces), or (chunks of samples, S).
// Accumulation  float; double for double. All but x, y, dy and dx have that type.

struct Strip {
  long long start, length, stride, channel;
};

template <int VEC, int TEAM, int KEPT>
__device__ __forceinline__ Strip strip(long long j, long long N, long long C, long long S) {
  if constexpr (TEAM == 1) {
    const long long columns = C * S, sample = j / columns * KEPT, column = j % columns;
    return {sample * columns + column, sample < N ? min((long long)KEPT, N - sample) : 0, columns, column / S};
  } else {
    constexpr long long LENGTH = VEC * TEAM * KEPT;
    const long long pieces = (S + LENGTH - 1) / LENGTH, row = j / pieces, first = j % pieces * LENGTH;
    return {row * S + first, row < N * C ? min(LENGTH, S - first) : 0, 1, row % C};
  }
}

// Call f(k, pack index) for every pack of this thread in its strip.
template <int VEC, int TEAM, int KEPT, class F>
__device__ __forceinline__ void each_pack(const Strip& s, F f) {
#pragma unroll
  for (int k = 0; k < KEPT; k++) {
    const long long i = (k * TEAM + lane_of_team<TEAM>()) * VEC;
    if (i < s.length) f(k, s.start + i * s.stride);
  }
}

// means = mean of the strip, deviations = √(Σ (x - mean of the strip)²/n), where n counts the whole channel.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    strip_moments(const T* __restrict__ x, Accumulator<T>* __restrict__ means, Accumulator<T>* __restrict__ deviations,
                  long long N, long long C, long long S, long long strips, Accumulator<T> inverse_count) {
  using A = Accumulator<T>;
  const long long j = row_of_team<TEAM>();
  const Strip s = strip<VEC, TEAM, KEPT>(j, N, C, S);
  const A first = s.length > 0 ? A(x[s.start]) : A(0), inverse_length = A(1) / A(s.length);
  Pack<T, VEC> kept[KEPT];
  each_pack<VEC, TEAM, KEPT>(s, [&](int k, long long at) { kept[k] = load<VEC>(x + at); });
  A scale = 1, mean, var;
  for (bool again = false;; again = true) {
    const A shift = first * scale;
    A sum = 0, var_of_thread = 0;
    each_pack<VEC, TEAM, KEPT>(s, [&](int k, long long) {
#pragma unroll
      for (int v = 0; v < VEC; v++) sum += (A(kept[k].at[v]) * scale - shift) * inverse_length;
    });
    mean = shift + reduce<TEAM>(sum, Sum{});
    each_pack<VEC, TEAM, KEPT>(s, [&](int k, long long) {
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        const A centered = A(kept[k].at[v]) * scale - mean;
        var_of_thread += centered * (centered * inverse_count);
      }
    });
    var = reduce<TEAM>(var_of_thread, Sum{});
    if (again || !rescale<TEAM>(var, mean, A(0), scale)) break;
  }
  if (j < strips && lane_of_team<TEAM>() == 0) {
    const Moments<A> statistics = {scale, mean, var, A(0)};
    means[j] = statistics.mean_of_row();
    deviations[j] = statistics.unscaled(sqrt(var));
  }
}

// The mean of a channel is the weighted mean of its strips' means. Its variance is the variance within the
// strips plus the variance of their means. A block of 256 threads has a channel; `outer` and `inner` are O and I.
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(256, 1)
    batch_norm_moments(const Accumulator<T>* __restrict__ means, const Accumulator<T>* __restrict__ deviations,
                       Accumulator<T>* __restrict__ mean, Accumulator<T>* __restrict__ var,
                       Accumulator<T>* __restrict__ rstd, long long N, long long C, long long S, long long outer,
                       long long inner, Accumulator<T> inverse_count, Accumulator<T> eps) {
  using A = Accumulator<T>;
  const long long c = blockIdx.x;
  A scale = 1, m, v;
  for (bool again = false;; again = true) {
    const A shift = means[c * inner] * scale;
    A sum = 0, var_of_thread = 0;
    for (long long k = threadIdx.x; k < outer * inner; k += 256) {
      const long long j = (k / inner * C + c) * inner + k % inner;
      sum += (means[j] * scale - shift) * (A(strip<VEC, TEAM, KEPT>(j, N, C, S).length) * inverse_count);
    }
    m = shift + reduce<256>(sum, Sum{});
    for (long long k = threadIdx.x; k < outer * inner; k += 256) {
      const long long j = (k / inner * C + c) * inner + k % inner;
      const A centered = means[j] * scale - m, within = deviations[j] * scale;
      const A between = centered * (centered * (A(strip<VEC, TEAM, KEPT>(j, N, C, S).length) * inverse_count));
      var_of_thread += within * within + between;
    }
    v = reduce<256>(var_of_thread, Sum{});
    if (again || !rescale<256>(v, m, eps, scale)) break;
  }
  if (threadIdx.x == 0) {
    const Moments<A> statistics = {scale, m, v, inverse_root(v + eps * scale * scale)};
    mean[c] = statistics.mean_of_row();
    var[c] = statistics.var_of_row();
    rstd[c] = statistics.rstd_of_row();
  }
}

// y = (x - m)·r·w + b with given statistics
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    fixed_norm_forward(const T* __restrict__ x, const Accumulator<T>* __restrict__ weight,
                       const Accumulator<T>* __restrict__ bias, const Accumulator<T>* __restrict__ mean,
                       const Accumulator<T>* __restrict__ rstd, T* __restrict__ y, long long N, long long C,
                       long long S) {
  using A = Accumulator<T>;
  const Strip s = strip<VEC, TEAM, KEPT>(row_of_team<TEAM>(), N, C, S);
  const Moments<A> statistics = written_moments(mean[s.channel], rstd[s.channel]);
  const A w = weight == nullptr ? A(1) : weight[s.channel], b = bias == nullptr ? A(0) : bias[s.channel];
  each_pack<VEC, TEAM, KEPT>(s, [&](int, long long at) {
    const Pack<T, VEC> values = load<VEC>(x + at);
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) out.at[v] = T(statistics.normalize(A(values.at[v])) * w + b);
    store(y + at, out);
  });
}

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    strip_sums(const T* __restrict__ dy, const T* __restrict__ x, const Accumulator<T>* __restrict__ mean,
               const Accumulator<T>* __restrict__ rstd, Accumulator<T>* __restrict__ sums_dy_x_hat,
               Accumulator<T>* __restrict__ sums_dy, long long N, long long C, long long S, long long strips) {
  using A = Accumulator<T>;
  const long long j = row_of_team<TEAM>();
  const Strip s = strip<VEC, TEAM, KEPT>(j, N, C, S);
  const Moments<A> statistics = written_moments(mean[s.channel], rstd[s.channel]);
  Two<A> sums = {0, 0};
  each_pack<VEC, TEAM, KEPT>(s, [&](int, long long at) {
    const Pack<T, VEC> values = load<VEC>(x + at), dys = load<VEC>(dy + at);
#pragma unroll
    for (int v = 0; v < VEC; v++) {
      sums.first += A(dys.at[v]);
      sums.second += A(dys.at[v]) * statistics.normalize(A(values.at[v]));
    }
  });
  sums = reduce<TEAM>(sums, Sum{});
  if (j < strips && lane_of_team<TEAM>() == 0) {
    sums_dy_x_hat[j] = sums.second;
    sums_dy[j] = sums.first;
  }
}

// dx = r·w·(dy - mean(dy) - x̂·mean(dy·x̂)); without dweight and dbias, statistics are constant: r·w·dy
template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    batch_norm_backward(const T* __restrict__ dy, const T* __restrict__ x, const Accumulator<T>* __restrict__ weight,
                        const Accumulator<T>* __restrict__ mean, const Accumulator<T>* __restrict__ rstd,
                        const Accumulator<T>* __restrict__ dweight, const Accumulator<T>* __restrict__ dbias,
                        T* __restrict__ dx, long long N, long long C, long long S, Accumulator<T> inverse_count) {
  using A = Accumulator<T>;
  const Strip s = strip<VEC, TEAM, KEPT>(row_of_team<TEAM>(), N, C, S);
  const bool constant = dweight == nullptr;
  const A r = rstd[s.channel], w = weight == nullptr ? A(1) : weight[s.channel];
  const Moments<A> statistics = written_moments(mean[s.channel], r);
  const A mean_dy = constant ? A(0) : dbias[s.channel] * inverse_count;
  const A mean_dy_x_hat = constant ? A(0) : dweight[s.channel] * inverse_count;
  each_pack<VEC, TEAM, KEPT>(s, [&](int, long long at) {
    const Pack<T, VEC> values = constant ? Pack<T, VEC>{} : load<VEC>(x + at), dys = load<VEC>(dy + at);
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) {
      out.at[v] = T(r * w * (A(dys.at[v]) - mean_dy - statistics.normalize(A(values.at[v])) * mean_dy_x_hat));
    }
    store(dx + at, out);
  });
}
