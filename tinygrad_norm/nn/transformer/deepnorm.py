"""DeepNorm: post-LN whose sums weigh the input by α, with sublayers that are small at first, for deep stacks.

    step of a layer    z = n(α·x + f(x))     f attention or network, n layer normalization
    at first           the weights of value and output in attention, W₁ and W₂ of the network, times β

    N layers alone                       α = (2N)^(1/4)              β = (8N)^(-1/4)
    encoder of N, for a decoder of M     α = 0.81·(N⁴·M)^(1/16)      β = 0.87·(N⁴·M)^(-1/16)
    decoder of M, behind an encoder      α = (3M)^(1/4)              β = (12M)^(-1/4)

Wang, Ma, Dong, Huang, Zhang, Wei 2022, arXiv:2203.00555.

Why: one update must move the output of the stack equally far at any depth. Of sizes only, without numbers
that all steps share: x has size 1, because n made it. f applies two scaled matrices, so f(x) has size β²,
and n divides by √(α² + β⁴), about α.

    the gradient of either matrix      β/α      β from the other matrix, 1/α from n
    an update by lr·gradient moves f   lr·β²/α  as the other matrix stands before or behind it
    and the output of the stack        lr·β²/α²
    both matrices in K steps           lr·2K·β²/α²

A layer has two steps, K = 2N, that of a decoder three, K = 3M. With 2K·β² = α² the depth is gone. This leaves
one of α and β free; with α·β = 1/√2, α⁴ = K: the formulas above. In an encoder, K counts how its steps act
on the output through the decoder's attention; that needs the paper's longer derivation, and its numbers.

Backward, of one step, from dz, with g = n′(dz): dx = α·g + f′(g). n′ divides by √(α² + β⁴), so the direct
path keeps the share

    α/√(α² + β⁴) ≈ 1 - β⁴/(2α²)     and over all K steps 1 - K·β⁴/(2α²) = 1 - β²/4

Insight: an update lowers the loss by lr·Σ‖dW‖², over all matrices W. At the start, in post-LN (α = β = 1),
this sum grows with every layer, and a deep stack jumps away unless lr is tiny at first: hence the warm-up.
Here 2 layers and 32 have the same sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...autograd.grad_mode import no_grad
from ...module import Module
from ...ops.arguments import as_number, as_size


@dataclass(frozen=True)
class DeepNorm:
    """How the layers of a stack add and start: pass it as `placement` to transformer layers.

    Args:
        alpha: by what a residual sum multiplies its input.
        beta: by what the first weights are multiplied: those of value and output in attention, and the
            network's. Query and key keep theirs.

    Source: Wang et al. 2022, arXiv:2203.00555.
    """

    alpha: float = 1.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            if not 0 < as_number(getattr(self, name), name) < float("inf"):
                raise ValueError(f"{name} must be a positive number, got {getattr(self, name)}")

    @classmethod
    def alone(cls, layers: int) -> DeepNorm:
        """For an encoder or a decoder of so many `layers` that stands alone, such as a language model."""
        layers = as_size(layers, "layers")
        return cls((2 * layers) ** 0.25, (8 * layers) ** -0.25)

    @classmethod
    def encoder(cls, layers: int, decoder_layers: int) -> DeepNorm:
        """For an encoder of so many `layers`, whose output a decoder of `decoder_layers` reads."""
        depth = as_size(layers, "layers") ** 4 * as_size(decoder_layers, "decoder_layers")
        return cls(0.81 * depth ** (1 / 16), 0.87 * depth ** (-1 / 16))

    @classmethod
    def decoder(cls, layers: int) -> DeepNorm:
        """For a decoder of so many `layers` that reads the output of an encoder."""
        layers = as_size(layers, "layers")
        return cls((3 * layers) ** 0.25, (12 * layers) ** -0.25)

    def scale_(self, layer: Module) -> None:
        """Multiply the new weights of a transformer layer by beta."""
        attentions: list[Any] = [getattr(layer, name) for name in layer.attentions]
        with no_grad():
            for attention in attentions:
                value = slice(2 * attention.embed_dim, None)
                attention.in_proj_weight[value] = attention.in_proj_weight[value] * self.beta
            for linear in (*(attention.out_proj for attention in attentions), layer.linear1, layer.linear2):
                linear.weight.mul_(self.beta)
