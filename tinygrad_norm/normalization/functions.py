"""The functions that `nn.functional` re-exports: add one line for each."""

from .batch.batchchannelnorm import batch_channel_norm as batch_channel_norm
from .batch.batchgroupnorm import batch_group_norm as batch_group_norm
from .batch.batchnorm import batch_norm as batch_norm
from .batch.batchrenorm import batch_renorm as batch_renorm
from .batch.ghostbatchnorm import ghost_batch_norm as ghost_batch_norm
from .batch.noisybatchnorm import noisy_batch_norm as noisy_batch_norm
from .batch.sequencebatchnorm import sequence_batch_norm as sequence_batch_norm
from .batch.weighedbatchnorm import weighed_batch_norm as weighed_batch_norm
from .sample.adagroupnorm import adaptive_group_norm as adaptive_group_norm
from .sample.adain import adaptive_instance_norm as adaptive_instance_norm
from .sample.adalayernorm import adaptive_layer_norm as adaptive_layer_norm
from .sample.addnorm import add_layer_norm as add_layer_norm
from .sample.addrmsnorm import add_rms_norm as add_rms_norm
from .sample.dynamictanh import dynamic_tanh as dynamic_tanh
from .sample.filterresponsenorm import filter_response_norm as filter_response_norm
from .sample.globalresponsenorm import global_response_norm as global_response_norm
from .sample.groupnorm import group_norm as group_norm
from .sample.instancenorm import instance_norm as instance_norm
from .sample.layernorm import layer_norm as layer_norm
from .sample.localresponsenorm import local_response_norm as local_response_norm
from .sample.rmsnorm import rms_norm as rms_norm
from .sample.subtractivenorm import subtractive_norm as subtractive_norm
from .vector.normalize import normalize as normalize
from .vector.scalenorm import scale_norm as scale_norm
from .weight.weightstandardization import scaled_weight_standardization as scaled_weight_standardization
from .weight.weightstandardization import weight_standardization as weight_standardization
