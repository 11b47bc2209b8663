"""Batch normalization of padded sequences: the statistics count valid frames only.

    x (T, N, C)   T time steps of N sequences; a frame x[t, n] is valid, or padding, as the mask (T, N) says
    frame-wise      pool = the valid frames of one time step, per channel
    sequence-wise   pool = the valid frames of all time steps, per channel
    m = Σ x/n   v = Σ (x - m)²/n   r = 1/√(v + eps)   x̂ = (x - m)·r   y = w·x̂ + b   in padding y = 0

with sums over the n = Σ mask valid frames of the pool. w and b are (C,): one affine for all time steps.

The valid frames of a pool, without the others, are a batch (n, C) as in batchnorm.py. Time steps with equally
many valid frames are normalized together, as (n, G·C) of G steps: without padding, that is all of them. In
evaluation m and v are the running statistics, (C,): those of all frames, or in frame-wise mode the means over
the time steps, in which a step has the weight of its n. Or frame-wise they are (L, C), those of each of the
first L steps, and a later step uses the last ones.

In the code: `pools` lists the numbers n·G of the frames of each set of G pools, in x as (T·N, C).

Laurent, Pereyra, Brakel, Zhang, Bengio 2015, arXiv:1510.01378.

Backward, from dy = dL/dy. Padding is in no sum, so no path leads to it or from it. Within a pool the three
paths of batchnorm.py are left, straight, through m and through r, with means over the n valid frames:

    dx = r·w·(dy - Σ dy/n - x̂·Σ dy·x̂/n), in padding exactly 0      dw = Σ dy·x̂   db = Σ dy

Insight: if sequences end at different times, late time steps have few valid frames, and frame-wise statistics
of few frames are mostly noise. Sequence-wise ones are not, but a frame then sees the future.
"""

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...ops import ones
from ...ops.arguments import check_flags
from ...ops.checks import check_eps, check_input, check_vectors
from ...registry import Case, ErrorCase, Input, fixed, positive, register
from ..core.frames import (
    Mask,
    Pools,
    UpdatePools,
    check_mode,
    check_pools,
    for_pools,
    pools_of,
    running_update,
    sum_of_pools,
    valid_frames,
)
from ..core.moments import affine
from ..core.running_stats import RunningNorm
from .batchnorm import batch_norm_backward, batch_norm_forward
from .fixednorm import batch_norm_eval_backward, batch_norm_eval_forward


def sequence_batch_norm_composed(
    input: Tensor,
    mask: Mask | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    mode: str = "frame",
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalization of sequences from primitives (without the running update), by masked sums."""
    valid = valid_frames(mask, input.shape[:2])[:, :, None]
    padding, axes = Tensor(namespace(input.array).asarray(~valid)), (1,) if mode == "frame" else (0, 1)
    if training or running_mean is None or running_var is None:
        n = valid.sum(axes, keepdims=True).clip(1).astype(input.dtype)
        share = Tensor(namespace(input.array).asarray(1 / n))
        mean = input.masked_fill(padding, 0.0).sum(axes, keepdim=True) * share
        centered = (input - mean).masked_fill(padding, 0.0)
        var = (centered * centered).sum(axes, keepdim=True) * share
    else:
        per_step = [s.reshape(-1, 1, s.shape[-1]) for s in (running_mean, running_var)]
        steps = numpy.arange(len(input)).clip(max=len(per_step[0]) - 1)
        mean, var = (s[steps.tolist()] for s in per_step)
        centered = (input - mean).masked_fill(padding, 0.0)
    rstd = (var + eps) ** -0.5
    return affine(centered * rstd, weight, bias).masked_fill(padding, 0.0)


@kernel
def sequence_batch_norm_forward(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    pools: list[Pools],
    running: tuple[Array, Array] | None,
    eps: float,
) -> tuple[Array, list[tuple[Array, Array, Array, Array]]]:
    """Return y (T·N, C), and of all pools their valid frames (n, G·C, 1), mean, var and rstd (1, G·C, 1)."""
    y, found, C = namespace(x).zeros_like(x), [], x.shape[1]
    for each in pools:
        n, G = each.frames.shape
        part, w, b = x[each.frames].reshape(n, G * C, 1), for_pools(weight, each), for_pools(bias, each)
        if running is None:
            of_part, mean, var, rstd = batch_norm_forward(part, w, b, eps)
        else:
            mean, var = (for_pools(s, each) for s in running)
            of_part, rstd = batch_norm_eval_forward(part, w, b, mean, var, eps)
        y[each.frames] = of_part.reshape(n, G, C)
        found.append((part, mean, var, rstd))
    return y, found


@kernel
def sequence_batch_norm_backward(
    dy: Array,
    weight: Array | None,
    pools: list[Pools],
    constant: bool,
    found: list[tuple[Array, Array, Array, Array]],
) -> tuple[Array, Array, Array]:
    """Return dx (T·N, C), dweight and dbias (C,); with constant statistics, as in evaluation."""
    xp, C = namespace(dy), dy.shape[1]
    dx, dweight, dbias = xp.zeros_like(dy), xp.zeros(C, dy.dtype), xp.zeros(C, dy.dtype)
    backward = batch_norm_eval_backward if constant else batch_norm_backward
    for each, (part, mean, _, rstd) in zip(pools, found, strict=True):
        given = dy[each.frames].reshape(part.shape)
        of_part, *sums = backward(given, part, for_pools(weight, each), mean, rstd)
        dx[each.frames] = of_part.reshape(*each.frames.shape, C)
        dweight, dbias = dweight + sum_of_pools(sums[0], C), dbias + sum_of_pools(sums[1], C)
    return dx, dweight, dbias


class SequenceBatchNormFunction(Function):
    """y = w·(x - m)·r + b · dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = w·dy, means over valid frames

    In evaluation `running` is the mean and variance, and dx = r·g. In training `update_statistics` is called
    with the statistics of all pools.
    """

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        pools: list[Pools],
        running: tuple[Array, Array] | None,
        eps: float,
        update_statistics: UpdatePools,
    ) -> Array:
        rows = x.reshape(-1, x.shape[2])
        y, found = sequence_batch_norm_forward(rows, weight, bias, pools, running, eps)
        for each, (_, mean, var, _) in zip(pools, found, strict=True):
            update_statistics(each, mean, var)
        self.saved = weight, pools, running is not None, found
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, *others = sequence_batch_norm_backward(dy.reshape(-1, dy.shape[2]), *self.saved)
        return dx.reshape(dy.shape), *others


def sequence_batch_norm(
    input: Tensor,
    mask: Mask | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    mode: str = "frame",
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel of sequences over valid frames, then scale and shift.

    Args:
        input: (T, N, C).
        mask: (T, N) bool, True for valid frames; None if all are. y and the gradient are 0 in the padding,
            whose values are ignored. A mask on the GPU is copied to the host; give it a NumPy array.
        running_mean: (C,), or frame-wise (L, C) for the first L steps; used in evaluation, moved towards the
            batch's in training. May be None there.
        running_var: the same for the (unbiased) variance.
        weight: (C,), or None.
        bias: (C,), or None.
        mode: "frame", statistics per time step, or "sequence", over all time steps.
        training: whether the batch's own statistics are used, and the running ones updated in place.
        momentum: weight of the new value in the running statistics, a fraction per step.
        eps: added to the variance, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor, the mask not bool, or `training` not a bool.
        ValueError: if the input is not (T, N, C), a vector or the mask has another shape, in evaluation
            without running statistics, in training if a pool has a single valid frame, whose variance is
            always 0, if the mode is unknown, or if eps is negative.

    Source: Laurent et al. 2015, arXiv:1510.01378.
    """
    check_sequences(input, "sequence_batch_norm")
    check_mode(mode)
    check_flags(training=training)
    check_eps(eps)
    C = input.shape[2]
    check_vectors(input, (C,), weight=weight, bias=bias)
    per_step = mode == "frame" and running_mean is not None and running_mean.ndim == 2
    shape = (*running_mean.shape[:1], C) if per_step and running_mean is not None else (C,)
    check_vectors(input, shape, running_mean=running_mean, running_var=running_var)
    valid = valid_frames(mask, input.shape[:2])
    running = None
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError(
                "sequence_batch_norm in evaluation needs running_mean and running_var: pass both"
            )
        running = running_mean.array.copy(), running_var.array.copy()
        mode = mode if per_step else "sequence"
    pools = pools_of(valid, mode, input.array)
    if training and input.array.size:
        check_pools(pools, "sequence_batch_norm", mode)
    update = running_update(running_mean, running_var, momentum, pools, C) if training else lambda *_: None
    return SequenceBatchNormFunction.apply(
        input, weight, bias, pools=pools, running=running, eps=float(eps), update_statistics=update
    )


def check_sequences(input: Tensor, name: str) -> None:
    """Raise an error unless the input is a floating-point tensor (T, N, C)."""
    check_input(input, name)
    if input.ndim != 3:
        raise ValueError(f"{name} takes x (T, N, C), got shape {input.shape}")


class SequenceBatchNorm(RunningNorm):
    """Batch normalization of sequences (T, N, C), with `batch_first` (N, T, C), over valid frames.

    `forward(x, mask)` takes a mask (T, N), with `batch_first` (N, T), True for valid frames, or None. `mode`
    is "frame", statistics per time step, or "sequence", over all time steps: use it if the lengths differ.
    Parameters, buffers, momentum and evaluation are those of BatchNorm1d; frame-wise, the running statistics
    are means over the time steps. Source: Laurent et al. 2015, arXiv:1510.01378.
    """

    input_ndims = (3,)

    def __init__(
        self,
        num_features: int,
        mode: str = "frame",
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        batch_first: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias)
        check_mode(mode)
        check_flags(batch_first=batch_first)
        self.mode, self.batch_first = mode, batch_first

    def forward(self, input: Tensor, mask: Mask | None = None) -> Tensor:
        check_sequences(input, "SequenceBatchNorm")
        if input.shape[2] != self.num_features:
            raise ValueError(
                f"SequenceBatchNorm was made for {self.num_features} channels, but x of shape {input.shape} "
                f"has {input.shape[2]} on its last axis"
            )
        if self.batch_first:
            input = input.swapaxes(0, 1)
            mask = None if mask is None else valid_frames(mask, input.shape[1::-1]).T
        y = sequence_batch_norm(
            input,
            mask,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.mode,
            self.training or not self.track_running_stats,
            self.count_batch(),
            self.eps,
        )
        return y.swapaxes(0, 1) if self.batch_first else y

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={self.mode!r}, batch_first={self.batch_first}"


_STATISTICS = (Input((3,), differentiable=False), positive(3, differentiable=False))
_PER_STEP = (Input((2, 3), differentiable=False), positive(2, 3, differentiable=False))
_MASK = fixed([[True, True, True], [True, False, True], [True, True, False], [False, False, False]])
_LAST_IN_ALL = fixed([[True, True, True], [True, True, True], [True, True, True], [False, True, True]])
_TRAINING = {"training": True}

register(
    name="sequence_batch_norm",
    function=sequence_batch_norm,
    composed=sequence_batch_norm_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((4, 3, 3), _MASK, None, None, (3,), (3,)), _TRAINING),
        Case(((4, 3, 3), _MASK, None, None, (3,), None), {**_TRAINING, "mode": "sequence", "eps": 1e-3}),
        Case(((4, 3, 3), _LAST_IN_ALL, None, None, None, (3,)), _TRAINING),
        Case(((2, 4, 3), None, None, None, (3,), (3,)), _TRAINING),
        Case(((2, 2, 3), None, None, None, None, None), {**_TRAINING, "mode": "sequence"}),
        Case(((4, 3, 3), _MASK, *_STATISTICS, (3,), (3,))),
        Case(((4, 3, 3), _MASK, *_STATISTICS, None, None), {"mode": "sequence"}),
        Case(((4, 3, 3), _MASK, *_PER_STEP, (3,), (3,)), {"eps": 1e-3}),
        Case(((2, 1, 3), None, *_STATISTICS, (3,), (3,))),
        Case(((3, 0, 3), None, None, None, (3,), (3,)), _TRAINING),
    ),
    errors=(
        ErrorCase(lambda: sequence_batch_norm(ones(4, 3), training=True), ValueError, "x (T, N, C)"),
        ErrorCase(lambda: sequence_batch_norm(ones(4, 1, 3), training=True), ValueError, "step 0 has one"),
        ErrorCase(
            lambda: sequence_batch_norm(ones(1, 1, 3), mode="sequence", training=True),
            ValueError,
            "the batch has one",
        ),
        ErrorCase(lambda: sequence_batch_norm(ones(4, 2, 3)), ValueError, "running_mean"),
        ErrorCase(lambda: sequence_batch_norm(ones(4, 2, 3), mode="time"), ValueError, "'frame' or"),
        ErrorCase(lambda: sequence_batch_norm(ones(2, 2, 3), [[1, 1], [1, 0]]), TypeError, "must be bool"),
        ErrorCase(lambda: sequence_batch_norm(ones(2, 2, 3), [[True, True]]), ValueError, "expected (2, 2)"),
        ErrorCase(
            lambda: sequence_batch_norm(ones(2, 2, 3), None, ones(4, 3), ones(3)), ValueError, "running_var"
        ),
        ErrorCase(
            lambda: sequence_batch_norm(ones(2, 2, 3), weight=ones(2), training=True), ValueError, "weight"
        ),
        ErrorCase(lambda: SequenceBatchNorm(3)(ones(2, 2, 4)), ValueError, "3 channels"),
    ),
    kind="normalization",
    title="SequenceBatchNorm",
    paper="Laurent et al. 2015, arXiv:1510.01378",
    pool="each channel, over the valid frames of one time step, or of all",
    bench=(
        Case(((64, 64, 128), None, None, None, (128,), (128,)), _TRAINING),
        Case(((64, 64, 128), None, None, None, (128,), (128,)), {**_TRAINING, "mode": "sequence"}),
    ),
)
