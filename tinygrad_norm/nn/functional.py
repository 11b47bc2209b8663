"""F: every function of a layer, without the layer. Named, ordered and behaving as PyTorch's."""

# ruff: noqa: F401
# isort: off

# Weighted sums.
from .linear import bilinear, linear

# Activations.
from .rectifiers import relu
from ..ops import sigmoid, tanh

# Normalizations.
from ..normalization import batch_norm, group_norm, instance_norm, layer_norm, rms_norm

# Chance.
from .dropout import dropout

# Losses.
from .crossentropy import cross_entropy
