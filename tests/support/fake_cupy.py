"""A CuPy without a GPU that captures and replays what is done to the emulator's arrays.

As on a GPU, a capture changes nothing, and a replay knows nothing of Python's side but addresses. Memory
comes from pools that hand out at once what was freed, in the middle of a capture as well: who wants an
array to hold its values between replays must keep it.

During a capture, it refuses what CuPy and CUDA refuse: matrix products by CuPy's wrappers of cuBLAS, a host
that looks at values, results whose size depends on values, and memory of the CPU.
"""

import contextlib
import dataclasses
import math
import types
import weakref

import numpy as np
from fake_cublas import FakeCublas

from tinygrad_norm import backends
from tinygrad_norm.backends import emulator
from tinygrad_norm.backends.cuda import availability, cublas, deferred
from tinygrad_norm.backends.cuda.capture import outside_of_capture
from tinygrad_norm.backends.emulator import EmulatorArray
from tinygrad_norm.backends.emulator import array as emulator_array
from tinygrad_norm.backends.emulator.array import ALIGNMENT, GUARD
from tinygrad_norm.backends.emulator.raw_module import Kernel

BY_CUBLAS = {np.matmul, np.dot, np.vdot, np.inner, np.tensordot, np.ndarray.dot}
WAITS = {np.nonzero, np.flatnonzero, np.argwhere, np.unique, np.extract, np.compress, np.ndarray.nonzero}


class NotCaptured(RuntimeError):
    """What CUDA says to a host that waits for a stream that is captured."""


class Pool:
    """Hands out pieces of memory, the smallest of those freed that will do: (bytes, where)."""

    def __init__(self, memory):
        self.memory, self.freed = memory, []

    def malloc(self, size):
        found = min((piece for piece in self.freed if piece[0] >= size), default=None)
        if found is None:
            return size, self.memory.grow(size)
        self.freed.remove(found)
        whole, at = found
        if whole > size:
            self.freed.append((whole - size, at + size))
        return size, at


class Memory:
    """All memory of the fake GPU, and the pool that arrays are made in at present."""

    def __init__(self, size=1 << 23):
        self.bytes = np.zeros(size, np.uint8)
        self.start = self.bytes.ctypes.data
        self.end = -self.start % ALIGNMENT
        self.pool = Pool(self)

    def grow(self, size):
        self.end += size
        assert self.end <= self.bytes.size, "out of memory"
        return self.end - size

    def empty(self, shape, dtype=float):
        """Stand in for the emulator's function of that name."""
        shape = (int(shape),) if isinstance(shape, int | np.integer) else tuple(shape)
        used = math.prod(shape) * np.dtype(dtype).itemsize
        size, at = piece = self.pool.malloc(-(-(used + 2 * GUARD) // ALIGNMENT) * ALIGNMENT)
        block = self.bytes[at : at + size].view(emulator_array._Guarded)
        block.start, block.size_in_use = GUARD, used
        block[...] = emulator_array._POISON_BYTE
        for zone in block.zones():
            zone[...] = emulator_array._GUARD_BYTE
        weakref.finalize(block, self.pool.freed.append, piece)
        return EmulatorArray(shape, dtype, buffer=block, offset=GUARD)

    @contextlib.contextmanager
    def using(self, malloc):
        previous, self.pool = self.pool, malloc.__self__
        yield
        self.pool = previous

    def at(self, array, kind=np.ndarray):
        """Return what lies where `array` does, without keeping that memory from being freed."""
        offset = array.__array_interface__["data"][0] - self.start
        assert 0 <= offset <= self.end, "an array lies outside of the memory"
        return np.ndarray.__new__(
            kind, array.shape, array.dtype, buffer=self.bytes, offset=offset, strides=array.strides
        )

    def plain(self, value, kind=np.ndarray):
        """Return `value` with all arrays in it as `at` returns them."""
        if isinstance(value, EmulatorArray):
            return self.at(value, kind)
        return type(value)(self.plain(v, kind) for v in value) if type(value) in (tuple, list) else value


class Tape:
    """What is done to arrays between `begin_capture` and `end_capture`."""

    def __init__(self, memory):
        self.on, self.operations, self.memory = False, [], memory

    def does(self, operation):
        """Do it, and note it."""
        if self.on:
            self.operations.append(operation)
        return operation()

    def makes(self, result, operation):
        """Return a new array of what `result`, that `operation()` returned, holds; note how it was made."""
        array = self.memory.empty(np.shape(result), result.dtype)
        target = self.memory.at(array)
        target[...] = result
        if self.on:
            self.operations.append(lambda: target.__setitem__(..., operation()))
        return array

    def allow(self, function, args):
        """Raise as CuPy and CUDA do if `function(*args)` cannot be captured."""
        if not self.on:
            return
        if function in BY_CUBLAS:
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        if function in WAITS or (function is np.where and len(args) == 1):
            raise NotCaptured(f"{function.__name__} waits for the device")
        if function is np.ndarray.__getitem__ and _is_mask(args[0]):
            raise NotCaptured("a selection by a mask waits for the device")
        if function is np.ndarray.__setitem__ and _is_mask(args[0]) and np.ndim(args[1]):
            raise NotCaptured("writing an array through a mask waits for the device")
        indexing = function in (np.ndarray.__getitem__, np.ndarray.__setitem__)
        keys = args[0] if indexing and type(args[0]) is tuple else args[:1] if indexing else ()
        lists = indexing or isinstance(function, np.ufunc)
        for value in (*keys, *args[len(keys) > 0 :]):
            if type(value) is np.ndarray or (lists and type(value) is list and _numbers(value)):
                raise NotCaptured(f"{function.__name__} copies from the CPU")

    @contextlib.contextmanager
    def off(self):
        """Within the block, what is done is neither recorded nor refused."""
        before, self.on = self.on, False
        yield
        self.on = before

    def begin_capture(self):
        self.on, self.operations, self.before = True, [], self.memory.bytes.copy()

    def end_capture(self):
        self.on, self.memory.bytes[...] = False, self.before
        operations = self.operations
        return types.SimpleNamespace(launch=lambda stream: replay(operations))


def replay(operations):
    with np.errstate(all="ignore"):
        for operation in operations:
            operation()


def install(monkeypatch):
    """Put the fake in CuPy's place and its memory under the emulator's arrays; return the tape."""
    memory = Memory()
    tape, plain = Tape(memory), memory.plain
    for module in (emulator, emulator.namespace, emulator_array):
        monkeypatch.setattr(module, "empty", memory.empty)
    for name, none in (("_largest", {}), ("_unread", set())):  # what checks keep lies in another memory
        monkeypatch.setattr(deferred, name, none)
    _record_arrays(monkeypatch, tape, plain)
    _record_launches(monkeypatch, tape, plain)
    _refuse_what_waits(monkeypatch, tape)
    tape.cublas = FakeCublas(tape.does)
    monkeypatch.setattr(cublas, "load_library", tape.cublas.library)
    monkeypatch.setattr(cublas, "WORKSPACE", 4096)
    fake = _module(tape, memory)
    monkeypatch.setattr(availability, "load_cupy", lambda: fake)
    _be_the_emulator(monkeypatch, fake)
    return tape


def _module(tape, memory):
    """Return the module `cupy`: the emulator's functions, and `cuda`."""
    null = types.SimpleNamespace(ptr=0, record=lambda: None, wait_event=lambda event: None)
    streams = [null]

    class Stream:
        ptr = 1

        def __init__(self, non_blocking):
            self.begin_capture, self.end_capture = tape.begin_capture, tape.end_capture
            self.record, self.wait_event, self.synchronize = null.record, null.wait_event, lambda: None

        def __enter__(self):
            streams.append(self)

        def __exit__(self, *_):
            streams.pop()

    fake = types.ModuleType("cupy")
    fake.__getattr__ = lambda name: getattr(emulator.namespace, name)
    fake.ndarray, fake.matmul = EmulatorArray, np.matmul
    fake._core = types.SimpleNamespace(get_compute_type=lambda dtype: 1)
    fake.cuda = types.SimpleNamespace(
        Stream=Stream,
        MemoryPool=lambda: Pool(memory),
        Device=lambda: types.SimpleNamespace(synchronize=lambda: None, cublas_handle=7),
        using_allocator=memory.using,
        get_current_stream=lambda: streams[-1],
    )
    return fake


def _record_arrays(monkeypatch, tape, plain):
    def on_ufunc(self, ufunc, method, *inputs, out=None, **options):
        tape.allow(ufunc, inputs)
        given, named = plain(inputs), dict(options) if out is None else {**options, "out": plain(out)}

        def operation():
            return getattr(ufunc, method)(*given, **named)

        if out is not None:
            tape.does(operation)
            return out[0]
        if method == "at":
            return tape.does(operation)
        result = operation()
        if type(result) is not tuple:
            return tape.makes(result, operation)
        return tuple(tape.makes(part, lambda i=i: operation()[i]) for i, part in enumerate(result))

    on_view = EmulatorArray.__array_function__

    def on_function(self, function, kinds, args, options):
        tape.allow(function, args)
        given, named = plain(args), {name: plain(value) for name, value in options.items()}

        def operation():
            return function(*given, **named)

        if function is np.copyto or options.get("out") is not None:
            tape.does(operation)
            return options.get("out")
        result = operation()
        if not isinstance(result, np.ndarray | np.generic | list):
            return result
        first = given[0][0] if type(given[0]) in (tuple, list) else given[0]
        if type(result) is list or np.may_share_memory(result, first):  # np.split returns a list of views
            return on_view(self, function, kinds, args, options)
        return tape.makes(result, operation)

    def method(name):
        original = getattr(np.ndarray, name)

        def recorded(self, *args, **options):
            tape.allow(original, args)
            source, given = plain(self), plain(args)
            result = original(source, *given, **options)
            if np.may_share_memory(result, source):
                return original(self, *args, **options)
            return tape.makes(result, lambda: original(source, *given, **options))

        monkeypatch.setattr(EmulatorArray, name, recorded)

    def write(name):
        original = getattr(np.ndarray, name)

        def recorded(self, *args):
            tape.allow(original, args)
            target, given = plain(self), plain(args)
            tape.does(lambda: original(target, *given))

        monkeypatch.setattr(EmulatorArray, name, recorded)

    monkeypatch.setattr(EmulatorArray, "__array_ufunc__", on_ufunc)
    monkeypatch.setattr(EmulatorArray, "__array_function__", on_function)
    for name in (
        *("astype", "copy", "reshape", "__getitem__", "ravel", "flatten", "take", "dot"),
        *("argmax", "argmin", "argsort", "cumsum", "cumprod", "repeat", "searchsorted"),
    ):
        method(name)
    for name in ("__setitem__", "fill"):
        write(name)


def _record_launches(monkeypatch, tape, plain):
    launch = Kernel.__call__

    def on_launch(self, grid, block, args, *, shared_mem=0):
        launch(self, grid, block, args, shared_mem=shared_mem)
        if tape.on:
            given = plain(tuple(args), EmulatorArray)
            tape.operations.append(lambda: launch(self, grid, block, given, shared_mem=shared_mem))

    monkeypatch.setattr(Kernel, "__call__", on_launch)


def _is_mask(key):
    parts = key if type(key) is tuple else (key,)
    return any(getattr(getattr(part, "dtype", None), "kind", "") == "b" and np.ndim(part) for part in parts)


def _numbers(value):
    return bool(value) and all(isinstance(entry, int | float | np.generic | list) for entry in value)


def _refuse_what_waits(monkeypatch, tape):
    """A host that looks at values during a capture, and values of the host as new arrays."""

    def looks(name):
        original = getattr(np.ndarray, name)

        def looked(self, *args):
            if tape.on:
                raise NotCaptured(f"{name} waits for the device")
            return original(self, *args)

        monkeypatch.setattr(EmulatorArray, name, looked, raising=False)

    for name in ("__bool__", "__float__", "__int__", "__index__", "__complex__", "item", "tolist"):
        looks(name)

    namespace = emulator.namespace

    def by_kernel(name):
        original = getattr(namespace, name)

        def made(*args, **options):
            given = tape.memory.plain(args)

            def operation():
                with tape.off():
                    return original(*given, **options)

            return tape.makes(operation(), operation)

        monkeypatch.setattr(namespace, name, made)

    def converts(name):
        original = getattr(namespace, name)

        def converted(data, dtype=None, **options):
            if not isinstance(data, EmulatorArray):
                if tape.on:
                    raise NotCaptured(f"{name} copies from the CPU")
                return original(data, dtype, **options)
            same = dtype in (None, data.dtype) and (name != "ascontiguousarray" or data.flags.c_contiguous)
            return data if same and name != "array" else data.astype(dtype or data.dtype, order="C")

        monkeypatch.setattr(namespace, name, converted)

    for name in ("arange", "eye", "full", "full_like", "linspace", "ones", "ones_like"):
        by_kernel(name)
    for name in ("array", "asarray", "ascontiguousarray"):
        converts(name)


def _be_the_emulator(monkeypatch, fake):
    """Make the emulator the backend that CuPy is: its module, and transfers that raise during a capture."""
    with backends.use_backend("emulator") as backend:
        from_numpy, to_numpy = map(outside_of_capture, (backend.from_numpy, backend.to_numpy))
    like = dataclasses.replace(backend, namespace=fake, from_numpy=from_numpy, to_numpy=to_numpy)
    monkeypatch.setitem(backends._LOADED, "emulator", like)
    monkeypatch.setitem(backends._BY_TYPE, EmulatorArray, like)
    monkeypatch.setitem(backends._NAMESPACES, EmulatorArray, fake)
