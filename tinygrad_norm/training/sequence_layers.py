"""Layers for sequences (N, T, D) with a choice of normalization: recurrent and transformer stacks."""

from collections.abc import Callable
from functools import partial
from typing import Any

from .. import nn
from ..autograd.tensor import Tensor
from ..module import Module
from .norm_choices import Norm, sequence_norm
from .scale_choices import scale_maker

RECURRENT: dict[str, Callable[..., Module]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class RecurrentStack(Module):
    """Recurrent layers, each followed by a norm: (N, T, input_size) to (N, T, hidden_size)."""

    def __init__(self, kind: str, input_size: int, hidden_size: int, num_layers: int, norm: Norm) -> None:
        super().__init__()
        make_layer = RECURRENT[kind]
        sizes = [input_size, *[hidden_size] * (num_layers - 1)]
        self.layers = nn.ModuleList(make_layer(size, hidden_size, batch_first=True) for size in sizes)
        self.norms = nn.ModuleList(sequence_norm(norm, hidden_size) for _ in sizes)

    def forward(self, x: Tensor) -> Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = norm(layer(x)[0])
        return x


class TransformerStack(Module):
    """Learned positions and transformer layers on (N, T, features), T at most `length`.

    `placement` is one of `recipes.PLACES`, `qk_norm` "none" or one of `QK_NORMS`, `scale_init` one of
    `scale_choices.SCALES`, `softcap` c of the soft cap of attention's scores, or None. With `causal`, no step
    sees a later step. Where the last layer does not normalize its output, a normalization stands at the end.
    """

    def __init__(
        self,
        features: int,
        heads: int,
        num_layers: int,
        length: int,
        norm: Norm,
        placement: str = "pre",
        qk_norm: str = "none",
        scale_init: str = "none",
        softcap: float | None = None,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.causal = causal
        self.positions = nn.LearnedPositions(length, features, batch_first=True)
        options: dict[str, Any] = {"softcap": softcap, "placement": placement, "depth": num_layers}
        if qk_norm == "l2" and placement != "hybrid":  # its scale starts with the length
            options["attention"] = partial(nn.QKNormAttention, norm=qk_norm, length=max(length, 2))
        elif qk_norm != "none":
            options["qk_norm"] = qk_norm
        layers = [
            nn.TransformerEncoderLayer(
                features,
                heads,
                dim_feedforward=4 * features,
                dropout=0.0,
                batch_first=True,
                norm=partial(sequence_norm, norm),
                layer_index=index + 1,
                scale=scale_maker(scale_init, 2 * num_layers),
                **options,
            )
            for index in range(num_layers)
        ]
        self.layers = nn.ModuleList(layers)
        self.norm = sequence_norm(norm, features) if not layers[-1].ends_with_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1]) if self.causal else None
        x = self.positions(x)
        for layer in self.layers:
            x = layer(x, src_mask=mask)
        return self.norm(x)


class Rows(Module):
    """Turn images (N, C, H, W) into sequences of rows, top to bottom: (N, H, C·W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.swapaxes(1, 2).flatten(2)


class LastStep(Module):
    """Return the last step (N, D) of sequences (N, T, D)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1]


class MeanStep(Module):
    """Return the mean (N, D) over the steps of sequences (N, T, D)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)
