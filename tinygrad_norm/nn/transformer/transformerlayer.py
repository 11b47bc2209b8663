"""Transformer layers: attention mixes positions, a small network mixes features, both with a residual sum.

    x (L, N, D)   a(x) = attention of x to itself   f(x) = W₂·activation(W₁·x + b₁) + b₂
    a layer: z = step of x with a, y = step of z with f, each a residual sum with norms over D

The placement says where a step has its norms. In post-LN z = n(x + a(x)), in pre-LN z = x + a(n(x));
placement.py derives the others. A decoder layer has a third step between the two, attention to the
encoder's output `memory`. In training, dropout follows every a and f, and the activation.

Vaswani et al. 2017, arXiv:1706.03762; pre-LN: Xiong et al. 2020, arXiv:2002.04745.

Backward, of one step, from dz = dL/dz, where a′(g) is the backward of a, given the gradient g of its
output (multihead.py, linear.py and the normalizations derive theirs). A sum passes its gradient on to both
terms. x reaches the sum on two paths, directly and through a; by the chain rule their contributions add up:

    post-LN    g = n′(dz)    dx = g + a′(g)
    pre-LN                   dx = dz + n′(a′(dz))

Insight: in pre-LN dx contains dz as it is, however many layers lie between, so a deep stack learns
without a warm-up. In post-LN every step puts its normalization in the way. In pre-LN the stream x grows
with every step, as √N after N layers, and the normalization at the end of the stack divides by that: at
the start, the gradient of the last layer falls as 1/√N, where that of post-LN is the same at any depth.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ...autograd.tensor import Tensor
from ...module import Module
from ...normalization import LayerNorm
from ...ops import ones
from ...ops.arguments import check_flags
from ...ops.checks import Shape
from ...registry import Case, ErrorCase, Input, register
from ..activation.gated import gelu
from ..activation.rectifiers import relu
from ..attention.multihead import MultiheadAttention
from ..attention.qknorm import QKNormAttention
from ..containers import Sequential
from ..dropout import Dropout
from ..linear import Linear
from ..residual.scalars import ScalarMultiplier
from ..utils.parameter_swap import functional_call
from .deepnorm import DeepNorm
from .layer_composed import transformer_decoder_layer_composed, transformer_encoder_layer_composed
from .placement import Placed, as_placement

Activation = Callable[[Tensor], Tensor]
Norm = Callable[[int], Module]
MakeAttention = Callable[..., Module]


class TransformerLayer(Placed):
    """Base of the encoder's and the decoder's layer: one attention or two, and the network.

    Args:
        d_model: D, the features of input and output.
        nhead: the heads of attention.
        dim_feedforward: the hidden features of the network.
        dropout: the probability that an entry is zeroed in training.
        activation: "relu", "gelu" or a function of one tensor.
        layer_norm_eps: the eps of the layer normalizations, in units of their input².
        batch_first: input and output are (N, L, D) instead of (L, N, D).
        norm_first: normalize the input of each step (pre-LN) instead of its result (post-LN).
        bias: whether linear layers, attention and layer normalizations have a bias.
        norm: a function or class that makes a normalization over D features, such as nn.RMSNorm, instead
            of LayerNorm; it does not get bias and layer_norm_eps.
        attention: a function or class that makes the attention, such as nn.QKNormAttention, instead of
            MultiheadAttention; it gets d_model, nhead, dropout, bias, batch_first, and softcap and
            inner_norm if there are any.
        qk_norm: the `norm` of nn.QKNormAttention, which takes the place of MultiheadAttention; None for none,
            in "hybrid" for "rms".
        softcap: c of the soft cap of attention's scores, or None.
        placement: where a step normalizes: "post", "pre", "peri", "output", "sub", "hybrid", "mix", "scaled",
            "deep" or a `DeepNorm`, as placement.py describes. None means what norm_first says.
        layer_index, depth: which layer this is, from 1, of how many: for "mix" and "scaled". A
        TransformerEncoder
            or TransformerDecoder sets both. "deep" needs the depth.
        scale: a function or class that makes a scale of D features, such as nn.LayerScale, or
            lambda d: nn.ReZero() for one number: what each step adds is multiplied by it, after dropout. With
            None it is added as it is.

    Raises:
        TypeError: if scale makes none of a number of features, or softcap is not a number.
        ValueError: if the activation or placement is unknown, placement contradicts norm_first, or qk_norm an
            attention, the number of heads does not divide d_model, or there is a scale where a norm behind
            it would undo it.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Activation = relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        norm: Norm | None = None,
        attention: MakeAttention | None = None,
        qk_norm: str | None = None,
        softcap: float | None = None,
        placement: str | DeepNorm | None = None,
        layer_index: int | None = None,
        depth: int | None = None,
        scale: Norm | None = None,
    ) -> None:
        check_flags(batch_first=batch_first, norm_first=norm_first, bias=bias)
        placement = as_placement(norm_first, placement, depth)
        super().__init__(placement, layer_index, depth)
        _check_scale(scale, placement)
        make_norm = norm_maker(norm, layer_norm_eps, bias)
        make_attention = attention_maker(attention, qk_norm, softcap, hybrid=placement == "hybrid")
        for name in self.attentions:
            inner = {"inner_norm": make_norm(d_model)} if placement == "sub" else {}
            made = make_attention(d_model, nhead, dropout, bias, batch_first=batch_first, **inner)
            setattr(self, name, made)
        self.linear1 = Linear(d_model, dim_feedforward, bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        self.inner_norm = make_norm(dim_feedforward) if placement == "sub" else None
        steps = range(1, len(self.attentions) + 2)
        for i in steps[-1:] if placement == "hybrid" else steps:
            setattr(self, f"norm{i}", make_norm(d_model))
        if placement == "peri":
            for i in steps:
                setattr(self, f"post_norm{i}", make_norm(d_model))
        for i in steps:
            off = Dropout(dropout)
            setattr(self, f"dropout{i}", off if scale is None else Sequential(off, scale(d_model)))
        self.activation = _as_function(activation)
        if isinstance(placement, DeepNorm):
            placement.scale_(self)

    def _feed_forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(self.activation(self.linear1(x)))
        return self.linear2(hidden if self.inner_norm is None else self.inner_norm(hidden))


def _check_scale(scale: Norm | None, placement: str | DeepNorm) -> None:
    if scale is not None and not callable(scale):
        raise TypeError(
            f"scale must make a scale, given its number of features, as nn.LayerScale does, got {scale!r}"
        )
    if isinstance(scale, type) and issubclass(scale, ScalarMultiplier):
        name = scale.__name__
        raise TypeError(
            f"scale must make a scale, given its number of features, and nn.{name} is one number, which "
            f"takes none: pass scale=lambda d: nn.{name}()"
        )
    if scale is not None and placement in ("peri", "output"):
        raise ValueError(
            f"with placement={placement!r} a norm follows the scale of a branch and undoes it: "
            "use 'pre' or 'post'"
        )


def norm_maker(norm: Norm | None, eps: float, bias: bool) -> Norm:
    """Return the function that makes a normalization over D features: `norm`, or LayerNorm if it is None."""
    if norm is None:
        return functools.partial(LayerNorm, eps=eps, bias=bias)
    if not callable(norm):
        raise TypeError(
            f"norm must make a normalization, given its number of features, as nn.RMSNorm does, got {norm!r}"
        )
    return norm


def attention_maker(
    attention: MakeAttention | None,
    qk_norm: str | None = None,
    softcap: float | None = None,
    hybrid: bool = False,
) -> MakeAttention:
    """Return the function that makes an attention: `attention`, MultiheadAttention, or one with norms."""
    options: dict[str, Any] = {} if softcap is None else {"softcap": softcap}
    if qk_norm is not None or hybrid:
        if attention is not None:
            raise ValueError(
                "qk_norm, and the placement 'hybrid', choose nn.QKNormAttention: leave out attention, got "
                f"{attention!r}"
            )
        options |= {"norm": qk_norm or "rms", "v_norm": hybrid}
        return functools.partial(QKNormAttention, **options)
    if attention is None:
        return functools.partial(MultiheadAttention, **options)
    if not callable(attention):
        raise TypeError(
            "attention must make an attention, given d_model, nhead, dropout, bias and batch_first, as "
            f"nn.QKNormAttention does, got {attention!r}"
        )
    return functools.partial(attention, **options)


def _as_function(activation: str | Activation) -> Activation:
    if callable(activation):
        return activation
    named: dict[str, Activation] = {"relu": relu, "gelu": gelu}
    if activation not in named:
        raise ValueError(f"activation must be 'relu', 'gelu' or a function of a tensor, got {activation!r}")
    return named[activation]


class TransformerEncoderLayer(TransformerLayer):
    """One layer of an encoder: self-attention, then the network. Arguments as for `TransformerLayer`.

    Takes and returns (L, N, D), with batch_first (N, L, D), or (L, D) for one sample. Source: Vaswani et
    al. 2017, arXiv:1706.03762.
    """

    attentions = ("self_attn",)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Return the output; masks and is_causal as for `MultiheadAttention`."""
        masks = {"attn_mask": src_mask, "key_padding_mask": src_key_padding_mask, "is_causal": is_causal}
        x = self._step(1, src, lambda x: self.self_attn(x, x, x, need_weights=False, **masks)[0])
        return self._step(2, x, self._feed_forward)


class TransformerDecoderLayer(TransformerLayer):
    """One layer of a decoder: self-attention, attention to `memory`, then the network.

    Arguments as for `TransformerLayer`. Takes and returns (L, N, D), with batch_first (N, L, D), or
    (L, D) for one sample. Source: Vaswani et al. 2017, arXiv:1706.03762.
    """

    attentions = ("self_attn", "multihead_attn")

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Return the output; `memory` (S, N, D) is the encoder's, masks as for `MultiheadAttention`."""
        own = {"attn_mask": tgt_mask, "key_padding_mask": tgt_key_padding_mask, "is_causal": tgt_is_causal}
        cross = {
            "attn_mask": memory_mask,
            "key_padding_mask": memory_key_padding_mask,
            "is_causal": memory_is_causal,
        }
        x = self._step(1, tgt, lambda x: self.self_attn(x, x, x, need_weights=False, **own)[0])
        x = self._step(2, x, lambda x: self.multihead_attn(x, memory, memory, need_weights=False, **cross)[0])
        return self._step(3, x, self._feed_forward)


def _encoder_layer(src: Tensor, *parameters: Tensor, **options: Any) -> Tensor:
    return _with_parameters(TransformerEncoderLayer(**options), parameters, src)


def _decoder_layer(tgt: Tensor, memory: Tensor, *parameters: Tensor, **options: Any) -> Tensor:
    return _with_parameters(TransformerDecoderLayer(**options), parameters, tgt, memory)


def _with_parameters(layer: Module, parameters: Sequence[Tensor], *inputs: Tensor) -> Tensor:
    names = [name for name, _ in layer.named_parameters()]
    return functional_call(layer, dict(zip(names, parameters, strict=True)), inputs)


_ATTENTION, _NETWORK, _NORM = ((12, 4), (12,), (4, 4), (4,)), ((2, 4), (2,), (4, 2), (4,)), ((4,), (4,))


def _constants(shapes: Sequence[Shape]) -> list[Input]:
    return [Input(shape, differentiable=False) for shape in shapes]


_OPTIONS = {"d_model": 4, "nhead": 2, "dim_feedforward": 2, "dropout": 0.0, "activation": "gelu"}

register(
    name="transformer_encoder_layer",
    function=_encoder_layer,
    composed=transformer_encoder_layer_composed,
    parameters=("parameters",),
    cases=tuple(
        Case((x, *shapes), _OPTIONS | options)
        for x, shapes, options in (
            ((2, 4), (*_ATTENTION, *_NETWORK, *_NORM * 2), {"norm_first": False}),
            ((2, 4), (*_ATTENTION, *_NETWORK, *_NORM * 2), {"norm_first": True}),
            ((2, 4), (*_ATTENTION, *_NETWORK, *_NORM * 4), {"placement": "peri"}),
            ((2, 4), (*_ATTENTION, *_NETWORK, *_NORM * 2), {"placement": DeepNorm(1.5, 0.6)}),
            ((2, 4), (*_ATTENTION, *_NETWORK, *_NORM * 2), {"placement": "output"}),
            ((2, 4), (*_ATTENTION, *_NETWORK, *_NORM * 2), {"placement": "scaled", "layer_index": 3}),
            (
                (2, 4),
                (*_ATTENTION, *_NETWORK, *_NORM * 2),
                {"placement": "mix", "layer_index": 1, "depth": 4},
            ),
            (  # of two numbers, the norm within the network would keep little more than their order
                (2, 4),
                (*_ATTENTION, *_NORM, (3, 4), (3,), (4, 3), (4,), (3,), (3,), *_NORM * 2),
                {"placement": "sub", "dim_feedforward": 3},
            ),
            ((3, 4), (*_ATTENTION, (2,), (2,), *_NETWORK, *_NORM), {"placement": "hybrid"}),
        )
    ),
    errors=(
        ErrorCase(lambda: TransformerEncoderLayer(4, 3), ValueError, "multiple of num_heads"),
        ErrorCase(lambda: TransformerEncoderLayer(4, 2, activation="tanh"), ValueError, "activation"),
        ErrorCase(lambda: TransformerEncoderLayer(4, 2, dropout=-1.0), ValueError, "probability"),
        ErrorCase(lambda: TransformerEncoderLayer(4, 2, 8)(ones(3, 2, 5)), ValueError, "takes"),
        ErrorCase(lambda: TransformerEncoderLayer(4, 2, placement="both"), ValueError, "post, pre, peri"),
        ErrorCase(lambda: TransformerEncoderLayer(4, 2, placement="sandwich"), ValueError, "called 'peri'"),
        ErrorCase(lambda: TransformerEncoderLayer(4, 2, placement="deep"), ValueError, "pass depth=layers"),
        ErrorCase(
            lambda: TransformerEncoderLayer(4, 2, norm_first=True, placement="post"),
            ValueError,
            "pass only one",
        ),
        ErrorCase(lambda: TransformerEncoderLayer(4, 2, layer_index=3, depth=2), ValueError, "3 of 2"),
        ErrorCase(
            lambda: TransformerEncoderLayer(4, 2, 8, placement="scaled")(ones(3, 4)),
            RuntimeError,
            "depends on the number of the layer",
        ),
        ErrorCase(
            lambda: TransformerEncoderLayer(4, 2, 8, qk_norm="l2", attention=MultiheadAttention),
            ValueError,
            "leave out attention",
        ),
    ),
    kind="block",
    title="Transformer encoder layer: norms in nine places",
    paper="Vaswani et al. 2017, arXiv:1706.03762",
)
register(
    name="transformer_decoder_layer",
    function=_decoder_layer,
    composed=transformer_decoder_layer_composed,
    parameters=("parameters",),
    cases=(
        # The parameters that the encoder's cases check are constants here.
        Case(
            ((2, 4), (3, 4), *_constants(_ATTENTION), *_ATTENTION, *_constants(_NETWORK), *_NORM * 3),
            _OPTIONS | {"norm_first": True},
        ),
    ),
    errors=(
        ErrorCase(
            lambda: TransformerDecoderLayer(4, 2, 8)(ones(3, 2, 4), ones(3, 1, 4)), ValueError, "batch size"
        ),
    ),
    kind="block",
    title="Transformer decoder layer",
    paper="Vaswani et al. 2017, arXiv:1706.03762",
)
