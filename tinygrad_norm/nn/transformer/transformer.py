"""Transformer: stacks of layers that read a sequence (encoder), or write one while reading another (decoder).

    encoder  memory = norm(layer_n(… layer_1(src)))
    decoder  y = norm(layer_n(… layer_1(tgt, memory), memory))

With a mask that hides the future, an encoder alone is a language model: position l of the output depends
only on the positions 0 to l of the input.

Vaswani et al. 2017, arXiv:1706.03762.

Backward: the chain rule layer by layer (transformerlayer.py). Every decoder layer reads memory, so dmemory is
the sum of their contributions.

Insight: nothing in a layer depends on L, and without positions (position.py) nothing depends on order.
"""

import copy
import math
from typing import Any

from ...autograd.tensor import Tensor
from ...module import Module
from ...ops import zeros
from ...ops.arguments import as_size, check_flags
from .. import init
from ..activation.rectifiers import relu
from ..attention.masks import causal_mask
from ..containers import ModuleList
from .deepnorm import DeepNorm
from .placement import Placed
from .transformerlayer import (
    Activation,
    MakeAttention,
    Norm,
    TransformerDecoderLayer,
    TransformerEncoderLayer,
    TransformerLayer,
    norm_maker,
)


class _Stack(Module):
    """Copies of one layer, followed by a normalization or None."""

    def __init__(self, layer: Module, num_layers: int, norm: Module | None) -> None:
        super().__init__()
        self.num_layers = as_size(num_layers, "num_layers")
        self.layers = ModuleList(copy.deepcopy(layer) for _ in range(num_layers))
        for index, copied in enumerate(self.layers, start=1):
            if isinstance(copied, Placed):
                copied.place_in_stack(index, num_layers)
        self.norm = norm

    def _run(self, x: Tensor, *inputs: Tensor, **masks: Any) -> Tensor:
        for layer in self.layers:
            x = layer(x, *inputs, **masks)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """`num_layers` copies of `encoder_layer`, equal at first, followed by `norm`.

    `enable_nested_tensor` and `mask_check` are PyTorch's switches for a speed-up that is not needed here;
    they change nothing. Source: Vaswani et al. 2017, arXiv:1706.03762.
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__(encoder_layer, num_layers, norm)
        check_flags(enable_nested_tensor=enable_nested_tensor, mask_check=mask_check)

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """Return the output, with src's shape; masks and is_causal as for `MultiheadAttention`."""
        return self._run(
            src,
            src_mask=mask,
            src_key_padding_mask=src_key_padding_mask,
            is_causal=False if is_causal is None else is_causal,
        )


class TransformerDecoder(_Stack):
    """`num_layers` copies of `decoder_layer`, equal at first, followed by `norm`.

    Source: Vaswani et al. 2017, arXiv:1706.03762.
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__(decoder_layer, num_layers, norm)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Return the output, with tgt's shape; masks and hints as for `MultiheadAttention`."""
        return self._run(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=False if tgt_is_causal is None else tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )


class Transformer(Module):
    """Encoder and decoder, each with a normalization at its end; weights start with xavier_uniform_.

    The arguments are those of `TransformerLayer`, the numbers of layers, and `custom_encoder` and
    `custom_decoder`, which replace encoder and decoder. placement="deep" is `DeepNorm` for the depth of both.
    Source: Vaswani et al. 2017, arXiv:1706.03762.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Activation = relu,
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        norm: Norm | None = None,
        attention: MakeAttention | None = None,
        qk_norm: str | None = None,
        softcap: float | None = None,
        placement: str | None = None,
    ) -> None:
        super().__init__()
        check_flags(batch_first=batch_first, norm_first=norm_first, bias=bias)
        make_norm = norm_maker(norm, layer_norm_eps, bias)
        options: tuple[Any, ...] = (
            d_model,
            nhead,
            dim_feedforward,
            dropout,
            activation,
            layer_norm_eps,
            batch_first,
            norm_first,
            bias,
        )
        named: dict[str, Any] = {"norm": norm, "attention": attention, "qk_norm": qk_norm, "softcap": softcap}
        of_encoder: str | DeepNorm | None = placement
        of_decoder: str | DeepNorm | None = placement
        if placement == "deep":
            of_encoder = DeepNorm.encoder(num_encoder_layers, num_decoder_layers)
            of_decoder = DeepNorm.decoder(num_decoder_layers)
        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*options, **named, placement=of_encoder),
            num_encoder_layers,
            make_norm(d_model),
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*options, **named, placement=of_decoder),
            num_decoder_layers,
            make_norm(d_model),
        )
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)
        for layer in self.modules():
            if isinstance(layer, TransformerLayer) and isinstance(layer.placement, DeepNorm):
                layer.placement.scale_(layer)
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Return the output, with tgt's shape; masks and hints as for `MultiheadAttention`."""
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(
            tgt,
            memory,
            tgt_mask,
            memory_mask,
            tgt_key_padding_mask,
            memory_key_padding_mask,
            tgt_is_causal,
            memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(sz: int, dtype: Any = None) -> Tensor:
        """Return the mask (sz, sz) that hides the future: 0 up to the diagonal, -∞ above."""
        return zeros(sz, sz, dtype=dtype).masked_fill(causal_mask(sz, sz).logical_not(), -math.inf)
