"""Layer and RMS normalization that keep their output for the backward, not their input.

    x (..., D)   y = w·x̂ + b   x̂ = (x - m)·r, or x·r      kept: y, w, b and r      x̂ = (y - b)/w

The next layer keeps y anyway, as its input, so that what a layer keeps costs one number per row. The forward
is that of layernorm.py and rmsnorm.py, and so are the kernels of the backward.

Yang et al. 2024, arXiv:2406.16282 (memory-sharing); `memory_efficient` is the name of the option in apex.

Backward, from dy = dL/dy, with x̂ as it is found again. It is that of layernorm.py and rmsnorm.py: their
bodies run on x̂ as a row whose mean is 0 and whose r is 1, and what they return is multiplied by r,

    dx = r·(g - mean(g) - x̂·mean(g·x̂))      without mean(g) for RMSNorm, with g = w·dy

The error of x̂ is the rounding of y, divided by w (core/fromoutput.py): in float32, with b = 1, about 2e-7 for
w = 1, 6e-6 for 0.01 and 6e-4 for 1e-4.

Insight: a normalization cannot be inverted, but its gradient does not ask for x: all it needs is x̂ and r.
"""

from collections.abc import Sequence
from typing import Any

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Column, Rows, Vector, kernel
from ...backends.cpu.half import downcast, upcast
from ...ops import ones, zeros
from ...ops.checks import Shape, check_rows
from ...registry import Case, ErrorCase, register, uniform
from ..core.fromoutput import check_invertible, statistics_of_x_hat, x_hat_of
from ..core.rows import as_rows, machine_eps
from .layernorm import LayerNorm, layer_norm_backward, layer_norm_composed, layer_norm_forward
from .rmsnorm import RMSNorm, rms_norm_backward, rms_norm_composed, rms_norm_forward


def memory_efficient_layer_norm_composed(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Layer normalization from primitives."""
    return layer_norm_composed(input, normalized_shape, weight, bias, eps)


def memory_efficient_rms_norm_composed(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """RMS normalization from primitives."""
    return rms_norm_composed(input, normalized_shape, weight, eps)


@kernel
def memory_efficient_layer_norm_backward(
    dy: Rows, y: Rows, weight: Vector | None, bias: Vector | None, rstd: Column
) -> tuple[Rows, Vector, Vector]:
    """Return dx (N, D), dweight and dbias (D,)."""
    x_hat = x_hat_of(y, weight, bias)
    statistics = statistics_of_x_hat(x_hat, rstd)
    dx, dweight, dbias = layer_norm_backward(upcast(dy), x_hat, weight, *statistics)
    return downcast(rstd * dx, dy), dweight, dbias


@kernel
def memory_efficient_rms_norm_backward(
    dy: Rows, y: Rows, weight: Vector | None, rstd: Column
) -> tuple[Rows, Vector]:
    """Return dx (N, D) and dweight (D,)."""
    dx, dweight = rms_norm_backward(upcast(dy), x_hat_of(y, weight, None), weight, rstd * 0 + 1)
    return downcast(rstd * dx, dy), dweight


class MemoryEfficientLayerNormFunction(Function):
    """y = w·(x - m)·r + b · dx = r·(g - mean(g) - x̂·mean(g·x̂)) with x̂ = (y - b)/w, means over each row"""

    def forward(
        self, x: Array, weight: Array | None, bias: Array | None, *, normalized_shape: Shape, eps: float
    ) -> Array:
        self.normalized_shape = normalized_shape
        rows, weight, bias = as_rows(normalized_shape, x, weight, bias)
        if True in self.needs:
            check_invertible(weight, "memory_efficient_layer_norm")
        y, _, rstd = layer_norm_forward(rows, weight, bias, eps)
        self.saved = y, weight, bias, rstd
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        rows = dy.reshape(self.saved[0].shape)
        dx, dweight, dbias = memory_efficient_layer_norm_backward(rows, *self.saved)
        shape = self.normalized_shape
        return dx.reshape(dy.shape), dweight.reshape(shape), dbias.reshape(shape)


class MemoryEfficientRMSNormFunction(Function):
    """y = w·x·r · dx = r·(g - x̂·mean(g·x̂)) with g = w·dy and x̂ = y/w, means over each row"""

    def forward(self, x: Array, weight: Array | None, *, normalized_shape: Shape, eps: float) -> Array:
        self.normalized_shape = normalized_shape
        rows, weight = as_rows(normalized_shape, x, weight)
        if True in self.needs:
            check_invertible(weight, "memory_efficient_rms_norm")
        y, rstd = rms_norm_forward(rows, weight, eps)
        self.saved = y, weight, rstd
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        rows = dy.reshape(self.saved[0].shape)
        dx, dweight = memory_efficient_rms_norm_backward(rows, *self.saved)
        return dx.reshape(dy.shape), dweight.reshape(self.normalized_shape)


def memory_efficient_layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Do what `layer_norm` does, and keep the output for the backward, not the input.

    Args:
        input: (..., *normalized_shape).
        normalized_shape: the sizes of the last axes, which share one mean and one variance.
        weight: of that shape, or None. Near 0 the gradients lose digits, see memoryefficient.py.
        bias: of that shape, or None.
        eps: added to the variance, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if the last sizes of the input, or the shape of weight or bias, are not
            `normalized_shape`, if eps is negative, or if a gradient is required and a weight is 0: on a GPU
            its gradients are NaN instead.

    Source: Yang et al. 2024, arXiv:2406.16282.
    """
    name = "memory_efficient_layer_norm"
    shape = check_rows(input, normalized_shape, eps, name, weight=weight, bias=bias)
    return MemoryEfficientLayerNormFunction.apply(input, weight, bias, normalized_shape=shape, eps=eps)


def memory_efficient_rms_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Do what `rms_norm` does, and keep the output for the backward, not the input.

    Args:
        input: (..., *normalized_shape).
        normalized_shape: the sizes of the last axes, which share one root mean square.
        weight: of that shape, or None. Near 0 the gradients lose digits, see memoryefficient.py.
        eps: added to the mean square, in units of input²; None is the machine epsilon, as in `rms_norm`.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if the last sizes of the input, or the shape of weight, are not `normalized_shape`, if
            eps is negative, or if a gradient is required and a weight is 0: on a GPU its gradients are NaN
            instead.

    Source: Yang et al. 2024, arXiv:2406.16282.
    """
    name = "memory_efficient_rms_norm"
    shape = check_rows(input, normalized_shape, eps or 0.0, name, weight=weight)
    eps = machine_eps(input) if eps is None else eps
    return MemoryEfficientRMSNormFunction.apply(input, weight, normalized_shape=shape, eps=eps)


LayerNorm.from_output = staticmethod(memory_efficient_layer_norm)
RMSNorm.from_output = staticmethod(memory_efficient_rms_norm)


def _with_a_zero(function: Any) -> Tensor:
    return function(ones(2, 3, requires_grad=True), (3,), zeros(3))


_PAPER = "Yang et al. 2024, arXiv:2406.16282"

register(
    name="memory_efficient_layer_norm",
    function=memory_efficient_layer_norm,
    composed=memory_efficient_layer_norm_composed,
    inputs=("input", "weight", "bias"),
    parameters=("weight", "bias"),
    cases=(
        Case(((4, 8), uniform(1.0, 2.0, 8), (8,)), {"normalized_shape": (8,)}),
        Case(((2, 3, 4), uniform(1.0, 2.0, 3, 4), None), {"normalized_shape": (3, 4), "eps": 1e-3}),
        Case(((4, 5), None, (5,)), {"normalized_shape": (5,)}),
        Case(((0, 4), uniform(1.0, 2.0, 4), (4,)), {"normalized_shape": (4,)}),
    ),
    errors=(
        ErrorCase(lambda: memory_efficient_layer_norm(ones(2, 3), (4,)), ValueError, "last sizes"),
        ErrorCase(lambda: _with_a_zero(memory_efficient_layer_norm), ValueError, "3 of 3 weights are 0"),
        ErrorCase(lambda: memory_efficient_layer_norm(ones(2, 3).long(), 3), TypeError, "floating-point"),
    ),
    kind="normalization",
    title="LayerNorm, output kept",
    paper=_PAPER,
    pool="the last axes of each sample",
    bench=(Case(((4096, 1024), (1024,), (1024,)), {"normalized_shape": (1024,)}),),
)
register(
    name="memory_efficient_rms_norm",
    function=memory_efficient_rms_norm,
    composed=memory_efficient_rms_norm_composed,
    inputs=("input", "weight"),
    parameters=("weight",),
    cases=(
        Case(((4, 8), uniform(1.0, 2.0, 8)), {"normalized_shape": (8,), "eps": 1e-5}),
        Case(((2, 3, 4), None), {"normalized_shape": (3, 4), "eps": 1e-3}),
        Case(((0, 4), uniform(1.0, 2.0, 4)), {"normalized_shape": (4,), "eps": 1e-5}),
    ),
    errors=(
        ErrorCase(lambda: memory_efficient_rms_norm(ones(2, 3), (4,)), ValueError, "last sizes"),
        ErrorCase(lambda: _with_a_zero(memory_efficient_rms_norm), ValueError, "3 of 3 weights are 0"),
    ),
    kind="normalization",
    title="RMSNorm, output kept",
    paper=_PAPER,
    pool="the last axes of each sample, no mean",
    bench=(Case(((4096, 1024), (1024,)), {"normalized_shape": (1024,)}),),
)
