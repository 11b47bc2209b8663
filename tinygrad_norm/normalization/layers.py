"""The layers that `nn` re-exports: add one line for each class."""

from .batch.batchchannelnorm import BatchChannelNorm2d as BatchChannelNorm2d
from .batch.batchgroupnorm import BatchGroupNorm2d as BatchGroupNorm2d
from .batch.batchnorm import BatchNorm1d as BatchNorm1d
from .batch.batchnorm import BatchNorm2d as BatchNorm2d
from .batch.batchnorm import BatchNorm3d as BatchNorm3d
from .batch.batchrenorm import BatchRenorm1d as BatchRenorm1d
from .batch.batchrenorm import BatchRenorm2d as BatchRenorm2d
from .batch.batchrenorm import BatchRenorm3d as BatchRenorm3d
from .batch.batchrenorm import RenormSchedule as RenormSchedule
from .batch.ghostbatchnorm import GhostBatchNorm1d as GhostBatchNorm1d
from .batch.ghostbatchnorm import GhostBatchNorm2d as GhostBatchNorm2d
from .batch.ghostbatchnorm import GhostBatchNorm3d as GhostBatchNorm3d
from .batch.sequencebatchnorm import SequenceBatchNorm as SequenceBatchNorm
from .batch.syncbatchnorm import SyncBatchNorm as SyncBatchNorm
from .batch.weighedbatchnorm import WeighedBatchNorm1d as WeighedBatchNorm1d
from .batch.weighedbatchnorm import WeighedBatchNorm2d as WeighedBatchNorm2d
from .sample.adain import AdaIN as AdaIN
from .sample.addnorm import AddLayerNorm as AddLayerNorm
from .sample.addrmsnorm import AddRMSNorm as AddRMSNorm
from .sample.groupnorm import GroupNorm as GroupNorm
from .sample.instancenorm import InstanceNorm1d as InstanceNorm1d
from .sample.instancenorm import InstanceNorm2d as InstanceNorm2d
from .sample.instancenorm import InstanceNorm3d as InstanceNorm3d
from .sample.layernorm import LayerNorm as LayerNorm
from .sample.localresponsenorm import LocalResponseNorm as LocalResponseNorm
from .sample.rmsnorm import RMSNorm as RMSNorm
