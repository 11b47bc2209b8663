"""CRMS normalization: RMS normalization of rows of mean 0, of which the last entry is not stored.

    x (..., D - 1)   s = Σx   the whole row is (x, -s), of D entries and mean 0
    r = 1/√((Σx² + s²)/D + eps)
    y = x·r          (..., D - 1)

In the code: D - 1 entries are `x`, D entries are `rows`, r is rstd.

If all that is added to a residual stream has mean 0, its last entry follows from the others, and need not be
computed or stored. What reads y has one input less, and gives the weight of the last entry to the others:
Wᵢ - W_D in the place of Wᵢ, as the last entry of the whole row is -Σy. `nn.utils.center_writers` makes such a
stream.

Jiang, Gu, Zhu, Pan 2023, arXiv:2305.14858.

Backward, from dy = dL/dy. The whole normalized row is (y, -s·r); its last entry has no gradient of its own.
With c := mean over the whole row of gradient times row, Σ(dy·y)/D, RMS normalization (rmsnorm.py) has two
paths, and the last entry has only the second:

    straight     of the entries i < D                   r·dy_i
    through r    of the entries i < D                   -r·y_i·c
                 of the last one                        -r·(-s·r)·c

x_i reaches the whole row in two places: as its own entry, and in the last one with the factor -1. So the
gradient of the last entry is subtracted from all others:

    dx = r·(dy - (x + s)·r·c)

Insight: RMS normalization alone would give x in the place of x + s. That is the gradient for a row that may
leave the plane of mean 0; with the last entry bound to the others it cannot.
"""

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Column, Rows, kernel, namespace
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.sums import row_sums
from ...module import Module
from ...ops.arguments import as_size
from ...ops.checks import check_eps, check_input
from ...registry import Case, ErrorCase, register
from .rmsnorm import rms_norm_backward, rms_norm_forward


def crms_norm_composed(input: Tensor, eps: float = 1e-5) -> Tensor:
    """CRMS normalization from primitives: autograd finds the gradient."""
    s = input.sum(-1, keepdim=True)
    squares = (input * input).sum(-1, keepdim=True) + s * s
    rstd = (squares / (input.shape[-1] + 1) + eps) ** -0.5
    return input * rstd


@kernel
def crms_norm_forward(x: Rows, eps: float) -> tuple[Rows, Rows, Column]:
    """Return y (N, D - 1), the whole rows (N, D) and rstd (N, 1), for x (N, D - 1)."""
    x = upcast(x)
    rows = namespace(x).concatenate((x, -row_sums(x)), 1)
    y, rstd = rms_norm_forward(rows, None, eps)
    return namespace(x).ascontiguousarray(y[:, :-1]), rows, rstd


@kernel
def crms_norm_backward(dy: Rows, rows: Rows, rstd: Column) -> Rows:
    """Return dx (N, D - 1): the last entry of a row has the gradient 0, and passes its own to the others."""
    xp, dy = namespace(dy), upcast(dy)
    of_rows = xp.concatenate((dy, xp.zeros_like(rstd, dy.dtype)), 1)
    d, _ = rms_norm_backward(of_rows, rows, None, rstd)
    return d[:, :-1] - d[:, -1:]


class CRMSNormFunction(Function):
    """y = x·r · dx = r·(dy - (x + s)·r·Σ(dy·x·r)/D), sums over each row"""

    def forward(self, x: Array, *, eps: float) -> Array:
        y, rows, rstd = crms_norm_forward(x.reshape(-1, x.shape[-1]), eps)
        self.saved = rows, rstd
        return downcast(y, x).reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx = crms_norm_backward(dy.reshape(-1, dy.shape[-1]), *self.saved)
        return downcast(dx, dy).reshape(dy.shape)


def crms_norm(input: Tensor, eps: float = 1e-5) -> Tensor:
    """Divide each row by the root mean square that it has together with the entry -Σ of the row.

    Args:
        input: (..., D - 1), rows of D entries and mean 0 without their last entry.
        eps: added to the mean square, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if the input has no axis or rows without entries, or if eps is negative.

    Source: Jiang, Gu, Zhu, Pan 2023, arXiv:2305.14858.
    """
    check_input(input, "crms_norm")
    if not input.ndim or not input.shape[-1]:
        raise ValueError(f"crms_norm takes rows (..., D - 1) of at least 1 entry, got shape {input.shape}")
    check_eps(eps)
    return CRMSNormFunction.apply(input, eps=float(eps))


class CRMSNorm(Module):
    """CRMS normalization without parameters: takes and returns (..., num_features).

    Args:
        num_features: D - 1, the entries that are stored.
        eps: added to the mean square, in units of input².

    Raises:
        ValueError: if num_features is below 1 or eps negative; when called, if the last size of the input is
            another.

    Source: Jiang, Gu, Zhu, Pan 2023, arXiv:2305.14858.
    """

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        check_eps(eps)
        self.num_features, self.eps = as_size(num_features, "num_features"), eps

    def forward(self, input: Tensor) -> Tensor:
        if input.shape[-1:] != (self.num_features,):
            raise ValueError(
                f"CRMSNorm({self.num_features}) takes (..., {self.num_features}), got shape {input.shape}"
            )
        return crms_norm(input, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"


register(
    name="crms_norm",
    function=crms_norm,
    composed=crms_norm_composed,
    cases=(
        Case(((4, 7),)),
        Case(((2, 3, 5),), {"eps": 1.0}),
        Case(((3, 1),)),
        Case(((0, 4),)),
    ),
    errors=(
        ErrorCase(lambda: crms_norm(Tensor(numpy.ones((2, 0)))), ValueError, "at least 1 entry"),
        ErrorCase(lambda: crms_norm(Tensor(numpy.ones((2, 3), int))), TypeError, "floating-point"),
        ErrorCase(lambda: crms_norm(Tensor(numpy.ones((2, 3))), -1.0), ValueError, "eps"),
    ),
    kind="normalization",
    title="CRMSNorm",
    paper="Jiang et al. 2023, arXiv:2305.14858",
    pool="the last axis of each sample with the entry that makes its mean 0",
    bench=tuple(Case((shape,)) for shape in ((64, 63), (512, 767), (4096, 1023))),
)
