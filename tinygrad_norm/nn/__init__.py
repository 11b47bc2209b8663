"""Layers, by the names they have in PyTorch: the table of contents."""

# isort: off

from ..module import Module, Parameter
from .containers import Flatten, ModuleDict, ModuleList, Sequential, Unflatten

# Weighted sums.
from .linear import Bilinear, Identity, Linear

# Activations.
from .rectifiers import ReLU

# Normalizations.
from ..normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d
from ..normalization import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from ..normalization import GroupNorm, LayerNorm, RMSNorm

# Chance.
from .dropout import Dropout

# Losses.
from .crossentropy import CrossEntropyLoss

from . import functional, init
