"""LayerScale: every channel of a residual branch has a learned factor, small at first.

    f (..., D) the output of a branch   λ (D,), init_values at first
    z = x + λ∘f

Touvron, Cord, Sablayrolles, Synnaeve, Jégou 2021, arXiv:2103.17239.

Backward, from dz = dL/dz. The sum passes dz on to both terms; the rest is one product:

    straight    ∂z/∂x = 1          dx gets dz as it is
    through f   ∂(λ∘f)/∂f = λ      df = λ∘dz
    to λ                           dλ = Σ dz∘f over all positions

    dx = dz + J(f)ᵀ·(λ∘dz)         J(f) the derivative of the branch

Insight: a norm makes a branch small beside a stream that has grown; λ makes it small from the start, and
training decides, channel by channel, when it may count. The gradient of the branch's weights is multiplied by
λ as well: with λ = 1e-5 and plain gradient descent they hardly move until λ has. Adam divides this factor
away.
"""

import numpy

from ...autograd.tensor import Tensor
from ...module import Module, Parameter
from ...ops.arguments import as_finite, as_size
from ...ops.checks import check_channels


class LayerScale(Module):
    """Multiply every channel by a learned factor: takes and returns (..., dim).

    Args:
        dim: D, the channels.
        init_values: of all factors.

    Raises:
        TypeError: if init_values is not a number.
        ValueError: if dim is below 1, or init_values is not finite; when called, if the last size of the
            input is not dim.

    The factors are `gamma`, as in timm, from which the arguments are too.
    Source: Touvron et al. 2021, arXiv:2103.17239.
    """

    def __init__(self, dim: int, init_values: float = 1e-5) -> None:
        super().__init__()
        self.dim, self.init_values = as_size(dim, "dim"), as_finite(init_values, "init_values")
        self.gamma = Parameter(numpy.full(self.dim, init_values, numpy.float32))

    def forward(self, input: Tensor) -> Tensor:
        if input.shape[-1:] != (self.dim,):
            raise ValueError(f"LayerScale({self.dim}) takes (..., {self.dim}), got shape {input.shape}")
        return input * self.gamma

    def extra_repr(self) -> str:
        return f"{self.dim}, init_values={self.init_values:g}"


class LayerScale2d(LayerScale):
    """Multiply every channel of images by a learned factor: takes and returns (N, dim, H, W).

    Arguments and errors as LayerScale. Source: Touvron et al. 2021, arXiv:2103.17239.
    """

    def forward(self, input: Tensor) -> Tensor:
        check_channels(input, "LayerScale2d", self.dim)
        if input.ndim != 4:
            raise ValueError(f"LayerScale2d takes a 4-d input (N, C, H, W), got shape {input.shape}")
        return input * self.gamma.reshape(1, self.dim, 1, 1)
