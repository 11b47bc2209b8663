"""CuPy's ufuncs: NumPy's, with the arguments, the dtypes and the methods that CuPy's have."""

import functools

import numpy as np

from .device import change, make
from .memory import SCALARS, OnDevice, unwrap, wrap
from .signatures import recorded
from .transfer import uploaded


class Ufunc:
    """A ufunc of CuPy. It has no `where`, and most have no reductions."""

    def __init__(self, name):
        self.__name__ = self.name = name
        self.signature = recorded().ufunc(name)
        self._numpy = getattr(np, name)
        inputs, outputs = self.signature.loops[0]
        self.nin, self.nout = len(inputs), len(outputs)
        self.nargs = self.nin + self.nout
        self._outputs = {}

    def __call__(self, *args, out=None, dtype=None, casting="same_kind", **others):
        if others:
            raise TypeError(f"Wrong arguments {others} for CuPy's {self.name}")
        if not self.nin <= len(args) <= self.nargs:
            raise TypeError(f"Wrong number of arguments for {self.name!r}: {len(args)}")
        args, positional = args[: self.nin], args[self.nin :]
        if positional:
            out = positional if out is None else _twice(self.name)
        for arg in args:
            if not isinstance(arg, (OnDevice, *SCALARS)):
                raise TypeError(f"Unsupported type {type(arg)} for CuPy's {self.name}")
        dtypes = self._output_dtypes(args, dtype)
        given, options = unwrap(args), {} if dtype is None else {"dtype": dtype}
        if isinstance(self._numpy, np.ufunc):
            options |= {"casting": casting, "order": "C"}
        if out is not None:
            return self._into(out if isinstance(out, tuple) else (out,), given, options)

        def operation():
            found = self._numpy(*given, **options)
            found = found if self.nout > 1 else (found,)
            return [np.asarray(x, d) for x, d in zip(found, dtypes, strict=True)]

        results = [wrap(values) for values in make(operation)]
        return tuple(results) if self.nout > 1 else results[0]

    def _into(self, outs, given, options):
        for array in outs:
            if not isinstance(array, OnDevice):
                raise TypeError(f"{self.name}: Output arguments type must be cupy.ndarray, got {type(array)}")
        targets = tuple(array._values for array in outs)
        change(lambda: self._numpy(*given, out=targets, **options))
        return outs if self.nout > 1 else outs[0]

    def _output_dtypes(self, args, dtype):
        """The dtypes of CuPy's results.

        Raises:
            TypeError: if CuPy has no loop for what NumPy would compute in.
        """
        kinds = tuple(arg.dtype if hasattr(arg, "dtype") else _weak(arg) for arg in args)
        key = kinds, None if dtype is None else np.dtype(dtype)
        if key not in self._outputs:
            self._outputs[key] = self._resolved(*key)
        return self._outputs[key]

    def _resolved(self, kinds, dtype):
        if not isinstance(self._numpy, np.ufunc):
            kinds = [np.dtype(kind) for kind in kinds]
            resolved = kinds
        else:
            wanted = {} if dtype is None else {"signature": (*[None] * self.nin, *[dtype] * self.nout)}
            asked = *kinds, *[None] * self.nout
            resolved = self._numpy.resolve_dtypes(asked, casting="unsafe", **wanted)[: self.nin]
        for inputs, outputs in self.signature.loops:
            if all(
                _dtype(c) is not None and np.can_cast(d, _dtype(c))
                for d, c in zip(resolved, inputs, strict=True)
            ):
                return [
                    np.dtype(dtype) if dtype is not None and outputs != "?" else _dtype(c) for c in outputs
                ]
        raise TypeError(f"CuPy's {self.name} has no loop for {', '.join(map(str, resolved))}")

    # -- methods

    def at(self, a, indices, b=None):
        if self.signature.at is None:
            raise NotImplementedError(f"`{self.name}.at` is not supported yet")
        from .indexing import index_of

        added = b if isinstance(b, OnDevice) else uploaded(b, a.dtype)
        index = index_of(a, indices)
        change(lambda: self._numpy.at(a._values, index(), added._values))

    def reduce(self, array, axis=0, dtype=None, out=None, keepdims=False):
        method = {"add": "sum", "multiply": "prod"}.get(self.name)
        if method is None:
            raise NotImplementedError(f"`{self.name}.reduce` is not supported yet")
        return getattr(array, method)(axis, dtype, out, keepdims)

    def accumulate(self, array, axis=0, dtype=None, out=None):
        method = {"add": "cumsum", "multiply": "cumprod"}.get(self.name)
        if method is None:
            raise NotImplementedError(f"`{self.name}.accumulate` is not supported yet")
        return getattr(array, method)(axis, dtype, out)

    def reduceat(self, array, indices, axis=0, dtype=None, out=None):
        if self.name != "add" or out is not None:
            raise NotImplementedError(f"`{self.name}.reduceat` is not supported yet")
        given = indices if isinstance(indices, OnDevice) else uploaded(indices)
        return wrap(make(lambda: _differences(array._values, given._values, axis, dtype)))

    def outer(self, a, b, **options):
        a, b = (x if isinstance(x, OnDevice) else uploaded(x) for x in (a, b))
        return self(a.reshape(a.shape + (1,) * b.ndim), b.reshape((1,) * a.ndim + b.shape), **options)


def _differences(values, starts, axis, dtype):
    """CuPy's add.reduceat: differences of the running sums over everything, with the rounding of these."""
    sums = np.cumsum(np.moveaxis(values, axis, 0), 0, dtype)
    sums = np.concatenate([np.zeros_like(sums[:1]), sums])
    ends = np.append(starts[1:], len(sums) - 1)
    ends = np.where(ends > starts, ends, starts + 1)
    return np.moveaxis(sums[ends] - sums[starts], 0, axis)


def _twice(name):
    raise ValueError(f"Cannot specify 'out' as both a positional and keyword argument of {name}")


def _weak(scalar):
    """A Python number has no dtype of its own, only a kind."""
    return np.dtype(bool) if isinstance(scalar, bool) else type(scalar)


@functools.cache
def _dtype(char):
    if char != "E":
        return np.dtype(char)
    try:
        import ml_dtypes
    except ModuleNotFoundError:
        return None
    return np.dtype(ml_dtypes.bfloat16)


@functools.cache
def find(name):
    """Return the ufunc `name`, or None if CuPy has none of that name."""
    return Ufunc(name) if name in recorded().lines["ufunc"] and hasattr(np, name) else None
