"""Layers whose normalization depends on a condition: one linear map makes its scale and its shift."""

from ..autograd.grad_mode import no_grad
from ..autograd.tensor import Tensor
from ..module import Module
from ..normalization.core.summary import derived_in
from ..normalization.sample import adagroupnorm, adalayernorm
from ..normalization.sample.adagroupnorm import adaptive_group_norm
from ..normalization.sample.adalayernorm import adaptive_layer_norm
from ..normalization.sample.groupnorm import check_groups
from ..ops.arguments import as_size
from ..ops.checks import check_channels, check_eps, check_input
from .activation.gated import silu
from .linear import Linear


@derived_in(adagroupnorm)
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


@derived_in(adalayernorm)
class AdaLayerNorm(Module):
    """Layer normalization of x (N, T, dim) whose shift and scale come from a condition c (N, cond_dim).

    `forward(x, c)` returns (1 + scale)·x̂ + shift; the linear map of SiLU(c) gives shift and scale, in this
    order. Source: Peebles, Xie 2022, arXiv:2212.09748.
    """

    def __init__(self, dim: int, cond_dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        check_eps(eps)
        self.dim, self.cond_dim, self.eps = as_size(dim, "dim"), as_size(cond_dim, "cond_dim"), eps
        self.linear = Linear(cond_dim, 2 * dim)

    def forward(self, input: Tensor, condition: Tensor) -> Tensor:
        check_steps(input, self.dim, "AdaLayerNorm")
        check_condition(condition, len(input), self.cond_dim, "AdaLayerNorm")
        shift, scale = self.linear(silu(condition)).chunk(2, 1)
        return adaptive_layer_norm(input, scale, shift, self.eps)

    def extra_repr(self) -> str:
        return f"{self.dim}, {self.cond_dim}, eps={self.eps}"


@derived_in(adalayernorm)
class AdaLayerNormZero(Module):
    """Adaptive layer normalization for a transformer block that is the identity at first (adaLN-Zero).

    `forward(x, c)`, x (N, T, dim) and c (N, cond_dim), returns (y, gate_msa, shift_mlp, scale_mlp, gate_mlp):
    y (N, T, dim) is the input of the attention; the others are (N, dim). The linear map of SiLU(c), all zeros
    at first, gives shift, scale, gate of the attention, then those of the MLP. `cond_dim` is dim by default.
    Source: Peebles, Xie 2022, arXiv:2212.09748.
    """

    def __init__(self, dim: int, cond_dim: int | None = None, eps: float = 1e-6) -> None:
        super().__init__()
        check_eps(eps)
        self.dim, self.eps = as_size(dim, "dim"), eps
        self.cond_dim = dim if cond_dim is None else as_size(cond_dim, "cond_dim")
        self.linear = Linear(self.cond_dim, 6 * dim)
        with no_grad():
            self.linear.weight.zero_()
            self.linear.bias.zero_()

    def forward(self, input: Tensor, condition: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        check_steps(input, self.dim, "AdaLayerNormZero")
        check_condition(condition, len(input), self.cond_dim, "AdaLayerNormZero")
        shift, scale, *others = self.linear(silu(condition)).chunk(6, 1)
        gate_msa, shift_mlp, scale_mlp, gate_mlp = others
        y = adaptive_layer_norm(input, scale, shift, self.eps)
        return y, gate_msa, shift_mlp, scale_mlp, gate_mlp

    def extra_repr(self) -> str:
        return f"{self.dim}, {self.cond_dim}, eps={self.eps}"


def check_steps(input: Tensor, dim: int, name: str) -> None:
    """Check that an input is a floating-point tensor (N, T, dim).

    Raises:
        TypeError: if it is not a floating-point tensor.
        ValueError: if it has another shape.
    """
    check_input(input, name)
    if input.ndim != 3 or input.shape[2] != dim:
        raise ValueError(f"{name} takes an input (N, T, {dim}), got shape {input.shape}")


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
