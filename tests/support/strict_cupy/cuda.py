"""What the package uses of `cupy.cuda`, and `RawModule`, whose kernels run on the emulator."""

import contextlib
import time
from types import SimpleNamespace

from tinygrad_norm.backends import emulator
from tinygrad_norm.backends.emulator.kernel_arguments import MOST_DYNAMIC_SHARED

from . import device
from .memory import OnDevice

DRIVER = RUNTIME = 13000
MULTIPROCESSORS, RESIDENT = (
    2,
    8,
)  # blocks of each: few, so that persistent blocks go through several rows even in small tests


class RawModule:
    """The kernels of a text; called like CuPy's."""

    def __init__(
        self, code=None, *, path=None, options=(), backend="nvrtc", name_expressions=None, jitify=False
    ):
        self._module = emulator.RawModule(code=code, options=options, name_expressions=name_expressions)

    def get_function(self, name):
        return Kernel(self._module.get_function(name))


class Kernel:
    """A kernel: it takes arrays of the device, and NumPy's scalars by value."""

    def __init__(self, kernel):
        self._kernel = kernel
        self.kernel = SimpleNamespace(ptr=id(kernel))

    @property
    def max_dynamic_shared_size_bytes(self):
        return self._kernel.max_dynamic_shared_size_bytes

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size):
        self._kernel.max_dynamic_shared_size_bytes = size

    def __call__(self, grid, block, args, *, shared_mem=0):
        given = tuple(
            arg._values.view(emulator.EmulatorArray) if isinstance(arg, OnDevice) else arg for arg in args
        )
        device.change(lambda: self._kernel(grid, block, given, shared_mem=shared_mem))


class Event:
    """A point in a stream's work. All work of the stand-in is done at once."""

    def record(self, stream=None):
        self.at = time.perf_counter()

    def synchronize(self):
        device.wait("Event.synchronize()")


def get_elapsed_time(start_event, end_event):
    """Return the milliseconds between two events."""
    return 1000 * (end_event.at - start_event.at)


class Stream:
    """A stream; only one that is not the default can be captured."""

    current = None

    def __init__(self, null=False, non_blocking=False, ptds=False):
        self.ptr, self._outer = (0 if null else id(self)), []

    def __enter__(self):
        self._outer.append(Stream.current)
        Stream.current = self
        return self

    def __exit__(self, *_):
        Stream.current = self._outer.pop()

    def begin_capture(self, mode=None):
        if self is Stream.null:
            raise device.CaptureError("the default stream cannot be captured")
        device.begin_capture()

    def end_capture(self):
        return Graph(device.end_capture())

    def synchronize(self):
        device.wait("Stream.synchronize()")

    def record(self, event=None):
        return event or Event()

    def wait_event(self, event):
        assert isinstance(event, Event)


Stream.null = Stream.current = Stream(null=True)


class Graph:
    """A captured graph."""

    def __init__(self, replay):
        self._replay = replay

    def launch(self, stream=None):
        self._replay()


class Device:
    """The only device."""

    id = 0
    compute_capability = "90"
    cublas_handle = 7
    attributes = {  # noqa: RUF012 - CuPy's name
        "MultiProcessorCount": MULTIPROCESSORS,
        "MaxSharedMemoryPerBlockOptin": MOST_DYNAMIC_SHARED,
        "L2CacheSize": 50 << 20,
    }

    def __init__(self, device=0):
        if device:
            raise ValueError(f"there is one device, 0, got {device}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def synchronize(self):
        device.wait("Device.synchronize()")


class MemoryPool:
    """A pool; the stand-in's memory comes from NumPy."""

    def malloc(self, size):
        raise NotImplementedError("the stand-in's arrays are not made in pools")

    def free_all_blocks(self, stream=None):
        return None


class CUDARuntimeError(RuntimeError):
    """An error of the CUDA runtime."""


@contextlib.contextmanager
def using_allocator(allocator=None):
    yield


runtime = SimpleNamespace(
    CUDARuntimeError=CUDARuntimeError,
    driverGetVersion=lambda: DRIVER,
    runtimeGetVersion=lambda: RUNTIME,
    getDeviceCount=lambda: 1,
    getDeviceProperties=lambda device: {"name": b"stand-in for a GPU", "totalGlobalMem": 1 << 33},
)
driver = SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=lambda kernel, threads, shared: RESIDENT)
nvrtc, cublas = SimpleNamespace(getVersion=lambda: (13, 0)), SimpleNamespace()


def get_current_stream(device_id=-1):
    return Stream.current
