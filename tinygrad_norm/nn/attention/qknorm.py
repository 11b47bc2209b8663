"""QKNorm: attention that normalizes queries and keys, so that no score exceeds one learned number.

    q (N, H, L, D)   k (N, H, S, D)   v (N, H, S, D)    the heads of multihead.py

    norm="l2"       s = g·q̂ @ k̂ᵀ        q̂ = q/‖q‖    k̂ = k/‖k‖      g (1,) learned: |s| ≤ |g|
    norm="layer"    s = q̂ @ k̂ᵀ/√D       q̂ = LN(q)    k̂ = LN(k)      each with weight and bias (D,)
    norm="rms"      s = q̂ @ k̂ᵀ/√D       q̂ = RMS(q)   k̂ = RMS(k)     each with weight (D,)
    y = softmax(s) @ v, and all else as in multihead.py

Cosines lie between -1 and 1; without g, a softmax of them could not tell one key from many. g starts at
log₂(L² - L) for sequences of length L, as we remember the paper, which we could not compare. With the natural
logarithm, one key in the direction of a query, among L - 1 at right angles to it, gets the weight
e^g/(e^g + L - 1) = L/(L + 1); with log₂, more.

Henry, Dachapally, Pawar, Chen 2020, arXiv:2010.04245; layer normalization of q and k: Dehghani et al. 2023,
arXiv:2302.05442.

Backward: ds is that of scaleddotproduct.py. Then, for norm="l2", with g·q̂ as one ScaleNorm (scalenorm.py),

    dg = Σ ds·(q̂ @ k̂ᵀ)
    dq̂ = g·ds @ k̂       dq = (dq̂ - q̂·Σ(dq̂·q̂))/‖q‖
    dk̂ = g·dsᵀ @ q̂      dk = (dk̂ - k̂·Σ(dk̂·k̂))/‖k‖

Insight: in plain attention, longer queries and keys make the softmax sharper, up to where its gradient
vanishes. Here they can only turn; how sharp it is, is left to g.
"""

import math
from typing import Any

import numpy

from ...autograd.tensor import Tensor
from ...module import Parameter
from ...normalization import LayerNorm, RMSNorm
from ...normalization.sample.layernorm import layer_norm_composed
from ...normalization.sample.rmsnorm import rms_norm_composed
from ...normalization.vector.normalize import normalize, normalize_composed
from ...normalization.vector.scalenorm import scale_norm, scale_norm_composed
from ...ops import ones
from ...ops.arguments import as_size
from ...registry import Case, ErrorCase, fixed, register
from ...suggestions import unknown
from .. import init
from ..utils.parameter_swap import functional_call
from .multihead import MultiheadAttention, multihead_attention_composed

QK_NORMS = ("l2", "layer", "rms")
EPS = 1e-12
"""The shortest length that divides q and k, with norm="l2"."""


def qk_norm_attention_composed(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    *parameters: Tensor,
    norm: str,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """QKNorm attention from primitives, as `multihead_attention_composed`: a loop over the heads.

    `parameters` are the layer's, in its order: g stands before the output's two, other norms behind them.
    """
    own, vectors = list(parameters), list[Tensor]()
    if norm == "l2":
        g = own.pop(-3)
    else:
        count = 4 if norm == "layer" else 2
        own, vectors = own[:-count], own[-count:]

    def head_inputs(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor, float | None]:
        if norm == "l2":
            return scale_norm_composed(q, g, EPS), normalize_composed(k, 2.0, -1, EPS), 1.0
        shape = q.shape[-1:]
        if norm == "layer":
            q_weight, q_bias, k_weight, k_bias = vectors
            q = layer_norm_composed(q, shape, q_weight, q_bias)
            return q, layer_norm_composed(k, shape, k_weight, k_bias), None
        q_weight, k_weight = vectors
        return rms_norm_composed(q, shape, q_weight), rms_norm_composed(k, shape, k_weight), None

    return multihead_attention_composed(
        query, key, value, attn_mask, None, *own, head_inputs=head_inputs, **options
    )


class QKNormAttention(MultiheadAttention):
    """Multi-head attention whose queries and keys are normalized, each head's on its own.

    Args:
        embed_dim to batch_first: as for `MultiheadAttention`; the state has its names too.
        norm: "l2" divides queries and keys by their length, and multiplies their products by one learned
            number g (1,). "layer" and "rms" normalize them by LayerNorm or RMSNorm over the features of a
            head, `q_norm` and `k_norm`, which the heads share, and keep the factor 1/√D.
        length: L, the usual length of a sequence, at least 2: g starts at log₂(L² - L).

    Raises:
        ValueError: if norm is unknown, length is below 2, or as for `MultiheadAttention`.

    Source: Henry, Dachapally, Pawar, Chen 2020, arXiv:2010.04245.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        norm: str = "l2",
        length: int = 512,
    ) -> None:
        if norm not in QK_NORMS:
            raise ValueError(unknown("norm", str(norm), QK_NORMS))
        as_size(length, "length", 2)
        super().__init__(
            embed_dim, num_heads, dropout, bias, add_bias_kv, add_zero_attn, kdim, vdim, batch_first
        )
        self.norm, self.length = norm, length
        if norm == "l2":
            self.scale = 1.0
            self.g = Parameter(numpy.empty(1, numpy.float32))
            self._start_g()
        else:
            make_norm = LayerNorm if norm == "layer" else RMSNorm
            self.q_norm, self.k_norm = make_norm(self.head_dim), make_norm(self.head_dim)

    def reset_parameters(self) -> None:
        """Draw new values for the projections, and start g again."""
        super().reset_parameters()
        if "g" in self._parameters:
            self._start_g()

    def _start_g(self) -> None:
        init.constant_(self.g, math.log2(self.length**2 - self.length))

    def _queries_and_keys(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        if self.norm == "l2":
            return scale_norm(q, self.g, EPS), normalize(k, 2.0, -1, EPS)
        return self.q_norm(q), self.k_norm(k)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, norm={self.norm!r}"


def _qk_norm_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, *parameters: Tensor, **options: Any
) -> tuple[Tensor, Tensor]:
    """Call a layer made with `options`, with all its parameters in order."""
    layer = QKNormAttention(**options)
    names = [name for name, _ in layer.named_parameters()]
    masks = {"attn_mask": attn_mask}
    return functional_call(layer, dict(zip(names, parameters, strict=True)), (query, key, value), masks)


_OPTIONS = {"embed_dim": 6, "num_heads": 2, "batch_first": True}
_INPUTS = (1, 2, 6), (1, 3, 6), (1, 3, 6)
_IN, _OUT = ((18, 6), (18,)), ((6, 6), (6,))
_MASK = fixed([[False, True, False], [False, False, True]])

register(
    name="qk_norm_attention",
    function=_qk_norm_attention,
    composed=qk_norm_attention_composed,
    parameters=("parameters",),
    cases=(
        Case((*_INPUTS, None, *_IN, (1,), *_OUT), _OPTIONS | {"norm": "l2"}),
        Case(
            (*_INPUTS, _MASK, *_IN, (1, 1, 6), (1, 1, 6), (1,), *_OUT),
            _OPTIONS | {"norm": "l2", "add_bias_kv": True},
        ),
        Case((*_INPUTS, _MASK, *_IN, *_OUT, *((3,),) * 4), _OPTIONS | {"norm": "layer"}),
        Case((*_INPUTS, None, *_IN, *_OUT, (3,), (3,)), _OPTIONS | {"norm": "rms"}),
    ),
    errors=(
        ErrorCase(lambda: QKNormAttention(6, 4), ValueError, "multiple of num_heads"),
        ErrorCase(lambda: QKNormAttention(6, 2, norm="batch"), ValueError, "choose one of l2, layer, rms"),
        ErrorCase(lambda: QKNormAttention(6, 2, length=1), ValueError, "length must be at least 2"),
        ErrorCase(lambda: QKNormAttention(6, 2)(*(ones(3, 5),) * 3), ValueError, "takes query, key"),
    ),
    kind="block",
    title="QKNorm attention: L2, LN or RMS on queries and keys",
    paper="Henry et al. 2020, arXiv:2010.04245",
)
