"""Noisy batch normalization: what batch normalization returns, scaled and shifted anew in every step.

    x (N, C, ...)   z = BatchNorm(x), with weight w and bias b
    a (C,) uniform in [1, scale_range]   c (C,) uniform in [-mean_range, mean_range], drawn in every step
    y = a·z + c        in evaluation y = z

With the affine of z multiplied out, y = (a·w)·x̂ + (a·b + c): batch normalization with other weight and bias.

Santurkar, Tsipras, Ilyas, Madry 2018, arXiv:1805.11604.

Backward: a and c are constants, and x takes the three paths of batchnorm.py with the weight a·w:

    dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = a·w·dy
    dw = a·Σ dy·x̂     db = a·Σ dy

Insight: the inputs of the next layer now change their distribution in every step, more than without any
normalization, and training is as fast as before. So it is not the steady distribution that helps.
"""

from typing import Any

from ...autograd.tensor import Tensor
from ...ops import ones, rand
from ...ops.arguments import as_number
from ...ops.checks import check_channels, check_vectors
from ...registry import Case, ErrorCase, Input, fixed, positive, register
from ..core.running_stats import RunningNorm
from .batchnorm import batch_norm, batch_norm_composed


def noisy_batch_norm_composed(
    input: Tensor,
    scale: Tensor,
    shift: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Noisy batch normalization from primitives (without the running update)."""
    z = batch_norm_composed(input, running_mean, running_var, weight, bias, training, eps)
    per_channel = (-1, *(1,) * (input.ndim - 2))
    return z * scale.reshape(per_channel) + shift.reshape(per_channel) if training else z


def noisy_batch_norm(
    input: Tensor,
    scale: Tensor,
    shift: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalization; in training, the result times `scale` plus `shift`, which are constants.

    Args:
        input: (N, C, ...).
        scale: (C,), drawn for this step.
        shift: (C,), drawn for this step.
        running_mean, running_var, weight, bias, training, momentum, eps: as in `batch_norm`.

    Raises:
        TypeError, ValueError: as `batch_norm` does, and if scale or shift is not (C,).

    Source: Santurkar, Tsipras, Ilyas, Madry 2018, arXiv:1805.11604.
    """
    C = check_channels(input, "noisy_batch_norm")
    check_vectors(input, (C,), scale=scale, shift=shift, weight=weight, bias=bias)
    if training:
        scale, shift = scale.detach(), shift.detach()
        weight = scale if weight is None else weight * scale
        bias = shift if bias is None else bias * scale + shift
    return batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


class _NoisyBatchNorm(RunningNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        *,
        mean_range: float = 0.5,
        scale_range: float = 1.25,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats=True, bias=True)
        if not as_number(mean_range, "mean_range") >= 0:
            raise ValueError(f"mean_range must be at least 0, got {mean_range}")
        if not as_number(scale_range, "scale_range") >= 1:
            raise ValueError(f"scale_range must be at least 1, got {scale_range}")
        self.mean_range, self.scale_range = mean_range, scale_range

    def forward(self, input: Tensor) -> Tensor:
        self.check_ndim(input)
        C = check_channels(input, type(self).__name__, self.num_features)
        scale, shift = (
            rand(C, dtype=input.dtype) if self.training else ones(C, dtype=input.dtype) for _ in "12"
        )
        return noisy_batch_norm(
            input,
            1 + (self.scale_range - 1) * scale,
            self.mean_range * (2 * shift - 1),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.count_batch(),
            self.eps,
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mean_range={self.mean_range}, scale_range={self.scale_range}"


class NoisyBatchNorm1d(_NoisyBatchNorm):
    """BatchNorm1d whose result, in training, is scaled and shifted per channel by numbers drawn in each step.

    The scale is uniform in 1 … scale_range, the shift in ±mean_range; `tn.manual_seed` repeats them. Not in
    evaluation. Source: Santurkar, Tsipras, Ilyas, Madry 2018, arXiv:1805.11604.
    """

    input_ndims = (2, 3)


class NoisyBatchNorm2d(_NoisyBatchNorm):
    """BatchNorm2d whose result is scaled and shifted anew in each step; see NoisyBatchNorm1d."""

    input_ndims = (4,)


def _noise(C: int) -> tuple[Any, Any]:
    """Return the inputs for scale and shift, which have no gradient."""
    return positive(C, differentiable=False), Input((C,), differentiable=False)


_STATISTICS = (Input((3,), differentiable=False), positive(3, differentiable=False))
_TRAINING = {"training": True}

register(
    name="noisy_batch_norm",
    function=noisy_batch_norm,
    composed=noisy_batch_norm_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((4, 3), *_noise(3), None, None, (3,), (3,)), _TRAINING),
        Case(((4, 3, 2), *_noise(3), None, None, None, None), {**_TRAINING, "eps": 1e-3}),
        Case(((2, 3, 2, 2), *_noise(3), None, None, (3,), None), _TRAINING),
        Case(((4, 3), *_noise(3), *_STATISTICS, (3,), (3,))),
        Case(((0, 3), *_noise(3), None, None, (3,), (3,)), _TRAINING),
    ),
    errors=(
        ErrorCase(lambda: noisy_batch_norm(ones(4, 3), ones(2), ones(3), training=True), ValueError, "scale"),
        ErrorCase(lambda: noisy_batch_norm(ones(4, 3), ones(3), ones(2), training=True), ValueError, "shift"),
        ErrorCase(
            lambda: noisy_batch_norm(ones(1, 3), ones(3), ones(3), training=True), ValueError, "more than one"
        ),
        ErrorCase(lambda: NoisyBatchNorm1d(3, mean_range=-1.0), ValueError, "mean_range"),
        ErrorCase(lambda: NoisyBatchNorm1d(3, scale_range=0.5), ValueError, "scale_range"),
        ErrorCase(lambda: NoisyBatchNorm2d(3)(ones(2, 3)), ValueError, "4-d"),
    ),
    kind="normalization",
    title="NoisyBatchNorm",
    paper="Santurkar et al. 2018, arXiv:1805.11604",
    pool="each channel, over samples and positions; then noise",
    bench=(Case(((64, 64, 32, 32), *(fixed([1.0] * 64),) * 2, None, None, (64,), (64,)), _TRAINING),),
)
