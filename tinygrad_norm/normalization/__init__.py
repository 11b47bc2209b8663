"""The subject: one file per family of normalizations, its kernel beside it.

Adding one means adding its file and its line here; registration does the rest.
"""

from .addnorm import AddLayerNorm, AddRMSNorm, add_layer_norm, add_rms_norm
from .batchnorm import BatchNorm1d, BatchNorm2d, BatchNorm3d, batch_norm
from .groupnorm import GroupNorm, group_norm
from .instancenorm import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, instance_norm
from .layernorm import LayerNorm, layer_norm
from .localresponsenorm import LocalResponseNorm, local_response_norm
from .normalize import normalize
from .rmsnorm import RMSNorm, rms_norm
from .spectralnorm import SpectralNorm, spectral_norm
from .syncbatchnorm import SyncBatchNorm, sync_batch_norm
from .weightnorm import WeightNorm, weight_norm
