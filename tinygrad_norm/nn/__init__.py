"""Layers, by the names they have in PyTorch: the table of contents."""

# isort: off

from types import SimpleNamespace

# Modules and containers.
from ..module import Module, Parameter
from .containers import Flatten, ModuleDict, ModuleList, Sequential, Unflatten
from .parameter_containers import ParameterDict, ParameterList

# Weighted sums.
from .linear import Bilinear, Identity, Linear
from .convolution.conv import Conv1d, Conv2d, Conv3d
from .convolution.convtranspose import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .convolution.modulatedconv import ModulatedConv2d
from .magnitude import MPConv2d
from .convolution.wsconv import ScaledWSConv2d, WSConv2d
from .cosine import CosineConv2d, CosineLinear

# Pools.
from .pooling.maxpool import MaxPool1d, MaxPool2d, MaxPool3d
from .pooling.avgpool import AvgPool1d, AvgPool2d, AvgPool3d
from .pooling.lppool import LPPool1d, LPPool2d, LPPool3d
from .pooling.matrixsqrtpool import MatrixSqrtPool
from .pooling.adaptivepool import AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d
from .pooling.adaptivepool import AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d

# Padding and resizing.
from .windows.padding_layers import (
    ConstantPad1d,
    ConstantPad2d,
    ConstantPad3d,
    ZeroPad1d,
    ZeroPad2d,
    ZeroPad3d,
)
from .windows.padding_layers import ReflectionPad1d, ReflectionPad2d, ReflectionPad3d
from .windows.padding_layers import ReplicationPad1d, ReplicationPad2d, ReplicationPad3d
from .windows.padding_layers import CircularPad1d, CircularPad2d, CircularPad3d
from .windows.interpolation import Upsample
from .windows.pixel_shuffle import ChannelShuffle, PixelShuffle, PixelUnshuffle
from .windows.folding import Fold, Unfold

# Activations.
from .activation.rectifiers import ReLU, LeakyReLU, PReLU, Threshold
from .activation.piecewise import ReLU6, Hardtanh, Hardsigmoid, Hardswish
from .activation.exponentials import ELU, SELU, CELU
from .activation.gated import GELU, SiLU, Mish, GLU
from .activation.sigmoids import Sigmoid, Tanh, Softplus, Softsign, LogSigmoid
from .activation.softmax import Softmax, Softmax2d, LogSoftmax, Softmin

# Normalizations.
from ..normalization.layers import *

# Normalizations whose scale and shift are computed from another input.
from .adaptive import AdaGroupNorm, AdaLayerNorm, AdaLayerNormZero
from .conditional import FiLM, SPADE

# Layers that take the size of their input from the first batch.
from .lazy import LazyLinear, LazyConv1d, LazyConv2d, LazyConv3d
from .lazy import LazyConvTranspose1d, LazyConvTranspose2d, LazyConvTranspose3d
from .lazy import LazyBatchNorm1d, LazyBatchNorm2d, LazyBatchNorm3d
from .lazy import LazyInstanceNorm1d, LazyInstanceNorm2d, LazyInstanceNorm3d

# Sequences.
from .recurrent.rnn import RNN, RNNCell
from .recurrent.lstm import LSTM, LSTMCell
from .recurrent.gru import GRU, GRUCell
from .recurrent.batchnormrnn import BatchNormRNN
from .recurrent.batchnormlstm import BatchNormLSTM
from .recurrent.layernormlstm import LayerNormLSTM

# Lookup.
from .embedding import Embedding
from .embedding_bag import EmbeddingBag

# Attention and transformers.
from .attention.multihead import MultiheadAttention
from .attention.qknorm import QKNormAttention
from .attention.position import LearnedPositions, SinusoidalPositions
from .transformer.transformerlayer import TransformerDecoderLayer, TransformerEncoderLayer
from .transformer.deepnorm import DeepNorm
from .transformer.ditblock import DiTBlock
from .transformer.hyperconnection import HyperConnection
from .transformer.ngptblock import NGPTBlock
from .transformer.ngpt import NGPT
from .transformer.transformer import Transformer, TransformerDecoder, TransformerEncoder

# Scales in the place of norms.
from .residual.layerscale import LayerScale, LayerScale2d
from .residual.scalars import ReZero, ScalarBias, ScalarMultiplier, SkipInit

# Residual blocks for images.
from .networks.convnextblock import ConvNeXtV2Block
from .networks.nfblock import NFBlock
from .networks.residualblock import ResidualBlock

# Dropout.
from .dropout import Dropout
from .channel_dropout import Dropout1d, Dropout2d, Dropout3d
from .alpha_dropout import AlphaDropout, FeatureAlphaDropout

# Losses and targets.
from .popart import PopArt
from .loss.crossentropy import CrossEntropyLoss
from .loss.nll import NLLLoss
from .loss.regression import MSELoss, L1Loss, SmoothL1Loss, HuberLoss
from .loss.divergence import BCELoss, BCEWithLogitsLoss, KLDivLoss
from .loss.likelihood import GaussianNLLLoss, PoissonNLLLoss
from .loss.soft_margin import MultiLabelSoftMarginLoss, SoftMarginLoss
from .loss.multi_margin import MultiLabelMarginLoss, MultiMarginLoss
from .loss.ctc import CTCLoss
from .loss.similarity import CosineSimilarity
from .loss.distance import PairwiseDistance
from .loss.ranking import MarginRankingLoss, HingeEmbeddingLoss, CosineEmbeddingLoss, TripletMarginLoss

from . import functional, init, utils
from .. import module_hooks
from .activation import tensor_methods

modules = SimpleNamespace(module=module_hooks)  # where PyTorch has the hooks of all modules
