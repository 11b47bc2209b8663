"""A CUDA kernel: the sum of every row, by the threads of a block together.

    x (N, D)   y_n = Σ_d x_nd   y (N,)

Write the kernel row_sum. The launch is given: N blocks of 128 threads, block n for row n of x.

A thread knows its place by blockIdx.x, 0 to N - 1, and threadIdx.x, 0 to 127. 32 threads with successive
numbers form a warp: thread t is lane t % 32 of warp t / 32. A sum of D values by 128 threads takes three
steps:

    1. each thread by itself   adds up x[n·D + i] for i = t, t + 128, t + 256, …. Neighbours read neighbours,
                               which a GPU loads together. A thread with t ≥ D adds nothing.
    2. the lanes of a warp     exchange values without memory: __shfl_xor_sync(0xffffffffu, sum, k) returns
                               the sum of the lane whose number differs in the bit k. After k = 16, … every
                               lane has the sum of all 32.
    3. the warps of a block    exchange values through __shared__ memory: lane 0 of each warp writes …, and
                               thread 0 adds up …

Threads do not wait for each other. Before thread 0 reads what other warps have written, every thread of the
block must have come to a __syncthreads().

The kernel runs on the CPU, thread by thread, in a mode that finds data races, invalid accesses and threads
that do not come to a barrier. It would run on a GPU as it is. Atomics, such as atomicAdd, are not there: the
three steps do without. The check does not see speed: a loop of thread 0 over the whole row is right too, but
leaves 127 threads with nothing to do. Keep the last line: no thread ends before the others, so the check sees
a barrier to which only some of them come.
"""

import numpy as np

from tinygrad_norm.backends import emulator

from .exercise import Exercise

KERNEL = r"""
__global__ void row_sum(const float* x, float* y, int N, int D) {
  const int n = blockIdx.x, t = threadIdx.x;
  // begin solution: write y[n]
  __shared__ float of_warp[4];
  float sum = 0;
  for (int i = t; i < D; i += 128) sum += x[n * D + i];
  for (int k = 16; k > 0; k /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, k);
  if (t % 32 == 0) of_warp[t / 32] = sum;
  __syncthreads();
  if (t == 0) y[n] = of_warp[0] + of_warp[1] + of_warp[2] + of_warp[3];
  // end solution
  __syncthreads();
}
"""
module = emulator.RawModule(code=KERNEL, name_expressions=("row_sum",))


def forward(x: np.ndarray) -> np.ndarray:
    """Return y (N,), for x (N, D), in float32."""
    N, D = x.shape
    on_device, y = emulator.asarray(x.astype(np.float32)), emulator.empty(N, np.float32)
    kernel = module.get_function("row_sum")
    kernel((N,), (128,), (on_device, y, np.int32(N), np.int32(D)))
    return emulator.asnumpy(y)


EXERCISE = Exercise(
    name="cuda_row_sum",
    title="a CUDA reduction: threads, warps, shared memory, a barrier",
    level=4,
    hints=(
        "Write one step after the other. To see that the launch works, let thread 0 add up the whole row, if "
        "(t == 0) …: the check takes that as right. Then write the three steps in its place.",
        "The sum of a thread: float sum = 0; for (int i = t; i < D; i += 128) sum += x[n * D + i]; The loop "
        "has no turn for a thread with t >= D, but the thread must go on to step 2: every lane of the mask "
        "has to.",
        "The sum of a warp: for (int k = 16; k > 0; k /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, k); "
        "After k = 16 a lane has the sum of 2 lanes, after 8 that of 4, … Here k is the distance 16, 8, 4, "
        "2, 1.",
        "The sum of the block: __shared__ float of_warp[4]; if (t % 32 == 0) of_warp[t / 32] = sum; then "
        "__syncthreads(), outside of any if; then thread 0 writes y[n] = of_warp[0] + of_warp[1] + "
        "of_warp[2] + of_warp[3].",
    ),
    inputs=lambda rng, more: (rng.normal(size=(3, 300 if more else 5)),),
    tolerance=1e-5,
    needs_compiler=True,
)
