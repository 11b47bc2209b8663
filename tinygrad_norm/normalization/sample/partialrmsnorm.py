"""pRMSNorm: RMS normalization by a root mean square that is estimated from the first entries of a row.

    x (..., D)   k = int(p·D)   a = √mean(x²) over the first k entries of a row
    r = 1/(a + eps)   x̂ = x·r   y = w·x̂ + b

a and r are one number per row; w and b are (D,). eps is added to the root, as in the authors' code, and not
inside it as in rmsnorm.py: its unit is that of the input.

In the code: a rms, r scale, x̂ x_hat, w weight, b bias; z is x/a in the first k entries, and 0 in the others.

Zhang, Sennrich 2019, arXiv:1910.07467.

Backward, for one row, from dy = dL/dy. All rows share weight and bias:

    dw = Σrows dy·x̂      db = Σrows dy      g := dL/dx̂ = w·dy

With x̂_j = x_j·r there are two paths from x_i to x̂_j:

    straight     ∂x_j/∂x_i = 1 if i = j                                            r·g_i
    through r    for i < k: ∂a/∂x_i = x_i/(k·a) = z_i/k, ∂r/∂a = -r²     -r·z_i·(1/k)·Σ_D g·x̂

    dx = r·(g - z·Σ(g·x̂)/k)

where the sum is over all D entries, since all of them are divided.

Insight: a row may be made larger without moving y only as a whole. The entries from k on have the straight
path alone: making them larger makes y larger.
"""

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Column, Rows, Vector, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import upcast
from ...backends.cpu.sums import column_sums, row_sum_products
from ...module import Module, Parameter
from ...ops import ones
from ...ops.arguments import as_number, as_size, check_flags
from ...ops.checks import check_eps, check_input, check_rows
from ...registry import Case, ErrorCase, register
from ..core.moments import affine
from ..core.rows import as_rows
from .rmsnorm import rms_norm_forward


def partial_rms_norm_composed(
    input: Tensor,
    p: float = -1.0,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-8,
) -> Tensor:
    """pRMSNorm from primitives: autograd finds the gradients."""
    part = input[..., : _count(p, input.shape[-1])]
    rms = (part * part).mean(-1, keepdim=True).sqrt()
    return affine(input / (rms + eps), weight, bias)


@in_blocks("x", "scale", weight=1.0, bias=0.0)
def _scaled(x: Rows, weight: Vector | None, bias: Vector | None, scale: Column) -> Rows:
    return weight * (x * scale) + bias


@kernel
def partial_rms_norm_forward(
    x: Rows, weight: Vector | None, bias: Vector | None, k: int, eps: float
) -> tuple[Rows, Column, Column]:
    """Return y (N, D), r and 1/a (N, 1), for x (N, D), weight and bias (D,). 1/a is 0 for a = 0."""
    xp = namespace(x)
    part = x if k == x.shape[1] else xp.ascontiguousarray(x[:, :k])
    _, rrms = rms_norm_forward(part, None, 0.0)
    rms = 1 / xp.where(rrms == 0, 1, rrms)
    rms = xp.where(rrms == 0, upcast(abs(part).max(1, keepdims=True)), rms)  # 0, or infinity
    scale = 1 / (rms + eps)
    return _scaled(x, weight, bias, scale), scale, rrms


@kernel
@in_blocks("dy", "x", "scale", "rrms", add=True, weight=1.0)
def partial_rms_norm_backward(
    dy: Rows, x: Rows, weight: Vector | None, scale: Column, rrms: Column, k: int
) -> tuple[Rows, Vector, Vector]:
    """Return dx (N, D), dweight and dbias (D,)."""
    x_hat, g = x * scale, weight * dy
    xp = namespace(x)
    through_r = xp.where(xp.arange(x.shape[1]) < k, x * rrms * (row_sum_products(g, x_hat) / k), 0)
    dx = scale * (g - through_r)
    return dx, column_sums(dy * x_hat), column_sums(dy)


class PartialRMSNormFunction(Function):
    """y = w·x·r + b, r = 1/(a + eps) · dx = r·(g - z·Σ(g·x̂)/k) with g = w·dy, z = x/a for i < k"""

    def forward(self, x: Array, weight: Array | None, bias: Array | None, *, k: int, eps: float) -> Array:
        rows, weight, bias = as_rows(x.shape[-1:], x, weight, bias)
        y, scale, rrms = partial_rms_norm_forward(rows, weight, bias, k, eps)
        self.saved = rows, weight, scale, rrms, k
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dweight, dbias = partial_rms_norm_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), dweight, dbias


def _count(p: float, D: int) -> int:
    """Return how many entries of D the root mean square is taken of."""
    return D if p < 0 else int(p * D)


def partial_rms_norm(
    input: Tensor,
    p: float = -1.0,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-8,
) -> Tensor:
    """Divide each row by the root mean square of its first entries, then scale and shift.

    Args:
        input: (..., D).
        p: the share of the entries, of which there are int(p·D); -1 means all of them.
        weight: (D,), or None.
        bias: (D,), or None.
        eps: added to the root mean square, in units of the input.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if p is above 1, or takes no entry, if a vector is not (D,), or if eps is negative.

    Source: Zhang, Sennrich 2019, arXiv:1910.07467.
    """
    check_input(input, "partial_rms_norm")
    shape = check_rows(input, input.shape[-1:], eps, "partial_rms_norm", weight=weight, bias=bias)
    p = as_number(p, "p")
    k = _count(p, shape[0])
    if not 1 <= k <= shape[0]:
        raise ValueError(f"p is a share between 1/D = {1 / shape[0]:.3g} and 1, or -1 for all, got {p}")
    return PartialRMSNormFunction.apply(input, weight, bias, k=k, eps=float(eps))


class pRMSNorm(Module):
    """pRMSNorm of (..., d): learned weight (ones) and, with `bias`, bias (zeros); arguments as the authors'.

    p is the share of the d entries whose root mean square is taken; -1 means all of them. eps is added to
    the root, unlike RMSNorm's. Source: Zhang, Sennrich 2019, arXiv:1910.07467.
    """

    def __init__(self, d: int, p: float = -1.0, eps: float = 1e-8, bias: bool = False) -> None:
        super().__init__()
        check_flags(bias=bias)
        check_eps(eps)
        self.d, self.p, self.eps = as_size(d, "d"), as_number(p, "p"), eps
        if not 1 <= _count(self.p, self.d) <= self.d:
            raise ValueError(f"p is a share between 1/d = {1 / self.d:.3g} and 1, or -1 for all, got {p}")
        self.weight = Parameter(numpy.ones(self.d, numpy.float32))
        self.register_parameter("bias", Parameter(numpy.zeros(self.d, numpy.float32)) if bias else None)

    def forward(self, input: Tensor) -> Tensor:
        return partial_rms_norm(input, self.p, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.d}, p={self.p}, eps={self.eps}, bias={self.bias is not None}"


register(
    name="partial_rms_norm",
    function=partial_rms_norm,
    composed=partial_rms_norm_composed,
    inputs=("input", "weight", "bias"),
    parameters=("weight", "bias"),
    cases=(
        Case(((4, 8), (8,), (8,)), {"p": 0.4}),
        Case(((2, 3, 5), None, (5,)), {"p": 0.2, "eps": 0.1}),
        Case(((2, 7), (7,), None)),
        Case(((0, 4), (4,), (4,)), {"p": 0.5}),
    ),
    errors=(
        ErrorCase(lambda: partial_rms_norm(ones(2, 3).long()), TypeError, "floating-point"),
        ErrorCase(lambda: partial_rms_norm(ones(2, 4), 0.2), ValueError, "0.25 and 1"),
        ErrorCase(lambda: partial_rms_norm(ones(2, 4), 1.5), ValueError, "got 1.5"),
        ErrorCase(lambda: partial_rms_norm(ones(2, 4), 0.5, ones(3)), ValueError, "weight"),
        ErrorCase(lambda: partial_rms_norm(ones(2, 4), eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: pRMSNorm(4, 0.1), ValueError, "got 0.1"),
    ),
    kind="normalization",
    title="pRMSNorm",
    paper="Zhang, Sennrich 2019, arXiv:1910.07467",
    pool="the first entries of the last axis of each sample, no mean",
    bench=(Case(((512, 768), (768,), None), {"p": 0.0625}),),
)
