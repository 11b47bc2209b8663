// Layer normalization forward in four versions, each faster than the previous. All read x (N, D), weight and
// bias (D,) and write y (N, D), in float; D is a multiple of 4.
//
// naive       one row per thread. Neighbouring threads read addresses D apart, so only 4 of every 32 bytes
//             loaded from memory are used; and the row is read three times.
// shared      one row per block, kept in shared memory: it is read once, neighbouring threads from
//             neighbouring addresses. Sums use shared memory too, with a barrier after every halving.
// shuffled    one row per warp. Lanes exchange sums directly: no shared memory, no barriers.
// vectorized  the same, but a lane reads 16 bytes at a time and keeps them in registers, so the row is read
//             once, with a quarter of the load instructions.

__global__ void naive(const float* x, const float* weight, const float* bias, float* y, long long N,
                                 long long D, float eps) {
  const long long n = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (n >= N) return;
  float mean = 0, var = 0;
  for (long long i = 0; i < D; i++) mean += x[n * D + i];
  mean /= D;
  for (long long i = 0; i < D; i++) var += (x[n * D + i] - mean) * (x[n * D + i] - mean);
  const float rstd = rsqrtf(var / D + eps);
  for (long long i = 0; i < D; i++) y[n * D + i] = (x[n * D + i] - mean) * rstd * weight[i] + bias[i];
}

// The sum over a block of 128 threads: in each round, the first half adds the values of the second half.
__device__ float sum_of_block(float value, float* scratch) {
  scratch[threadIdx.x] = value;
  __syncthreads();
  for (int half = 64; half > 0; half /= 2) {
    if (threadIdx.x < half) scratch[threadIdx.x] += scratch[threadIdx.x + half];
    __syncthreads();
  }
  const float sum = scratch[0];
  __syncthreads();  // scratch will be reused
  return sum;
}

__global__ void shared(const float* x, const float* weight, const float* bias, float* y, long long N,
                                  long long D, float eps) {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  __shared__ float scratch[128];
  float* const row = reinterpret_cast<float*>(shared_memory);
  const long long n = blockIdx.x;
  float sum = 0, square = 0;
  for (long long i = threadIdx.x; i < D; i += 128) sum += row[i] = x[n * D + i];
  const float mean = sum_of_block(sum, scratch) / D;
  for (long long i = threadIdx.x; i < D; i += 128) square += (row[i] - mean) * (row[i] - mean);
  const float rstd = rsqrtf(sum_of_block(square, scratch) / D + eps);
  for (long long i = threadIdx.x; i < D; i += 128) y[n * D + i] = (row[i] - mean) * rstd * weight[i] + bias[i];
}

// The sum over a warp: every lane adds the values of the lanes 16, 8, 4, 2, 1 away; all get the same sum.
__device__ float sum_of_warp(float value) {
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
  return value;
}

__global__ void shuffled(const float* x, const float* weight, const float* bias, float* y, long long N,
                                    long long D, float eps) {
  const int lane = threadIdx.x % 32;
  const long long n = (long long)blockIdx.x * 4 + threadIdx.x / 32;
  if (n >= N) return;  // whole warps return, so no lane waits for one that has returned
  float sum = 0, square = 0;
  for (long long i = lane; i < D; i += 32) sum += x[n * D + i];
  const float mean = sum_of_warp(sum) / D;
  for (long long i = lane; i < D; i += 32) square += (x[n * D + i] - mean) * (x[n * D + i] - mean);
  const float rstd = rsqrtf(sum_of_warp(square) / D + eps);
  for (long long i = lane; i < D; i += 32) y[n * D + i] = (x[n * D + i] - mean) * rstd * weight[i] + bias[i];
}

// A lane keeps KEPT float4 in registers: rows of up to 128·KEPT values.
template <int KEPT>
__global__ void vectorized(const float4* x, const float4* weight, const float4* bias, float4* y, long long N,
                           long long D, float eps) {
  const int lane = threadIdx.x % 32;
  const long long n = (long long)blockIdx.x * 4 + threadIdx.x / 32, packs = D / 4;
  if (n >= N) return;
  float4 kept[KEPT];
  float sum = 0, square = 0;
#pragma unroll
  for (int k = 0; k < KEPT; k++) {
    const long long i = k * 32 + lane;
    kept[k] = i < packs ? x[n * packs + i] : make_float4(0, 0, 0, 0);
    sum += kept[k].x + kept[k].y + kept[k].z + kept[k].w;
  }
  const float mean = sum_of_warp(sum) / D;
#pragma unroll
  for (int k = 0; k < KEPT; k++) {
    if (k * 32 + lane >= packs) continue;
    const float4 v = make_float4(kept[k].x - mean, kept[k].y - mean, kept[k].z - mean, kept[k].w - mean);
    square += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  }
  const float rstd = rsqrtf(sum_of_warp(square) / D + eps);
#pragma unroll
  for (int k = 0; k < KEPT; k++) {
    const long long i = k * 32 + lane;
    if (i >= packs) continue;
    const float4 v = kept[k], w = weight[i], b = bias[i];
    y[n * packs + i] = make_float4((v.x - mean) * rstd * w.x + b.x, (v.y - mean) * rstd * w.y + b.y,
                                   (v.z - mean) * rstd * w.z + b.z, (v.w - mean) * rstd * w.w + b.w);
  }
}
