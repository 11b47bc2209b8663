// Group normalization of x (N, G, C/G, S): the C/G·S values of one group of one sample are a pool.
//
// Owner         forward: a team of 8 to 512 threads has a pool. Backward: a block of 256 threads has a
//               pool, and teams of 32 or 256 of its threads go through the channels of the group.
// Forward       reads x once, writes y once: 2 values per entry.
// Backward      reads x and dy, writes dx: 3 values per entry; x and dy are read a second time by the same
//               threads, from the cache. Also writes Σ dy·x̂ and Σ dy of every channel of every sample;
//               column_sums adds them over the samples.
// Order         mean(g) is subtracted last, as in layernorm.cu.
// inverse_count 1/(C/G·S).
// Accumulation  float; double for double. All but x, y, dy and dx have that type.

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, 1)
    group_norm_forward(const T* __restrict__ x, const Accumulator<T>* __restrict__ weight,
                       const Accumulator<T>* __restrict__ bias, T* __restrict__ y, Accumulator<T>* __restrict__ mean,
                       Accumulator<T>* __restrict__ rstd, long long pools, long long G, long long channels, long long S,
                       Accumulator<T> inverse_count, Accumulator<T> eps, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  const long long n = row_of_team<TEAM>(), D = channels * S, first_channel = n % G * channels;
  const Row<T, VEC, TEAM, KEPT> row(x + n * D, n < pools ? D : 0,
                                    keep ? reinterpret_cast<T*>(shared_memory) : nullptr);
  const Moments<A> of_pool = moments(row, x + n * D, inverse_count, eps);
  row.each_pack([&](int, long long i, const Pack<T, VEC>& values) {
    const long long c = first_channel + i / S;  // the same for the whole pack: VEC divides S
    const A w = weight == nullptr ? A(1) : weight[c], b = bias == nullptr ? A(0) : bias[c];
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) out.at[v] = T(of_pool.normalize(A(values.at[v])) * w + b);
    store(y + n * D + i, out);
  });
  if (n < pools && lane_of_team<TEAM>() == 0) {
    mean[n] = of_pool.mean_of_row();
    rstd[n] = of_pool.rstd_of_row();
  }
}

// dx = r·(g - x̂·mean(g·x̂) - mean(g)) with g = w·dy
template <class T, int VEC, int TEAM>
__global__ void __launch_bounds__(256, 1)
    group_norm_backward(const T* __restrict__ dy, const T* __restrict__ x, const Accumulator<T>* __restrict__ weight,
                        const Accumulator<T>* __restrict__ mean, const Accumulator<T>* __restrict__ rstd,
                        T* __restrict__ dx, Accumulator<T>* __restrict__ sums_dy_x_hat,
                        Accumulator<T>* __restrict__ sums_dy, long long G, long long channels, long long S,
                        Accumulator<T> inverse_count) {
  using A = Accumulator<T>;
  constexpr int TEAMS = 256 / TEAM;
  const long long pool = blockIdx.x, first_channel = pool % G * channels;
  const int team = team_of_block<TEAM>(), lane = lane_of_team<TEAM>();
  const A r = rstd[pool];
  const Moments<A> moments = written_moments(mean[pool], r);
  Two<A> of_pool = {0, 0};
  for (long long first = 0; first < channels; first += TEAMS) {
    const long long c = first + team, start = (pool * channels + c) * S;
    Two<A> sums = {0, 0};
    if (c < channels) {
#pragma unroll 4
      for (long long i = lane * VEC; i < S; i += TEAM * VEC) {
        const Pack<T, VEC> values = load<VEC>(x + start + i), dys = load<VEC>(dy + start + i);
#pragma unroll
        for (int v = 0; v < VEC; v++) {
          sums.first += A(dys.at[v]);
          sums.second += A(dys.at[v]) * moments.normalize(A(values.at[v]));
        }
      }
    }
    sums = reduce<TEAM>(sums, Sum{});
    if (c < channels && lane == 0) {
      const A w = weight == nullptr ? A(1) : weight[first_channel + c];
      of_pool.first += w * sums.first;
      of_pool.second += w * sums.second;
      sums_dy[pool * channels + c] = sums.first;
      sums_dy_x_hat[pool * channels + c] = sums.second;
    }
  }
  of_pool = reduce<256>(of_pool, Sum{});
  const A mean_g = of_pool.first * inverse_count, mean_g_x_hat = of_pool.second * inverse_count;
  for (long long c = team; c < channels; c += TEAMS) {
    const long long start = (pool * channels + c) * S;
    const A w = weight == nullptr ? A(1) : weight[first_channel + c];
#pragma unroll 4
    for (long long i = lane * VEC; i < S; i += TEAM * VEC) {
      const Pack<T, VEC> values = load<VEC>(x + start + i), dys = load<VEC>(dy + start + i);
      Pack<T, VEC> out;
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        const A x_hat = moments.normalize(A(values.at[v]));
        out.at[v] = T(r * (w * A(dys.at[v]) - x_hat * mean_g_x_hat - mean_g));
      }
      store(dx + start + i, out);
    }
  }
}
