// Correct kernels: the emulator must compute correct results under every schedule, plain and checked.

template <class T>
__device__ T warp_sum(T value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

template <class T, int THREADS>
__device__ T block_sum(T value, T* partial) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  value = warp_sum(value);
  __syncthreads();  // the previous sum may still be read
  if (lane == 0) partial[warp] = value;
  __syncthreads();
  return warp_sum(lane < THREADS / 32 ? partial[lane] : T(0));
}

template <class T, int THREADS>
__global__ void __launch_bounds__(THREADS) row_sum(const T* __restrict__ x, T* __restrict__ y, int D) {
  __shared__ T partial[32];
  T sum = 0;
  for (int i = threadIdx.x; i < D; i += THREADS) sum += x[(long long)blockIdx.x * D + i];
  sum = block_sum<T, THREADS>(sum, partial);
  if (threadIdx.x == 0) y[blockIdx.x] = sum;
}

extern "C" __global__ void transpose(const float* x, float* y, int rows, int columns) {
  __shared__ float tile[32][33];
  int column = blockIdx.x * 32 + threadIdx.x, row = blockIdx.y * 32 + threadIdx.y;
  for (int k = 0; k < 32; k += blockDim.y) {
    if (row + k < rows && column < columns) tile[threadIdx.y + k][threadIdx.x] = x[(row + k) * columns + column];
  }
  __syncthreads();
  column = blockIdx.y * 32 + threadIdx.x, row = blockIdx.x * 32 + threadIdx.y;
  for (int k = 0; k < 32; k += blockDim.y) {
    if (row + k < columns && column < rows) y[(row + k) * rows + column] = tile[threadIdx.x][threadIdx.y + k];
  }
}

// The row is kept in dynamic shared memory; first the mean, then the variance of the kept values.
extern "C" __global__ void layer_norm(const float* x, const float* weight, const float* bias, float* y, int D,
                                      float eps) {
  extern __shared__ unsigned char shared_memory[];
  float* row = reinterpret_cast<float*>(shared_memory);
  __shared__ float partial[32];
  const long long start = (long long)blockIdx.x * D;
  float sum = 0, square = 0;
  for (int i = threadIdx.x; i < D; i += 128) sum += row[i] = x[start + i];
  float mean = block_sum<float, 128>(sum, partial) / D;
  for (int i = threadIdx.x; i < D; i += 128) square += (row[i] - mean) * (row[i] - mean);
  float rstd = rsqrtf(block_sum<float, 128>(square, partial) / D + eps);
  for (int i = threadIdx.x; i < D; i += 128) {
    float affine = weight ? __ldg(weight + i) : 1.0f;
    y[start + i] = (row[i] - mean) * rstd * affine + (bias ? bias[i] : 0.0f);
  }
}

// Eight lanes share a row; each group synchronizes by itself.
extern "C" __global__ void sum_of_eight(const int* x, int* y) {
  __shared__ int kept[32];
  unsigned mask = 0xffu << (threadIdx.x / 8 * 8);
  kept[threadIdx.x] = x[threadIdx.x];
  __syncwarp(mask);
  int neighbour = kept[threadIdx.x ^ 1];
  __syncwarp(mask);
  kept[threadIdx.x] = neighbour;
  int value = neighbour;
  for (int delta = 4; delta > 0; delta /= 2) value += __shfl_down_sync(mask, value, delta, 8);
  y[threadIdx.x] = __shfl_sync(mask, value, 0, 8);
}

extern "C" __global__ void shuffles(const int* x, int* y) {
  int lane = threadIdx.x, value = x[lane];
  y[lane] = __shfl_up_sync(0xffffffffu, value, 3);
  y[32 + lane] = __shfl_down_sync(0xffffffffu, value, 3, 16);
  y[64 + lane] = __shfl_xor_sync(0xffffffffu, value, 5);
  y[96 + lane] = __shfl_sync(0xffffffffu, value, 35);
  y[128 + lane] = int(__shfl_xor_sync(0xffffffffu, double(value), 1) + __shfl_sync(0xffffffffu, (long long)value, 0));
}

extern "C" __global__ void votes(const int* x, int* y) {
  bool odd = x[threadIdx.x] % 2;
  int count = __syncthreads_count(odd), any = __syncthreads_or(odd), all = __syncthreads_and(odd);
  unsigned ballot = __ballot_sync(0xffffffffu, odd);
  int warp_any = __any_sync(0xffffffffu, odd), warp_all = __all_sync(0xffffffffu, odd);
  if (threadIdx.x % 32 == 0) {
    int* row = y + threadIdx.x / 32 * 6;
    row[0] = count, row[1] = any, row[2] = all;
    row[3] = int(ballot), row[4] = warp_any, row[5] = warp_all;
  }
}

// Structs that do not fit a vector load and are moved in pieces.
struct Pair {
  float first, second;
};
struct Triple {
  short a, b, c;
};

extern "C" __global__ void copy_structs(const float* x, float* y, const short* s, short* t) {
  reinterpret_cast<Pair*>(y + 1)[threadIdx.x] = reinterpret_cast<const Pair*>(x + 1)[threadIdx.x];
  reinterpret_cast<Triple*>(t)[threadIdx.x] = reinterpret_cast<const Triple*>(s)[threadIdx.x];
  float3 v = reinterpret_cast<const float3*>(x)[0];
  if (threadIdx.x == 0) y[0] = v.x + v.y + v.z;
}

extern "C" __global__ void scale_vectors(const float4* x, float4* y, const double2* a, double2* b, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float4 v = x[i];
  y[i] = make_float4(2 * v.x, 2 * v.y, 2 * v.z, 2 * v.w);
  b[i] = make_double2(a[i].y, a[i].x);
}

// Half of the block returns before the barrier, which then waits only for the other half.
extern "C" __global__ void leave_early(int* y) {
  __shared__ int kept[32];
  if (threadIdx.x >= 32) return;
  kept[threadIdx.x] = threadIdx.x;
  __syncthreads();
  y[threadIdx.x] = kept[31 - threadIdx.x];
}

extern "C" __global__ void scalars(double* y, bool b, int i, unsigned u, long long l, float f, double d) {
  double values[6] = {double(b), double(i), double(u), double(l), double(f), d};
  for (int k = 0; k < 6; k++) y[k] = values[k];
}

extern "C" __global__ void add_in_place(const float* x, float* y) { y[threadIdx.x] += x[threadIdx.x]; }

__constant__ float table[4] = {1, 2, 4, 8};

extern "C" __global__ void look_up(const int* x, float* y) { y[threadIdx.x] = table[x[threadIdx.x]]; }

// Accesses of two bytes and one byte, next to those of other threads, are not a race.
extern "C" __global__ void small_elements(const short* x, short* y, signed char* z) {
  extern __shared__ unsigned char shared_memory[];
  short* kept = reinterpret_cast<short*>(shared_memory);
  kept[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = kept[threadIdx.x ^ 1];
  z[threadIdx.x] = (signed char)x[threadIdx.x];
}

// Shows the order in which threads run, through a race; only for plain mode.
extern "C" __global__ void order_of_threads(volatile int* next, int* blocks, int* threads) {
  int ticket = next[0];
  next[0] = ticket + 1;
  blocks[ticket] = blockIdx.x;
  threads[ticket] = threadIdx.x;
}
