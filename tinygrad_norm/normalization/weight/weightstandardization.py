"""Weight standardization: the weights of each output get mean 0 and variance 1, and then a learned gain.

    x (K, ...)   one row of D = fan_in weights per output   m = mean(x)   v = mean((x - m)²)
    r = 1/√(v + eps)   x̂ = (x - m)·r   w = y = s·γ·x̂

γ (K, 1, ...) is the gain and s a fixed number. Without both it is Qiao's standardization; the scaled one of
Normalizer-Free networks has γ = 1 at first, and s = c/√D with the gain c of the activation before it.

v is the biased variance and eps is added to it, inside the root and before s: as where these weights are run
through batch normalization. Qiao's code adds eps to the standard deviation instead, of the unbiased variance;
DeepMind's takes max(D·v, eps).

In the code: m mean, r rstd, γ gain, s scale. As (1, K, D), the outputs are the channels of one sample, so
x̂ is that of instancenorm.py and its weight is s·γ: the bodies, loops and kernels are those.

Qiao, Wang, Liu, Shen, Yuille 2019, arXiv:1903.10520; scaled: Brock, De, Smith 2021, arXiv:2101.08692.

Backward, for one row, from dy = dL/dw. The scale is one number per row, and every x_i reaches every x̂_j of
its row by three paths, straight, through m and through r, that instancenorm.py adds up:

    dγ = s·Σ dy·x̂      g := dL/dx̂ = s·γ·dy

    dx = r·(g - mean(g) - x̂·mean(g·x̂))

Gains: a sum over D independent inputs of variance 1, with weights x̂/√D, has variance 1, and its mean does not
depend on theirs if they have one in common. So each layer only has to make up for the variance that the
activation f before it has lost: c = 1/√Var[f(z)] for a normal z of mean 0 and variance 1. For ReLU this is
√(2/(1 - 1/π)). DeepMind's code has constants up to 0.06 % above: ReLU 1.7139, SiLU 1.7881, GELU 1.7015.

Insight: dx has no component along 1, and nearly none along x̂. Batch normalization takes the mean and the size
out of the activations of a channel, whatever gave them; here only the weights can no longer give them any.
"""

import math

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, kernel, namespace
from ...backends.cpu.half import upcast
from ...module import Module, Parameter
from ...ops import ones
from ...ops.arguments import as_finite, as_number
from ...ops.checks import check_eps, check_input, check_vectors
from ...ops.dims import Shape
from ...registry import Case, ErrorCase, register
from ..core.moments import standardized
from ..sample.instancenorm import instance_norm_backward, instance_norm_forward

ACTIVATION_GAINS = {
    "identity": 1.0,
    "relu": math.sqrt(2 / (1 - 1 / math.pi)),
    "silu": 1.7871872221,
    "gelu": 1.7009262434,
}
"""c = 1/√Var[f(z)] of activations f, for a normal z of mean 0 and variance 1."""


def weight_standardization_composed(
    weight: Tensor, gain: Tensor | None = None, scale: float = 1.0, eps: float = 1e-6
) -> Tensor:
    """Weight standardization from primitives: autograd finds the gradients."""
    y = standardized(weight, tuple(range(1, weight.ndim)), eps) * scale
    return y if gain is None else y * gain


def scaled_weight_standardization_composed(
    weight: Tensor, gain: Tensor | None = None, gamma: float = 1.0, eps: float = 1e-6
) -> Tensor:
    """Scaled weight standardization from primitives: autograd finds the gradients."""
    return weight_standardization_composed(weight, gain, _scale(weight.shape, gamma), eps)


@kernel
def weight_standardization_forward(
    x: Channels, gain: PerChannel | None, scale: float, eps: float
) -> tuple[Channels, PerChannel | None, PerChannel, PerChannel]:
    """Return y (1, K, D), scale·gain, mean and rstd (1, K, 1)."""
    if scale != 1:
        gain = (namespace(x).ones((1, x.shape[1], 1), x.dtype) if gain is None else upcast(gain)) * scale
    y, mean, _, rstd = instance_norm_forward(x, gain, None, eps)
    return y, gain, mean, rstd


@kernel
def weight_standardization_backward(
    dy: Channels,
    x: Channels,
    scaled_gain: PerChannel | None,
    mean: PerChannel,
    rstd: PerChannel,
    scale: float,
) -> tuple[Channels, PerChannel]:
    """Return dx (1, K, D) and dgain (1, K, 1)."""
    dx, dgain, _ = instance_norm_backward(dy, x, scaled_gain, mean, rstd)
    return dx, dgain * scale


class WeightStandardizationFunction(Function):
    """y = s·γ·(x - m)·r · dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = s·γ·dy, means over each row"""

    def forward(self, x: Array, gain: Array | None, *, scale: float, eps: float) -> Array:
        rows = x.reshape(1, len(x), math.prod(x.shape[1:]))
        self.gain_shape = None if gain is None else gain.shape
        column = None if gain is None else gain.reshape(1, len(x), 1)
        y, *found = weight_standardization_forward(rows, column, scale, eps)
        self.saved = rows, *found, scale
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dgain = weight_standardization_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), None if self.gain_shape is None else dgain.reshape(self.gain_shape)


def weight_standardization(
    weight: Tensor, gain: Tensor | None = None, scale: float = 1.0, eps: float = 1e-6
) -> Tensor:
    """Return scale·gain·(weight - mean)/√(var + eps), with mean and biased variance over each output.

    Args:
        weight: (K, ...), with at least two weights for each output.
        gain: (K, 1, ...), with as many axes as the weight; or None.
        scale: a fixed factor.
        eps: added to the variance, in units of weight².

    Raises:
        TypeError: if an argument is not a floating-point tensor, or not a number.
        ValueError: if an output has a single weight, gain has another shape, or eps is negative.

    Source: Qiao, Wang, Liu, Shen, Yuille 2019, arXiv:1903.10520.
    """
    name = "weight_standardization"
    check_input(weight, name)
    check_weights_per_output(weight.shape, name)
    if gain is not None:
        check_input(gain, f"{name}, for gain,")
    check_vectors(weight, (weight.shape[0], *(1,) * (weight.ndim - 1)), gain=gain)
    check_eps(eps)
    return WeightStandardizationFunction.apply(weight, gain, scale=as_number(scale, "scale"), eps=float(eps))


def scaled_weight_standardization(
    weight: Tensor, gain: Tensor | None = None, gamma: float = 1.0, eps: float = 1e-6
) -> Tensor:
    """Return gain·gamma/√fan_in·(weight - mean)/√(var + eps): outputs keep the variance of their inputs.

    Args:
        weight: (K, ...), with fan_in weights for each output, at least two.
        gain: (K, 1, ...), with as many axes as the weight; or None.
        gamma: the gain of the activation before this layer, see `nn.init.ACTIVATION_GAINS`.
        eps: added to the variance, in units of weight².

    Raises:
        TypeError: if an argument is not a floating-point tensor, or not a number.
        ValueError: if an output has a single weight, gain has another shape, or eps is negative.

    Source: Brock, De, Smith 2021, arXiv:2101.08692.
    """
    check_input(weight, "scaled_weight_standardization")
    check_weights_per_output(weight.shape, "scaled_weight_standardization")
    return weight_standardization(weight, gain, _scale(weight.shape, as_finite(gamma, "gamma")), eps)


def _scale(shape: Shape, gamma: float) -> float:
    return gamma / math.sqrt(max(math.prod(shape[1:]), 1))


def check_weights_per_output(shape: Shape, name: str) -> None:
    """Raise ValueError unless a weight (K, ...) has several weights for each output."""
    if len(shape) < 2 or (math.prod(shape[1:]) == 1 and shape[0]):
        raise ValueError(
            f"{name} needs a weight (out, in, ...) with at least two weights for each output: a single one "
            f"minus its mean is 0; got shape {shape}"
        )


class WeightStandardization(Module):
    """A parametrization: takes a weight (K, ...), returns it standardized, as WSConv2d does.

    For nn.utils.parametrize.register_parametrization(layer, "weight", WeightStandardization()), on any layer
    whose weight has its outputs in front. Source: Qiao et al. 2019, arXiv:1903.10520.
    """

    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__()
        check_eps(eps)
        self.eps = eps

    def forward(self, weight: Tensor) -> Tensor:
        return weight_standardization(weight, eps=self.eps)

    def extra_repr(self) -> str:
        return f"eps={self.eps}"


class ScaledWeightStandardization(Module):
    """A parametrization: takes a weight (K, ...), returns it standardized and scaled, as ScaledWSConv2d does.

    Its parameter is `gain` (K, 1, ...), ones of the dtype of the `weight` that it is made for.
    Source: Brock, De, Smith 2021, arXiv:2101.08692.
    """

    def __init__(self, weight: Tensor, gamma: float = 1.0, eps: float = 1e-6) -> None:
        super().__init__()
        check_input(weight, "ScaledWeightStandardization")
        check_weights_per_output(weight.shape, "ScaledWeightStandardization")
        check_eps(eps)
        self.gamma, self.eps = as_finite(gamma, "gamma"), eps
        self.gain = Parameter(numpy.ones((weight.shape[0], *(1,) * (weight.ndim - 1)), weight.dtype))

    def forward(self, weight: Tensor) -> Tensor:
        return scaled_weight_standardization(weight, self.gain, self.gamma, self.eps)

    def extra_repr(self) -> str:
        return f"gamma={self.gamma}, eps={self.eps}"


_PAPERS = "Qiao et al. 2019, arXiv:1903.10520", "Brock, De, Smith 2021, arXiv:2101.08692"
_POOL = "the weights of each output"
register(
    name="weight_standardization",
    function=weight_standardization,
    composed=weight_standardization_composed,
    parameters=("weight", "gain"),
    cases=(
        Case(((4, 3), None)),
        Case(((4, 3, 2), (4, 1, 1)), {"scale": 0.3}),
        Case(((2, 3, 2, 2), (2, 1, 1, 1)), {"eps": 1e-2}),
        Case(((3, 5), None), {"scale": -2.0}),
        Case(((1, 33), (1, 1))),
        Case(((0, 3), (0, 1))),
    ),
    errors=(
        ErrorCase(lambda: weight_standardization(ones(3)), ValueError, "at least two weights"),
        ErrorCase(lambda: weight_standardization(ones(3, 1, 1)), ValueError, "at least two weights"),
        ErrorCase(lambda: weight_standardization(ones(3, 2), ones(3)), ValueError, "expected (3, 1)"),
        ErrorCase(lambda: weight_standardization(ones(3, 2).long()), TypeError, "floating-point"),
        ErrorCase(lambda: weight_standardization(ones(3, 2), eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: weight_standardization(ones(3, 2), scale="2"), TypeError, "scale must be a number"),  # type: ignore[arg-type]
        ErrorCase(lambda: WeightStandardization(eps=-1.0), ValueError, "eps"),
    ),
    kind="normalization",
    title="WeightStandardization",
    paper=_PAPERS[0],
    pool=_POOL,
    bench=tuple(Case((s, (s[0], 1, 1, 1))) for s in ((64, 32, 3, 3), (512, 512, 3, 3))),
)
register(
    name="scaled_weight_standardization",
    function=scaled_weight_standardization,
    composed=scaled_weight_standardization_composed,
    parameters=("weight", "gain"),
    cases=(
        Case(((4, 3), None)),
        Case(((4, 3, 2, 2), (4, 1, 1, 1)), {"gamma": ACTIVATION_GAINS["relu"]}),
        Case(((3, 5), (3, 1)), {"eps": 1e-2}),
        Case(((0, 3), (0, 1))),
    ),
    errors=(
        ErrorCase(lambda: scaled_weight_standardization(ones(3, 1)), ValueError, "at least two weights"),
        ErrorCase(
            lambda: scaled_weight_standardization(ones(3, 2), ones(2, 1)), ValueError, "gain has shape"
        ),
        ErrorCase(lambda: ScaledWeightStandardization(ones(3, 2), "1"), TypeError, "gamma must be a number"),  # type: ignore[arg-type]
        ErrorCase(lambda: ScaledWeightStandardization(ones(3)), ValueError, "at least two weights"),
    ),
    kind="normalization",
    title="ScaledWeightStandardization",
    paper=_PAPERS[1],
    pool=f"{_POOL}, scaled by 1/√fan_in",
    bench=(Case(((256, 128, 3, 3), (256, 1, 1, 1))),),
)
