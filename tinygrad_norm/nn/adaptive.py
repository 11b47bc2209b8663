"""Layers whose normalization depends on a condition: one linear map makes its scale and its shift."""

from ..autograd.tensor import Tensor
from ..module import Module
from ..normalization.sample.adagroupnorm import adaptive_group_norm
from ..normalization.sample.groupnorm import check_groups
from ..ops.arguments import as_size
from ..ops.checks import check_channels, check_eps, check_input
from .linear import Linear


class AdaGroupNorm(Module):
    """Group normalization of x (N, C, ...) whose scale and shift come from a condition c (N, cond_dim).

    `forward(x, c)` returns (1 + scale)·x̂ + shift; the linear map of c as it is gives scale and shift, in this
    order. Source: Dhariwal, Nichol 2021, arXiv:2105.05233.
    """

    def __init__(self, cond_dim: int, num_channels: int, num_groups: int, eps: float = 1e-5) -> None:
        super().__init__()
        check_groups(num_groups, as_size(num_channels, "num_channels"))
        check_eps(eps)
        self.cond_dim, self.num_channels = as_size(cond_dim, "cond_dim"), num_channels
        self.num_groups, self.eps = num_groups, eps
        self.linear = Linear(cond_dim, 2 * num_channels)

    def forward(self, input: Tensor, condition: Tensor) -> Tensor:
        check_channels(input, "AdaGroupNorm", self.num_channels)
        check_condition(condition, len(input), self.cond_dim, "AdaGroupNorm")
        scale, shift = self.linear(condition).chunk(2, 1)
        return adaptive_group_norm(input, scale, shift, self.num_groups, self.eps)

    def extra_repr(self) -> str:
        return f"{self.cond_dim}, {self.num_channels}, {self.num_groups}, eps={self.eps}"


def check_condition(condition: Tensor, samples: int, cond_dim: int, name: str) -> None:
    """Check that a condition is a floating-point tensor (samples, cond_dim).

    Raises:
        TypeError: if it is not a floating-point tensor.
        ValueError: if it has another shape.
    """
    check_input(condition, f"{name}, for the condition,")
    if condition.shape != (samples, cond_dim):
        raise ValueError(
            f"{name} takes one condition per sample, of shape ({samples}, {cond_dim}), got {condition.shape}"
        )
