"""Layers, by the names they have in PyTorch: the table of contents."""

# isort: off

from ..module import Module, Parameter
from .containers import Flatten, ModuleDict, ModuleList, Sequential, Unflatten

# Weighted sums.
from .linear import Bilinear, Identity, Linear
from .conv import Conv1d, Conv2d, Conv3d
from .convtranspose import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d

# Pools.
from .maxpool import MaxPool1d, MaxPool2d, MaxPool3d
from .avgpool import AvgPool1d, AvgPool2d, AvgPool3d
from .adaptivepool import AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d
from .adaptivepool import AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d

# Activations.
from .rectifiers import ReLU, LeakyReLU, PReLU, Threshold
from .clipped import ReLU6, Hardtanh, Hardsigmoid, Hardswish
from .exponentials import ELU, SELU, CELU
from .gates import GELU, SiLU, Mish, GLU
from .sigmoids import Sigmoid, Tanh, Softplus, Softsign, LogSigmoid
from .softmax import Softmax, LogSoftmax, Softmin

# Normalizations.
from ..normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d, SyncBatchNorm
from ..normalization import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from ..normalization import GroupNorm, LayerNorm, RMSNorm, LocalResponseNorm, AddLayerNorm, AddRMSNorm

# Sequences.
from .rnn import RNN, RNNCell
from .lstm import LSTM, LSTMCell
from .gru import GRU, GRUCell

# Lookup.
from .embedding import Embedding

# Attention, and what is made of it.
from .multihead import MultiheadAttention
from .position import LearnedPositions, SinusoidalPositions
from .transformerlayer import TransformerDecoderLayer, TransformerEncoderLayer
from .transformer import Transformer, TransformerDecoder, TransformerEncoder

# Chance.
from .dropout import Dropout

# Losses.
from .crossentropy import CrossEntropyLoss
from .nll import NLLLoss
from .loss import MSELoss, L1Loss, SmoothL1Loss, HuberLoss
from .divergence import BCELoss, BCEWithLogitsLoss, KLDivLoss
from .similarity import CosineSimilarity

from . import functional, init, methods, utils
