"""QKNorm: attention that normalizes queries and keys, so that their lengths cannot make the scores grow.

    q (N, H, L, D)   k (N, H, S, D)   v (N, H, S, D)    the heads of multihead.py

    norm="l2"       s = g·q̂ @ k̂ᵀ        q̂ = q/‖q‖    k̂ = k/‖k‖      g (1,) learned: |s| ≤ |g|
    norm="layer"    s = q̂ @ k̂ᵀ/√D       q̂ = LN(q)    k̂ = LN(k)      each with weight and bias (D,)
    norm="rms"      s = q̂ @ k̂ᵀ/√D       q̂ = RMS(q)   k̂ = RMS(k)     each with weight (D,)
    norm="rms-all"           as "rms", over the E = H·D features of all heads together, each with weight (E,)
    norm="rms-weightless"    as "rms", without a weight
    v_norm=True     RMS(v) takes the place of v, for each head, without a weight
    y = softmax(s) @ v, and all else as in multihead.py

In the code of Hugging Face transformers, "rms" is that of Qwen3 (arXiv:2505.09388) and, with 1 + weight,
of Gemma 3; "rms-all" of OLMo 2 (arXiv:2501.00656); "rms-weightless" of Llama 4; and Gemma 3n has v_norm.

Cosines lie between -1 and 1; without g, a softmax of them could not tell one key from many. g starts at
log₂(L² - L) for sequences of length L, as we remember the paper, which we could not compare. With the natural
logarithm, one key in the direction of a query, among L - 1 at right angles to it, gets the weight
e^g/(e^g + L - 1) = L/(L + 1); with log₂, more.

A weight moves the bound. Without one, the norm of a head makes q̂ and k̂ at most √D long, and |s| ≤ √D; with
w_q and w_k, |s| ≤ √D·max|w_q∘w_k|. Over all heads, a head may get the length √E: |s| ≤ H·√D. Rotary positions
turn the features in pairs: a weightless norm commutes with the turn, one with a weight only if it is equal in
each pair. Qwen3, Gemma 3 and OLMo 2 normalize before the turn, Llama 4 after it.

Henry, Dachapally, Pawar, Chen 2020, arXiv:2010.04245; layer normalization of q and k: Dehghani et al. 2023,
arXiv:2302.05442.

Backward: ds is that of scaleddotproduct.py. Then, for norm="l2", with g·q̂ as one ScaleNorm (scalenorm.py),

    dg = Σ ds·(q̂ @ k̂ᵀ)
    dq̂ = g·ds @ k̂       dq = (dq̂ - q̂·Σ(dq̂·q̂))/‖q‖
    dk̂ = g·dsᵀ @ q̂      dk = (dk̂ - k̂·Σ(dk̂·k̂))/‖k‖

For the others dq̂ = ds @ k̂/√D, and dq = r·(w·dq̂ - x̂·mean(w·dq̂·x̂)) with x̂ = q·r, the mean over D, or over E for
"rms-all" (rmsnorm.py); dw_q = Σ dq̂·x̂ over batch, time and the heads that share it; dk in the same way.

Insight: in plain attention, longer queries and keys make the softmax sharper, up to where its gradient
vanishes. Here they can only turn; how sharp it is, is left to g.
"""

import math
from typing import Any

import numpy

from ...autograd.tensor import Tensor
from ...module import Module, Parameter
from ...normalization import LayerNorm, RMSNorm
from ...normalization.sample.layernorm import layer_norm_composed
from ...normalization.sample.rmsnorm import rms_norm_composed
from ...normalization.vector.normalize import normalize, normalize_composed
from ...normalization.vector.scalenorm import scale_norm, scale_norm_composed
from ...ops import ones
from ...ops.arguments import as_size, check_flags
from ...registry import Case, ErrorCase, fixed, register
from ...suggestions import unknown
from .. import init
from ..utils.parameter_swap import functional_call
from .multihead import MultiheadAttention
from .multihead_composed import Three, multihead_attention_composed

QK_NORMS = ("l2", "layer", "rms", "rms-all", "rms-weightless")
EPS = 1e-12
"""The shortest length that divides q and k, with norm="l2"."""


def qk_norm_attention_composed(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    *parameters: Tensor,
    norm: str,
    v_norm: bool = False,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """QKNorm attention from primitives, as `multihead_attention_composed`: a loop over the heads.

    `parameters` are the layer's, in its order: g stands before the output's two, other norms behind them.
    """
    count = {"layer": 4, "rms": 2, "rms-all": 2}.get(norm, 0)
    own, vectors = list(parameters[: len(parameters) - count]), parameters[len(parameters) - count :]
    g = own.pop(-3) if norm == "l2" else None

    def normed(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        if g is not None:
            return scale_norm_composed(q, g, EPS), normalize_composed(k, 2.0, -1, EPS)
        shape = q.shape[-1:]
        if norm == "layer":
            q_weight, q_bias, k_weight, k_bias = vectors
            q = layer_norm_composed(q, shape, q_weight, q_bias)
            return q, layer_norm_composed(k, shape, k_weight, k_bias)
        of_q, of_k = vectors or (None, None)
        return rms_norm_composed(q, shape, of_q), rms_norm_composed(k, shape, of_k)

    def all_heads(q: Tensor, k: Tensor, v: Tensor) -> Three:
        return (*normed(q, k), v) if norm == "rms-all" else (q, k, v)

    def each_head(q: Tensor, k: Tensor, v: Tensor) -> Three:
        q, k = (q, k) if norm == "rms-all" else normed(q, k)
        return q, k, rms_norm_composed(v, v.shape[-1:]) if v_norm else v

    options |= {"all_heads": all_heads, "each_head": each_head, "scale": 1.0 if norm == "l2" else None}
    return multihead_attention_composed(query, key, value, attn_mask, None, *own, **options)


class QKNormAttention(MultiheadAttention):
    """Multi-head attention whose queries and keys are normalized.

    Args:
        embed_dim to batch_first, softcap, inner_norm: as for `MultiheadAttention`; the state has its
        names too. norm: "l2" divides queries and keys by their length, and multiplies their products by
        one learned
            number g (1,). The others keep the factor 1/√D and have two norms, `q_norm` and `k_norm`: "layer",
            "rms" and "rms-weightless" LayerNorm, RMSNorm, or RMSNorm without a weight over the features of a
            head, shared by the heads; "rms-all" RMSNorm over the features of all heads.
        length: L, the usual length of a sequence, at least 2: g starts at log₂(L² - L).
        v_norm: normalize the values of each head too, by RMSNorm without a weight.

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
        v_norm: bool = False,
        softcap: float | None = None,
        inner_norm: Module | None = None,
    ) -> None:
        if norm not in QK_NORMS:
            raise ValueError(unknown("norm", str(norm), QK_NORMS))
        as_size(length, "length", 2)
        check_flags(v_norm=v_norm)
        sizes = embed_dim, num_heads, dropout, bias, add_bias_kv, add_zero_attn, kdim, vdim
        super().__init__(*sizes, batch_first, softcap=softcap, inner_norm=inner_norm)
        self.norm, self.length = norm, length
        if norm == "l2":
            self.scale = 1.0
            self.g = Parameter(numpy.empty(1, numpy.float32))
            self._start_g()
        else:
            self.q_norm, self.k_norm = self._new_norm(), self._new_norm()
        self.v_norm = RMSNorm(self.head_dim, elementwise_affine=False) if v_norm else None

    def _new_norm(self) -> Module:
        if self.norm == "layer":
            return LayerNorm(self.head_dim)
        size = self.embed_dim if self.norm == "rms-all" else self.head_dim
        return RMSNorm(size, elementwise_affine=self.norm != "rms-weightless")

    def reset_parameters(self) -> None:
        """Draw new values for the projections, and start g again."""
        super().reset_parameters()
        if "g" in self._parameters:
            self._start_g()

    def _start_g(self) -> None:
        init.constant_(self.g, math.log2(self.length**2 - self.length))

    def _as_heads(self, q: Tensor, k: Tensor, v: Tensor) -> Three:
        if self.norm == "rms-all":
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = super()._as_heads(q, k, v)
        if self.norm == "l2":
            q, k = scale_norm(q, self.g, EPS), normalize(k, 2.0, -1, EPS)
        elif self.norm != "rms-all":
            q, k = self.q_norm(q), self.k_norm(k)
        return q, k, v if self.v_norm is None else self.v_norm(v)

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
        Case((*_INPUTS, None, *_IN, *_OUT, (3,), (3,)), _OPTIONS | {"norm": "rms", "softcap": 0.9}),
        Case((*_INPUTS, None, *_IN, *_OUT, (6,), (6,)), _OPTIONS | {"norm": "rms-all"}),
        Case((*_INPUTS, None, *_IN, *_OUT), _OPTIONS | {"norm": "rms-weightless", "v_norm": True}),
    ),
    errors=(
        ErrorCase(lambda: QKNormAttention(6, 4), ValueError, "multiple of num_heads"),
        ErrorCase(
            lambda: QKNormAttention(6, 2, norm="batch"), ValueError, "choose one of l2, layer, rms, rms-all"
        ),
        ErrorCase(lambda: QKNormAttention(6, 2, length=1), ValueError, "length must be at least 2"),
        ErrorCase(lambda: QKNormAttention(6, 2)(*(ones(3, 5),) * 3), ValueError, "takes query, key"),
    ),
    kind="block",
    title="QKNorm attention: L2, LN or RMS on queries and keys",
    paper="Henry et al. 2020, arXiv:2010.04245",
)
