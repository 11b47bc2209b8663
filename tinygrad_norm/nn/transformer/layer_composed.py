"""Transformer layers from primitives, for every placement of their norms: autograd finds the gradients.

The parameters are the layer's, in its order: each attention's, the network's, the norms'.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ...autograd.tensor import Tensor
from ...normalization.sample.layernorm import layer_norm_composed
from ..activation.gated import gelu_composed
from ..attention.multihead_composed import multihead_attention_composed
from ..attention.qknorm import qk_norm_attention_composed
from ..linear import linear_composed
from .deepnorm import DeepNorm

Sublayer = Callable[[Tensor], Tensor]


def transformer_encoder_layer_composed(src: Tensor, *parameters: Tensor, **options: Any) -> Tensor:
    """An encoder layer (gelu, batch first or one sample) from primitives: autograd finds the gradient."""
    own, network, vectors = _parts(parameters, 1, options)
    attend = functools.partial(_attend_composed, own, options)
    x = _step_composed(1, src, lambda x: attend(x, x), vectors, options)
    return _step_composed(2, x, functools.partial(_feed_forward_composed, network), vectors, options)


def transformer_decoder_layer_composed(
    tgt: Tensor, memory: Tensor, *parameters: Tensor, **options: Any
) -> Tensor:
    """A decoder layer (gelu, batch first or one sample) from primitives: autograd finds the gradient."""
    own, cross, network, vectors = _parts(parameters, 2, options)
    attend, read = (functools.partial(_attend_composed, part, options) for part in (own, cross))
    x = _step_composed(1, tgt, lambda x: attend(x, x), vectors, options)
    x = _step_composed(2, x, lambda x: read(x, memory), vectors, options)
    return _step_composed(3, x, functools.partial(_feed_forward_composed, network), vectors, options)


def _place(options: dict[str, Any]) -> Any:
    place = options.get("placement") or ("pre" if options.get("norm_first") else "post")
    if place == "mix":
        return "post" if options["layer_index"] <= options["depth"] // 4 else "pre"
    return place


def _parts(parameters: Sequence[Tensor], attentions: int, options: dict[str, Any]) -> list[Any]:
    """Return the parameters of each attention, of the network, and of the norms, step by step."""
    place = _place(options)
    sizes = [6 if place in ("sub", "hybrid") else 4] * attentions + [6 if place == "sub" else 4]
    parts: list[Any] = []
    for size in sizes:
        parts.append(parameters[:size])
        parameters = parameters[size:]
    pairs = list(zip(parameters[::2], parameters[1::2], strict=True))
    norms = [functools.partial(_norm_composed, *pair) for pair in pairs]
    if place == "hybrid":
        return [*parts, [None] * attentions + norms]
    return [*parts, norms]


def _norm_composed(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    return layer_norm_composed(x, x.shape[-1:], weight, bias)


def _step_composed(i: int, x: Tensor, f: Sublayer, norms: Sequence[Any], options: dict[str, Any]) -> Tensor:
    place, n = _place(options), norms[i - 1]
    if isinstance(place, DeepNorm):
        return n(x * place.alpha + f(x))
    steps: dict[str, Callable[[], Tensor]] = {
        "post": lambda: n(x + f(x)),
        "pre": lambda: x + f(n(x)),
        "peri": lambda: x + norms[len(norms) // 2 + i - 1](f(n(x))),
        "output": lambda: x + n(f(x)),
        "sub": lambda: x + f(n(x)),
        "hybrid": lambda: x + f(x) if n is None else n(x) + f(n(x)),
        "scaled": lambda: x + f(n(x) / options["layer_index"] ** 0.5),
    }
    return steps[place]()


def _attend_composed(
    parameters: Sequence[Tensor], options: dict[str, Any], x: Tensor, memory: Tensor
) -> Tensor:
    sizes = {"embed_dim": options["d_model"], "num_heads": options["nhead"], "batch_first": True}
    if _place(options) == "hybrid":
        sizes |= {"norm": "rms", "v_norm": True}
        return qk_norm_attention_composed(x, memory, memory, None, *parameters, **sizes)[0]
    if _place(options) == "sub":
        *parameters, weight, bias = parameters
        sizes["inner_norm"] = functools.partial(_norm_composed, weight, bias)
    return multihead_attention_composed(x, memory, memory, None, None, *parameters, **sizes)[0]


def _feed_forward_composed(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    hidden = gelu_composed(linear_composed(x, *parameters[:2]))
    if len(parameters) > 4:
        hidden = _norm_composed(parameters[4], parameters[5], hidden)
    return linear_composed(hidden, *parameters[2:4])
