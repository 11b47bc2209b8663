"""NGPT: a small language model on the unit sphere, from tokens to logits.

    tokens (N, T)   h = E[tokens] (N, T, D)   then NGPTBlocks   logits = s_z·(h @ E_outᵀ) (N, T, V)

The rows of both embeddings E and E_out (V, D) have length 1, so h @ E_outᵀ are cosines. s_z (V,), learned, 1
at first, is how sharp the prediction of each token may become.

Loshchilov, Hsieh, Sun, Ginsburg 2024, arXiv:2410.01131. The backward of a block is derived in ngptblock.py.

The paper trains it with Adam, without weight decay and without warm-up: decay could only shrink vectors that
are made unit vectors again, and steps on the sphere are bounded from the start.

Measured on the default text of `tinygrad-norm train text`, with one seed, in bits per character of new text
after 200 steps of 8 windows:

                               nGPT    transformer (pre-LN)
    with rotary positions      2.63    2.68
    with learned positions     3.32    3.26

So if it is compared with a model of learned positions, nearly all of the difference is due to the positions.
"""

import math
from collections.abc import Iterable
from typing import Any

from ...autograd.tensor import Tensor
from ...module import Module
from ...ops.arguments import as_finite, as_size
from .. import init
from ..containers import Sequential
from ..embedding import Embedding
from ..linear import Linear, linear
from .ngptblock import LearnedScale, NGPTBlock, to_unit_vectors_


class NGPTHead(Module):
    """Logits from unit vectors: (..., embed_dim) to (..., num_embeddings), cosines times a learned scale."""

    def __init__(self, embed_dim: int, num_embeddings: int) -> None:
        super().__init__()
        self.out_proj = Linear(as_size(embed_dim, "embed_dim"), num_embeddings, bias=False)
        self.scale_logits = LearnedScale(num_embeddings, 1.0, 1 / math.sqrt(embed_dim))

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.scale_logits().unsqueeze(1) * self.out_proj.weight)


class NGPT(Sequential):
    """Embedding, NGPTBlocks and NGPTHead: tokens (N, T) to logits (N, T, num_embeddings).

    Call `normalize_weights_()` after each step of the optimizer, or once
    `optimizer.register_step_post_hook(lambda *_: model.normalize_weights_())`. Its weights are normalized at
    first.

    Args:
        num_embeddings: V, the number of tokens.
        embed_dim, num_heads, mlp_ratio: of each `NGPTBlock`.
        num_layers: the number of blocks.
        alpha: the step sizes at first; 0.05 by default.

    Raises:
        ValueError: if the sizes do not fit.

    Source: Loshchilov, Hsieh, Sun, Ginsburg 2024, arXiv:2410.01131.
    """

    def __init__(
        self,
        num_embeddings: int,
        embed_dim: int,
        num_heads: int,
        num_layers: int,
        mlp_ratio: float = 4.0,
        alpha: float = 0.05,
    ) -> None:
        mlp_ratio, alpha = as_finite(mlp_ratio, "mlp_ratio"), as_finite(alpha, "alpha")
        blocks = [
            NGPTBlock(embed_dim, num_heads, mlp_ratio, alpha)
            for _ in range(as_size(num_layers, "num_layers"))
        ]
        embedding, head = Embedding(num_embeddings, embed_dim), NGPTHead(embed_dim, num_embeddings)
        super().__init__(embedding, *blocks, head)
        init.normal_(head.out_proj.weight)
        self.normalize_weights_()

    def _from_entries(self, entries: Iterable[tuple[str, Module | None]]) -> Any:
        return Sequential(*(module for _, module in entries))

    def normalize_weights_(self) -> None:
        """Make every vector of the embedding space in the weights a unit vector again."""
        for module in self:
            if isinstance(module, NGPTBlock):
                module.normalize_weights_()
            else:
                to_unit_vectors_((module.out_proj if isinstance(module, NGPTHead) else module).weight, 1)
