"""The emulator: runs .cu files on the CPU, so that kernels can be tested without a GPU.

`RawModule` is called like CuPy's, so the same code launches kernels on both::

    module = RawModule(code=text, options=("-std=c++17",), name_expressions=("scale<float>",))
    scale = module.get_function("scale<float>")
    y = empty((64, 1024), numpy.float32)
    scale((64,), (256,), (asarray(x), y, numpy.int32(1024), numpy.float32(2)))

- Arrays are `EmulatorArray`s (`asarray`, `empty`, `zeros`; `namespace` is NumPy with these functions).
  Any other array raises TypeError, as host memory would fail on a GPU. Scalars are NumPy scalars of the
  parameter's type; a Python int is accepted for an integer that can hold it, a Python float for a double
  and a bool for a bool. A null pointer is `numpy.uint64(0)`, because CuPy misreads None. bfloat16 is
  ml_dtypes' type, or its bits as uint16.
- A kernel declares dynamic shared memory as `extern __shared__ unsigned char shared_memory[];`, and
  `shared_mem=` is its size. More than 48 KiB needs `max_dynamic_shared_size_bytes` first.
- A `#line` directive in the text sets the file and line that reports show.
- `with schedule(seed=3, checked=True, timeout=60):` shuffles blocks, warps and lanes, and runs the
  build that reports races, accesses out of bounds, misaligned accesses and undefined operations, with
  both threads and lines. `with record() as launches:` collects the shapes and times of launches and, in
  checked mode, the bytes moved.
- `with schedule(flush_to_zero=True):` reads and writes float32 subnormals as zero, as a GPU does in code
  compiled with -ftz=true. It shows which results need them.
- Text that begins with `#include "residue.h"` computes with numbers of a finite field in the place of double:
  proof/launches.py.
- A kernel with an error raises `KernelError`. The emulator can be used afterwards.

The emulator does not have atomics, textures, cooperative groups, `cub` or launch bounds, and
uncoalesced access costs nothing. A pointer that runs from one static `__shared__` array into the next
is detected only as a race.
"""

from . import namespace
from .array import EmulatorArray, asarray, asnumpy, empty, zeros
from .build import CompileError
from .interleaving import Launch, Schedule, record, schedule
from .raw_module import Kernel, RawModule
from .report import KernelError
