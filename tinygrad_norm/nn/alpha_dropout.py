"""Alpha dropout: dropout for SELU, which keeps a mean of 0 and a variance of 1.

    mask_i ~ Bernoulli(q), q = 1 - p   y_i = a·(x_i if mask_i else s) + b,   s = -λ·α = -1.7581

What is dropped takes SELU's value at -∞, which is s, instead of 0. For x of mean 0 and variance 1,

    z = x if mask else s      E z = p·s      E z² = q + p·s²      Var z = q + p·s² - p²·s² = q·(1 + p·s²)

so that y = a·z + b has mean 0 and variance 1 with

    a = 1/√(q·(1 + p·s²))      b = -a·p·s

With p = 1 nothing is left of x; then y = 0, as in PyTorch.

Klambauer, Unterthiner, Mayr, Hochreiter 2017, arXiv:1706.02515.

Backward: the mask is a constant, and y_i depends on x_i alone, with slope a where it is kept: dx = a·dy·mask.

Insight: dropout scales what is left, and so changes the variance that SELU settles at; here an affine map of
all entries puts it back.
"""

import math

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, kernel, namespace
from ..backends.cpu.half import downcast, upcast
from ..ops import ones, where
from ..ops.arguments import check_flags
from ..ops.checks import Shape, check_input
from ..registry import Case, ErrorCase, booleans, register
from .dropout import DropoutModule, check_probability, dropout

SATURATION = -1.0507009873554804934193349852946 * 1.6732632423543772848170429916717
"""s: what SELU tends to at -∞."""


def masked_alpha_dropout_composed(input: Tensor, mask: Tensor, p: float) -> Tensor:
    """Alpha dropout from primitives: autograd finds the gradient."""
    a, b = affine(p)
    return where(mask, a * input + b, a * SATURATION + b)


def affine(p: float) -> tuple[float, float]:
    """Return a and b, which are both 0 if p = 1."""
    if p == 1:
        return 0.0, 0.0
    a = 1 / math.sqrt((1 - p) * (1 + p * SATURATION**2))
    return a, -a * p * SATURATION


@kernel
def alpha_dropout_forward(x: Array, mask: Array, a: float, b: float) -> Array:
    """Return y; the bool mask broadcasts to x, True where x is kept."""
    return downcast(namespace(x).where(mask, a * upcast(x) + b, a * SATURATION + b), x)


class AlphaDropoutFunction(Function):
    """y = a·(x where mask, else s) + b · dx = a·dy·mask"""

    def forward(self, x: Array, mask: Array, *, p: float) -> Array:
        a, b = affine(p)
        self.saved = mask, a
        return alpha_dropout_forward(x, mask, a, b)

    def backward(self, dy: Array) -> Gradients:
        mask, a = self.saved
        return dy * mask * a, None


def masked_alpha_dropout(input: Tensor, mask: Tensor, p: float) -> Tensor:
    """Return a·input + b where the bool `mask` is True, else a·s + b: alpha dropout with a given mask.

    The mask has the input's shape, or one that broadcasts to it.
    """
    check_input(input, "alpha_dropout")
    return AlphaDropoutFunction.apply(input, mask, p=p)


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Replace each entry with probability p by SELU's lowest value, then restore mean 0 and variance 1.

    Outside training, do nothing. `tn.manual_seed` decides which entries are chosen. `inplace` is accepted and
    changes nothing.

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool.
        ValueError: if p is outside [0, 1].

    Source: Klambauer, Unterthiner, Mayr, Hochreiter 2017, arXiv:1706.02515.
    """
    return _drop("alpha_dropout", input, p, training, input.shape if isinstance(input, Tensor) else ())


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Replace each channel of (N, C, ...) with probability p, as `alpha_dropout` replaces entries.

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool.
        ValueError: if p is outside [0, 1], or the input has fewer than two axes.

    Source: Klambauer, Unterthiner, Mayr, Hochreiter 2017, arXiv:1706.02515.
    """
    name = "feature_alpha_dropout"
    check_input(input, name)
    if input.ndim < 2:
        raise ValueError(f"{name} takes (N, C, ...), got shape {input.shape}")
    return _drop(name, input, p, training, (*input.shape[:2], *(1,) * (input.ndim - 2)))


def _drop(name: str, input: Tensor, p: float, training: bool, shape: Shape) -> Tensor:
    check_probability(p)
    check_input(input, name)
    check_flags(training=training)
    if not training or p == 0:
        return input
    array = input.array
    kept = dropout(Tensor._wrap(namespace(array).ones(shape, array.dtype)), p) > 0
    return AlphaDropoutFunction.apply(input, kept, p=p)


class AlphaDropout(DropoutModule):
    """alpha_dropout as a layer, to be used with SELU; x in evaluation.

    Source: Klambauer, Unterthiner, Mayr, Hochreiter 2017, arXiv:1706.02515.
    """

    def forward(self, input: Tensor) -> Tensor:
        return alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(AlphaDropout):
    """feature_alpha_dropout as a layer: whole channels of (N, C, ...); x in evaluation.

    Source: Klambauer, Unterthiner, Mayr, Hochreiter 2017, arXiv:1706.02515.
    """

    def forward(self, input: Tensor) -> Tensor:
        return feature_alpha_dropout(input, self.p, self.training)


register(
    name="alpha_dropout",
    function=masked_alpha_dropout,
    composed=masked_alpha_dropout_composed,
    cases=(
        Case(((3, 4), booleans(3, 4)), {"p": 0.4}),
        Case(((2, 3, 2), booleans(2, 3, 1)), {"p": 0.2}),
        Case(((3, 4), booleans(3, 4)), {"p": 1.0}),
        Case(((0, 4), booleans(0, 4)), {"p": 0.5}),
    ),
    errors=(
        ErrorCase(lambda: alpha_dropout(ones(1), 1.5), ValueError, "probability"),
        ErrorCase(lambda: feature_alpha_dropout(ones(3), 0.5), ValueError, "(N, C, ...)"),
        ErrorCase(lambda: alpha_dropout([1.0]), TypeError, "Tensor"),  # type: ignore[arg-type]
    ),
    title="Alpha dropout",
    paper="Klambauer, Unterthiner, Mayr, Hochreiter 2017, arXiv:1706.02515",
)
