"""`ndarray`, the stand-in's array: the attributes, methods and operators that CuPy's has, and no others."""

from types import SimpleNamespace

import numpy as np

from . import exchange, ufuncs
from .device import change, copy_to_device, make, wait
from .indexing import get_item, set_item
from .memory import SCALARS, OnDevice, refuse_host_arrays, unwrap, wrap
from .signatures import recorded
from .transfer import host_copy, uploaded

DEVICE_ID = SimpleNamespace(id=0)


class Flags:
    """CuPy's flags: it has no `writeable`."""

    def __init__(self, flags):
        self.c_contiguous, self.f_contiguous = flags.c_contiguous, flags.f_contiguous
        self.owndata, self.fnc, self.forc = flags.owndata, flags.fnc, flags.forc


class ndarray(OnDevice):
    """An array on the device."""

    __slots__ = ()
    __hash__ = None
    __array_priority__ = 100

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        if memptr is not None or strides is not None:
            raise NotImplementedError("the stand-in makes no arrays of given memory")
        self._values, self.base = make(lambda: np.empty(shape, dtype, order)), None

    # -- what an array is

    shape = property(lambda self: self._values.shape)
    ndim = property(lambda self: self._values.ndim)
    dtype = property(lambda self: self._values.dtype)
    size = property(lambda self: self._values.size)
    itemsize = property(lambda self: self._values.itemsize)
    nbytes = property(lambda self: self._values.nbytes)
    strides = property(lambda self: self._values.strides)
    flags = property(lambda self: Flags(self._values.flags))
    device = property(lambda self: DEVICE_ID)
    data = property(lambda self: SimpleNamespace(ptr=self._values.ctypes.data, device=DEVICE_ID, device_id=0))
    T = property(lambda self: wrap(self._values.T, self))
    mT = property(lambda self: wrap(self._values.mT, self))
    real = property(lambda self: wrap(self._values.real, self))

    @property
    def __cuda_array_interface__(self):
        return self._values.__array_interface__

    def __len__(self):
        return len(self._values)

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    def __reduce__(self):
        return uploaded, (self.get(),)

    # -- what waits for the device

    def get(self, stream=None, order="C", out=None, blocking=True):
        return host_copy(self, "get()")

    def item(self):
        return host_copy(self, "item()").item()

    def tolist(self):
        return host_copy(self, "tolist()").tolist()

    def tobytes(self, order="C"):
        return host_copy(self, "tobytes()").tobytes(order)

    def __bool__(self):
        return bool(host_copy(self, "bool()"))

    def __int__(self):
        return int(host_copy(self, "int()"))

    def __float__(self):
        return float(host_copy(self, "float()"))

    def __complex__(self):
        return complex(host_copy(self, "complex()"))

    def __repr__(self):
        return repr(host_copy(self, "repr()"))

    def __str__(self):
        return str(host_copy(self, "str()"))

    def __format__(self, spec):
        return format(host_copy(self, "format()"), spec)

    def nonzero(self):
        wait("nonzero()")
        return tuple(wrap(values) for values in make(self._values.nonzero))

    # -- what other libraries ask for

    def __dlpack_device__(self):
        return exchange.CUDA, 0

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        return exchange.capsule(self, stream, max_version, dl_device, copy)

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        found = ufuncs.find(ufunc.__name__)
        if method != "__call__" or found is None:
            return NotImplemented
        if "out" in options:
            (options["out"],) = options["out"]
        return found(*inputs, **options)

    def __array_function__(self, function, types, args, options):
        from .functions import find

        found = find(function.__name__, function.__module__)
        if found is None or not all(issubclass(kind, ndarray | np.ndarray) for kind in types):
            return NotImplemented
        return found(*args, **options)

    # -- indexing, and writing

    def __getitem__(self, key):
        return get_item(self, key)

    def __setitem__(self, key, value):
        set_item(self, key, value)

    def fill(self, value):
        set_item(self, ..., value)

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype or arr.shape != self.shape:
            raise ValueError(f"set: an array of {arr.dtype}{arr.shape} to one of {self.dtype}{self.shape}")
        copy_to_device("set()")
        change(lambda: self._values.__setitem__(..., arr))

    # -- methods that differ from NumPy's

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if not copy and self.dtype == dtype:
            return self
        return wrap(make(lambda: self._values.astype(dtype, order, casting or "unsafe")))

    def reshape(self, *shape, order="C", copy=None):
        shape = shape[0] if len(shape) == 1 and not isinstance(shape[0], int | np.integer) else shape
        return self._method("reshape", (shape,), {"order": order})

    def take(self, indices, axis=None, out=None):
        """Indices out of bounds wrap around."""
        indices = uploaded(indices, int) if isinstance(indices, list | tuple | np.ndarray) else indices
        return self._method("take", (indices, axis), {"out": out, "mode": "wrap"})

    def max(self, axis=None, out=None, keepdims=False):
        return self._method("max", (axis,), {"out": out, "keepdims": keepdims})

    def dot(self, b, out=None):
        from .functions import find

        return find("dot")(self, b, out=out)

    def view(self, dtype=None, type=None):
        if type is not None:
            raise NotImplementedError("the stand-in views arrays as no other type")
        return self._method("view", () if dtype is None else (dtype,), {})

    def argmax(self, axis=None, out=None, dtype=None, keepdims=False):
        return self._method("argmax", (axis,), {"out": out, "keepdims": keepdims})

    def argmin(self, axis=None, out=None, dtype=None, keepdims=False):
        return self._method("argmin", (axis,), {"out": out, "keepdims": keepdims})

    def argsort(self, axis=-1, kind=None):
        if kind not in (None, "stable"):
            raise ValueError(f"CuPy sorts only in a stable way, got kind={kind!r}")
        return self._method("argsort", (axis,), {"kind": "stable"})

    def prod(self, axis=None, dtype=None, out=None, keepdims=None):
        return self._method("prod", (axis, dtype), {"out": out, "keepdims": bool(keepdims)})

    def _method(self, name, args, options):
        """NumPy's method of that name."""
        refuse_host_arrays(f"ndarray.{name}", args, options)
        out = options.get("out")
        given, named = unwrap(args), {key: unwrap(value) for key, value in options.items()}
        if out is not None:
            change(lambda: getattr(self._values, name)(*given, **named))
            return out
        values = make(lambda: np.asarray(getattr(self._values, name)(*given, **named)), [self._values])
        return wrap(values, self)


# -- methods that are NumPy's, with CuPy's arguments

_AS_NUMPY = (
    "all any clip copy cumprod cumsum diagonal flatten mean min ravel repeat round searchsorted "
    "squeeze std sum swapaxes trace transpose var"
)


def _as_numpy(name):
    signature = recorded().method(name)

    def method(self, *args, **options):
        signature.check(args, options)
        return self._method(name, args, options)

    method.__name__ = name
    return method


for _name in _AS_NUMPY.split():
    setattr(ndarray, _name, _as_numpy(_name))


# -- operators

_ARITHMETIC = [
    ("add", "add"),
    ("sub", "subtract"),
    ("mul", "multiply"),
    ("truediv", "true_divide"),
    ("floordiv", "floor_divide"),
    ("mod", "remainder"),
    ("pow", "power"),
    ("lshift", "left_shift"),
    ("rshift", "right_shift"),
    ("and", "bitwise_and"),
    ("or", "bitwise_or"),
    ("xor", "bitwise_xor"),
]
_COMPARISONS = [
    ("lt", "less"),
    ("le", "less_equal"),
    ("gt", "greater"),
    ("ge", "greater_equal"),
    ("eq", "equal"),
    ("ne", "not_equal"),
]
_UNARY = {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}


def _leaves_to(self, other):
    """Whether the other operand's own operator is to be asked: it has one that goes first."""
    if isinstance(other, (ndarray, np.ndarray, *SCALARS)):
        return False
    asks = getattr(type(other), "__array_ufunc__", False)
    return asks is None or (asks is False and hasattr(other, "__array_priority__")) or asks is not False


def _binary(name, ufunc_name):
    def forward(self, other):
        return NotImplemented if _leaves_to(self, other) else ufuncs.find(ufunc_name)(self, other)

    def backward(self, other):
        return NotImplemented if _leaves_to(self, other) else ufuncs.find(ufunc_name)(other, self)

    def in_place(self, other):
        return ufuncs.find(ufunc_name)(self, other, out=self)

    setattr(ndarray, f"__{name}__", forward)
    if (name, ufunc_name) in _ARITHMETIC:
        setattr(ndarray, f"__r{name}__", backward)
        setattr(ndarray, f"__i{name}__", in_place)


for _name, _ufunc in (*_ARITHMETIC, *_COMPARISONS):
    _binary(_name, _ufunc)
for _name, _ufunc in _UNARY.items():
    setattr(ndarray, f"__{_name}__", lambda self, _ufunc=_ufunc: ufuncs.find(_ufunc)(self))


def _matmul(self, other):
    from .functions import find

    return NotImplemented if _leaves_to(self, other) else find("matmul")(self, other)


def _rmatmul(self, other):
    from .functions import find

    return NotImplemented if _leaves_to(self, other) else find("matmul")(other, self)


ndarray.__matmul__, ndarray.__rmatmul__ = _matmul, _rmatmul
ndarray.__module__ = "cupy"  # messages name it as on a GPU
