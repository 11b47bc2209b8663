"""Group RMS normalization: neighbours along the last axis share one root mean square.

    x (..., D) as (..., G, K)   r = 1/√(mean(x²) + eps) over the K entries of a group   x̂ = x·r   y = w·x̂

r is one number per group of a row; w is (D,). It is what gatedrmsnorm.py does without its gate: the norm of
state space layers whose heads are normalized apart.

In the code: r rstd, x̂ x_hat, w weight; x is (N, G, K).

Dao, Gu 2024, arXiv:2405.21060.

Backward, from dy = dL/dy, with all rows sharing the weight,

    dw = Σrows dy·x̂      g := dL/dx̂ = w·dy

and the two paths of rmsnorm.py, straight and through r, within each group:

    dx = r·(g - x̂·mean(g·x̂))

Insight: unlike GroupNorm's, the weight has a number for every entry of a group, so it can undo for one
entry what the group did to it, but not for one row.
"""

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.sums import sums
from ...module import Module, Parameter
from ...ops import ones
from ...ops.arguments import as_size
from ...ops.checks import check_eps
from ...registry import Case, ErrorCase, register
from ..core.groups import as_group_size, as_groups, check_groups, scaled_groups
from ..core.moments import affine
from .gatedrmsnorm import POOL, gated_rms_norm_backward_cuda, gated_rms_norm_forward_cuda
from .rmspools import rms_pools_backward, rms_pools_forward


def group_rms_norm_composed(
    input: Tensor, group_size: int, weight: Tensor | None = None, eps: float = 1e-6
) -> Tensor:
    """Group RMS normalization from primitives: autograd finds the gradients."""
    groups = input.unflatten(-1, (-1, group_size))
    x_hat = groups * ((groups * groups).mean(-1, keepdim=True) + eps) ** -0.5
    return affine(x_hat.reshape(input.shape), weight, None)


@kernel
def group_rms_norm_forward(x: Array, weight: Array | None, eps: float) -> tuple[Array, Array]:
    """Return y (N, G, K) and rstd (N, G, 1), for x (N, G, K) and weight (1, G, K)."""
    x_hat, rstd = rms_pools_forward(upcast(x), POOL, eps)
    return downcast(scaled_groups(x_hat, weight), x), rstd


@group_rms_norm_forward.cuda
def group_rms_norm_forward_cuda(x: Array, weight: Array | None, eps: float) -> tuple[Array, Array]:
    """The kernel of gatedrmsnorm.cu, without a gate."""
    return gated_rms_norm_forward_cuda(x, None, weight, True, eps)


@in_blocks("dy", "x", "rstd", add=True, weight=1.0)
def _scaled_gradients(dy: Array, x: Array, weight: Array | None, rstd: Array) -> tuple[Array, Array]:
    """Return g and dweight."""
    return weight * dy, sums(dy * (x * rstd), (0,))


@kernel
def group_rms_norm_backward(dy: Array, x: Array, weight: Array | None, rstd: Array) -> tuple[Array, Array]:
    """Return dx (N, G, K) and dweight (1, G, K)."""
    wide_x = upcast(x)
    g, dweight = _scaled_gradients(upcast(dy), wide_x, weight, rstd)
    return downcast(rms_pools_backward(g, wide_x, rstd, POOL), dy), dweight


@group_rms_norm_backward.cuda
def group_rms_norm_backward_cuda(
    dy: Array, x: Array, weight: Array | None, rstd: Array
) -> tuple[Array, Array]:
    """The kernel of gatedrmsnorm.cu, without a gate."""
    dx, _, dweight = gated_rms_norm_backward_cuda(dy, x, None, weight, rstd, True)
    return dx, dweight


class GroupRMSNormFunction(Function):
    """y = w·x·r · dx = r·(g - x̂·mean(g·x̂)) with g = w·dy, means over each group"""

    def forward(self, x: Array, weight: Array | None, *, group_size: int, eps: float) -> Array:
        pools, weight = as_groups(group_size, x, weight)
        y, rstd = group_rms_norm_forward(pools, weight, eps)
        self.saved = pools, weight, rstd
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dweight = group_rms_norm_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), dweight.reshape(-1)


def group_rms_norm(input: Tensor, group_size: int, weight: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """Divide each group of `group_size` neighbours of the last axis by its root mean square, then scale.

    Args:
        input: (..., D).
        group_size: how many neighbours share one root mean square; it divides D.
        weight: (D,), or None.
        eps: added to the mean squares, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if groups of group_size do not make up D, if weight is not (D,), or if eps is negative.

    Source: Dao, Gu 2024, arXiv:2405.21060.
    """
    size = check_groups(input, as_size(group_size, "group_size"), weight, eps, "group_rms_norm")
    return GroupRMSNormFunction.apply(input, weight, group_size=size, eps=float(eps))


class GroupRMSNorm(Module):
    """RMS normalization of groups of neighbours in (..., dim), with a weight (dim,) of ones.

    It is MambaRMSNormGated of the library transformers without a gate. Source: Dao, Gu 2024,
    arXiv:2405.21060.
    """

    def __init__(self, dim: int, group_size: int, eps: float = 1e-6) -> None:
        super().__init__()
        check_eps(eps)
        self.dim, self.eps = as_size(dim, "dim"), eps
        self.group_size = as_group_size(self.dim, as_size(group_size, "group_size"), "GroupRMSNorm")
        self.weight = Parameter(ones(self.dim))

    def forward(self, input: Tensor) -> Tensor:
        return group_rms_norm(input, self.group_size, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.dim}, group_size={self.group_size}, eps={self.eps}"


register(
    name="group_rms_norm",
    function=group_rms_norm,
    composed=group_rms_norm_composed,
    inputs=("input", "weight"),
    parameters=("weight",),
    cases=(
        Case(((4, 6), (6,)), {"group_size": 3}),
        Case(((2, 3, 8), None), {"group_size": 4, "eps": 0.1}),
        Case(((2, 5), (5,)), {"group_size": 1, "eps": 1.0}),
        Case(((0, 4), (4,)), {"group_size": 2}),
    ),
    errors=(
        ErrorCase(lambda: group_rms_norm(ones(2, 6), 4), ValueError, "groups of 4"),
        ErrorCase(lambda: group_rms_norm(ones(2, 6), 3, ones(3)), ValueError, "weight"),
        ErrorCase(lambda: group_rms_norm(ones(2, 6), 3, eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: group_rms_norm(ones(2, 6).long(), 3), TypeError, "floating-point"),
        ErrorCase(lambda: GroupRMSNorm(6, 4), ValueError, "groups of 4"),
    ),
    kind="normalization",
    title="GroupRMSNorm",
    paper="Dao, Gu 2024, arXiv:2405.21060",
    pool="each group of the last axis, no mean",
    bench=(Case(((4096, 1024), (1024,)), {"group_size": 256}),),
)
