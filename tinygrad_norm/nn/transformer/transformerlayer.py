"""Transformer layers: attention mixes positions, a small network mixes features, both with a residual sum.

    x (L, N, D)   a(x) = attention of x to itself   f(x) = W₂·activation(W₁·x + b₁) + b₂
    a layer: z = step of x with a, y = step of z with f; every step has its own normalizations n, m over D

    post-LN   residual="post", norm_first=False    z = n(x + a(x))
    pre-LN    residual="pre", norm_first=True      z = x + a(n(x))
    sandwich  residual="sandwich"                  z = x + m(a(n(x)))
    DeepNorm  residual=DeepNorm(α, β)              z = n(α·x + a(x))    α, β by depth: deepnorm.py

A decoder layer has a third step between the two, attention to the encoder's output `memory`. In training,
dropout follows every a and f, and the activation.

Vaswani et al. 2017, arXiv:1706.03762; pre-LN: Xiong et al. 2020, arXiv:2002.04745; sandwich: Ding et al.
2021, arXiv:2105.13290; DeepNorm: Wang et al. 2022, arXiv:2203.00555.

Backward, of one step, from dz = dL/dz, where a′(g) is the backward of a, given the gradient g of its
output (multihead.py, linear.py and the normalizations derive theirs). A sum passes its gradient on to both
terms. x reaches the sum on two paths, directly and through a; by the chain rule their contributions add up:

    post-LN    g = n′(dz)    dx = g + a′(g)
    pre-LN                   dx = dz + n′(a′(dz))
    sandwich                 dx = dz + n′(a′(m′(dz)))
    DeepNorm   g = n′(dz)    dx = α·g + a′(g)

Insight: in pre-LN and sandwich dx contains dz as it is, however many layers lie between, so a deep stack
learns without a warm-up. In post-LN every step puts its normalization in the way. In pre-LN the stream x
grows with every step, as √N after N layers, and the normalization at the end of the stack divides by that: at
the start, the gradient of the last layer falls as 1/√N, where that of post-LN is the same at any depth. In a
sandwich m keeps what a step adds at one size.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ...autograd.tensor import Tensor
from ...module import Module
from ...normalization import LayerNorm
from ...normalization.sample.layernorm import layer_norm_composed
from ...ops import ones
from ...ops.arguments import check_flags
from ...ops.checks import Shape
from ...registry import Case, ErrorCase, Input, register
from ...suggestions import unknown
from ..activation.gated import gelu, gelu_composed
from ..activation.rectifiers import relu
from ..attention.multihead import MultiheadAttention, multihead_attention_composed
from ..containers import Sequential
from ..dropout import Dropout
from ..linear import Linear, linear_composed
from ..utils.parameter_swap import functional_call
from .deepnorm import DeepNorm

RESIDUALS = ("post", "pre", "sandwich")
Activation = Callable[[Tensor], Tensor]
Norm = Callable[[int], Module]
MakeAttention = Callable[..., Module]
Sublayer = Callable[[Tensor], Tensor]


def transformer_encoder_layer_composed(src: Tensor, *parameters: Tensor, **options: Any) -> Tensor:
    """An encoder layer (gelu, batch first or one sample) from primitives: autograd finds the gradient."""
    attention, network, norms = parameters[:4], parameters[4:8], _norms_of_steps(parameters[8:], 2)
    x = _step_composed(src, lambda x: _attend_composed(x, x, attention, options), norms[0], options)
    return _step_composed(x, lambda x: _feed_forward_composed(x, network), norms[1], options)


def transformer_decoder_layer_composed(
    tgt: Tensor, memory: Tensor, *parameters: Tensor, **options: Any
) -> Tensor:
    """A decoder layer (gelu, batch first or one sample) from primitives: autograd finds the gradient."""
    own, cross, network = parameters[:4], parameters[4:8], parameters[8:12]
    norms = _norms_of_steps(parameters[12:], 3)
    x = _step_composed(tgt, lambda x: _attend_composed(x, x, own, options), norms[0], options)
    x = _step_composed(x, lambda x: _attend_composed(x, memory, cross, options), norms[1], options)
    return _step_composed(x, lambda x: _feed_forward_composed(x, network), norms[2], options)


def _norms_of_steps(vectors: Sequence[Tensor], steps: int) -> Sequence[Sequence[Sublayer]]:
    """Return the normalizations of each step: one, or in a sandwich n and m."""
    pairs = zip(vectors[::2], vectors[1::2], strict=True)
    norms = [functools.partial(_norm_composed, *pair) for pair in pairs]
    return [norms[step::steps] for step in range(steps)]


def _norm_composed(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    return layer_norm_composed(x, x.shape[-1:], weight, bias)


def _step_composed(
    x: Tensor, sublayer: Sublayer, norms: Sequence[Sublayer], options: dict[str, Any]
) -> Tensor:
    norm, *behind = norms
    order = residual_order(options.get("norm_first", False), options.get("residual"))
    if order == "sandwich":
        return x + behind[0](sublayer(norm(x)))
    if order == "pre":
        return x + sublayer(norm(x))
    return norm((x * order.alpha if isinstance(order, DeepNorm) else x) + sublayer(x))


def _attend_composed(
    x: Tensor, memory: Tensor, parameters: Sequence[Tensor], options: dict[str, Any]
) -> Tensor:
    sizes = {"embed_dim": options["d_model"], "num_heads": options["nhead"], "batch_first": True}
    return multihead_attention_composed(x, memory, memory, None, None, *parameters, **sizes)[0]


def _feed_forward_composed(x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    weight1, bias1, weight2, bias2 = parameters
    return linear_composed(gelu_composed(linear_composed(x, weight1, bias1)), weight2, bias2)


class TransformerLayer(Module):
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
            MultiheadAttention; it gets d_model, nhead, dropout, bias and batch_first.
        residual: where a step normalizes: "post", "pre", "sandwich" or a `DeepNorm`. None means what
            norm_first says.
        scale: a function or class that makes a scale of D features, such as nn.LayerScale: what each step
            adds is multiplied by it, after dropout. With None it is added as it is.

    Raises:
        ValueError: if the activation or residual is unknown, residual contradicts norm_first, the number of
            heads does not divide d_model, or there is a scale where a norm behind it would undo it.
    """

    attentions: ClassVar[tuple[str, ...]]

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
        residual: str | DeepNorm | None = None,
        scale: Norm | None = None,
    ) -> None:
        super().__init__()
        check_flags(batch_first=batch_first, norm_first=norm_first, bias=bias)
        self.residual = residual_order(norm_first, residual)
        _check_scale(scale, self.residual)
        make_norm = norm_maker(norm, layer_norm_eps, bias)
        make_attention = attention_maker(attention)
        for name in self.attentions:
            setattr(self, name, make_attention(d_model, nhead, dropout, bias, batch_first=batch_first))
        self.linear1 = Linear(d_model, dim_feedforward, bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        steps = range(1, len(self.attentions) + 2)
        for i in steps:
            setattr(self, f"norm{i}", make_norm(d_model))
        if self.residual == "sandwich":
            for i in steps:
                setattr(self, f"post_norm{i}", make_norm(d_model))
        for i in steps:
            off = Dropout(dropout)
            setattr(self, f"dropout{i}", off if scale is None else Sequential(off, scale(d_model)))
        self.activation = _as_function(activation)
        if isinstance(self.residual, DeepNorm):
            self.residual.scale_(self)

    @property
    def norm_first(self) -> bool:
        """Whether a step normalizes its input: pre-LN and sandwich."""
        return self.residual in ("pre", "sandwich")

    def _step(self, i: int, x: Tensor, sublayer: Sublayer) -> Tensor:
        norm, dropout = getattr(self, f"norm{i}"), getattr(self, f"dropout{i}")
        if self.residual == "pre":
            return x + dropout(sublayer(norm(x)))
        if self.residual == "sandwich":
            return x + getattr(self, f"post_norm{i}")(dropout(sublayer(norm(x))))
        y = dropout(sublayer(x))
        return norm(self.residual.alpha * x + y if isinstance(self.residual, DeepNorm) else x + y)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


def residual_order(norm_first: bool, residual: str | DeepNorm | None) -> str | DeepNorm:
    """Return where a step normalizes: `residual`, or what `norm_first` says if that is None.

    Raises:
        ValueError: if residual is unknown, or contradicts norm_first.
    """
    if residual is None:
        return "pre" if norm_first else "post"
    if residual == "deep":
        raise ValueError(
            "the numbers of DeepNorm depend on the depth of the stack: pass "
            "residual=nn.DeepNorm.alone(layers), or nn.DeepNorm.encoder(...) and nn.DeepNorm.decoder(...) if "
            "one stack reads the other"
        )
    if not isinstance(residual, DeepNorm) and residual not in RESIDUALS:
        raise ValueError(f"{unknown('residual', str(residual), RESIDUALS)}, or an nn.DeepNorm")
    if norm_first and residual != "pre":
        raise ValueError(
            f"norm_first=True means residual='pre', got residual={residual!r} too: pass only one"
        )
    return residual


def _check_scale(scale: Norm | None, residual: str | DeepNorm) -> None:
    if scale is not None and not callable(scale):
        raise TypeError(
            f"scale must make a scale, given its number of features, as nn.LayerScale does, got {scale!r}"
        )
    if scale is not None and residual not in ("post", "pre") and not isinstance(residual, DeepNorm):
        raise ValueError(
            f"with residual={residual!r} a norm follows the scale of a branch and undoes it: "
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


def attention_maker(attention: MakeAttention | None) -> MakeAttention:
    """Return the function that makes an attention: `attention`, or MultiheadAttention if it is None."""
    if attention is None:
        return MultiheadAttention
    if not callable(attention):
        raise TypeError(
            "attention must make an attention, given d_model, nhead, dropout, bias and batch_first, as "
            f"nn.QKNormAttention does, got {attention!r}"
        )
    return attention


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
        Case(((2, 4), *_ATTENTION, *_NETWORK, *_NORM * norms), _OPTIONS | options)
        for norms, options in (
            (2, {"norm_first": False}),
            (2, {"norm_first": True}),
            (4, {"residual": "sandwich"}),
            (2, {"residual": DeepNorm(1.5, 0.6)}),
        )
    ),
    errors=(
        ErrorCase(lambda: TransformerEncoderLayer(4, 3), ValueError, "multiple of num_heads"),
        ErrorCase(lambda: TransformerEncoderLayer(4, 2, activation="tanh"), ValueError, "activation"),
        ErrorCase(lambda: TransformerEncoderLayer(4, 2, dropout=-1.0), ValueError, "probability"),
        ErrorCase(lambda: TransformerEncoderLayer(4, 2, 8)(ones(3, 2, 5)), ValueError, "takes"),
        ErrorCase(lambda: TransformerEncoderLayer(4, 2, residual="both"), ValueError, "post, pre, sandwich"),
        ErrorCase(lambda: TransformerEncoderLayer(4, 2, residual="deep"), ValueError, "DeepNorm.alone("),
        ErrorCase(
            lambda: TransformerEncoderLayer(4, 2, norm_first=True, residual="post"),
            ValueError,
            "pass only one",
        ),
    ),
    kind="block",
    title="Transformer encoder layer: post-LN, pre-LN, sandwich, DeepNorm",
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
