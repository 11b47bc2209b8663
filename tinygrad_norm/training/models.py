"""The models of `tinygrad-norm train`, each with a choice of normalization."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from .. import nn
from ..module import Module
from .config import Config
from .norm_choices import Norm, find_norm, sequence_norm
from .scale_choices import fixup_blocks_, scale_maker
from .sequence_layers import LastStep, MeanStep, RecurrentStack, Rows, TransformerStack


def mlp(shape: tuple[int, ...], classes: int, norm: Norm) -> Module:
    """Return two hidden layers (Linear, norm, ReLU) of 128 features, and a Linear to the classes.

    Inputs may have any shape.
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(shape), 128),
        norm((128,)),
        nn.ReLU(),
        nn.Linear(128, 128),
        norm((128,)),
        nn.ReLU(),
        nn.Linear(128, classes),
    )


def cnn(shape: tuple[int, ...], classes: int, norm: Norm) -> Module:
    """Return three 3×3 convolutions, each with norm and ReLU, max pooling after the second, and a Linear."""
    channels, height, width = shape
    if height < 2 or width < 2:
        raise ValueError(f"the cnn pools 2×2 and needs images of at least 2×2, got {height}×{width}")
    pooled = height // 2, width // 2
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        norm((16, height, width)),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        norm((32, height, width)),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1),
        norm((32, *pooled)),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * pooled[0] * pooled[1], classes),
    )


def resnet(shape: tuple[int, ...], classes: int, norm: Norm, scale_init: str) -> Module:
    """Return a 3×3 convolution, two residual blocks of 16 channels, two of 32 at half the size, and a Linear.

    Norm and ReLU stand before each convolution of a block, and before the mean over all pixels at the end.
    """
    scale = scale_maker(scale_init, 4, images=True)
    channels, height, width = shape
    full, half = (height, width), (-(-height // 2), -(-width // 2))
    blocks = []
    for before, after, stride, sizes in (
        (16, 16, 1, (full, full)),
        (16, 16, 1, (full, full)),
        (16, 32, 2, (full, half)),
        (32, 32, 1, (half, half)),
    ):
        block = nn.ResidualBlock(before, after, stride)
        block.norm1, block.norm2 = norm((before, *sizes[0])), norm((after, *sizes[1]))
        block.scale = nn.Identity() if scale is None else scale(after)
        blocks.append(block)
    classifier = nn.Linear(32, classes)
    if scale_init == "fixup":
        fixup_blocks_(blocks, classifier)
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1, bias=False),
        *blocks,
        norm((32, *half)),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        classifier,
    )


def nf_resnet(shape: tuple[int, ...], classes: int, norm: Norm) -> Module:
    """Return the resnet without normalization: its blocks are NFBlocks, with scaled standardized weights."""
    blocks = [nn.NFBlock(16, 16)]
    for before, after, stride in ((16, 16, 1), (16, 32, 2), (32, 32, 1)):
        blocks.append(nn.NFBlock(before, after, stride, beta=blocks[-1].out_std))
    return nn.Sequential(
        nn.ScaledWSConv2d(shape[0], 16, 3, padding=1),
        *blocks,
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, classes),
    )


def convnext(shape: tuple[int, ...], classes: int, norm: Norm, scale_init: str) -> Module:
    """Return a 2×2 convolution of stride 2, two ConvNeXt V2 blocks of 32 channels, and a Linear.

    The norm is over the channels of each pixel: in each block, and of the mean over all pixels at the end.
    """
    channels, height, width = shape
    if height < 2 or width < 2:
        raise ValueError(
            f"the convnext begins with 2×2 pixels and needs images of at least 2×2, got {height}×{width}"
        )
    blocks = [nn.ConvNeXtV2Block(32, kernel_size=3) for _ in range(2)]
    scale = scale_maker(scale_init, len(blocks))
    for block in blocks:
        block.norm = sequence_norm(norm, 32)
        block.scale = nn.Identity() if scale is None else scale(32)
    return nn.Sequential(
        nn.Conv2d(channels, 32, 2, stride=2),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        norm((32,)),
        nn.Linear(32, classes),
    )


def recurrent_rows(shape: tuple[int, ...], classes: int, norm: Norm, *, kind: str) -> Module:
    """Return two recurrent layers of 64 features over the rows, and a Linear on the last step."""
    channels, _, width = shape
    stack = RecurrentStack(kind, channels * width, 64, 2, norm)
    return nn.Sequential(Rows(), stack, LastStep(), nn.Linear(64, classes))


def transformer_rows(shape: tuple[int, ...], classes: int, norm: Norm, **options: Any) -> Module:
    """Return two transformer layers of 64 features over the rows, and a Linear on the mean over the rows."""
    channels, height, width = shape
    stack = TransformerStack(64, 4, 2, height, norm, **options)
    return nn.Sequential(Rows(), nn.Linear(channels * width, 64), stack, MeanStep(), nn.Linear(64, classes))


def lstm_text(characters: int, context: int, norm: Norm) -> Module:
    """Return an Embedding, two LSTM layers of 192 features, and a Linear to the characters."""
    stack = RecurrentStack("lstm", 64, 192, 2, norm)
    return nn.Sequential(nn.Embedding(characters, 64), stack, nn.Linear(192, characters))


def transformer_text(characters: int, context: int, norm: Norm, **options: Any) -> Module:
    """Return a tiny GPT: an Embedding, four causal transformer layers of 96 features, a Linear."""
    stack = TransformerStack(96, 4, 4, context, norm, causal=True, **options)
    return nn.Sequential(nn.Embedding(characters, 96), stack, nn.Linear(96, characters))


def ngpt_text(characters: int, context: int, norm: Norm) -> Module:
    """Return a tiny nGPT of four blocks of 96 features, with about as many weights as the transformer.

    It has rotary positions, as in the paper. The transformer has learned ones, with which both learn slower.
    """
    return nn.NGPT(characters, 96, 4, 4, mlp_ratio=8 / 3, alpha=1 / 4)


IMAGE_MODELS: dict[str, Callable[..., Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet": resnet,
    "nf-resnet": nf_resnet,
    "convnext": convnext,
    "rnn": partial(recurrent_rows, kind="rnn"),
    "lstm": partial(recurrent_rows, kind="lstm"),
    "gru": partial(recurrent_rows, kind="gru"),
    "transformer": transformer_rows,
}
"""Builders (shape, classes, norm), and the options that `config` has for the model: images (N, C, H, W), for
the mlp any inputs, to logits."""

TEXT_MODELS: dict[str, Callable[..., Module]] = {
    "lstm": lstm_text,
    "transformer": transformer_text,
    "ngpt": ngpt_text,
}
"""Builders (characters, context, norm), and the options that `config` has for the model: (N, T) to logits."""


def build_image_model(config: Config, shape: tuple[int, ...], classes: int) -> Module:
    """Return the model of `config` for inputs of `shape`: images (C, H, W), for the mlp also features (D,).

    Raises:
        ValueError: if model, normalization and shape do not fit together.
    """
    if len(shape) != 3 and config.model != "mlp":
        raise ValueError(
            f"the {config.model} is for images (C, H, W), but the inputs of {config.dataset} have shape "
            f"{shape}: use --model mlp"
        )
    return IMAGE_MODELS[config.model](shape, classes, find_norm(config.norm), **_options(config))


def build_text_model(config: Config, characters: int, context: int) -> Module:
    """Return the model of `config` for windows of `context` characters, out of `characters` different ones.

    Raises:
        ValueError: if model and normalization do not fit together.
    """
    return TEXT_MODELS[config.model](characters, context, find_norm(config.norm), **_options(config))


def _options(config: Config) -> dict[str, Any]:
    """Return the settings that this model has and others have not."""
    named = {name: getattr(config, name) for name in ("placement", "qk_norm", "scale_init", "softcap")}
    return {name: value for name, value in named.items() if value is not None}
