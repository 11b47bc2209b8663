"""A fused CUDA kernel: the backward of LayerNorm in one launch.

    x (N, D)   m = mean(x)   r = 1/√(mean((x - m)²) + eps)   x̂ = (x - m)·r   y = w·x̂ + b, each row by itself
    dy and dx (N, D)   w, b, dw and db (D,)   m and r (N,)

The forward kernel is given, to read. Write the backward kernel: dx. dw and db are given; they are sums over
the rows, and so over the blocks, which do not wait for each other.

You have derived what is needed:

    g = w·dy      dx = r·(g - mean(g) - x̂·mean(g·x̂)), means over the row

In NumPy, each of these products and sums is a pass over memory. A fused kernel makes two: one to add up Σ g
and Σ g·x̂ together, one to write dx. In between, the sums are exchanged among the threads.

Both kernels give one row to one warp: block n has 32 threads, and lane t = threadIdx.x handles the entries
t, t + 32, t + 64, … of row n. All lanes get the sum over the warp from

    sum_of_warp(value)     value is the sum of the lane's own entries, 0 if it has none

which is given. Every lane has to call it: never return before, nor call it in an if.

The kernel runs on the CPU, thread by thread, in a mode that finds data races and invalid accesses. Then dx is
compared with finite differences, as any other backward; so real is double here. On a GPU make it float.
"""

import numpy as np

from tinygrad_norm.backends import emulator

from .exercise import Exercise, TypicalMistake

KERNELS = r"""
typedef double real;

__device__ real sum_of_warp(real value) {
  for (int k = 16; k > 0; k /= 2) value += __shfl_xor_sync(0xffffffffu, value, k);
  return value;
}

__global__ void layer_norm_forward(const real* x, const real* weight, const real* bias, real* y, real* mean,
                                   real* rstd, int D, real eps) {
  const int n = blockIdx.x, t = threadIdx.x;
  x += n * D;
  y += n * D;
  real sum = 0, square = 0;
  for (int i = t; i < D; i += 32) sum += x[i];
  const real m = sum_of_warp(sum) / D;
  for (int i = t; i < D; i += 32) square += (x[i] - m) * (x[i] - m);
  const real r = 1 / sqrt(sum_of_warp(square) / D + eps);
  for (int i = t; i < D; i += 32) y[i] = weight[i] * (x[i] - m) * r + bias[i];
  if (t == 0) mean[n] = m, rstd[n] = r;
}

__global__ void layer_norm_backward(const real* dy, const real* x, const real* weight, const real* mean,
                                    const real* rstd, real* dx, int D) {
  const int n = blockIdx.x, t = threadIdx.x;
  const real m = mean[n], r = rstd[n];
  dy += n * D;
  x += n * D;
  dx += n * D;
  // begin solution: write dx[i]
  real sum_g = 0, sum_gx = 0;
  for (int i = t; i < D; i += 32) {
    const real g = weight[i] * dy[i], x_hat = (x[i] - m) * r;
    sum_g += g;
    sum_gx += g * x_hat;
  }
  const real mean_g = sum_of_warp(sum_g) / D, mean_gx = sum_of_warp(sum_gx) / D;
  for (int i = t; i < D; i += 32) {
    const real g = weight[i] * dy[i], x_hat = (x[i] - m) * r;
    dx[i] = r * (g - mean_g - x_hat * mean_gx);
  }
  // end solution
}
"""
module = emulator.RawModule(code=KERNELS, name_expressions=("layer_norm_forward", "layer_norm_backward"))


def forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return y (N, D), and what backward needs: x (N, D), weight (D,), m and r (N,)."""
    (N, D), on_device = x.shape, [emulator.asarray(array) for array in (x, weight, bias)]
    y, mean, rstd = emulator.empty((N, D)), emulator.empty(N), emulator.empty(N)
    kernel = module.get_function("layer_norm_forward")
    kernel((N,), (32,), (*on_device, y, mean, rstd, np.int32(D), np.float64(1e-5)))
    return emulator.asnumpy(y), x, weight, emulator.asnumpy(mean), emulator.asnumpy(rstd)


def backward(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, mean: np.ndarray, rstd: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return dx (N, D), dw and db (D,), for dy (N, D)."""
    (N, D), on_device = x.shape, [emulator.asarray(array) for array in (dy, x, weight, mean, rstd)]
    dx = emulator.empty((N, D))
    kernel = module.get_function("layer_norm_backward")
    kernel((N,), (32,), (*on_device, dx, np.int32(D)))
    x_hat = (x - mean[:, None]) * rstd[:, None]
    return emulator.asnumpy(dx), (dy * x_hat).sum(axis=0), dy.sum(axis=0)


def _of_lanes(a: np.ndarray) -> np.ndarray:
    """Return for each entry the sum that its lane has added up: over the entries 32 apart in its row."""
    lane = np.arange(a.shape[1]) % 32
    return a @ np.equal.outer(lane, lane)


def _without_exchange(
    missing: tuple[str, ...],
    dy: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    mean: np.ndarray,
    rstd: np.ndarray,
) -> np.ndarray:
    """Return dx if these sums, g or gx, are those of single lanes."""
    r = rstd[:, None]
    g, x_hat = weight * dy, (x - mean[:, None]) * r
    mean_g, mean_gx = (
        (_of_lanes(a) if name in missing else a.sum(axis=1, keepdims=True)) / x.shape[1]
        for name, a in (("g", g), ("gx", g * x_hat))
    )
    return np.asarray(r * (g - mean_g - x_hat * mean_gx))


def _lanes_only(what: str) -> str:
    return f"{what} of single lanes: sum_of_warp is missing, which adds up the sums of all lanes"


EXERCISE = Exercise(
    name="cuda_layer_norm",
    title="a fused CUDA kernel: the backward of LayerNorm in one launch",
    level=4,
    hints=(
        "Take the forward kernel as a model: a loop in which a lane adds up, an exchange, a loop in which it "
        "writes. The backward needs two sums, and one loop can make both.",
        "The first loop: real sum_g = 0, sum_gx = 0; for (int i = t; i < D; i += 32) { … } with g = "
        "weight[i] * dy[i] and x_hat = (x[i] - m) * r computed inside.",
        "After the loop, outside of it: const real mean_g = sum_of_warp(sum_g) / D, and likewise mean_gx. "
        "Each lane has added up only its own entries, so it is D that divides, not the number of lanes.",
        "The second loop computes g and x_hat of its i again, which is cheaper than keeping them, and writes "
        "dx[i] = r * (g - mean_g - x_hat * mean_gx).",
    ),
    inputs=lambda rng, more: (
        rng.normal(1, 2, (2, 35) if more else (3, 5)),
        rng.uniform(0.5, 2, 35 if more else 5),
        rng.normal(size=35 if more else 5),
    ),
    like="layer_norm",
    mistakes=(
        TypicalMistake("dx", _lanes_only("Σ g is the sum"), lambda *a: _without_exchange(("g",), *a)),
        TypicalMistake("dx", _lanes_only("Σ g·x̂ is the sum"), lambda *a: _without_exchange(("gx",), *a)),
        TypicalMistake(
            "dx", _lanes_only("both sums are those"), lambda *a: _without_exchange(("g", "gx"), *a)
        ),
    ),
    needs_compiler=True,
)
