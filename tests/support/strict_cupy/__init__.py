"""A strict stand-in for CuPy: NumPy inside, and as unforgiving as CuPy on a GPU.

The tests marked `cuda` run on it where there is no GPU. It refuses what CuPy refuses: NumPy's arrays among
its own, functions, arguments and dtypes that CuPy does not have, and, while a stream is captured, copies
between host and device, waiting for the device, and cuBLAS. It does what CuPy does differently from NumPy:
results of reductions are 0-d arrays, indices out of bounds wrap around, new arrays are in C order, nothing
warns. And it counts how often a GPU's work would have to be waited for.

Kernels are launched through the emulator on the stand-in's own memory.

- `signatures`: what CuPy has, recorded in signatures.txt from its wheel
- `device`: what waits for the device, what copies to it, capture and replay
- `array`: `ndarray`
- `exchange`: DLPack
- `functions`: the functions and ufuncs of the namespace
- `cuda`: streams, pools and what else is in `cupy.cuda`; `RawModule`
- `loading`: the module, and `standing_in()`, which puts it in CuPy's place
"""

from .device import CaptureError as CaptureError
from .device import record_waits as record_waits
from .loading import CUPY as CUPY
from .loading import standing_in as standing_in
