"""Every layer of `nn` with inputs: what the tests of ONNX export and import run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from tinygrad_norm import Tensor, nn
from tinygrad_norm.nn.utils.parametrizations import spectral_norm, weight_norm

N = 3
"""The batch size of the recorded inputs."""


@dataclass(frozen=True)
class Model:
    """How to make a module and its inputs for a batch size; `batch` is the axis of the batch in each input.

    `smallest` is the smallest batch that the module takes.
    """

    make: Callable[[], Any]
    inputs: Callable[[numpy.random.Generator, int], list[numpy.ndarray]]
    batch: int = 0
    smallest: int = 1

    def arrays(self, n: int, seed: int = 0) -> list[numpy.ndarray]:
        """Return the inputs for a batch of n."""
        return self.inputs(numpy.random.default_rng(seed), n)

    def module(self) -> Any:
        """Return the module in evaluation mode, with parameters and statistics that are not 0 and 1."""
        module, rng = self.make(), numpy.random.default_rng(1)
        for name, tensor in module.state_dict().items():
            if tensor.array.dtype.kind != "f" or "parametrizations" in name:
                continue
            noise = rng.uniform(-0.2, 0.2, tensor.shape)
            positive = "var" in name or "rms" in name
            tensor.array[...] += numpy.abs(noise) if positive else noise
        return module.eval()


class _Reversible(nn.Module):
    """A model between the two ends of a reversible normalization."""

    def __init__(self, norm: Any, model: Any) -> None:
        super().__init__()
        self.norm, self.model = norm, model

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.model(self.norm(x, "norm")), "denorm")


class _OfDomain(nn.Module):
    """A normalization of several domains, for the last of them."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x, self.norm.num_domains - 1)


def _called(module: Any, x: Any) -> Any:
    """The module after a first batch, which sets its parameters."""
    module(Tensor(x.astype(numpy.float32)))
    return module


def _normal(*shape: int, count: int = 1, batch: int = 0) -> Callable[..., list[numpy.ndarray]]:
    """Normal inputs; the size at `batch` is the batch size."""

    def draw(rng: numpy.random.Generator, n: int) -> list[numpy.ndarray]:
        sizes = (*shape[:batch], n, *shape[batch:])
        return [rng.normal(size=sizes).astype(numpy.float32) for _ in range(count)]

    return draw


def _pairs(*shapes: tuple[int, ...]) -> Callable[..., list[numpy.ndarray]]:
    return lambda rng, n: [rng.normal(size=(n, *shape)).astype(numpy.float32) for shape in shapes]


def _tokens(*shape: int) -> Callable[..., list[numpy.ndarray]]:
    return lambda rng, n: [rng.integers(0, 7, (n, *shape))]


def _classes(rng: numpy.random.Generator, n: int) -> list[numpy.ndarray]:
    logits = rng.normal(size=(n, 5)).astype(numpy.float32)
    return [logits, rng.integers(0, 5, n)]


def _images_and_classes(rng: numpy.random.Generator, n: int) -> list[numpy.ndarray]:
    return [rng.normal(size=(n, 4, 6, 6)).astype(numpy.float32), rng.integers(0, 3, n)]


def _labels(rng: numpy.random.Generator, n: int) -> list[numpy.ndarray]:
    return [rng.normal(size=(n, 5)).astype(numpy.float32), rng.integers(-1, 5, (n, 5))]


def _means_and_variances(rng: numpy.random.Generator, n: int) -> list[numpy.ndarray]:
    drawn = [*rng.normal(size=(2, n, 5)), rng.uniform(0.5, 2, (n, 5))]
    return [array.astype(numpy.float32) for array in drawn]


def _signed(*widths: int, rows: bool = False) -> Callable[..., list[numpy.ndarray]]:
    """Normal inputs of these widths; 0 stands for targets of 1 and −1, one for each row or as wide."""

    def draw(rng: numpy.random.Generator, n: int) -> list[numpy.ndarray]:
        target = rng.choice([-1.0, 1.0], n if rows else (n, widths[0]))
        drawn = [rng.normal(size=(n, width)) if width else target for width in widths]
        return [array.astype(numpy.float32) for array in drawn]

    return draw


def _probabilities(rng: numpy.random.Generator, n: int) -> list[numpy.ndarray]:
    return [rng.uniform(0.1, 0.9, (n, 5)).astype(numpy.float32) for _ in range(2)]


_ROW, _LINE, _IMAGE, _VOLUME = _normal(6), _normal(4, 7), _normal(4, 6, 6), _normal(4, 4, 5, 4)
_STEPS = _normal(5, 6, batch=1)
_SEQUENCE = _normal(5, 8)

MODELS: dict[str, Model] = {
    "Flatten": Model(nn.Flatten, _IMAGE),
    "Unflatten": Model(lambda: nn.Unflatten(1, (2, 3)), _ROW),
    "Sequential": Model(lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)), _ROW),
    "Identity": Model(nn.Identity, _ROW),
    "Bilinear": Model(lambda: nn.Bilinear(6, 4, 3), _pairs((6,), (4,))),
    "Linear": Model(lambda: nn.Linear(6, 4), _ROW),
    "Linear-of-sequences": Model(lambda: nn.Linear(8, 4), _SEQUENCE),
    "Conv1d": Model(lambda: nn.Conv1d(4, 3, 3, 2, 1), _LINE),
    "Conv2d": Model(lambda: nn.Conv2d(4, 6, 3, padding="same", groups=2, bias=False), _IMAGE),
    "Conv2d-reflect": Model(lambda: nn.Conv2d(4, 2, 3, padding=1, padding_mode="reflect"), _IMAGE),
    "Conv3d": Model(lambda: nn.Conv3d(4, 2, 2, dilation=2), _VOLUME),
    "ConvTranspose1d": Model(lambda: nn.ConvTranspose1d(4, 3, 3, 2, 1, output_padding=1), _LINE),
    "ConvTranspose2d": Model(lambda: nn.ConvTranspose2d(4, 6, 3, 2, groups=2), _IMAGE),
    "ConvTranspose3d": Model(lambda: nn.ConvTranspose3d(4, 2, 2, dilation=2), _VOLUME),
    "ModulatedConv2d": Model(lambda: nn.ModulatedConv2d(4, 3, 3, 2, padding=1), _pairs((4, 6, 6), (2,))),
    "ModulatedConv2d-plain": Model(
        lambda: nn.ModulatedConv2d(4, 3, 2, 2, demodulate=False), _pairs((4, 6, 6), (2,))
    ),
    "MPConv2d": Model(lambda: nn.MPConv2d(4, 3, 3, padding=1), _IMAGE),
    "WSConv2d": Model(lambda: nn.WSConv2d(4, 3, 3), _IMAGE),
    "ScaledWSConv2d": Model(lambda: nn.ScaledWSConv2d(4, 3, 3), _IMAGE),
    "CosineConv2d": Model(lambda: nn.CosineConv2d(4, 3, 3, padding=1), _IMAGE),
    "CosineLinear": Model(lambda: nn.CosineLinear(6, 4), _ROW),
    "MaxPool1d": Model(lambda: nn.MaxPool1d(3, 2, 1), _LINE),
    "MaxPool2d": Model(lambda: nn.MaxPool2d(3, 2, ceil_mode=True), _IMAGE),
    "MaxPool2d-indices": Model(lambda: nn.MaxPool2d(2, return_indices=True), _IMAGE),
    "MaxPool3d": Model(lambda: nn.MaxPool3d(2, dilation=2, stride=1), _VOLUME),
    "AvgPool1d": Model(lambda: nn.AvgPool1d(3, 2, 1, count_include_pad=False), _LINE),
    "AvgPool2d": Model(lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True), _IMAGE),
    "AvgPool2d-divisor": Model(lambda: nn.AvgPool2d(2, divisor_override=3), _IMAGE),
    "AvgPool3d": Model(lambda: nn.AvgPool3d(2), _VOLUME),
    "AdaptiveAvgPool1d": Model(lambda: nn.AdaptiveAvgPool1d(3), _LINE),
    "AdaptiveAvgPool2d": Model(lambda: nn.AdaptiveAvgPool2d((2, 3)), _IMAGE),
    "AdaptiveAvgPool2d-global": Model(lambda: nn.AdaptiveAvgPool2d(1), _IMAGE),
    "AdaptiveAvgPool3d": Model(lambda: nn.AdaptiveAvgPool3d((2, 2, 2)), _VOLUME),
    "AdaptiveMaxPool1d": Model(lambda: nn.AdaptiveMaxPool1d(3), _LINE),
    "AdaptiveMaxPool2d": Model(lambda: nn.AdaptiveMaxPool2d(2, return_indices=True), _IMAGE),
    "AdaptiveMaxPool3d": Model(lambda: nn.AdaptiveMaxPool3d((2, 2, 2)), _VOLUME),
    "ReLU": Model(nn.ReLU, _ROW),
    "LeakyReLU": Model(lambda: nn.LeakyReLU(0.2), _ROW),
    "PReLU": Model(lambda: nn.PReLU(4), _IMAGE),
    "Threshold": Model(lambda: nn.Threshold(0.3, -1.0), _ROW),
    "ReLU6": Model(nn.ReLU6, _ROW),
    "Hardtanh": Model(lambda: nn.Hardtanh(-0.5, 0.7), _ROW),
    "Hardsigmoid": Model(nn.Hardsigmoid, _ROW),
    "Hardswish": Model(nn.Hardswish, _ROW),
    "ELU": Model(lambda: nn.ELU(0.7), _ROW),
    "SELU": Model(nn.SELU, _ROW),
    "CELU": Model(lambda: nn.CELU(0.7), _ROW),
    "GELU": Model(nn.GELU, _ROW),
    "GELU-tanh": Model(lambda: nn.GELU("tanh"), _ROW),
    "SiLU": Model(nn.SiLU, _ROW),
    "Mish": Model(nn.Mish, _ROW),
    "GLU": Model(nn.GLU, _ROW),
    "Sigmoid": Model(nn.Sigmoid, _ROW),
    "Tanh": Model(nn.Tanh, _ROW),
    "Softplus": Model(lambda: nn.Softplus(2.0, 1.0), _ROW),
    "Softsign": Model(nn.Softsign, _ROW),
    "LogSigmoid": Model(nn.LogSigmoid, _ROW),
    "Softmax": Model(lambda: nn.Softmax(1), _ROW),
    "LogSoftmax": Model(lambda: nn.LogSoftmax(-1), _IMAGE),
    "Softmin": Model(lambda: nn.Softmin(1), _ROW),
    "ActNorm": Model(lambda: _called(nn.ActNorm(4), numpy.random.default_rng(2).normal(size=(2, 4))), _IMAGE),
    "BatchChannelNorm2d": Model(lambda: nn.BatchChannelNorm2d(4, 2), _IMAGE),
    "BatchGroupNorm2d": Model(lambda: nn.BatchGroupNorm2d(4, 2), _IMAGE),
    "BatchInstanceNorm2d": Model(lambda: nn.BatchInstanceNorm2d(4), _IMAGE),
    "SwitchableNorm2d": Model(lambda: nn.SwitchableNorm2d(4), _IMAGE),
    "BatchNorm1d": Model(lambda: nn.BatchNorm1d(6), _ROW),
    "BatchNorm1d-batch-statistics": Model(
        lambda: nn.BatchNorm1d(6, track_running_stats=False), _ROW, smallest=2
    ),
    "BatchNorm2d": Model(lambda: nn.BatchNorm2d(4, affine=False), _IMAGE),
    "BatchNorm3d": Model(lambda: nn.BatchNorm3d(4), _VOLUME),
    "BatchRenorm1d": Model(lambda: nn.BatchRenorm1d(6), _ROW),
    "BatchRenorm2d": Model(lambda: nn.BatchRenorm2d(4), _IMAGE),
    "BatchRenorm3d": Model(lambda: nn.BatchRenorm3d(4), _VOLUME),
    "DomainBatchNorm2d": Model(lambda: _OfDomain(nn.DomainBatchNorm2d(4, 2)), _IMAGE),
    "FrozenBatchNorm2d": Model(lambda: nn.FrozenBatchNorm2d(4), _IMAGE),
    "SourceTargetBatchNorm": Model(lambda: nn.SourceTargetBatchNorm(4), _IMAGE),
    "GhostBatchNorm1d": Model(lambda: nn.GhostBatchNorm1d(6, 2), _ROW),
    "GhostBatchNorm2d": Model(lambda: nn.GhostBatchNorm2d(4, 2), _IMAGE),
    "GhostBatchNorm3d": Model(lambda: nn.GhostBatchNorm3d(4, 2), _VOLUME),
    "LpBatchNorm1d": Model(lambda: nn.LpBatchNorm1d(6), _ROW),
    "LpBatchNorm2d": Model(lambda: nn.LpBatchNorm2d(4, track_running_stats=False), _IMAGE),
    "MeanOnlyBatchNorm": Model(lambda: nn.MeanOnlyBatchNorm(4), _IMAGE),
    "RangeBatchNorm1d": Model(lambda: nn.RangeBatchNorm1d(6), _ROW),
    "RangeBatchNorm2d": Model(lambda: nn.RangeBatchNorm2d(4), _IMAGE),
    "MABN2d": Model(lambda: nn.MABN2d(4, 2, 4), _IMAGE),
    "NoisyBatchNorm1d": Model(lambda: nn.NoisyBatchNorm1d(6), _ROW),
    "NoisyBatchNorm2d": Model(lambda: nn.NoisyBatchNorm2d(4), _IMAGE),
    "OnlineNorm2d": Model(lambda: nn.OnlineNorm2d(4), _IMAGE),
    "PowerNorm": Model(lambda: nn.PowerNorm(6), _ROW),
    "SequenceBatchNorm": Model(lambda: nn.SequenceBatchNorm(6), _STEPS, 1),
    "SyncBatchNorm": Model(lambda: nn.SyncBatchNorm(4), _IMAGE),
    "WeighedBatchNorm1d": Model(lambda: nn.WeighedBatchNorm1d(4, inference_weight=0.3), _LINE),
    "WeighedBatchNorm2d": Model(lambda: nn.WeighedBatchNorm2d(4), _IMAGE),
    "InPlaceABN": Model(lambda: nn.InPlaceABN(4), _IMAGE),
    "LayerNorm-memory-efficient": Model(lambda: nn.LayerNorm(6, memory_efficient=True), _ROW),
    "RMSNorm-memory-efficient": Model(lambda: nn.RMSNorm(6, memory_efficient=True), _ROW),
    "DecorrelatedBatchNorm1d": Model(lambda: nn.DecorrelatedBatchNorm1d(6, 2), _ROW),
    "DecorrelatedBatchNorm2d": Model(lambda: nn.DecorrelatedBatchNorm2d(4), _IMAGE),
    "IterNorm": Model(lambda: nn.IterNorm(4, 2), _IMAGE),
    "AdaIN": Model(nn.AdaIN, _normal(4, 6, 6, count=2)),
    "AddLayerNorm": Model(lambda: nn.AddLayerNorm(6), _normal(6, count=2)),
    "AddRMSNorm": Model(lambda: nn.AddRMSNorm(6), _normal(6, count=2)),
    "CRMSNorm": Model(lambda: nn.CRMSNorm(8), _SEQUENCE),
    "DivisiveNorm2d": Model(lambda: nn.DivisiveNorm2d(4, 3), _IMAGE),
    "Derf": Model(lambda: nn.Derf(6), _ROW),
    "DyISRU": Model(lambda: nn.DyISRU(6), _ROW),
    "DynamicTanh": Model(lambda: nn.DynamicTanh(6), _ROW),
    "EvoNorm2dB0": Model(lambda: nn.EvoNorm2dB0(4), _IMAGE),
    "EvoNorm2dS0": Model(lambda: nn.EvoNorm2dS0(4, 2), _IMAGE),
    "FilterResponseNorm2d": Model(lambda: nn.FilterResponseNorm2d(4), _IMAGE),
    "GatedRMSNorm": Model(lambda: nn.GatedRMSNorm(6, 3, norm_before_gate=False), _normal(6, count=2)),
    "GDN": Model(lambda: nn.GDN(4), _IMAGE),
    "GDN1": Model(lambda: nn.GDN1(4), _IMAGE),
    "IGDN": Model(lambda: nn.IGDN(4), _IMAGE),
    "GlobalResponseNorm": Model(lambda: nn.GlobalResponseNorm(4), _IMAGE),
    "GraphNorm": Model(lambda: nn.GraphNorm(6), _ROW),
    "GroupNorm": Model(lambda: nn.GroupNorm(2, 4), _IMAGE),
    "GroupRMSNorm": Model(lambda: nn.GroupRMSNorm(6, 2), _ROW),
    "InstanceNorm1d": Model(lambda: nn.InstanceNorm1d(4, affine=True), _LINE),
    "InstanceNorm2d": Model(lambda: nn.InstanceNorm2d(4), _IMAGE),
    "InstanceNorm3d": Model(lambda: nn.InstanceNorm3d(4, track_running_stats=True), _VOLUME),
    "LayerNorm": Model(lambda: nn.LayerNorm(6), _ROW),
    "LayerNorm-of-images": Model(lambda: nn.LayerNorm((4, 6, 6), bias=False), _IMAGE),
    "LayerNorm2d": Model(lambda: nn.LayerNorm2d(4), _IMAGE),
    "LocalContrastNorm2d": Model(lambda: nn.LocalContrastNorm2d(4, 3), _IMAGE),
    "LocalResponseNorm": Model(lambda: nn.LocalResponseNorm(3, 0.5), _IMAGE),
    "LocalResponseNorm-even": Model(lambda: nn.LocalResponseNorm(2, 0.5), _LINE),
    "LpNorm": Model(lambda: nn.LpNorm(6, p=3.0), _ROW),
    "PCEN": Model(
        lambda: nn.PCEN(4, smoothing=0.2),
        lambda rng, n: [rng.uniform(0.1, 3.0, (n, 4, 6)).astype(numpy.float32)],
    ),
    "PopArt": Model(lambda: nn.PopArt(6, 3), _ROW),
    "RevIN": Model(lambda: _Reversible(nn.RevIN(8), nn.Linear(8, 8)), _SEQUENCE),
    "PairNorm": Model(nn.PairNorm, _ROW, smallest=2),
    "MomentShortcut": Model(nn.MomentShortcut, _pairs((4, 6, 6), (1, 6, 6), (1, 6, 6))),
    "PixelNorm": Model(nn.PixelNorm, _IMAGE),
    "PositionalNorm": Model(nn.PositionalNorm, _IMAGE),
    "RMSNorm": Model(lambda: nn.RMSNorm(6), _ROW),
    "RMSNorm-zero-centered": Model(lambda: nn.RMSNorm(6, zero_centered=True), _ROW),
    "RMSNorm-input-scaled": Model(lambda: nn.RMSNorm(6, input_scaled=True), _ROW),
    "SeeDNorm": Model(lambda: nn.SeeDNorm(6), _ROW),
    "pRMSNorm": Model(lambda: nn.pRMSNorm(6, 0.5, bias=True), _ROW),
    "AdaNorm": Model(lambda: nn.AdaNorm(6), _ROW),
    "SubtractiveNorm2d": Model(lambda: nn.SubtractiveNorm2d(4, 3), _IMAGE),
    "LogitNorm": Model(nn.LogitNorm, _ROW),
    "FixNorm": Model(lambda: nn.FixNorm(6), _ROW),
    "ScaleNorm": Model(lambda: nn.ScaleNorm(6), _ROW),
    "AdaGroupNorm": Model(lambda: nn.AdaGroupNorm(3, 4, 2), _pairs((4, 6, 6), (3,))),
    "ConditionalBatchNorm2d": Model(lambda: nn.ConditionalBatchNorm2d(4, 3), _images_and_classes),
    "ConditionalInstanceNorm2d": Model(lambda: nn.ConditionalInstanceNorm2d(4, 3), _images_and_classes),
    "MixStyle": Model(nn.MixStyle, _IMAGE),
    "FiLM": Model(lambda: nn.FiLM(3, 4), _pairs((4, 6, 6), (3,))),
    "SPADE": Model(lambda: nn.SPADE(4, 3, 5), _pairs((4, 6, 6), (3, 3, 3))),
    "AdaLayerNorm": Model(lambda: nn.AdaLayerNorm(8, 3), _pairs((5, 8), (3,))),
    "AdaLayerNormZero": Model(lambda: nn.AdaLayerNormZero(8, 3), _pairs((5, 8), (3,))),
    "RNN": Model(lambda: nn.RNN(6, 4, nonlinearity="relu", bidirectional=True), _STEPS, 1),
    "RNNCell": Model(lambda: nn.RNNCell(6, 4), _ROW),
    "LSTM": Model(lambda: nn.LSTM(8, 4, num_layers=2, batch_first=True), _SEQUENCE),
    "LSTM-projection": Model(lambda: nn.LSTM(6, 4, proj_size=3), _STEPS, 1),
    "LSTMCell": Model(lambda: nn.LSTMCell(6, 4), _ROW),
    "GRU": Model(lambda: nn.GRU(6, 4, bias=False), _STEPS, 1),
    "GRUCell": Model(lambda: nn.GRUCell(6, 4), _ROW),
    "BatchNormRNN": Model(lambda: nn.BatchNormRNN(6, 4), _STEPS, 1),
    "BatchNormLSTM": Model(lambda: nn.BatchNormLSTM(6, 4, max_length=5), _STEPS, 1),
    "LayerNormLSTM": Model(lambda: nn.LayerNormLSTM(6, 4, bidirectional=True), _STEPS, 1),
    "Embedding": Model(lambda: nn.Embedding(7, 4, padding_idx=0), _tokens(5)),
    "MultiheadAttention": Model(
        lambda: nn.MultiheadAttention(8, 2, batch_first=True), _normal(5, 8, count=3)
    ),
    "QKNormAttention": Model(lambda: nn.QKNormAttention(8, 2, batch_first=True), _normal(5, 8, count=3)),
    "LearnedPositions": Model(lambda: nn.LearnedPositions(9, 8, batch_first=True), _SEQUENCE),
    "SinusoidalPositions": Model(lambda: nn.SinusoidalPositions(8, batch_first=True), _SEQUENCE),
    "TransformerEncoderLayer": Model(
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu"), _SEQUENCE
    ),
    "TransformerDecoderLayer": Model(
        lambda: nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), _normal(5, 8, count=2)
    ),
    "TransformerEncoder": Model(
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2), _normal(5, 8, batch=1), 1
    ),
    "TransformerDecoder": Model(
        lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16), 1),
        _normal(5, 8, count=2, batch=1),
        1,
    ),
    "Transformer": Model(lambda: nn.Transformer(8, 2, 1, 1, 16, batch_first=True), _normal(5, 8, count=2)),
    "HyperConnection": Model(lambda: nn.HyperConnection(nn.Linear(8, 8), 8, 3, 4), _pairs((5, 3, 8))),
    "DiTBlock": Model(lambda: nn.DiTBlock(8, 2, cond_dim=3), _pairs((5, 8), (3,))),
    "NGPTBlock": Model(lambda: nn.NGPTBlock(8, 2), _SEQUENCE),
    "NGPT": Model(lambda: nn.NGPT(7, 8, 2, 1), _tokens(5)),
    "ConvNeXtV2Block": Model(lambda: nn.ConvNeXtV2Block(4, 3), _IMAGE),
    "NFBlock": Model(lambda: nn.NFBlock(4, 8, 2), _IMAGE),
    "ResidualBlock": Model(lambda: nn.ResidualBlock(4, 8, 2), _IMAGE),
    "LayerScale": Model(lambda: nn.LayerScale(8), _SEQUENCE),
    "LayerScale2d": Model(lambda: nn.LayerScale2d(4), _IMAGE),
    "ScalarMultiplier": Model(nn.ScalarMultiplier, _ROW),
    "ReZero": Model(nn.ReZero, _ROW),
    "SkipInit": Model(lambda: nn.SkipInit(16), _ROW),
    "ScalarBias": Model(nn.ScalarBias, _ROW),
    "Dropout": Model(nn.Dropout, _ROW),
    "CrossEntropyLoss": Model(lambda: nn.CrossEntropyLoss(ignore_index=2), _classes),
    "CrossEntropyLoss-of-probabilities": Model(nn.CrossEntropyLoss, _probabilities),
    "NLLLoss": Model(lambda: nn.NLLLoss(Tensor(numpy.arange(1, 6, dtype=numpy.float32))), _classes),
    "MSELoss": Model(nn.MSELoss, _normal(5, count=2)),
    "L1Loss": Model(lambda: nn.L1Loss(reduction="none"), _normal(5, count=2)),
    "SmoothL1Loss": Model(lambda: nn.SmoothL1Loss(beta=0.5), _normal(5, count=2)),
    "HuberLoss": Model(lambda: nn.HuberLoss(reduction="sum", delta=0.7), _normal(5, count=2)),
    "BCELoss": Model(nn.BCELoss, _probabilities),
    "BCEWithLogitsLoss": Model(nn.BCEWithLogitsLoss, _probabilities),
    "KLDivLoss": Model(nn.KLDivLoss, _probabilities),
    "CosineSimilarity": Model(nn.CosineSimilarity, _normal(5, count=2)),
    "ConstantPad1d": Model(lambda: nn.ConstantPad1d(2, 0.5), _LINE),
    "ConstantPad2d": Model(lambda: nn.ConstantPad2d((1, 2, -1, 1), 0.5), _IMAGE),
    "ConstantPad3d": Model(lambda: nn.ConstantPad3d(1, 0.5), _VOLUME),
    "ZeroPad1d": Model(lambda: nn.ZeroPad1d(2), _LINE),
    "ZeroPad2d": Model(lambda: nn.ZeroPad2d(1), _IMAGE),
    "ZeroPad3d": Model(lambda: nn.ZeroPad3d(1), _VOLUME),
    "ReflectionPad1d": Model(lambda: nn.ReflectionPad1d(2), _LINE),
    "ReflectionPad2d": Model(lambda: nn.ReflectionPad2d(1), _IMAGE),
    "ReflectionPad3d": Model(lambda: nn.ReflectionPad3d(1), _VOLUME),
    "ReplicationPad1d": Model(lambda: nn.ReplicationPad1d(2), _LINE),
    "ReplicationPad2d": Model(lambda: nn.ReplicationPad2d(1), _IMAGE),
    "ReplicationPad3d": Model(lambda: nn.ReplicationPad3d(1), _VOLUME),
    "CircularPad1d": Model(lambda: nn.CircularPad1d(2), _LINE),
    "CircularPad2d": Model(lambda: nn.CircularPad2d(1), _IMAGE),
    "CircularPad3d": Model(lambda: nn.CircularPad3d(1), _VOLUME),
    "Upsample": Model(lambda: nn.Upsample(scale_factor=2), _IMAGE),
    "Upsample-bilinear": Model(lambda: nn.Upsample((4, 9), mode="bilinear"), _IMAGE),
    "PixelShuffle": Model(lambda: nn.PixelShuffle(2), _IMAGE),
    "PixelUnshuffle": Model(lambda: nn.PixelUnshuffle(2), _IMAGE),
    "MarginRankingLoss": Model(lambda: nn.MarginRankingLoss(0.5), _signed(5, 5, 0)),
    "HingeEmbeddingLoss": Model(nn.HingeEmbeddingLoss, _signed(5, 0)),
    "CosineEmbeddingLoss": Model(nn.CosineEmbeddingLoss, _signed(5, 5, 0, rows=True)),
    "TripletMarginLoss": Model(nn.TripletMarginLoss, _normal(5, count=3)),
    "ChannelShuffle": Model(lambda: nn.ChannelShuffle(2), _IMAGE),
    "Unfold": Model(lambda: nn.Unfold(3, padding=1, stride=2), _IMAGE),
    "Fold": Model(lambda: nn.Fold((4, 3), 2), _normal(8, 6)),
    "PairwiseDistance": Model(nn.PairwiseDistance, _normal(5, count=2)),
    "Dropout1d": Model(nn.Dropout1d, _LINE),
    "Dropout2d": Model(nn.Dropout2d, _IMAGE),
    "Dropout3d": Model(nn.Dropout3d, _VOLUME),
    "AlphaDropout": Model(nn.AlphaDropout, _ROW),
    "FeatureAlphaDropout": Model(nn.FeatureAlphaDropout, _IMAGE),
    "GaussianNLLLoss": Model(lambda: nn.GaussianNLLLoss(full=True), _means_and_variances),
    "PoissonNLLLoss": Model(lambda: nn.PoissonNLLLoss(full=True), _normal(5, count=2)),
    "SoftMarginLoss": Model(nn.SoftMarginLoss, _signed(5, 0)),
    "MultiLabelSoftMarginLoss": Model(nn.MultiLabelSoftMarginLoss, _probabilities),
    "MultiMarginLoss": Model(lambda: nn.MultiMarginLoss(2, 0.7), _classes),
    "MultiLabelMarginLoss": Model(nn.MultiLabelMarginLoss, _labels),
    "Softmax2d": Model(nn.Softmax2d, _IMAGE),
    "LPPool1d": Model(lambda: nn.LPPool1d(2, 3, 2, ceil_mode=True), _LINE),
    "MatrixSqrtPool": Model(nn.MatrixSqrtPool, _IMAGE),
    "LPPool2d": Model(lambda: nn.LPPool2d(2, 2), _IMAGE),
    "LPPool3d": Model(lambda: nn.LPPool3d(4, 2), _VOLUME),
    "EmbeddingBag": Model(lambda: nn.EmbeddingBag(7, 4, padding_idx=0), _tokens(5)),
    "EmbeddingBag-max": Model(lambda: nn.EmbeddingBag(7, 4, mode="max"), _tokens(5)),
    "weight_norm": Model(lambda: weight_norm(nn.Linear(6, 4)), _ROW),
    "spectral_norm": Model(lambda: spectral_norm(nn.Conv2d(4, 3, 3)), _IMAGE),
}
