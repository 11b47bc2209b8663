"""Dropout: in training every entry is zeroed with probability p, and the others are scaled up.

    mask_i ~ Bernoulli(1 - p)   y = x·mask/(1 - p)

so E[y] = x, and evaluation is the identity.

Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014.

Backward: the mask is a constant and y is linear in x, so dx = dy·mask/(1 - p). On a GPU the mask is drawn
by the kernel, and drawn again in backward, which moves fewer bytes than writing and reading it.

Insight: E[y] = x, but Var(y) = x²·p/(1 - p) is there in training only. A batch normalization behind a
dropout includes that variance in its running statistics and misses it in evaluation.
"""

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, asarray, backend_of, kernel, namespace
from ..backends.cpu.half import downcast, upcast
from ..backends.cuda.launch import CudaSource, contiguous, packs
from ..backends.philox import philox_words
from ..backends.random import Draw, generator, next_draw
from ..ops.arguments import as_number, check_flags
from ..ops.checks import Shape, check_input
from ..registry import Case, ErrorCase, booleans, register
from .activation.pointwise import InplaceModule

_kernels = CudaSource(__file__)


def masked_dropout_composed(input: Tensor, mask: Tensor, p: float) -> Tensor:
    """Dropout from primitives: autograd finds the gradient."""
    return input * mask * survivor_scale(p)


def survivor_scale(p: float) -> float:
    """Return the factor of the entries that are kept: 1/(1 - p), or 0 if p = 1 and none is kept."""
    return 1 / (1 - p) if p < 1 else 0.0


@kernel
def dropout_forward(x: Array, mask: Array, scale: float) -> Array:
    """Return y: the bool mask has x's shape, True where x is kept."""
    y = x * mask
    y *= scale
    return y


@kernel
def dropout_backward(dy: Array, mask: Array, scale: float) -> Array:
    """Return dx."""
    return dropout_forward(dy, mask, scale)


class DropoutFunction(Function):
    """y = x·mask/(1 - p) · dx = dy·mask/(1 - p)"""

    def forward(self, x: Array, mask: Array, *, p: float) -> Array:
        self.saved = mask, survivor_scale(p)
        return dropout_forward(x, *self.saved)

    def backward(self, dy: Array) -> Gradients:
        return dropout_backward(dy, *self.saved), None


@kernel
def random_dropout(x: Array, draw: Draw, p: float) -> Array:
    """Return y, with a mask drawn by Philox: the same for the same `draw`, so this is the backward too."""
    kept = philox_words(x.size, draw.number, draw.key) >= _threshold(p)
    wide = upcast(x) * namespace(x).asarray(kept.reshape(x.shape))
    return downcast(wide * survivor_scale(p), x)


@random_dropout.cuda
def random_dropout_cuda(x: Array, draw: Draw, p: float) -> Array:
    """One launch: x is read once, and the mask is neither written nor read."""
    (x,) = contiguous(x)
    y = namespace(x).empty_like(x)
    vector, blocks = packs(x, y)
    numbers = x.size, draw.key, draw.number, _threshold(p), survivor_scale(p)
    args = x, y, draw.key_at, draw.first_at, *numbers
    _kernels.launch("random_dropout", x.dtype, (vector,), blocks, 256, args)
    return y


def _threshold(p: float) -> int:
    return round(p * 2**32)  # words of 32 bits below it are dropped


class RandomDropoutFunction(Function):
    """y = x·mask/(1 - p) · dx = dy·mask/(1 - p), the mask drawn twice instead of kept"""

    def forward(self, x: Array, *, draw: Draw, p: float) -> Array:
        self.saved = draw, p
        return random_dropout(x, draw, p)

    def backward(self, dy: Array) -> Gradients:
        return random_dropout(dy, *self.saved)


def masked_dropout(input: Tensor, mask: Tensor, p: float) -> Tensor:
    """Return input/(1 - p) where the bool `mask` is True, else 0: dropout with a given mask."""
    check_input(input, "dropout")
    return DropoutFunction.apply(input, mask, p=p)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each entry with probability p and divide the others by 1 - p; outside training, do nothing.

    `tn.manual_seed` decides which entries are chosen. A GPU draws its own mask, which differs from the CPU's.
    `inplace` is accepted and changes nothing: see pointwise.py.

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool.
        ValueError: if p is outside [0, 1].

    Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014.
    """
    check_probability(p)
    check_input(input, "dropout")
    if training is not True and training is not False:
        check_flags(training=training)
    if not training or p == 0:
        return input
    if type(input.array) is not numpy.ndarray and backend_of(input.array).kernels == "cuda":
        return RandomDropoutFunction.apply(input, draw=next_draw(input.array), p=p)
    return DropoutFunction.apply(input, draw_kept(input.shape, p), p=p)


def draw_kept(shape: Shape, p: float) -> Tensor:
    """Return a bool mask, True with probability 1 - p, from the stream that `tn.manual_seed` seeds."""
    return Tensor._wrap(asarray(generator().random(shape, numpy.float32) >= p))


def check_probability(p: float) -> None:
    """Raise TypeError unless p is a number, ValueError unless it is a probability."""
    if not 0 <= as_number(p, "p") <= 1:
        raise ValueError(f"p is the probability that an entry is zeroed, between 0 and 1, got {p}")


class DropoutModule(InplaceModule):
    """A layer with the probability p that something is dropped."""

    shown = ("p",)

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__(inplace)
        check_probability(p)
        self.p = p


class Dropout(DropoutModule):
    """dropout as a layer: y = x·mask/(1 - p) in training, x in evaluation, of x's shape.

    Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014.
    """

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p, self.training)


register(
    name="dropout",
    function=masked_dropout,
    composed=masked_dropout_composed,
    cases=(
        Case(((3, 4), booleans(3, 4)), {"p": 0.4}),
        Case(((2, 3, 2), booleans(2, 3, 2)), {"p": 0.0}),
        Case(((3, 4), booleans(3, 4)), {"p": 1.0}),
        Case(((0, 4), booleans(0, 4)), {"p": 0.5}),
    ),
    errors=(
        ErrorCase(lambda: dropout(Tensor([1.0]), 1.5), ValueError, "probability"),
        ErrorCase(lambda: Dropout(-0.1), ValueError, "probability"),
        ErrorCase(lambda: dropout([1.0]), TypeError, "Tensor"),  # type: ignore[arg-type]
    ),
    title="Dropout",
    paper="Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014",
)
