"""MixStyle: in training, each sample takes a mixture of its own style and another sample's.

    x (N, C, ...)   m, σ = √(v + eps): mean and deviation of one channel of one sample over its positions
    λ_n in [0, 1], π a permutation of the samples
    σ' = λ·σ + (1 - λ)·σ_π      m' = λ·m + (1 - λ)·m_π
    y = σ'·(x - m)/σ + m'      in evaluation, and for some batches of training, y = x

AdaIN (adain.py) towards a style between two of the batch. λ is drawn from Beta(α, α): for a small α it is
nearly 0 or 1. The variance is biased, as AdaIN's.

Zhou, Yang, Qiao, Xiang 2021, arXiv:2104.02008.

Backward: m, σ, m' and σ' are constants: the gradient does not see that they come from x. So y is an affine,

    dx = (σ'/σ)·dy

and none of AdaIN's paths through the statistics is left.

Insight: nothing is learned, and no style is taken away. But what tells two styles apart becomes noise within
the batch, so a network learns not to rely on it.
"""

import math

import numpy

from ...autograd.grad_mode import no_grad
from ...autograd.tensor import Tensor
from ...backends import random
from ...module import Module
from ...ops import index_select, tensor
from ...ops.arguments import as_number
from ...ops.checks import check_channels, check_eps
from ..core.moments import std_of
from .instancenorm import instance_norm_forward


def mix_style(input: Tensor, ratio: Tensor, order: Tensor, eps: float = 1e-5) -> Tensor:
    """Give each sample a mixture of its own means and deviations, and those of another.

    Args:
        input: (N, C, ...) with at least one axis of positions.
        ratio: λ (N,), the share of the sample's own statistics, from 0 to 1.
        order: π (N,), integers: the other sample.
        eps: added to the variance, in units of input².

    Raises:
        TypeError: if the input is not a floating-point tensor, or the order is not of integers.
        ValueError: if a shape does not fit, a ratio is outside of 0 to 1, or eps is negative.
        IndexError: if the order names a sample that does not exist.

    Source: Zhou, Yang, Qiao, Xiang 2021, arXiv:2104.02008.
    """
    check_channels(input, "mix_style")
    check_eps(eps)
    if input.ndim < 3:
        raise ValueError(f"mix_style takes an input (N, C, positions...), got shape {input.shape}")
    for what, given in (("ratio", ratio), ("order", order)):
        if given.shape != input.shape[:1]:
            raise ValueError(f"mix_style takes {what} (N,) = {input.shape[:1]}, got shape {given.shape}")
    shares = ratio.array
    outside = (shares < 0) | (shares > 1)
    if outside.any():
        raise ValueError(f"mix_style takes ratios from 0 to 1, got {float(shares[outside][0])}")
    with no_grad():
        mean, std = _statistics(input, eps)
        share = ratio.reshape(-1, *(1,) * (input.ndim - 1))
        new_std, new_mean = (share * own + (1 - share) * index_select(own, 0, order) for own in (std, mean))
        scale = new_std / std
    return (scale * (input - mean) + new_mean).to(input.dtype)


def _statistics(input: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return m and √(v + eps) (N, C, 1, ...), also if the dtype cannot hold v; for half types, in float32."""
    N, C, *space = input.shape
    pools = input.array.reshape(N, C, math.prod(space))
    _, mean, _, rstd = instance_norm_forward(pools, None, None, float(eps))
    per_pool = N, C, *[1] * len(space)
    return Tensor(mean.reshape(per_pool)), Tensor(std_of(rstd).reshape(per_pool))


class MixStyle(Module):
    """In training, mix the styles of (N, C, ...): means and deviations of channels; else return x as it is.

    With probability p, a batch is mixed: each sample with another, by a share that is drawn from
    Beta(alpha, alpha). `tn.manual_seed` repeats the draws. Nothing is learned.

    Args:
        p: the probability that a batch is mixed.
        alpha: of the Beta distribution, above 0.
        eps: added to the variance, in units of input².

    Raises:
        ValueError: if p is not between 0 and 1, alpha is not above 0, or eps is negative.

    Source: Zhou, Yang, Qiao, Xiang 2021, arXiv:2104.02008.
    """

    def __init__(self, p: float = 0.5, alpha: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        if not 0 <= as_number(p, "p") <= 1:
            raise ValueError(f"p must be between 0 and 1, got {p}")
        if not 0 < as_number(alpha, "alpha") < float("inf"):
            raise ValueError(f"alpha must be a number above 0, got {alpha}")
        check_eps(eps)
        self.p, self.alpha, self.eps = p, alpha, eps

    def forward(self, input: Tensor) -> Tensor:
        check_channels(input, "MixStyle")
        draw = random.generator()
        if not self.training or draw.random() >= self.p:
            return input
        ratio = tensor(draw.beta(self.alpha, self.alpha, len(input)), dtype=input.dtype)
        order = tensor(draw.permutation(len(input)).astype(numpy.int64))
        return mix_style(input, ratio.to(input.device), order.to(input.device), self.eps)

    def extra_repr(self) -> str:
        return f"p={self.p}, alpha={self.alpha}, eps={self.eps}"
