"""Find the mistake: a LayerNorm kernel that is right nearly always.

    x (N, D)   m = mean(x)   v = mean((x - m)²)   y = (x - m)/√(v + eps)   each row by itself, y (N, D)

KERNEL is wrong: find the mistake and mend it. One line has to change.

Block n of 128 threads, 4 warps, normalizes row n. A thread adds up every 128th value, the lanes of a warp
exchange their sums by shuffles, and the warps through shared memory. This is done twice: for the mean, and
for the variance.

On a GPU the result of this kernel is right, launch after launch, until one day it is not. The numbers cannot
be trusted to show such a mistake. So the check runs it in the emulator's checked mode, which reports any two
accesses that nothing keeps in order, whatever their order was this time. Read the report: which two lines,
which memory? Then think of two warps, one as fast and one as slow as possible. What has the slow one not read
yet when the fast one writes?
"""

import numpy as np

from tinygrad_norm.backends import emulator

from .exercise import Exercise

KERNEL = r"""
// The sum over the block, for all of its threads. of_warp has one value per warp.
__device__ float sum_of_block(float value, float* of_warp) {
  for (int k = 16; k > 0; k /= 2) value += __shfl_xor_sync(0xffffffffu, value, k);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  // begin solution
  const float sum = of_warp[0] + of_warp[1] + of_warp[2] + of_warp[3];
  __syncthreads();
  // begin bug
  // const float sum = of_warp[0] + of_warp[1] + of_warp[2] + of_warp[3];
  // __syncwarp();
  // end solution
  return sum;
}

__global__ void layer_norm(const float* x, float* y, int D, float eps) {
  __shared__ float of_warp[4];
  x += blockIdx.x * D;
  y += blockIdx.x * D;
  float sum = 0, square = 0;
  for (int i = threadIdx.x; i < D; i += 128) sum += x[i];
  const float m = sum_of_block(sum, of_warp) / D;
  for (int i = threadIdx.x; i < D; i += 128) square += (x[i] - m) * (x[i] - m);
  const float r = rsqrtf(sum_of_block(square, of_warp) / D + eps);
  for (int i = threadIdx.x; i < D; i += 128) y[i] = (x[i] - m) * r;
}
"""
module = emulator.RawModule(code=KERNEL, name_expressions=("layer_norm",))


def forward(x: np.ndarray) -> np.ndarray:
    """Return y (N, D), for x (N, D), in float32."""
    N, D = x.shape
    on_device, y = emulator.asarray(x.astype(np.float32)), emulator.empty((N, D), np.float32)
    kernel = module.get_function("layer_norm")
    kernel((N,), (128,), (on_device, y, np.int32(D), np.float32(1e-5)))
    return emulator.asnumpy(y)


EXERCISE = Exercise(
    name="planted_kernel",
    title="find the mistake: a kernel that is right nearly always",
    level=4,
    hints=(
        "The report names of_warp and two threads of different warps: one reads, one writes. Which calls of "
        "sum_of_block do they come from?",
        "The read belongs to the first call, the sum for the mean; the write to the second, the sum for the "
        "variance. What keeps a warp from being in the second call while another is in the first?",
        "sum_of_block has two barriers. __syncthreads() waits for all threads of the block. For whom does "
        "__syncwarp() wait?",
        "__syncwarp() waits for the 32 lanes of one warp. A fast warp passes it, and writes of_warp in the "
        "second call before a slow warp has read it in the first. So __syncthreads() belongs there as well.",
    ),
    inputs=lambda rng, more: (rng.normal(1, 2, (3, 300 if more else 5)),),
    tolerance=1e-5,
    needs_compiler=True,
)
