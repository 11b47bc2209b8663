"""The emulator: a .cu file run on the CPU, so that kernels are tested where there is no GPU.

`RawModule` has CuPy's call shape, so the same launch code drives both::

    module = RawModule(code=text, options=("-std=c++17",), name_expressions=("scale<float>",))
    scale = module.get_function("scale<float>")
    y = empty((64, 1024), numpy.float32)
    scale((64,), (256,), (asarray(x), y, numpy.int32(1024), numpy.float32(2)))

- Arrays are `EmulatorArray`s (`asarray`, `empty`, `zeros`; `namespace` is NumPy with these); other
  arrays are refused as a GPU would refuse them. Scalars are NumPy scalars of the parameter's type
  (also: a Python int that fits an integer, a Python float for a double, a bool for a bool). A null
  pointer is `numpy.uint64(0)`: CuPy misreads None. bfloat16 is ml_dtypes' type, or its bits as uint16.
- Dynamic shared memory is declared `extern __shared__ unsigned char shared_memory[];`, in every
  kernel, and sized by `shared_mem=`; more than 48 KiB needs `max_dynamic_shared_size_bytes` first.
- A `#line` directive in the text names file and line in every report.
- `with schedule(seed=3, checked=True, timeout=60):` shuffles blocks, warps and lanes, and runs the
  build that reports races, accesses out of bounds, misaligned or undefined operations, naming both
  threads and lines. `with record() as launches:` collects shapes, times and, checked, bytes moved.
- A kernel that goes wrong raises `KernelError`; the emulator can be used afterwards.

What it does not have: atomics, textures, cooperative groups, `cub`, launch bounds, and a price for
uncoalesced access. Where one static `__shared__` array ends and the next begins, a pointer that runs
over is seen only as a race.
"""

from . import namespace
from .array import EmulatorArray, asarray, asnumpy, empty, zeros
from .build import CompileError
from .interleaving import Launch, Schedule, record, schedule
from .raw_module import Kernel, RawModule
from .report import KernelError
