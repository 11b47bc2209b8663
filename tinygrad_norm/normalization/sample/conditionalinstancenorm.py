"""Conditional instance normalization: instance normalization with a weight and a bias for each class.

    x (N, C, ...)   c (N,) the class of each sample   w, b (K, C): a row for each of K classes
    pool = the positions of one channel of one sample; m, r, x̂ as in instancenorm.py
    y = w_c·x̂ + b_c      w_c, b_c (N, C): the rows of the classes

In the code: m mean, r rstd, x̂ x_hat, w weight, b bias; x is (1, N·C, S): every channel of every sample is a
channel of one batch, so the bodies are those of batchnorm.py.

Dumoulin, Shlens, Kudlur 2017, arXiv:1610.07629.

Backward, from dy = dL/dy. A row of the tables reaches all samples of its class, and the chain rule adds up:

    dw_k = Σ dy·x̂      db_k = Σ dy      over the positions of all samples n with c_n = k

x takes the three paths of instancenorm.py. A pool belongs to one sample, so its weight may go in front:

    dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = w_c·dy

Insight: one network paints K styles, and a style is 2·C numbers for each normalization. Labels that repeat in
a batch add up: `dw[c] += d` with an array of labels keeps only one of them.
"""

import math

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, kernel
from ...module import Module, Parameter
from ...ops import ones, tensor
from ...ops.arguments import as_size
from ...ops.checks import check_channels, check_eps, check_pool
from ...ops.dims import Shape
from ...registry import Case, ErrorCase, fixed, integers, register
from ..batch.batchnorm import batch_norm_backward, batch_norm_forward
from ..batch.conditionalbatchnorm import rows_of_classes
from ..core.moments import standardized


def conditional_instance_norm_composed(
    input: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5
) -> Tensor:
    """Conditional instance normalization from primitives: autograd finds the gradients."""
    return affine_of_rows_composed(input, weight[labels], bias[labels], eps)


def affine_of_rows_composed(input: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Return what `ConditionalInstanceNormFunction` does, from primitives."""
    rows = (-1, input.shape[1], *(1,) * (input.ndim - 2))
    return standardized(input, tuple(range(2, input.ndim)), eps) * weight.reshape(rows) + bias.reshape(rows)


@kernel
def conditional_instance_norm_forward(
    x: Channels, weight: Array, bias: Array, eps: float
) -> tuple[Channels, Array, Array]:
    """Return y (1, N·C, S), mean and rstd; weight, bias, mean and rstd are (1, N·C, 1)."""
    y, mean, _, rstd = batch_norm_forward(x, weight, bias, eps)
    return y, mean, rstd


@kernel
def conditional_instance_norm_backward(
    dy: Channels, x: Channels, weight: Array, mean: Array, rstd: Array
) -> tuple[Channels, Array, Array]:
    """Return dx (1, N·C, S), dweight and dbias (1, N·C, 1)."""
    return batch_norm_backward(dy, x, weight, mean, rstd)


class ConditionalInstanceNormFunction(Function):
    """y = w·x̂ + b, w and b (N, C) · dx = r·(g - mean(g) - x̂·mean(g·x̂)), g = w·dy, means over positions"""

    def forward(self, x: Array, weight: Array, bias: Array, *, eps: float) -> Array:
        pools = x.reshape(1, weight.size, math.prod(x.shape[2:]))
        rows, shifts = (a.reshape(1, a.size, 1) for a in (weight, bias))
        y, mean, rstd = conditional_instance_norm_forward(pools, rows, shifts, eps)
        self.saved = pools, rows, mean, rstd
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, *rows = conditional_instance_norm_backward(dy.reshape(self.saved[0].shape), *self.saved)
        dweight, dbias = (d.reshape(dy.shape[:2]) for d in rows)
        return dx.reshape(dy.shape), dweight, dbias


def conditional_instance_norm(
    input: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5
) -> Tensor:
    """Normalize each channel of each sample; then scale and shift by the rows of the sample's class.

    Args:
        input: (N, C, ...) with at least two positions.
        labels: (N,), integers from 0 to K - 1.
        weight: (K, C).
        bias: (K, C).
        eps: added to the variance, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor, or the labels are not integers.
        ValueError: if a shape does not fit, if a channel has one value, or if eps is negative.
        IndexError: if a label is not between 0 and K - 1.

    Source: Dumoulin, Shlens, Kudlur 2017, arXiv:1610.07629.
    """
    name = "conditional_instance_norm"
    rows = rows_of_classes(input, labels, weight, bias, name)
    check_eps(eps)
    advice = "a channel needs more than one position"
    check_pool(input, math.prod(input.shape[2:]), name, advice, "channel of a sample")
    return ConditionalInstanceNormFunction.apply(input, *rows, eps=float(eps))


class ConditionalInstanceNorm2d(Module):
    """Instance normalization of (N, C, H, W) with a weight (ones) and a bias (zeros) of each class or style.

    `forward(x, labels)` takes labels (N,), integers from 0 to num_classes - 1; weight and bias are
    (num_classes, C). Source: Dumoulin, Shlens, Kudlur 2017, arXiv:1610.07629.
    """

    def __init__(self, num_features: int, num_classes: int, eps: float = 1e-5) -> None:
        super().__init__()
        check_eps(eps)
        self.num_features, self.eps = as_size(num_features, "num_features"), eps
        self.num_classes = as_size(num_classes, "num_classes")
        rows = numpy.ones((num_classes, num_features), numpy.float32)
        self.weight, self.bias = Parameter(rows), Parameter(rows * 0)

    def forward(self, input: Tensor, labels: Tensor) -> Tensor:
        check_channels(input, "ConditionalInstanceNorm2d", self.num_features)
        if input.ndim != 4:
            raise ValueError(
                f"ConditionalInstanceNorm2d takes an input (N, C, H, W), got shape {input.shape}"
            )
        return conditional_instance_norm(input, labels, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, {self.num_classes}, eps={self.eps}"


def _call(
    x: Shape = (2, 3, 4),
    labels: tuple[float, ...] = (0, 1),
    weight: Shape = (2, 3),
    bias: Shape = (2, 3),
    eps: float = 1e-5,
) -> Tensor:
    return conditional_instance_norm(ones(*x), tensor(labels), ones(*weight), ones(*bias), eps)


register(
    name="conditional_instance_norm",
    function=conditional_instance_norm,
    composed=conditional_instance_norm_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((4, 3, 5), fixed([2, 0, 2, 2]), (3, 3), (3, 3))),
        Case(((3, 2, 2, 3), fixed([1, 1, 0]), (2, 2), (2, 2)), {"eps": 1e-2}),
        Case(((1, 2, 2, 1, 2), fixed([0]), (1, 2), (1, 2))),
        Case(((2, 3, 7, 7), fixed([3, 1]), (4, 3), (4, 3))),
        Case(((0, 3, 4), integers(3, 0), (3, 3), (3, 3))),
    ),
    errors=(
        ErrorCase(lambda: _call(labels=(0,)), ValueError, "one label for each sample, of shape (2,)"),
        ErrorCase(lambda: _call(labels=(0, 2)), IndexError, "0 to 1"),
        ErrorCase(lambda: _call(labels=(0.0, 1.0)), TypeError, "integers"),
        ErrorCase(lambda: _call(weight=(2, 4)), ValueError, "weight has shape (2, 4)"),
        ErrorCase(lambda: _call(bias=(3, 3)), ValueError, "bias has shape (3, 3)"),
        ErrorCase(lambda: _call(x=(2, 3, 1)), ValueError, "more than one"),
        ErrorCase(lambda: _call(eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: ConditionalInstanceNorm2d(3, 0), ValueError, "num_classes"),
        ErrorCase(
            lambda: ConditionalInstanceNorm2d(3, 2)(ones(2, 3, 4), tensor([0, 1])), ValueError, "(N, C, H, W)"
        ),
    ),
    kind="normalization",
    title="ConditionalInstanceNorm",
    paper="Dumoulin, Shlens, Kudlur 2017, arXiv:1610.07629",
    pool="each channel of each sample; scale and shift of the sample's class",
    bench=(Case(((8, 64, 32, 32), integers(10, 8), (10, 64), (10, 64))),),
)
