// Planted bugs: the emulator must report each of them.

extern "C" __global__ void missing_barrier(const float* x, float* y) {
  __shared__ float kept[64];
  kept[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = kept[63 - threadIdx.x];
}

extern "C" __global__ void missing_barrier_before_reuse(const float* x, float* y) {
  __shared__ float kept[64];
  for (int k = 0; k < 2; k++) {
    kept[threadIdx.x] = x[threadIdx.x] + k;
    __syncthreads();
    y[threadIdx.x] = kept[63 - threadIdx.x];
  }
}

extern "C" __global__ void missing_syncwarp(const float* x, float* y) {
  __shared__ float kept[32];
  kept[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = kept[threadIdx.x ^ 1];
}

extern "C" __global__ void shuffle_is_no_barrier(const float* x, float* y) {
  __shared__ float kept[32];
  kept[threadIdx.x] = x[threadIdx.x];
  float value = __shfl_xor_sync(0xffffffffu, x[threadIdx.x], 1);
  y[threadIdx.x] = kept[threadIdx.x ^ 1] + value;
}

extern "C" __global__ void syncwarp_of_other_lanes(const float* x, float* y) {
  __shared__ float kept[32];
  kept[threadIdx.x] = x[threadIdx.x];
  __syncwarp(threadIdx.x < 16 ? 0x0000ffffu : 0xffff0000u);
  y[threadIdx.x] = kept[threadIdx.x ^ 16];
}

extern "C" __global__ void many_readers_one_writer(float* y) {
  __shared__ float kept;
  if (threadIdx.x == 0) kept = 1;
  __syncthreads();
  y[threadIdx.x] = kept;
  if (threadIdx.x == 5) kept = 2;
}

extern "C" __global__ void shared_index_off_by_one(float* y) {
  __shared__ float kept[64];
  kept[threadIdx.x + 1] = 1;
  __syncthreads();
  y[threadIdx.x] = kept[threadIdx.x];
}

__device__ void put(float* kept, int i) { kept[i] = 1; }

extern "C" __global__ void shared_pointer_off_by_one(float* y) {
  __shared__ float kept[64], next[64];
  put(kept, threadIdx.x + 1);
  put(next, threadIdx.x);
  __syncthreads();
  y[threadIdx.x] = kept[threadIdx.x] + next[threadIdx.x];
}

extern "C" __global__ void dynamic_shared_too_small(float* y) {
  extern __shared__ unsigned char shared_memory[];
  float* kept = reinterpret_cast<float*>(shared_memory);
  kept[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = kept[threadIdx.x];
}

extern "C" __global__ void global_off_by_one(const float* x, float* y) { y[threadIdx.x + 1] = x[threadIdx.x]; }

extern "C" __global__ void read_before_the_start(const float* x, float* y) {
  y[threadIdx.x] = x[(int)threadIdx.x - 1];
}

extern "C" __global__ void far_away(float* y) { y[1ll << 40] = 1; }

extern "C" __global__ void null_pointer(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x]; }

extern "C" __global__ void misaligned_vector(const float* x, float* y) {
  float4 v = *reinterpret_cast<const float4*>(x + 1 + 4 * threadIdx.x);
  y[threadIdx.x] = v.x + v.y + v.z + v.w;
}

extern "C" __global__ void write_through_const(const float* x, float* y) {
  const_cast<float*>(x)[threadIdx.x] = y[threadIdx.x];
}

extern "C" __global__ void blocks_write_one_address(const float* x, float* y) {
  if (threadIdx.x == 0) y[0] = x[blockIdx.x];
}

extern "C" __global__ void blocks_read_what_one_writes(float* y) {
  if (threadIdx.x == 0) y[blockIdx.x] = y[0];
}

extern "C" __global__ void wrong_reduction_width(const float* x, float* y) {
  float value = x[threadIdx.x];
  for (int offset = 8; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  y[threadIdx.x] = value;
}

extern "C" __global__ void width_no_power_of_two(const float* x, float* y) {
  y[threadIdx.x] = __shfl_down_sync(0xffffffffu, x[threadIdx.x], 1, 24);
}

extern "C" __global__ void divergent_barrier(float* y) {
  if (threadIdx.x < 16) {
    __syncthreads();
    y[threadIdx.x] = 1;
  } else {
    __syncthreads();
  }
}

extern "C" __global__ void barrier_against_shuffle(float* y) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else if (threadIdx.x < 48) {
    y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
  } else {
    __syncthreads();
  }
}

extern "C" __global__ void lanes_in_two_intrinsics(float* y) {
  if (threadIdx.x < 16) {
    y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
  } else {
    __syncwarp();
  }
}

extern "C" __global__ void exited_lane(float* y) {
  if (threadIdx.x >= 20) return;
  y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
}

extern "C" __global__ void caller_outside_mask(float* y) {
  y[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, 1.0f, 1);
}

extern "C" __global__ void source_outside_mask(float* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_sync(0x0000ffffu, 1.0f, 16);
}

extern "C" __global__ void endless_loop(volatile int* y) {
  while (y[0] == 0) {
  }
}

extern "C" __global__ void endless_barriers(int* y) {
  while (y[0] == 0) __syncthreads();
}

__device__ int descend(volatile int* y, int depth) {
  volatile int frame[64];
  frame[depth % 64] = depth;
  return descend(y, depth + 1) + frame[depth % 64];
}

extern "C" __global__ void deep_recursion(int* y) { y[0] = descend(y, 0); }

extern "C" __global__ void signed_overflow(int* y) { y[0] = y[0] * y[0]; }

extern "C" __global__ void division_by_zero(int* y) { y[0] = 7 / y[1]; }

extern "C" __global__ void shift_too_far(int* y) { y[0] = 1 << y[0]; }

extern "C" __global__ void failed_assertion(int* y) { assert(y[threadIdx.x] < 0); }
