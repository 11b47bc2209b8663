"""Training on several processes: data parallelism by MPI, and by NCCL where the arrays are on GPUs.

    tn.distributed.init()
    model = tn.distributed.DistributedDataParallel(tn.nn.SyncBatchNorm.convert_sync_batchnorm(model))

`mpiexec -n 4 python script.py` starts four processes; started alone, the same script trains alone.
"""

from .data_parallel import DistributedDataParallel
from .group import Group
from .sharding import shard
from .world import get_rank, get_world_size, init, is_initialized
