"""The subject: one file per system, its kernel beside it, in folders by what shares the statistic.

To add one, write its file and add its names to `layers` and `functions`, which `nn` and `nn.functional`
re-export. Only what PyTorch keeps elsewhere is imported here alone.
"""

from .batch.syncbatchnorm import sync_batch_norm
from .core.summary import show_derivations
from .functions import *
from .layers import *
from .weight.orthogonalweight import OrthogonalWeightNorm
from .weight.spectralnorm import SpectralNorm, spectral_norm
from .weight.weightnorm import WeightNorm, weight_norm
from .weight.weightstandardization import ScaledWeightStandardization, WeightStandardization

show_derivations(list(globals().values()))
