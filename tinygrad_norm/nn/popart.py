"""PopArt: a linear layer for targets of any scale, whose outputs stay when their normalization changes.

    x (..., in)   n = W·x + b       the prediction in normalized units, which the loss sees
    y = σ·n + μ                     the prediction in the units of the targets
    targets t                       (t - μ)/σ, which the loss compares with n

μ and σ are (out,): moving averages of the targets, whose scale is not known before. When they become μ′, σ′,

    W ← W·σ/σ′      b ← (σ·b + μ - μ′)/σ′

keep y: σ′·n′ + μ′ = σ·W·x + (σ·b + μ - μ′) + μ′ = σ·n + μ for every x. With momentum a, and mean m and
variance v of a batch of targets,

    μ′ = (1 - a)·μ + a·m      σ′² = (1 - a)·σ² + a·v + a·(1 - a)·(m - μ)²

the variance of the mixture, which is E[t²] - E[t]² without its cancellation.

In the code: μ mean, σ² var.

van Hasselt et al. 2016, arXiv:1602.07714.

Backward: that of a linear layer with targets of scale 1, so one learning rate does for targets of any scale:

    dn = dL/dn      dx = Wᵀ·dn

Insight: normalized targets alone would forget at each update: the same n means another y. The correction is
not learned, it is known.
"""

import math

import numpy

from ..autograd.grad_mode import no_grad
from ..autograd.tensor import Tensor
from ..backends.float_info import finfo
from ..ops.arguments import as_number
from ..ops.checks import check_input, check_same_dtype
from .linear import Linear


class PopArt(Linear):
    """A linear layer of (..., in_features) that predicts targets in normalized units, and keeps their scale.

    `forward(x)` is in normalized units; `denormalize` gives the units of the targets. In training, call
    `update(targets)`, then compare the forward with `normalize(targets)`. Parameters are those of Linear, the
    buffers `mean` (zeros) and `var` (ones) are (out_features,).

    Args:
        in_features: the size of the last axis of the input.
        out_features: the number of targets, each with statistics of its own.
        momentum: the weight of a new batch in the statistics, a fraction per update.
        min_std: the least deviation that targets are divided by.

    Source: van Hasselt et al. 2016, arXiv:1602.07714.
    """

    def __init__(
        self, in_features: int, out_features: int, momentum: float = 0.01, min_std: float = 1e-4
    ) -> None:
        super().__init__(in_features, out_features)
        if not 0 < as_number(momentum, "momentum") <= 1:
            raise ValueError(f"momentum is the weight of the new value, above 0 and up to 1, got {momentum}")
        if not 0 < as_number(min_std, "min_std") < math.inf:
            raise ValueError(f"min_std must be a positive number, got {min_std}")
        self.momentum, self.min_std = momentum, min_std
        self.register_buffer("mean", Tensor(numpy.zeros(out_features, numpy.float32)))
        self.register_buffer("var", Tensor(numpy.ones(out_features, numpy.float32)))

    @property
    def std(self) -> Tensor:
        """σ (out_features,): √var, but at least `min_std`."""
        return self.var.sqrt().clamp(min=self.min_std)

    @no_grad()
    def update(self, targets: Tensor) -> None:
        """Move the statistics towards those of the targets (..., out_features), and keep all predictions.

        Raises:
            TypeError: if the targets are not a floating-point tensor of the layer's dtype.
            ValueError: if there are none, their last size is not out_features, one is not finite, or the
                statistics are too large for the layer's dtype. Nothing is changed then.
        """
        self._check(targets, "update")
        rows = targets.reshape(-1, self.out_features)
        if not len(rows):
            raise ValueError(f"PopArt.update needs targets, got shape {targets.shape}")
        a, mean, var, std = self.momentum, self.mean.clone().double(), self.var.double(), self.std
        rows = rows.double()
        m = rows.mean(0)
        v = ((rows - m) ** 2).mean(0)
        var = (1 - a) * var + a * v + a * (1 - a) * (m - mean) ** 2
        self._check_statistics(targets, (1 - a) * mean + a * m, var)
        self.var.copy_(var)
        self.mean.copy_((1 - a) * mean + a * m)
        self.weight.copy_(self.weight * (std / self.std).unsqueeze(1))
        self.bias.copy_((std * self.bias + (mean - self.mean)) / self.std)

    def _check_statistics(self, targets: Tensor, mean: Tensor, var: Tensor) -> None:
        most = float(finfo(self.var.dtype).max)
        if bool(((abs(mean) <= most) & (var <= most)).all()):  # false for NaN
            return
        if not bool(targets.isfinite().all()):
            raise ValueError("PopArt.update needs finite targets, got some that are NaN or infinite")
        raise ValueError(
            f"PopArt.update got targets up to {float(abs(targets).max()):.3g}, whose mean or variance "
            f"{self.var.dtype} cannot hold: use smaller units"
        )

    def normalize(self, targets: Tensor) -> Tensor:
        """Return (targets - mean)/std: targets (..., out_features) in the units of the forward."""
        self._check(targets, "normalize")
        return (targets - self.mean) / self.std

    def denormalize(self, outputs: Tensor) -> Tensor:
        """Return std·outputs + mean: outputs of the forward (..., out_features) in the targets' units."""
        self._check(outputs, "denormalize")
        return outputs * self.std + self.mean

    def _check(self, values: Tensor, method: str) -> None:
        check_input(values, f"PopArt.{method}")
        check_same_dtype(f"PopArt.{method}", values, mean=self.mean)
        if not values.ndim or values.shape[-1] != self.out_features:
            raise ValueError(
                f"PopArt.{method} takes (..., {self.out_features}), one value per output, got shape "
                f"{values.shape}"
            )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, momentum={self.momentum}, min_std={self.min_std}"
