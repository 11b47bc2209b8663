"""Multi-head attention: several attentions side by side, each on its own part of the features.

    query (L, N, E)   key (S, N, K)   value (S, N, V)   H heads of D = E/H features

    q = query @ W_qᵀ + b_q    k = key @ W_kᵀ + b_k    v = value @ W_vᵀ + b_v    all (…, E)
    q_h, k_h, v_h = features h·D to (h+1)·D of q, k, v
    y_h = attention(q_h, k_h, v_h)    y = [y_1 … y_H] @ W_oᵀ + b_o    y (L, N, E)

The state names are in_proj_weight = [W_q; W_k; W_v] (3E, E), in_proj_bias (3E,), out_proj.weight and
out_proj.bias. If K or V differs from E, in_proj_weight is three: q_proj_weight, k_proj_weight, v_proj_weight.

Vaswani et al. 2017, arXiv:1706.03762.

Backward: the chain rule through linear.py, scaleddotproduct.py and linear.py again. Heads are only a view,

    (L, N, E) = (L, N, H, D) → (N, H, L, D)

so the gradient of that step is dy viewed back. The contributions of all heads add up only in dquery, where
W_qᵀ sums over them (likewise in dkey and dvalue).

Insight: a softmax can focus sharply on one place only; H heads focus on H places for the price of one.
"""

from typing import Any

import numpy

from ...autograd.tensor import Tensor
from ...module import Module, Parameter
from ...ops import cat, ones, zeros
from ...ops.arguments import as_size, check_flags
from ...ops.checks import check_input
from ...registry import Case, ErrorCase, fixed, register
from .. import init
from ..activation.softcap import as_cap
from ..dropout import check_probability, dropout
from ..linear import Linear, linear
from ..utils.parameter_swap import functional_call
from .masks import joined_mask
from .multihead_composed import Three, multihead_attention_composed
from .scaleddotproduct import attention, scaled_dot_product_attention


class MultiheadAttention(Module):
    """Multi-head attention with learned projections of query, key, value and output.

    Args:
        embed_dim: E, the features of query and output.
        num_heads: H, which must divide embed_dim.
        dropout: the probability that an attention weight is zeroed in training.
        bias: whether the projections have a bias.
        add_bias_kv: add a learned key and value, bias_k and bias_v (1, 1, E), to the end of the sequence.
        add_zero_attn: add a key and value of zeros to the end of the sequence.
        kdim, vdim: the features of key and value; None means embed_dim.
        batch_first: query, key and value are (N, L, E) instead of (L, N, E).
        softcap: c of the soft cap of the scores, as in `scaled_dot_product_attention`; None for none.
        inner_norm: a normalization over embed_dim of what the heads return, before the output's projection
            (Sub-LN), or None.

    The projections start with xavier_uniform_, biases at 0, bias_k and bias_v with xavier_normal_.

    Raises:
        ValueError: if num_heads does not divide embed_dim, or one of them or softcap is not positive.

    Source: Vaswani et al. 2017, arXiv:1706.03762.
    """

    scale: float | None = None  # the factor of the products q·k; None means 1/√D
    observer: Any = None  # called with q, k, mask and scale of every forward in training: see optim.QKClip

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
        softcap: float | None = None,
        inner_norm: Module | None = None,
    ) -> None:
        super().__init__()
        check_flags(bias=bias, add_bias_kv=add_bias_kv, add_zero_attn=add_zero_attn, batch_first=batch_first)
        if as_size(embed_dim, "embed_dim") % as_size(num_heads, "num_heads"):
            raise ValueError(
                "embed_dim must be a multiple of num_heads, since the features are divided among the heads: "
                f"got embed_dim={embed_dim}, num_heads={num_heads}"
            )
        check_probability(dropout)
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.kdim = embed_dim if kdim is None else as_size(kdim, "kdim")
        self.vdim = embed_dim if vdim is None else as_size(vdim, "vdim")
        self.head_dim = embed_dim // num_heads
        self.add_zero_attn, self.batch_first = add_zero_attn, batch_first
        self.softcap = None if softcap is None else as_cap(softcap, "softcap")
        packed = self.kdim == self.vdim == embed_dim
        shapes: dict[str, tuple[int, ...] | None] = {
            "in_proj_weight": (3 * embed_dim, embed_dim) if packed else None,
            "q_proj_weight": None if packed else (embed_dim, embed_dim),
            "k_proj_weight": None if packed else (embed_dim, self.kdim),
            "v_proj_weight": None if packed else (embed_dim, self.vdim),
            "in_proj_bias": (3 * embed_dim,) if bias else None,
            "bias_k": (1, 1, embed_dim) if add_bias_kv else None,
            "bias_v": (1, 1, embed_dim) if add_bias_kv else None,
        }
        for name, shape in shapes.items():
            parameter = None if shape is None else Parameter(numpy.empty(shape, numpy.float32))
            self.register_parameter(name, parameter)
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        self.inner_norm = inner_norm
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values for the parameters."""
        self.out_proj.reset_parameters()
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for token in (self.bias_k, self.bias_v):
            if token is not None:
                init.xavier_normal_(token)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output and the attention weights.

        Args:
            query: (L, N, E), or (N, L, E) with batch_first, or (L, E) for one sample.
            key: (S, N, K), or (N, S, K), or (S, K).
            value: (S, N, V), or (N, S, V), or (S, V).
            key_padding_mask: (N, S), or (S,) for one sample; bool, True where a key is left out, or
                floating-point, added to the scores. A query without any key gets the output's bias.
            need_weights: return the weights too; if False, None is returned for them.
            attn_mask: (L, S), or (N·H, L, S) with the heads of a sample side by side; values as above.
            average_attn_weights: return the mean over the heads (N, L, S), not the weights of every head
                (N, H, L, S); without N for one sample. These are the weights after dropout.
            is_causal: a hint that attn_mask is causal. It changes nothing: attn_mask is still required.

        Raises:
            TypeError: if an input is not a floating-point tensor, or a mask holds integers.
            ValueError: if the sizes do not fit.
            RuntimeError: if is_causal is given without attn_mask.
        """
        check_flags(need_weights=need_weights, average_attn_weights=average_attn_weights, is_causal=is_causal)
        batched = self._check(query, key, value)
        if is_causal and attn_mask is None:
            raise RuntimeError(
                "is_causal says that attn_mask is causal, it does not replace it: pass attn_mask="
                "nn.Transformer.generate_square_subsequent_mask(L)"
            )
        batch = 0 if self.batch_first else 1
        q, k, v = self._project(query, key, value)
        if not batched:
            q, k, v = (x.unsqueeze(batch) for x in (q, k, v))
        S = k.shape[1 - batch]
        q, k, v = self._as_heads(q, self._extended(k, self.bias_k), self._extended(v, self.bias_v))
        shape, unmasked = (*q.shape[:3], S), k.shape[2] - S
        mask = joined_mask(attn_mask, key_padding_mask, shape, q.dtype, batched=batched, unmasked=unmasked)
        y, weights = self._attend(q, k, v, mask, need_weights)
        y = y.permute((0, 2, 1, 3) if self.batch_first else (2, 0, 1, 3)).flatten(-2)
        y = self.out_proj(y if self.inner_norm is None else self.inner_norm(y))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if batched:
            return y, weights
        return y.squeeze(batch), None if weights is None else weights.squeeze(0)

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> bool:
        """Raise ValueError if the inputs do not fit together; return whether they have a batch axis."""
        inputs = query, key, value
        for x, features in zip(inputs, (self.embed_dim, self.kdim, self.vdim), strict=True):
            check_input(x, "MultiheadAttention")
            if x.ndim not in (2, 3) or x.ndim != query.ndim or x.shape[-1] != features:
                wanted = f"(…, {self.embed_dim}), (…, {self.kdim}) and (…, {self.vdim})"
                raise ValueError(
                    f"MultiheadAttention takes query, key and value {wanted}, all of 3 axes, or all of 2 for "
                    f"one sample, got shapes {query.shape}, {key.shape} and {value.shape}"
                )
        batch = 0 if self.batch_first else 1
        batches = {x.shape[batch] for x in inputs} if query.ndim == 3 else {1}
        if len(batches) > 1 or key.shape[:-1] != value.shape[:-1]:
            raise ValueError(
                "MultiheadAttention takes key and value of one length, and one batch size on axis "
                f"{batch} (batch_first={self.batch_first}), got shapes {query.shape}, {key.shape} and "
                f"{value.shape}"
            )
        return query.ndim == 3

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        if query is key and key is value and self.in_proj_weight is not None:
            return linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        if self.in_proj_weight is not None:
            weights = self.in_proj_weight.chunk(3)
        else:
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        inputs = zip((query, key, value), weights, biases, strict=True)
        return tuple([linear(x, weight, bias) for x, weight, bias in inputs])

    def _extended(self, x: Tensor, token: Tensor | None) -> Tensor:
        """Return a projected sequence, extended by add_bias_kv and add_zero_attn."""
        sequence = 1 if self.batch_first else 0
        shape = list(x.shape)
        shape[sequence] = 1
        parts = [x]
        if token is not None:
            parts.append(token.expand(shape))
        if self.add_zero_attn:
            parts.append(zeros(shape, dtype=x.dtype))
        return cat(parts, sequence) if len(parts) > 1 else x

    def _heads(self, x: Tensor) -> Tensor:
        """View a projected sequence as (N, H, L, D)."""
        x = x.unflatten(-1, (self.num_heads, self.head_dim))
        return x.permute((0, 2, 1, 3) if self.batch_first else (1, 2, 0, 3))

    def _as_heads(self, q: Tensor, k: Tensor, v: Tensor) -> Three:
        """Return projected sequences as what attention gets, (N, H, L, D) each; a subclass may change it."""
        return self._heads(q), self._heads(k), self._heads(v)

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        if self.observer is not None and self.training:
            self.observer(q, k, mask, self.scale)
        p = self.dropout if self.training else 0.0
        options: dict[str, Any] = {"scale": self.scale, "softcap": self.softcap}
        if not need_weights:
            return scaled_dot_product_attention(q, k, v, mask, p, **options), None
        kept = dropout(ones(*q.shape[:-1], k.shape[-2], dtype=q.dtype), p) if p > 0 else None
        return attention(q, k, v, mask, kept, **options)

    def extra_repr(self) -> str:
        shown = f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, batch_first={self.batch_first}"
        return shown if self.softcap is None else f"{shown}, softcap={self.softcap:g}"


def _multihead_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
    *parameters: Tensor,
    is_causal: bool = False,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Call a layer made with `options`, with all its parameters in order."""
    layer = MultiheadAttention(**options)
    names = [name for name, _ in layer.named_parameters()]
    masks = {"attn_mask": attn_mask, "key_padding_mask": key_padding_mask, "is_causal": is_causal}
    return functional_call(layer, dict(zip(names, parameters, strict=True)), (query, key, value), masks)


def _attend(*shapes: tuple[int, ...], **masks: Any) -> Any:
    return MultiheadAttention(4, 2)(*(ones(shape) for shape in shapes), **masks)


_SMALL = {"embed_dim": 4, "num_heads": 2, "batch_first": True}
_INPUTS = (1, 2, 4), (1, 3, 4), (1, 3, 4)
_NO_MASKS, _PACKED, _OUT = (None, None), ((12, 4), (12,)), ((4, 4), (4,))
_TOKENS = (1, 1, 4), (1, 1, 4)
_CAUSAL = fixed([[False, True], [False, False]])
_CAUSAL_3 = fixed([[False, True, True], [False, False, True]])
_HIDDEN = fixed([[False, True, False]])

register(
    name="multihead_attention",
    function=_multihead_attention,
    composed=multihead_attention_composed,
    parameters=("parameters",),
    cases=(
        Case((*_INPUTS, *_NO_MASKS, *_PACKED, *_OUT), _SMALL),
        Case(((2, 4), (2, 4), (2, 4), *_NO_MASKS, *_PACKED, *_OUT), _SMALL),
        Case(((2, 4), (2, 4), (2, 4), _CAUSAL, None, *_PACKED, *_OUT), _SMALL | {"is_causal": True}),
        Case((*_INPUTS, (2, 3), _HIDDEN, *_PACKED, *_OUT), _SMALL),
        Case((*_INPUTS, (2, 2, 3), (1, 3), *_PACKED, *_OUT), _SMALL),
        Case((*_INPUTS, _CAUSAL_3, None, *_PACKED, *_OUT), _SMALL | {"softcap": 0.5}),
        Case(
            (*_INPUTS, None, fixed([[True] * 3]), *_PACKED, *_TOKENS, *_OUT), _SMALL | {"add_bias_kv": True}
        ),
        Case((*_INPUTS, None, _HIDDEN, (12, 4), (4, 4)), _SMALL | {"add_zero_attn": True, "bias": False}),
        Case(
            ((1, 2, 4), (1, 3, 3), (1, 3, 2), *_NO_MASKS, (4, 4), (4, 3), (4, 2), (12,), *_TOKENS, *_OUT),
            _SMALL | {"kdim": 3, "vdim": 2, "add_bias_kv": True, "add_zero_attn": True},
        ),
    ),
    errors=(
        ErrorCase(lambda: MultiheadAttention(6, 4), ValueError, "multiple of num_heads"),
        ErrorCase(lambda: MultiheadAttention(6, 0), ValueError, "num_heads must be at least 1"),
        ErrorCase(lambda: MultiheadAttention(4, 2, dropout=2.0), ValueError, "probability"),
        ErrorCase(lambda: MultiheadAttention(4, 2, softcap=-1.0), ValueError, "softcap must be"),
        ErrorCase(lambda: _attend((3, 2, 4), (5, 2, 3), (5, 2, 4)), ValueError, "takes query, key and value"),
        ErrorCase(lambda: _attend((3, 2, 4), (5, 4), (5, 4)), ValueError, "all of 3 axes"),
        ErrorCase(lambda: _attend((3, 2, 4), (5, 3, 4), (5, 3, 4)), ValueError, "one batch size"),
        ErrorCase(lambda: _attend((3, 2, 4), (5, 2, 4), (6, 2, 4)), ValueError, "one length"),
        ErrorCase(lambda: _attend((3, 4), (5, 4), (5, 4), attn_mask=ones(5, 3)), ValueError, "(3, 5)"),
        ErrorCase(
            lambda: _attend((3, 2, 4), (5, 2, 4), (5, 2, 4), key_padding_mask=ones(5, 2)),
            ValueError,
            "(2, 5)",
        ),
        ErrorCase(
            lambda: _attend((3, 4), (5, 4), (5, 4), attn_mask=ones(3, 5).long()),
            TypeError,
            "leaves a key out",
        ),
        ErrorCase(lambda: _attend((3, 4), (3, 4), (3, 4), is_causal=True), RuntimeError, "attn_mask"),
    ),
    kind="block",
    title="Multi-head attention",
    paper="Vaswani et al. 2017, arXiv:1706.03762",
)
