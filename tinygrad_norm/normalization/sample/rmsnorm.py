"""RMS normalization: every row is divided by its root mean square. No centering, no bias.

    x (..., D)   r = 1/√(mean(x²) + eps)   x̂ = x·r   y = w·x̂

r is one number per row; w is (D,), where D stands for all of `normalized_shape`.

In the code: r rstd, x̂ x_hat, w weight.

Zhang, Sennrich 2019, arXiv:1910.07467.

Backward, for one row, from dy = dL/dy. All rows share the weight:

    dw = Σrows dy·x̂      g := dL/dx̂ = w·dy

Every x_i moves every x̂_j of its row, so by the chain rule dL/dx_i = Σ_j g_j·∂x̂_j/∂x_i. With x̂_j = x_j·r
there are two paths from x_i to x̂_j, and their contributions add up:

    straight     ∂x_j/∂x_i = 1 if i = j                                   r·g_i
    through r    with a = mean(x²): ∂a/∂x_i = (2/D)·x_i, ∂r/∂a = -r³/2    -r·x̂_i·mean(g·x̂)

    dx = r·(g - x̂·mean(g·x̂))

Two other parametrizations of the scale, both with a weight v that starts at 0 and 1 + v in the place of w.
Zero-centered: y = (1 + v)·x̂. The 1 is a constant, so dv is dw, and only g knows of it: g = (1 + v)·dy.
Input-scaled: the scale comes first, u = (1 + v)·x and y = û, so rms(y) is 1 whatever v is. With the last line
above, for u and without a weight, du = r·(dy - û·mean(dy·û)), and then dx = (1 + v)·du, dv = Σrows x·du.

Insight: it is LayerNorm without the path through the mean, so only the direction x̂ is removed from
the gradient. At eps = 0 a row is √D times its L2 normalization. 1 + v trains as w does, step for step, until
weights decay: then its scale is pulled toward 1, not toward 0.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Column, Rows, Vector, kernel
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import is_half
from ...backends.cpu.pool_loops import COLUMN, VECTOR
from ...backends.cpu.sums import column_sums, row_mean_products
from ...backends.cuda.launch import CudaSource
from ...module import Module, Parameter
from ...ops.arguments import check_flags
from ...ops.checks import Shape, as_shape, check_eps, check_rows
from ...registry import Case, ErrorCase, register
from ..core.exactness import (
    exact_for_any_scale,
    exact_near_the_limits,
    is_near_the_limits,
    loses_digits,
)
from ..core.moments import affine
from ..core.rows import as_rows, machine_eps

_kernels = CudaSource(__file__, "../core/moments.cuh", "rowgradients.cuh")
POOL = (1,)  # each row of x (N, D)


def rms_norm_composed(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """RMS normalization from primitives: autograd finds the gradient."""
    eps = machine_eps(input) if eps is None else eps
    axes = tuple(range(-len(as_shape(normalized_shape)), 0))
    rstd = ((input * input).mean(axes, keepdim=True) + eps) ** -0.5
    return affine(input * rstd, weight, None)


@kernel
@in_blocks("x", weight=1.0)
@exact_for_any_scale(POOL, "rstd")
def rms_norm_forward(x: Rows, weight: Vector | None, eps: float) -> tuple[Rows, Column]:
    """Return y (N, D) and rstd (N, 1), for x (N, D) and weight (D,)."""
    rstd = (row_mean_products(x, x) + eps) ** -0.5
    x_hat = x * rstd
    return weight * x_hat, rstd


@rms_norm_forward.loops(rstd=COLUMN, weight=VECTOR)
def rms_norm_forward_loop(
    x: Rows, weight: Vector, eps: float, y: Rows, rstd: Column, zero: float, left: Array
) -> None:
    """One row after the other: once to find r, once to write y."""
    (N, D), real = x.shape, x.dtype.type
    for n in range(N):
        s = zero
        for i in range(D):
            s += x[n, i] * x[n, i]
        r = real(1 / numpy.sqrt(s / D + eps))
        for i in range(D):
            y[n, i] = weight[i] * (x[n, i] * r)
        rstd[n, 0], left[n] = r, loses_digits(0, r)


@rms_norm_forward.cuda
def rms_norm_forward_cuda(x: Rows, weight: Vector | None, eps: float) -> tuple[Array, ...]:
    """One kernel: every row is read once and written once."""
    return _kernels.forward_rows("rms_norm_forward", (x,), (weight,), 1, 1 / x.shape[1], eps)


@kernel
@in_blocks("dy", "x", "rstd", add=True, weight=1.0)
@exact_near_the_limits(POOL)
def rms_norm_backward(dy: Rows, x: Rows, weight: Vector | None, rstd: Column) -> tuple[Rows, Vector]:
    """Return dx (N, D) and dweight (D,)."""
    x_hat = x * rstd
    g = weight * dy
    dx = rstd * (g - x_hat * row_mean_products(g, x_hat))
    return dx, column_sums(dy * x_hat)


@rms_norm_backward.loops(dweight=VECTOR, weight=VECTOR)
def rms_norm_backward_loop(
    dy: Rows,
    x: Rows,
    weight: Vector,
    rstd: Column,
    dx: Rows,
    dweight: Vector,
    zero: float,
    left: Array,
) -> None:
    """One row after the other: once for all sums, once to write dx."""
    (N, D), real = x.shape, x.dtype.type
    for n in range(N):
        r = rstd[n, 0]
        left[n] = is_near_the_limits(0, r)
        if left[n]:
            continue
        sum_g_x_hat = zero
        for i in range(D):
            x_hat = x[n, i] * r
            sum_g_x_hat += weight[i] * dy[n, i] * x_hat
            dweight[i] += dy[n, i] * x_hat
        mean_g_x_hat = real(sum_g_x_hat / D)
        for i in range(D):
            dx[n, i] = r * (weight[i] * dy[n, i] - x[n, i] * r * mean_g_x_hat)


@rms_norm_backward.cuda
def rms_norm_backward_cuda(dy: Rows, x: Rows, weight: Vector | None, rstd: Column) -> tuple[Array, ...]:
    """One kernel for dx and, block by block, for dweight; a second one adds the blocks up."""
    return _kernels.backward_rows("rms_norm_backward", (dy, x), (rstd,), weight, 1)


class RMSNormFunction(Function):
    """y = w·x·r · dx = r·(g - x̂·mean(g·x̂)) with g = w·dy, means over each row"""

    def forward(self, x: Array, weight: Array | None, *, normalized_shape: Shape, eps: float) -> Array:
        self.normalized_shape = normalized_shape
        rows, weight = as_rows(normalized_shape, x, weight)
        y, rstd = rms_norm_forward(rows, weight, eps)
        self.saved = rows, weight, rstd
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dweight = rms_norm_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), dweight.reshape(self.normalized_shape)


def rms_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Divide each sample by its root mean square over the last axes, then scale.

    Args:
        input: (..., *normalized_shape).
        normalized_shape: the sizes of the last axes, which share one root mean square.
        weight: of that shape, or None.
        eps: added to the mean square, in units of input²; None is the machine epsilon of the dtype that is
            computed in: float64, or float32, also for half types.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if the last sizes of the input, or the shape of weight, are not `normalized_shape`, or if
            eps is negative.

    Source: Zhang, Sennrich 2019, arXiv:1910.07467.
    """
    shape = check_rows(input, normalized_shape, eps or 0.0, "rms_norm", weight=weight)
    eps = machine_eps(input) if eps is None else eps
    return RMSNormFunction.apply(input, weight, normalized_shape=shape, eps=eps)


class RMSNorm(Module):
    """RMS normalization with a learned weight (ones) of shape `normalized_shape`.

    Takes and returns (..., *normalized_shape). Gemma's RMSNorm is `zero_centered=True` with eps=1e-6.

    Args:
        normalized_shape: the sizes of the last axes, which share one root mean square.
        eps: added to the mean square, in units of input²; None is the machine epsilon, as in `rms_norm`.
        elementwise_affine: whether there is a weight.
        zero_centered: whether the weight starts at 0, and x̂ is multiplied by 1 + weight.
        input_scaled: whether the input is multiplied by 1 + weight, not x̂: then rms(output) is 1.
        memory_efficient: whether the output is kept for the backward, not the input (apex's name): see
            memory_efficient_rms_norm.

    Raises:
        ValueError: for a size that is not positive, a negative eps, or a way to scale without a weight.

    Source: Zhang, Sennrich 2019, arXiv:1910.07467; zero-centered and input-scaled: the Gemma and Muse Spark
    models in the library transformers. Not all of a family agree: Gemma 3n and 4 have a plain weight again,
    and Llama rounds x̂ to the dtype of the input before it multiplies by the weight, Gemma after.
    """

    from_output: ClassVar[Callable[..., Tensor]]  # memoryefficient.py, which is made from this file, sets it

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        zero_centered: bool = False,
        input_scaled: bool = False,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        check_flags(
            elementwise_affine=elementwise_affine,
            zero_centered=zero_centered,
            input_scaled=input_scaled,
            memory_efficient=memory_efficient,
        )
        if (zero_centered or input_scaled) and not elementwise_affine:
            raise ValueError(
                "zero_centered and input_scaled say what the weight does, but elementwise_affine=False "
                "leaves it out: leave them out too"
            )
        self.normalized_shape = as_shape(normalized_shape)
        if eps is not None:
            check_eps(eps)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.memory_efficient = memory_efficient
        self.zero_centered, self.input_scaled = zero_centered or input_scaled, input_scaled
        weight = numpy.full(self.normalized_shape, self.neutral_weight, numpy.float32)
        self.register_parameter("weight", Parameter(weight) if elementwise_affine else None)

    @property
    def neutral_weight(self) -> float:
        """The weight that scales by 1, where it starts: `optim.split_decay` asks for it."""
        return 0.0 if self.zero_centered else 1.0

    def forward(self, input: Tensor) -> Tensor:
        scale = self._scale()
        if self.input_scaled and scale is not None:
            check_rows(input, self.normalized_shape, self.eps or 0.0, "RMSNorm", weight=scale)
            # the product of a half type stays in float32: it may be too large for the half type, and y is not
            wide = numpy.float32 if is_half(input.array) else input.dtype
            return self._normalized((input * scale).to(wide), None).to(input.dtype)
        return self._normalized(input, scale)

    def _normalized(self, input: Tensor, scale: Tensor | None) -> Tensor:
        function = self.from_output if self.memory_efficient else rms_norm
        return function(input, self.normalized_shape, scale, self.eps)

    def _scale(self) -> Tensor | None:
        """Return the weight, or 1 + weight: that of a half type in float32, which keeps its digits."""
        weight = self.weight
        if weight is None or not self.zero_centered:
            return weight
        return 1 + (weight.float() if is_half(weight.array) else weight)

    def extra_repr(self) -> str:
        given = f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        how = "input_scaled" if self.input_scaled else "zero_centered" if self.zero_centered else ""
        given = f"{given}, {how}=True" if how else given
        return f"{given}, memory_efficient=True" if self.memory_efficient else given


register(
    name="rms_norm",
    function=rms_norm,
    composed=rms_norm_composed,
    inputs=("input", "weight"),
    parameters=("weight",),
    cases=(
        Case(((4, 8), (8,)), {"normalized_shape": (8,)}),
        Case(((4, 8), None), {"normalized_shape": (8,)}),
        Case(((2, 3, 5), None), {"normalized_shape": (5,), "eps": 1.0}),
        Case(((2, 3, 4), (3, 4)), {"normalized_shape": (3, 4), "eps": 1e-6}),
        Case(((0, 4), (4,)), {"normalized_shape": (4,)}),
    ),
    errors=(
        ErrorCase(lambda: rms_norm(Tensor(numpy.ones((2, 3))), (4,)), ValueError, "last sizes"),
        ErrorCase(lambda: rms_norm(Tensor(numpy.ones((2, 3), int)), (3,)), TypeError, "floating-point"),
        ErrorCase(
            lambda: rms_norm(Tensor(numpy.ones((2, 3))), (3,), Tensor(numpy.ones(2))), ValueError, "weight"
        ),
        ErrorCase(lambda: rms_norm(Tensor(numpy.ones((2, 3))), (3,), eps=-1.0), ValueError, "eps"),
    ),
    kind="normalization",
    title="RMSNorm",
    paper="Zhang, Sennrich 2019, arXiv:1910.07467",
    pool="the last axes of each sample, no mean",
    torch="torch.nn.functional.rms_norm",
    bench=tuple(
        Case((shape, shape[-1:]), {"normalized_shape": shape[-1:]})
        for shape in ((64, 64), (512, 768), (4096, 1024))
    ),
)
