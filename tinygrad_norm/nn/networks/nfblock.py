"""NFBlock: a residual block without normalization, whose variances are known before it has seen any data.

    x (N, C, H, W), of variance β²   f = φ(x/β)   s the shortcut
    y = s + α·conv₂(φ(conv₁(f)))

Both convolutions have scaled standardized weights with the gain of φ (weightstandardization.py), so each
keeps a variance of 1 at 1, and

    Var(y) = Var(s) + α²

    s = x             Var(y) = β² + α²     the usual block
    s = conv(f)       Var(y) = 1 + α²      where channels or size change: the growth starts again

if branch and shortcut are uncorrelated. So β of the next block, √Var(y), is a number that needs no data.
Batch normalization would measure it; in a network with it, variances grow and start again in the same way.

Insight: normalization makes deep residual networks easy to train because each branch is small beside what has
come so far: the n-th block adds 1 to a variance of n (De, Smith 2020, arXiv:2002.10444). α and β say this
directly, and no sample depends on the others of its batch.

Brock, De, Smith 2021, arXiv:2101.08692.
"""

import math
from collections.abc import Callable

from ...autograd.tensor import Tensor
from ...module import Module
from ...normalization.weight.weightstandardization import ACTIVATION_GAINS
from ...ops.arguments import as_finite
from ...suggestions import unknown
from .. import init
from ..activation.gated import gelu, silu
from ..activation.rectifiers import relu
from ..convolution.wsconv import ScaledWSConv2d

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": relu, "silu": silu, "gelu": gelu}


class NFBlock(Module):
    """A normalizer-free block for (N, in_channels, H, W): to (N, out_channels, ⌈H/stride⌉, ⌈W/stride⌉).

    Args:
        in_channels, out_channels: of the input and the output.
        stride: of the first convolution, and of the shortcut.
        alpha: α, the factor of the branch.
        beta: β, the expected standard deviation of the input: 1 after a ScaledWSConv2d, after a block its
            `out_std`.
        activation: φ, "relu", "silu" or "gelu".

    Raises:
        TypeError: if alpha or beta is not a number.
        ValueError: if a size is below 1, alpha or beta is not finite, beta not positive, or the activation
            has another name.

    `out_std` is the expected standard deviation of the output. The parts are `conv1`, `conv2` and `shortcut`,
    which is None where the input itself is added. Source: Brock, De, Smith 2021, arXiv:2101.08692.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        alpha: float = 0.2,
        beta: float = 1.0,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.alpha, self.beta = as_finite(alpha, "alpha"), as_finite(beta, "beta")
        if not self.beta > 0:
            raise ValueError(f"beta must be a positive number, got {beta}")
        if activation not in _ACTIVATIONS:
            raise ValueError(unknown("activation", activation, _ACTIVATIONS))
        self.activation = activation
        changes = stride != 1 or in_channels != out_channels
        self.conv1 = self._conv(in_channels, out_channels, 3, stride)
        self.conv2 = self._conv(out_channels, out_channels, 3)
        self.shortcut = self._conv(in_channels, out_channels, 1, stride) if changes else None

    def _conv(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> ScaledWSConv2d:
        gamma, padding = ACTIVATION_GAINS[self.activation], kernel_size // 2
        conv = ScaledWSConv2d(in_channels, out_channels, kernel_size, stride, padding, gamma=gamma)
        init.zeros_(conv.bias)
        return conv

    @property
    def out_std(self) -> float:
        """√(β² + α²), or √(1 + α²) if the shortcut is a convolution."""
        return math.hypot(self.beta if self.shortcut is None else 1.0, self.alpha)

    def forward(self, input: Tensor) -> Tensor:
        activation = _ACTIVATIONS[self.activation]
        f = activation(input / self.beta)
        branch = self.conv2(activation(self.conv1(f)))
        return self.alpha * branch + (input if self.shortcut is None else self.shortcut(f))

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, beta={self.beta:.4g}, activation={self.activation!r}"
