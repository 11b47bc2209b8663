"""The subject: one file per family of normalizations, its kernel beside it.

Adding one means adding its file and its line here; registration does the rest.
"""

from .batch.batchnorm import BatchNorm1d, BatchNorm2d, BatchNorm3d, batch_norm
from .batch.syncbatchnorm import SyncBatchNorm, sync_batch_norm
from .sample.addnorm import AddLayerNorm, AddRMSNorm, add_layer_norm, add_rms_norm
from .sample.groupnorm import GroupNorm, group_norm
from .sample.instancenorm import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, instance_norm
from .sample.layernorm import LayerNorm, layer_norm
from .sample.localresponsenorm import LocalResponseNorm, local_response_norm
from .sample.rmsnorm import RMSNorm, rms_norm
from .vector.normalize import normalize
from .weight.spectralnorm import SpectralNorm, spectral_norm
from .weight.weightnorm import WeightNorm, weight_norm
