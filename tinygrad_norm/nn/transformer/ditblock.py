"""DiTBlock: a transformer layer steered by a condition, the identity at first (adaLN-Zero).

    x (N, T, D)   c (N, K) the condition   a = attention of a sequence to itself   f = a small network
    (shift₁, scale₁, gate₁, shift₂, scale₂, gate₂) = W·SiLU(c) + b, all 0 at first

    z = x + gate₁·a((1 + scale₁)·LN(x) + shift₁)
    y = z + gate₂·f((1 + scale₂)·LN(z) + shift₂)

Peebles, Xie 2022, arXiv:2212.09748. The backward of the normalization is derived in adalayernorm.py. A gate
of 0 lets dy through unchanged, and nothing into a and f: their weights have the gradient 0 until the gates,
whose gradients are not, have moved.
"""

from ...autograd.tensor import Tensor
from ...module import Module
from ...normalization.sample.adalayernorm import adaptive_layer_norm
from ...ops.arguments import as_finite, as_size
from ..activation.gated import GELU
from ..adaptive import AdaLayerNormZero
from ..attention.multihead import MultiheadAttention
from ..containers import Sequential
from ..linear import Linear


class DiTBlock(Module):
    """A transformer layer that depends on a condition: `forward(x, c)`, x (N, T, dim) and c (N, cond_dim).

    A new block is the identity.

    Args:
        dim: D, the features of x.
        num_heads: of the attention; a divisor of dim.
        mlp_ratio: the hidden features of the small network are mlp_ratio·dim.
        cond_dim: K; dim by default.

    Raises:
        ValueError: if num_heads does not divide dim, or a size is below 1.

    Source: Peebles, Xie 2022, arXiv:2212.09748.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, cond_dim: int | None = None) -> None:
        super().__init__()
        hidden = as_size(int(as_finite(mlp_ratio, "mlp_ratio") * as_size(dim, "dim")), "mlp_ratio·dim")
        self.norm = AdaLayerNormZero(dim, cond_dim)
        self.attention = MultiheadAttention(dim, num_heads, batch_first=True)
        self.mlp = Sequential(Linear(dim, hidden), GELU("tanh"), Linear(hidden, dim))

    def forward(self, input: Tensor, condition: Tensor) -> Tensor:
        y, gate, shift, scale, gate_mlp = self.norm(input, condition)
        z = input + gate.unsqueeze(1) * self.attention(y, y, y, need_weights=False)[0]
        y = adaptive_layer_norm(z, scale, shift, self.norm.eps)
        return z + gate_mlp.unsqueeze(1) * self.mlp(y)
