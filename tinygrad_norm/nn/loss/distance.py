"""Pairwise distance: how far vectors are apart.

    a, b (..., D)   y = ‖a - b + eps‖_p = (Σ |a - b + eps|^p)^(1/p)

Backward, with d = a - b + eps: y depends on a and b through d alone, with ∂d/∂a = 1 and ∂d/∂b = -1,

    da_i = dy·sign(d_i)·(|d_i|/y)^(p-1)      db = -da

which is the gradient of the norm.

Insight: eps moves the kink. The norm has no gradient at 0; here that is where a = b - eps, not where a = b.
"""

from ...autograd.tensor import Tensor
from ...module import Module
from ...ops import norm, ones
from ...ops.arguments import as_number, check_flags
from ...ops.checks import check_input
from ...registry import Case, ErrorCase, register


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """Return the p-norm of x1 - x2 + eps along the last axis.

    Args:
        x1: (..., D).
        x2: of a shape that broadcasts with it.
        p: the order of the norm.
        eps: added to every difference, in units of the inputs.
        keepdim: keep the last axis, with size 1.

    Raises:
        TypeError: if an input is not a floating-point tensor, or an option has a wrong type.
        ValueError: if an input has no axes.
    """
    for x in (x1, x2):
        check_input(x, "pairwise_distance")
        if not x.ndim:
            raise ValueError("pairwise_distance takes vectors (..., D), got shape ()")
    check_flags(keepdim=keepdim)
    return norm(x1 - x2 + as_number(eps, "eps"), as_number(p, "p"), -1, keepdim)


class PairwiseDistance(Module):
    """pairwise_distance as a layer."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        check_flags(keepdim=keepdim)
        self.norm, self.eps, self.keepdim = as_number(p, "p"), as_number(eps, "eps"), keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


register(
    name="pairwise_distance",
    function=pairwise_distance,
    composed=None,
    cases=(
        Case(((3, 4), (3, 4))),
        Case(((2, 3, 4), (4,)), {"p": 3.0, "keepdim": True}),
        Case(((3, 4), (1, 4)), {"p": 1.0, "eps": 1e-3}),
        Case(((0, 4), (0, 4))),
    ),
    errors=(
        ErrorCase(lambda: pairwise_distance(ones(()), ones(3)), ValueError, "vectors (..., D)"),
        ErrorCase(lambda: pairwise_distance(ones(3), ones(3).long()), TypeError, "floating-point"),
    ),
    title="Pairwise distance",
    torch="torch.nn.functional.pairwise_distance",
)
