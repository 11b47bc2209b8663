// Group normalization of x (N, G, C/G, S): the C/G·S values of one group of one sample are a pool.
//
// Owner         a team of 8 to 512 threads (backward: 32 to 1024) has a pool; a block has 1 to 16 teams.
// Forward       reads x once, writes y once: 2 values per entry.
// Backward      reads x and dy once into shared memory, writes dx: 3 values per entry; 5 if a pool does not fit.
//               Also writes Σ dy·x̂ and Σ dy of every channel of every sample; column_sums adds them over the
//               samples. Groups of 1 to 1024 lanes go through the channels of a pool.
// Order         mean(g) is subtracted last, as in layernorm.cu.
// inverse_count 1/(C/G·S).
// Accumulation  float; double for double. All but x, y, dy, dx and means have that type; means are Mean<T>.

template <class T, int VEC, int TEAM, int KEPT>
__global__ void __launch_bounds__(BLOCK<TEAM>, RESIDENT_OF_POOLS<T, BLOCK<TEAM>>)
    group_norm_forward(const T* __restrict__ x, const Accumulator<T>* __restrict__ weight,
                       const Accumulator<T>* __restrict__ bias, T* __restrict__ y, Mean<T>* __restrict__ mean,
                       Accumulator<T>* __restrict__ rstd, long long pools, long long G, long long channels, long long S,
                       long long inverse_G, long long inverse_S, Accumulator<T> inverse_count, Accumulator<T> eps,
                       bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  const long long n = row_of_team<TEAM>(), D = channels * S;
  const Row<T, VEC, TEAM, KEPT> row(x + n * D, n < pools ? D : 0,
                                    keep ? reinterpret_cast<T*>(shared_memory) : nullptr);
  const Moments<A> of_pool = moments(row, x + n * D, inverse_count, eps);
  if (n < pools && lane_of_team<TEAM>() == 0) {
    mean[n] = mean_of_row<Mean<T>>(of_pool);
    rstd[n] = of_pool.rstd_of_row();
  }
  const long long first_channel = (n - quotient(n, inverse_G) * G) * channels;
  // Weight and bias of the channel that a pack lies in: VEC divides S.
  auto affine = [&](long long i) {
    const long long c = first_channel + quotient<KEPT>(i, inverse_S);
    return Two<A>{weight == nullptr ? A(1) : weight[c], bias == nullptr ? A(0) : bias[c]};
  };
  auto write = [&](long long i, const Pack<T, VEC>& values, Two<A> weight_and_bias) {
    Pack<T, VEC> out;
#pragma unroll
    for (int v = 0; v < VEC; v++) {
      out.at[v] = T(of_pool.normalize(A(values.at[v])) * weight_and_bias.first + weight_and_bias.second);
    }
    store(y + n * D + i, out);
  };
  if constexpr (KEPT == 0) {
    row.each_pack([&](int, long long i, const Pack<T, VEC>& values) { write(i, values, affine(i)); });
  } else {
    constexpr int COUNT = KEPT * VEC > 16 && sizeof(T) >= 4 ? 1 : KEPT;  // as many as registers can hold
#pragma unroll
    for (int first = 0; first < KEPT; first += COUNT) {
      Two<A> of_packs[COUNT];
#pragma unroll
      for (int k = 0; k < COUNT; k++) {
        const long long i = row.index(first + k);
        of_packs[k] = i < row.D ? affine(i) : Two<A>{1, 0};
      }
#pragma unroll
      for (int k = 0; k < COUNT; k++) {
        const long long i = row.index(first + k);
        if (i < row.D) write(i, row.pack(first + k, i), of_packs[k]);
      }
    }
  }
}

template <int TEAM>
__device__ __forceinline__ void synchronize_team() {
  if constexpr (TEAM > 32) {
    __syncthreads();
  } else {
    __syncwarp();
  }
}

// dx = r·(g - x̂·mean(g·x̂) - mean(g)) with g = w·dy. `lanes`, a power of two, go through a channel.
template <class T, int VEC, int TEAM>
__global__ void __launch_bounds__(BLOCK<TEAM>, RESIDENT_OF_POOLS<T, BLOCK<TEAM>>)
    group_norm_backward(const T* __restrict__ dy, const T* __restrict__ x, const Accumulator<T>* __restrict__ weight,
                        const Mean<T>* __restrict__ mean, const Accumulator<T>* __restrict__ rstd,
                        T* __restrict__ dx, Accumulator<T>* __restrict__ sums_dy_x_hat,
                        Accumulator<T>* __restrict__ sums_dy, long long pools, long long G, long long channels,
                        long long S, long long inverse_G, long long inverse_S, long long lanes,
                        Accumulator<T> inverse_count, bool keep) {
  using A = Accumulator<T>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  __shared__ Two<A> of_warp[BLOCK<TEAM> / 32];
  const long long n = row_of_team<TEAM>(), D = channels * S, values_here = n < pools ? D : 0;
  const long long channels_here = n < pools ? channels : 0;
  const long long first_channel = (n - quotient(n, inverse_G) * G) * channels;
  const A r = broadcast<TEAM>(load_first<TEAM>(rstd + n, n < pools));
  const Moments<A> moments = written_moments<A>(broadcast<TEAM>(load_first<TEAM>(mean + n, n < pools)), r);
  const int group = lane_of_team<TEAM>() / int(lanes), lane = lane_of_team<TEAM>() % int(lanes);

  // What follows the copy, for rows in shared memory or not: the compiler knows which.
  auto differentiate = [&](const T* x_row, const T* dy_row) {
    Two<A> of_pool = {0, 0};
    for (long long first = 0; first < channels; first += TEAM / int(lanes)) {
      const long long c = first + group;
      Two<A> sums = {0, 0};
      if (c < channels_here) {
#pragma unroll 4
        for (long long i = lane * VEC; i < S; i += lanes * VEC) {
          const Pack<T, VEC> values = load<VEC>(x_row + c * S + i), dys = load<VEC>(dy_row + c * S + i);
#pragma unroll
          for (int v = 0; v < VEC; v++) {
            sums.first += A(dys.at[v]);
            sums.second += A(dys.at[v]) * moments.normalize(A(values.at[v]));
          }
        }
      }
      for (int distance = int(min(lanes, 32LL)) / 2; distance > 0; distance /= 2) {
        sums = Sum{}(sums, from_lane(sums, distance));
      }
      if (TEAM > 32 && lanes > 32) {
        __syncthreads();  // the previous sums may still be read
        if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = sums;
        __syncthreads();
        sums = of_warp[group * (lanes / 32)];
        for (int other = 1; other < lanes / 32; other++) sums = Sum{}(sums, of_warp[group * (lanes / 32) + other]);
      }
      if (c < channels_here && lane == 0) {
        const A w = weight == nullptr ? A(1) : weight[first_channel + c];
        of_pool.first += w * sums.first;
        of_pool.second += w * sums.second;
        sums_dy[n * channels + c] = sums.first;
        sums_dy_x_hat[n * channels + c] = sums.second;
      }
    }
    of_pool = reduce<TEAM>(of_pool, Sum{});
    const A mean_g = of_pool.first * inverse_count, mean_g_x_hat = of_pool.second * inverse_count;
#pragma unroll 4
    for (long long i = lane_of_team<TEAM>() * VEC; i < values_here; i += TEAM * VEC) {
      const Pack<T, VEC> values = load<VEC>(x_row + i), dys = load<VEC>(dy_row + i);
      const A w = weight == nullptr ? A(1) : weight[first_channel + quotient(i, inverse_S)];
      Pack<T, VEC> out;
#pragma unroll
      for (int v = 0; v < VEC; v++) {
        const A x_hat = moments.normalize(A(values.at[v]));
        out.at[v] = T(r * (w * A(dys.at[v]) - x_hat * mean_g_x_hat - mean_g));
      }
      store(dx + n * D + i, out);
    }
  };

  if (keep) {
    T* const kept = reinterpret_cast<T*>(shared_memory) + team_of_block<TEAM>() * 2 * D;
#pragma unroll 4
    for (long long i = lane_of_team<TEAM>() * VEC; i < values_here; i += TEAM * VEC) {
      const Pack<T, VEC> values = load<VEC>(x + n * D + i), dys = load<VEC>(dy + n * D + i);
      store(kept + i, values);
      store(kept + D + i, dys);
    }
    synchronize_team<TEAM>();
    differentiate(kept, kept + D);
  } else {
    differentiate(x + n * D, dy + n * D);
  }
}
