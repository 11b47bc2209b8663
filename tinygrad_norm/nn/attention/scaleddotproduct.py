"""Attention: every query gets an average of the values, weighted by how well their keys match it.

    q (..., L, E)   k (..., S, E)   v (..., S, V)   leading axes are broadcast: batch, heads

    z = scale·q @ kᵀ   s = z + mask   p = softmax(s) over S   w = p∘kept   y = w @ v   y (..., L, V)

with scale = 1/√E unless given. With a soft cap c, s = c·t + mask, t = tanh(z/c): no score exceeds c. The
cap stands before the mask, as tanh(-∞) = -1 would let masked keys in (Gemma Team 2024,
arXiv:2408.00118). A floating-point mask is added; a bool mask adds -∞ where it is False. `kept` is the
dropout factor: 1/(1 - dropout_p) where a weight is kept, 0 where it is dropped. A row that is masked
completely has no softmax: its p is 0, and so are its y and every gradient through it.

Vaswani et al. 2017, arXiv:1706.03762.

Backward, from dy = dL/dy. The chain rule, dL/dx_i = Σj dy_j·∂y_j/∂x_i, is applied step by step from y back to
the inputs; where several paths lead to one array, their contributions add up (softmax as in softmax.py):

    through v      y = w @ v               dv = wᵀ @ dy
    through w                              dw = dy @ vᵀ
    dropout        w = p∘kept              dp = dw∘kept
    softmax        Σs p = 1                ds = p∘(dp - δ)   δ_l = Σs dp_ls·p_ls
    through mask   s = z + mask            dmask = ds, summed where it was broadcast
    through z      s = z + mask            dz = ds
    or a soft cap  s = c·tanh(z/c) + mask  dz = ds∘(1 - t²)
    through q, k   z = scale·q @ kᵀ        dq = scale·dz @ k   dk = scale·dzᵀ @ q

If the weights w are an output too, their own gradient is added to dw.

Insight: ds sums to 0 over every row, so attention learns only which keys match better than others; and
p of L·S numbers is all the memory that a sequence costs beyond its own length.

Grouped queries: H heads of keys and values serve G·H heads of queries. The query's heads are viewed as
(H, G), the key's as (H, 1), and broadcasting does the rest: nothing is copied.
Ainslie et al. 2023, arXiv:2305.13245.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.half import downcast, upcast
from ...ops import ones
from ...ops.arguments import check_flags
from ...ops.broadcast import stretch, unbroadcast
from ...ops.checks import Shape, check_vector
from ...registry import Case, ErrorCase, Input, booleans, fixed, positive, register, uniform
from ..activation.softcap import as_cap, softcap_composed
from ..dropout import check_probability, dropout
from .attention_inputs import check_attention
from .attention_weights import (
    attention_blocks,
    softcap_gradient,
    softmax_gradient,
    write_attention_weights,
    write_product_with_transposed,
)
from .masks import causal_mask


def attention_composed(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    kept: Tensor | None = None,
    *,
    scale: float | None = None,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention and its weights from primitives: autograd finds the gradient."""
    s = query @ key.mT * _scale(query, scale)
    s = s if softcap is None else softcap_composed(s, softcap)
    if attn_mask is not None:
        s = (
            s + attn_mask
            if attn_mask.is_floating_point()
            else s.masked_fill(attn_mask.logical_not(), -math.inf)
        )
    m = s.amax(-1, keepdim=True).detach()
    e = (s - m.masked_fill(m.eq(-math.inf), 0)).exp()
    total = e.sum(-1, keepdim=True)
    w = e / total.masked_fill(total.eq(0), 1)
    w = w if kept is None else w * kept
    return w @ value, w


def scaled_dot_product_attention_composed(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    softcap: float | None = None,
) -> Tensor:
    """Attention without dropout from primitives: autograd finds the gradient."""
    if is_causal:
        attn_mask = causal_mask(query.shape[-2], key.shape[-2])
    if enable_gqa:
        heads = query.shape[-3]
        key, value = (
            x.unsqueeze(-3).repeat(*(1,) * (x.ndim - 2), heads // x.shape[-3], 1, 1).flatten(-4, -3)
            for x in (key, value)
        )
    return attention_composed(query, key, value, attn_mask, scale=scale, softcap=softcap)[0]


@kernel
def attention_forward(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    kept: Array | None,
    scale: float,
    softcap: float | None,
) -> tuple[Array, Array]:
    """Return y (*B, L, V) and p (*B, L, S): q (*B, L, E); the others have as many axes, and may broadcast."""
    xp = namespace(q)
    p = xp.empty((*q.shape[:-1], k.shape[-2]), q.dtype)
    y = xp.empty_like(q, shape=(*q.shape[:-1], v.shape[-1]))
    for p_, y_, q_, k_, v_, mask_, kept_ in attention_blocks(p, y, q, k, v, mask, kept):
        write_attention_weights(q_, k_, mask_, scale, p_, softcap)
        xp.matmul(p_ if kept_ is None else p_ * kept_, v_, out=y_)
    return y, p


@kernel
def attention_backward(
    dy: Array,
    dw: Array | None,
    q: Array,
    k: Array,
    v: Array,
    p: Array,
    kept: Array | None,
    scale: float,
    softcap: float | None,
    needs: Sequence[bool],
) -> tuple[Array | None, ...]:
    """Return dq, dk, dv and ds with the leading sizes of p, or None where `needs` is False."""
    xp = namespace(dy)
    dq, dk, dv = (
        xp.empty_like(x, shape=(*p.shape[:-2], *x.shape[-2:])) if need else None
        for x, need in zip((q, k, v), needs, strict=False)
    )
    ds = xp.empty_like(p) if needs[3] else None
    for p_, dy_, dw_, q_, k_, v_, kept_, dq_, dk_, dv_, ds_ in attention_blocks(
        p, dy, dw, q, k, v, kept, dq, dk, dv, ds
    ):
        if dv_ is not None:
            w_ = p_ if kept_ is None else p_ * kept_
            xp.matmul(w_.swapaxes(-1, -2), dy_, out=dv_)
        if dq_ is None and dk_ is None and ds_ is None:
            continue
        ds_ = write_product_with_transposed(dy_, v_, ds_)
        if dw_ is not None:
            ds_ += dw_
        if kept_ is not None:
            ds_ *= kept_
        softmax_gradient(ds_, p_)
        if dq_ is None and dk_ is None:
            continue
        dz_ = ds_
        if softcap is not None:
            dz_ = ds_.copy() if needs[3] else ds_
            softcap_gradient(dz_, q_, k_, scale, softcap)
        if dq_ is not None:
            xp.matmul(dz_, k_, out=dq_)
        if dk_ is not None:
            xp.matmul(dz_.swapaxes(-1, -2), q_, out=dk_)
    for d in (dq, dk):
        if d is not None:
            d *= scale
    return dq, dk, dv, ds


class AttentionFunction(Function):
    """y = w @ v, w = softmax(scale·q @ kᵀ + mask) · dv = wᵀ @ dy, ds = w∘(dw - Σ dw·w), dw = dy @ vᵀ

    dq = scale·ds @ k, dk = scale·dsᵀ @ q, dmask = ds. With `weights` the outputs are y and w. With `softcap`
    ds·(1 - t²) stands for ds in dq and dk.
    """

    def forward(
        self,
        q: Array,
        k: Array,
        v: Array,
        mask: Array | None,
        kept: Array | None,
        *,
        scale: float,
        weights: bool,
        softcap: float | None,
    ) -> Any:
        self.lead = numpy.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
        y, p = attention_forward(*self._aligned(q, k, v, mask, kept), scale, softcap)
        y, p = (x.reshape(*self.lead, *x.shape[-2:]) for x in (y, p))
        self.saved = q, k, v, p, kept, None if mask is None else mask.shape, scale, softcap
        if not weights:
            return downcast(y, q)
        return downcast(y, q), downcast(p if kept is None else p * kept, q)

    def backward(self, dy: Array, dw: Array | None = None) -> Gradients:
        q, k, v, p, kept, mask_shape, scale, softcap = self.saved
        arrays = self._aligned(q, k, v, p, kept, dy, dw)
        ds = attention_backward(*arrays[-2:], *arrays[:-2], scale, softcap, self.needs[:4])
        shapes = q.shape, k.shape, v.shape, mask_shape
        return (*(None if d is None else unbroadcast(d, s) for d, s in zip(ds, shapes, strict=True)), None)

    def _aligned(self, q: Array, *others: Array | None) -> list[Any]:
        """Return the arrays upcast and with equally many axes, at least 3, and q with all leading sizes."""
        lead = self.lead or (1,)
        arrays = [q if q.shape[:-2] == self.lead else stretch(q, (*self.lead, *q.shape[-2:])), *others]
        return [
            None if x is None else upcast(x).reshape((1,) * (len(lead) + 2 - x.ndim) + x.shape)
            for x in arrays
        ]


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    kept: Tensor | None = None,
    *,
    scale: float | None = None,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Return attention and its weights (..., L, S); the dropout factors are given, not drawn.

    Args:
        query, key, value, attn_mask, scale, softcap: as for `scaled_dot_product_attention`.
        kept: factors of the weights (..., L, S); None means 1. A constant.

    Raises:
        TypeError: as `scaled_dot_product_attention`.
        ValueError: if the sizes do not fit, or softcap is not positive and finite.
    """
    mask, shape = check_attention(query, key, value, attn_mask, "attention")
    check_vector(kept, "kept", shape)
    options = {"scale": _scale(query, scale), "weights": True, "softcap": _optional_cap(softcap, query)}
    return AttentionFunction.apply(query, key, value, mask, kept, **options)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    softcap: float | None = None,
) -> Tensor:
    """Return, for every query, the average of the values weighted by softmax(scale·query @ keyᵀ + mask).

    Args:
        query: (..., L, E); leading axes (batch, heads) are broadcast.
        key: (..., S, E).
        value: (..., S, V) for an output (..., L, V).
        attn_mask: broadcast to (..., L, S); bool, True where a key takes part, or floating-point, added.
            A query whose keys are all masked, by False or -∞, gets zeros.
        dropout_p: the probability that a weight is zeroed. Always applied: pass 0 outside training.
        is_causal: query l attends only to the keys 0 to l.
        scale: the factor of the products q·k; None means 1/√E.
        enable_gqa: query (..., G·H, L, E) has G heads for every one of the H heads of key and value.
        softcap: c; the scores become c·tanh(scores/c) before the mask is added, so that none exceeds c. None
            leaves them as they are. PyTorch has no such option; the name is that of Hugging Face.

    Raises:
        TypeError: if an input is not a floating-point tensor, the dtypes differ, or the mask holds integers.
        ValueError: if the sizes do not fit, dropout_p is outside [0, 1], or softcap is not positive, finite.
        RuntimeError: if both attn_mask and is_causal are given.

    Source: Vaswani et al. 2017, arXiv:1706.03762; Ainslie et al. 2023, arXiv:2305.13245 (groups); Gemma Team
    2024, arXiv:2408.00118 (softcap).
    """
    name = "scaled_dot_product_attention"
    check_probability(dropout_p)
    check_flags(is_causal=is_causal, enable_gqa=enable_gqa)
    mask, shape = check_attention(query, key, value, attn_mask, name, enable_gqa)
    if is_causal:
        if mask is not None:
            raise RuntimeError(f"{name} takes attn_mask or is_causal, not both: combine them in attn_mask")
        mask = causal_mask(*shape[-2:])
    kept = dropout(ones(shape, dtype=query.dtype), dropout_p) if dropout_p > 0 else None
    options = {"scale": _scale(query, scale), "weights": False, "softcap": _optional_cap(softcap, query)}
    if enable_gqa:
        H = key.shape[-3]
        query, mask, kept = (_in_groups(x, H) for x in (query, mask, kept))
        key, value = key.unsqueeze(-3), value.unsqueeze(-3)
    y = AttentionFunction.apply(query, key, value, mask, kept, **options)
    return y.flatten(-4, -3) if enable_gqa else y


def _scale(query: Tensor, scale: float | None) -> float:
    return 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale


def _optional_cap(softcap: float | None, query: Tensor) -> float | None:
    return None if softcap is None else as_cap(softcap, "softcap", query)


def _in_groups(x: Any, H: int) -> Any:
    """View the heads of x (..., G·H, L, E) as (..., H, G, L, E); one head, or none, broadcasts to all."""
    if x is None or x.ndim < 3:
        return x
    return x.unsqueeze(-3) if x.shape[-3] == 1 else x.unflatten(-3, (H, -1))


_GROUPED = (2, 4, 2, 2), (2, 2, 3, 2), (2, 2, 3, 1)
_PARTLY_MASKED = fixed([[0.0, -numpy.inf, 1.0], [-numpy.inf] * 3, [-1e9, 2.0, 0.0]])
_PARTLY_MASKED_4 = fixed([[0.0, -numpy.inf, 1.0, 0.0], [-numpy.inf] * 4, [-1e9, 2.0, 0.0, -numpy.inf]])
_KEPT = Input((2, 3, 4), lambda rng, shape: (rng.random(shape) < 0.6) / 0.6, differentiable=False)


def _attend(*shapes: Shape, **options: Any) -> Tensor:
    query, key, value = (ones(shape) for shape in shapes)
    return scaled_dot_product_attention(query, key, value, **options)


register(
    name="scaled_dot_product_attention",
    function=scaled_dot_product_attention,
    composed=scaled_dot_product_attention_composed,
    cases=(
        Case(((2, 2, 3, 2), (2, 2, 3, 2), (2, 2, 3, 2), None)),
        Case(((2, 3, 2), (2, 4, 2), (2, 4, 3), None), {"scale": 0.7}),
        Case(((2, 3, 2), (2, 4, 2), (2, 4, 3), booleans(3, 4))),
        Case(((2, 1, 3, 2), (2, 1, 4, 2), (2, 1, 4, 3), (2, 1, 1, 4))),
        Case(((3, 4), (3, 4), (3, 2), (3, 3))),
        Case(((3, 4), (3, 4), (3, 2), _PARTLY_MASKED)),
        Case(((3, 2), (4, 2), (4, 2), None), {"is_causal": True}),
        Case(((2, 4, 2), (2, 3, 2), (2, 3, 2), None), {"is_causal": True, "scale": -1.0}),
        Case(((2, 3, 2), (1, 4, 2), (2, 4, 1), None)),
        Case(((3, 2), (4, 2), (2, 4, 2), None)),
        Case(((3, 2), (2, 4, 2), (4, 2), fixed([True, False, True, True]))),
        Case((*_GROUPED, None), {"enable_gqa": True, "is_causal": True}),
        Case((*_GROUPED, (4, 2, 3)), {"enable_gqa": True}),
        Case((*_GROUPED, booleans(2, 1, 2, 3)), {"enable_gqa": True}),
        Case(((2, 1, 3), (2, 1, 3), (2, 1, 3), None)),
        Case((positive(3, 2), uniform(50, 60, 3, 2), (3, 2), None), {"scale": 1.0}),
        Case(((0, 3, 4), (0, 5, 4), (0, 5, 3), None)),
    ),
    errors=(
        ErrorCase(lambda: _attend((3, 4), (5, 3), (5, 2)), ValueError, "key (..., S, E)"),
        ErrorCase(lambda: _attend((3, 4), (5, 4), (4, 2)), ValueError, "value (..., S, V)"),
        ErrorCase(lambda: _attend((4,), (5, 4), (5, 2)), ValueError, "query (..., L, E)"),
        ErrorCase(lambda: _attend((2, 3, 4), (3, 5, 4), (2, 5, 2)), ValueError, "leading axes"),
        ErrorCase(lambda: _attend((4, 3, 4), (2, 5, 4), (2, 5, 2)), ValueError, "enable_gqa"),
        ErrorCase(lambda: _attend((5, 3, 4), (2, 5, 4), (2, 5, 2), enable_gqa=True), ValueError, "multiple"),
        ErrorCase(lambda: _attend((3, 4), (5, 4), (5, 2), enable_gqa=True), ValueError, "multiple"),
        ErrorCase(lambda: _attend((3, 4), (5, 4), (5, 2), attn_mask=ones(5, 3)), ValueError, "broadcasts"),
        ErrorCase(lambda: _attend((3, 4), (5, 4), (5, 2), attn_mask=ones(2, 3, 5)), ValueError, "broadcasts"),
        ErrorCase(lambda: _attend((3, 4), (5, 4), (5, 2), attn_mask=ones(3, 5).long()), TypeError, "bools"),
        ErrorCase(
            lambda: _attend((3, 4), (5, 4), (5, 2), attn_mask=ones(3, 5), is_causal=True),
            RuntimeError,
            "not both",
        ),
        ErrorCase(lambda: _attend((3, 4), (5, 4), (5, 2), dropout_p=1.5), ValueError, "probability"),
        ErrorCase(lambda: _attend((3, 4), (5, 4), (5, 2), softcap=0.0), ValueError, "softcap must be"),
        ErrorCase(
            lambda: scaled_dot_product_attention(ones(3, 4), ones(3, 4).double(), ones(3, 4)),
            TypeError,
            "one dtype",
        ),
        ErrorCase(
            lambda: scaled_dot_product_attention(ones(3, 4).long(), ones(3, 4), ones(3, 4)),
            TypeError,
            "floating-point",
        ),
    ),
    kind="block",
    title="Scaled dot-product attention",
    paper="Vaswani et al. 2017, arXiv:1706.03762",
    torch="torch.nn.functional.scaled_dot_product_attention",
    bench=(
        Case(((16, 4, 64, 32),) * 3 + (None,)),
        Case(((16, 4, 64, 32),) * 3 + (None,), {"is_causal": True}),
        Case(((32, 8, 128, 32),) * 3 + (None,), {"is_causal": True}),
    ),
)
register(
    name="attention",
    function=attention,
    composed=attention_composed,
    cases=(
        Case(((2, 3, 2), (2, 4, 2), (2, 4, 1), None, None)),
        Case(((2, 3, 2), (2, 4, 2), (2, 4, 1), booleans(2, 1, 4), None), {"scale": 0.5}),
        Case(((2, 3, 2), (2, 4, 2), (2, 4, 1), (3, 4), _KEPT)),
        Case(((2, 3, 2), (2, 4, 2), (2, 4, 1), _PARTLY_MASKED_4, _KEPT), {"softcap": 0.8}),
        Case(((2, 3, 2), (1, 4, 2), (2, 4, 1), (3, 4), None), {"softcap": 0.5}),
    ),
    errors=(
        ErrorCase(
            lambda: attention(ones(3, 4), ones(3, 4), ones(3, 4), None, ones(4, 3)), ValueError, "kept"
        ),
        ErrorCase(lambda: attention(ones(3, 4), ones(3, 4), ones(2, 4)), ValueError, "value (..., S, V)"),
    ),
    kind="block",
    title="Attention with its weights",
    paper="Vaswani et al. 2017, arXiv:1706.03762",
)
