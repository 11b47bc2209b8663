"""Power normalization: features divided by their running root mean square, in forward and in backward.

    x (..., C), features on the last axis   pool = all n rows of one feature, no mean
    Ψ running root mean square   ν running projection   both (C,), from before this batch
    ψ = √mean(x²) of this batch

    r = 1/√(Ψ² + eps)   x̂ = x·r   y = w·x̂ + b         and then, once for each batch:
    Ψ² ← (1 - momentum)·Ψ² + momentum·ψ²               in forward
    ν ← ν + momentum·(Λ - ν·Γ)                         in backward, with Λ and Γ as below

During warm-up the batch's ψ is used instead of Ψ, which means nothing yet. Evaluation uses Ψ.

In the code: ψ, Ψ rms, r rstd, x̂ x_hat, ν, Λ projection, Γ power, w weight, b bias.

Shen, Yao, Gholami, Mahoney, Keutzer 2020, arXiv:2003.07845, with 1 - momentum as α: for transformers, where
the statistics of batches vary much. Before it, their code divides each token by its own root mean square.

Backward in warm-up, from dy = dL/dy, is exact. With g := dL/dx̂ = w·dy it has the two paths of rmsnorm.py,
straight and through r, over the rows of a feature instead of the features of a row:

    Λ = mean(g·x̂)      dx = r·(g - Λ·x̂)      dw = Σ dy·x̂      db = Σ dy

w is one number per pool, so Λ = w·dw/n.

Backward after warm-up is an approximation. Ψ does not depend on this batch, so the exact gradient of what
forward computes is r·g, as in evaluation. It does not see that a larger x makes Ψ larger, later. So the
second term stays, and its Λ becomes a running value too, which is known before dy is:

    dx = r·(g - ν·x̂)      dw and db as above, exact

This is the exact gradient of L - Σ ν·Σ x̂²/2, summed over features and over rows, with ν and Ψ constant.

What the formula leaves over along x̂ moves ν: mean((g - ν·x̂)·x̂) = Λ - ν·Γ with Γ = mean(x̂²). At rest it is 0
on average, as it is in warm-up, and ν = Λ/Γ. While momentum·Γ is above 2, ν diverges.

Insight: ν is the Lagrange multiplier of mean(x̂²) = 1. Batch normalization holds such a constraint in every
batch; this layer holds it on average, and finds the multiplier step by step.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Rows, Vector, host_can_read, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.pool_loops import VECTOR
from ...backends.cpu.sums import column_sums, increment
from ...backends.cuda.launch import CudaSource, contiguous, inverse, wide, wide_empty
from ...module import Module, Parameter
from ...ops import ones, zeros
from ...ops.arguments import as_number, as_size, check_flags
from ...ops.checks import check_channels, check_eps, check_vectors
from ...registry import Case, ErrorCase, Input, positive, register
from ..core.moments import affine, std_of
from .fixednorm import channel_kernels
from .rootmeansquares import root_mean_squares

_kernels = CudaSource(__file__, "../core/moments.cuh")
_ROWS = 32  # of a thread: ROWS in powernorm.cu


def power_norm_composed(
    input: Tensor,
    running_rms: Tensor,
    running_projection: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    warming_up: bool = False,
) -> Tensor:
    """Power normalization from primitives, without updates: autograd finds the gradient for ν = 0."""
    square = running_rms * running_rms
    if training and warming_up:
        square = (input * input).mean(tuple(range(input.ndim - 1)))
    rstd = (square + eps) ** -0.5
    return affine(input * rstd, weight, bias)


@kernel
@in_blocks("x", weight=1.0, bias=0.0)
def power_norm_forward(x: Rows, weight: Vector | None, bias: Vector | None, rstd: Vector) -> Rows:
    """Return y (N, C); weight, bias and rstd are (C,)."""
    return weight * (x * rstd) + bias


@power_norm_forward.loops(weight=VECTOR, bias=VECTOR)
def power_norm_forward_loop(x: Rows, weight: Vector, bias: Vector, rstd: Vector, y: Rows) -> None:
    """Row after row."""
    N, C = x.shape
    for n in range(N):
        for i in range(C):
            y[n, i] = weight[i] * (x[n, i] * rstd[i]) + bias[i]


@power_norm_forward.cuda
def power_norm_forward_cuda(x: Rows, weight: Vector | None, bias: Vector | None, rstd: Vector) -> Rows:
    """The kernel of batch normalization in evaluation, with mean 0."""
    zero = namespace(rstd).zeros_like(rstd)
    return channel_kernels.normalized(x[..., None], weight, bias, zero, rstd).reshape(x.shape)


@kernel
@in_blocks("dy", "x", add=True, weight=1.0)
def power_norm_backward(
    dy: Rows, x: Rows, weight: Vector | None, rstd: Vector, projection: Vector | None
) -> tuple[Rows, Vector, Vector]:
    """Return dx (N, C), dweight and dbias (C,)."""
    x_hat, g = x * rstd, weight * dy
    dx = rstd * (g if projection is None else g - projection * x_hat)
    return dx, column_sums(dy * x_hat), column_sums(dy)


@power_norm_backward.loops(dweight=VECTOR, dbias=VECTOR, weight=VECTOR)
def power_norm_backward_loop(
    dy: Rows,
    x: Rows,
    weight: Vector,
    rstd: Vector,
    projection: Vector | None,
    dx: Rows,
    dweight: Vector,
    dbias: Vector,
) -> None:
    """Row after row, once: neither sum is needed for dx."""
    N, C = x.shape
    for n in range(N):
        for i in range(C):
            x_hat, g = x[n, i] * rstd[i], weight[i] * dy[n, i]
            dx[n, i] = rstd[i] * (g if projection is None else g - projection[i] * x_hat)
            dweight[i] += dy[n, i] * x_hat
            dbias[i] += dy[n, i]


@power_norm_backward.cuda
def power_norm_backward_cuda(
    dy: Rows, x: Rows, weight: Vector | None, rstd: Vector, projection: Vector | None
) -> tuple[Rows, Vector, Vector]:
    """One kernel for dx and the sums of some rows, and one for the sums of columns."""
    (dy, x), vectors, (N, C) = contiguous(dy, x), wide(x, weight, rstd, projection), x.shape
    parts, dx = -(-N // _ROWS), namespace(x).empty_like(x)
    sums = wide_empty(x, 2, parts, C)
    args = dy, x, *vectors, dx, sums[0], sums[1], N, C, inverse(C)
    _kernels.launch("power_norm_backward", x.dtype, (), -(-parts * C // 256), 256, args)
    dweight_dbias = _kernels.sum_columns(sums)
    return dx, dweight_dbias[0], dweight_dbias[1]


class PowerNormFunction(Function):
    """y = w·x·r + b · dx = r·(w·dy - ν·x̂): ν from before, in warm-up that of this batch, in evaluation 0

    `running` has Ψ and ν, or None for 0. `warming_up` is a bool, or an array () that the host need not read.
    `update_rms` is called in forward, with ψ; `update_projection` in backward, with Λ and Γ. In evaluation
    both are None.
    """

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        running: tuple[Vector, Vector | None],
        eps: float,
        warming_up: Any = False,
        update_rms: Callable[[Vector], None] | None = None,
        update_projection: Callable[[Vector, Vector], None] | None = None,
    ) -> Array:
        rows, power = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), None
        rms: Any
        rms, projection = wide(x, *running)
        if update_rms is not None:
            of_batch = root_mean_squares(rows)
            update_rms(of_batch)
            rms = _chosen(warming_up, of_batch, rms)
        rstd = std_of(namespace(rms).hypot(rms, rms.dtype.type(math.sqrt(eps))))  # 1/√(rms² + eps)
        if update_rms is not None:
            power = (of_batch * rstd) ** 2
        self.saved = rows, weight, rstd, projection, warming_up, update_projection, power
        return power_norm_forward(rows, weight, bias, rstd).reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        rows, weight, rstd, projection, warming_up, update_projection, power = self.saved
        dys = dy.reshape(rows.shape)
        if warming_up is not False:  # once more, for the sums
            _, dweight, _ = power_norm_backward(dys, rows, weight, rstd, None)
            projection = _chosen(warming_up, _projection(weight, dweight, rows), projection)
        dx, dweight, dbias = power_norm_backward(dys, rows, weight, rstd, projection)
        if (
            update_projection is not None and not self.backward_ran
        ):  # once, also if it is differentiated again
            update_projection(_projection(weight, dweight, rows), power)
        return dx.reshape(dy.shape), dweight, dbias


def _chosen(warming_up: Any, of_batch: Vector, running: Vector) -> Vector:
    if isinstance(warming_up, bool):
        return of_batch if warming_up else running
    return namespace(running).where(warming_up, of_batch, running)


def _projection(weight: Vector | None, dweight: Vector, x: Rows) -> Vector:
    """Return Λ = w·dw/n (C,)."""
    mean = dweight / max(len(x), 1)
    return mean if weight is None else weight * mean


def power_norm(
    input: Tensor,
    running_rms: Tensor,
    running_projection: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    warming_up: bool = False,
) -> Tensor:
    """Divide each feature, on the last axis, by its running root mean square; then scale and shift.

    After warm-up the gradient in training is an approximation: it uses a running value instead of the
    batch's own. The first backward pass of a forward in training also changes `running_projection`; further
    ones do not. With momentum 0, and in evaluation, nothing is changed.

    Args:
        input: (..., C), as in transformers.
        running_rms: (C,), Ψ; moved towards the batch's in training, after it was used.
        running_projection: (C,), ν; in training, moved by the first backward pass of each forward, and used
            by it after warm-up.
            None is a ν that stays 0: the gradient is then exact, for a constant Ψ.
        weight: (C,), or None.
        bias: (C,), or None.
        training: whether the running values are updated, in place.
        momentum: weight of the new value in them, a fraction per step: 1 - α.
        eps: added to the mean square, in units of input².
        warming_up: whether, in training, the batch's own values are used; the gradient is exact then.

    Raises:
        TypeError: if the input is not a floating-point tensor, or a flag is not a bool.
        ValueError: if the input has less than 2 axes, a vector is not (C,), eps is negative, or momentum is
            not between 0 and 1.

    Source: Shen, Yao, Gholami, Mahoney, Keutzer 2020, arXiv:2003.07845.
    """
    check_flags(training=training)
    if not hasattr(warming_up, "dtype"):  # the module's may be on a GPU
        check_flags(warming_up=warming_up)
    C = check_channels(input, "power_norm", axis=-1)
    running = {"running_rms": running_rms, "running_projection": running_projection}
    check_vectors(input, (C,), **running, weight=weight, bias=bias)
    check_eps(eps)
    _check_momentum(momentum)
    rms, options = running_rms.array.copy(), {"eps": float(eps)}
    if not (training and input.array.size):
        return PowerNormFunction.apply(input, weight, bias, running=(rms, None), **options)

    def update_rms(of_batch: Vector) -> None:
        if momentum:
            array = running_rms.array
            array[...] = namespace(array).hypot(
                math.sqrt(1 - momentum) * array, math.sqrt(momentum) * of_batch
            )
            running_rms.mark_written()

    def update_projection(of_batch: Vector, power: Vector) -> None:
        if momentum and running_projection is not None:
            array = running_projection.array
            array += momentum * (of_batch - array * power)
            running_projection.mark_written()

    return PowerNormFunction.apply(
        input,
        weight,
        bias,
        running=(rms, None if running_projection is None else running_projection.array.copy()),
        warming_up=warming_up,
        update_rms=update_rms,
        update_projection=update_projection,
        **options,
    )


def _check_momentum(momentum: float) -> None:
    if not 0 <= as_number(momentum, "momentum") <= 1:
        raise ValueError(f"momentum is the weight of the new value, between 0 and 1, got {momentum}")


class PowerNorm(Module):
    """Power normalization of (..., num_features), features on the last axis as in transformers.

    Parameters `weight` (ones) and `bias` (zeros), buffers `running_rms` (ones) and `running_projection`
    (zeros), all (num_features,), and `num_batches_tracked`. The first `warmup` training batches use their own
    root mean square, with an exact gradient. After them the gradient is an approximation, and a backward
    pass moves `running_projection`: see power_norm. `momentum` is the weight of the new value. The default
    warm-up is that of the authors' code, for long trainings: choose one that fits.
    Source: Shen, Yao, Gholami, Mahoney, Keutzer 2020, arXiv:2003.07845.
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, warmup: int = 10_000
    ) -> None:
        super().__init__()
        self.num_features = as_size(num_features, "num_features")
        check_eps(eps)
        _check_momentum(momentum)
        self.eps, self.momentum, self.warmup = eps, momentum, as_size(warmup, "warmup", 0)
        vector = numpy.ones(self.num_features, numpy.float32)
        self.weight, self.bias = Parameter(vector), Parameter(vector * 0)
        self.register_buffer("running_rms", Tensor(vector.copy()))
        self.register_buffer("running_projection", Tensor(vector * 0))
        self.register_buffer("num_batches_tracked", Tensor(numpy.array(0)))

    def reset_running_stats(self) -> None:
        """Forget what was gathered, and warm up again."""
        self.running_rms.fill_(1)
        self.running_projection.zero_()
        self.num_batches_tracked.zero_()

    def forward(self, input: Tensor) -> Tensor:
        check_channels(input, "PowerNorm", self.num_features, -1)
        return power_norm(
            input,
            self.running_rms,
            self.running_projection,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
            self._warms_up(),
        )

    def _warms_up(self) -> Any:
        """Count one more training batch; return whether it is one of the first, without a wait for a GPU."""
        if not self.training:
            return False
        batches = self.num_batches_tracked.array
        increment(batches)
        return bool(batches <= self.warmup) if host_can_read(batches) else batches <= self.warmup

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, warmup={self.warmup}"


_RMS, _ANY = positive(3, differentiable=False), Input((3,), differentiable=False)
_TRAINING = {"training": True, "momentum": 0.0}
_WARM_UP = {**_TRAINING, "warming_up": True}

register(
    name="power_norm",
    function=power_norm,
    composed=power_norm_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((4, 3), _RMS, _ANY, (3,), (3,)), _WARM_UP),
        Case(((2, 5, 3), _RMS, None, (3,), None), {**_WARM_UP, "eps": 1e-3}),
        Case(((70, 3), _RMS, None, None, (3,)), _WARM_UP),
        Case(((4, 3), _RMS, None, (3,), (3,)), _TRAINING),
        Case(((2, 2, 2, 3), _RMS, None, None, None), _TRAINING),
        Case(((2, 5, 3), _RMS, _ANY, (3,), (3,))),
        Case(((1, 3), _RMS, None, None, (3,)), {"eps": 0.0}),
        Case(((0, 3), _RMS, None, (3,), (3,)), _WARM_UP),
    ),
    errors=(
        ErrorCase(lambda: power_norm(ones(2, 3, dtype=int), ones(3)), TypeError, "floating-point"),
        ErrorCase(lambda: power_norm(ones(3), ones(3)), ValueError, "2 axes"),
        ErrorCase(lambda: power_norm(ones(2, 3), ones(2)), ValueError, "running_rms"),
        ErrorCase(lambda: power_norm(ones(2, 3), ones(3), zeros(2)), ValueError, "running_projection"),
        ErrorCase(lambda: power_norm(ones(2, 3), ones(3), weight=ones(4)), ValueError, "weight"),
        ErrorCase(lambda: power_norm(ones(2, 3), ones(3), eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: power_norm(ones(2, 3), ones(3), warming_up=1), TypeError, "warming_up"),  # type: ignore[arg-type]
        ErrorCase(lambda: PowerNorm(4)(ones(2, 3)), ValueError, "4 channels"),
        ErrorCase(lambda: PowerNorm(3, momentum=2.0), ValueError, "momentum"),
        ErrorCase(lambda: PowerNorm(3, warmup=-1), ValueError, "warmup"),
    ),
    kind="normalization",
    title="PowerNorm",
    paper="Shen et al. 2020, arXiv:2003.07845",
    pool="each feature, over rows of this batch and those before, no mean",
    bench=tuple(
        Case((shape, positive(shape[-1], differentiable=False), None, shape[-1:], shape[-1:]), _WARM_UP)
        for shape in ((512, 768), (8, 512, 1024))
    ),
)
