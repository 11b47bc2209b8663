"""Different values and how often they occur: unique, unique_consecutive, bincount.

The size of the results depends on the values, so they are found on the CPU. There is no gradient.
"""

from typing import Any

import numpy

from ..autograd.tensor import Tensor
from ..backends import asarray, to_numpy
from .arguments import as_size, check_flags
from .dims import normalize_dim
from .operands import as_tensor


def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """Return the different values in ascending order, or the different slices along axis `dim`.

    Args:
        input: any shape. Every NaN is a value of its own, as in PyTorch.
        sorted: accepted, and has no effect: the result is always sorted.
        return_inverse: also return the position of each element's value (or slice's) in the result.
        return_counts: also return how often each of them occurs.
        dim: the axis of the slices; None for single values.

    Returns:
        The values (n,), or input with n slices on axis `dim`; a tuple if more is asked for.

    Raises:
        IndexError: if there is no such axis.
        ValueError: if the slices have no elements, but there are some.
    """
    check_flags(sorted=sorted)
    x, rows, axis = _as_rows("unique", input, dim)
    # The last key of lexsort counts most: the columns in reverse.
    order = numpy.lexsort(rows.T[::-1]) if rows.shape[1] else numpy.arange(len(rows))
    first = _differs(rows[order])
    group = numpy.cumsum(first) - 1
    inverse = numpy.empty(len(rows), numpy.int64)
    inverse[order] = group
    return _results(x, axis, order[first], inverse, return_inverse, return_counts)


def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """Return the values, or the slices along axis `dim`, that differ from the one before.

    Arguments and results as of `unique`.

    Raises:
        IndexError, ValueError: as unique.
    """
    x, rows, axis = _as_rows("unique_consecutive", input, dim)
    first = _differs(rows)
    inverse = numpy.cumsum(first) - 1
    return _results(x, axis, numpy.flatnonzero(first), inverse, return_inverse, return_counts)


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """Return how often each integer from 0 on occurs, or the sums of its weights.

    Args:
        input: integers of at least 0, (n,).
        weights: (n,); a constant.
        minlength: the least size of the result.

    Returns:
        (k,) with k the larger of minlength and the largest integer + 1: int64, of weights their
        floating-point dtype if that is float32, else float64.

    Raises:
        TypeError: if the input does not hold integers.
        ValueError: if the input is not a vector or holds a negative number, or the shapes differ.
        RuntimeError: if the weights require grad: use scatter_add.
    """
    x, least = as_tensor(input), as_size(minlength, "minlength", 0)
    if x.array.dtype.kind not in "iu":
        raise TypeError(f"bincount takes integers, got {x.dtype}: convert them with .long()")
    values = to_numpy(x.array)
    if values.ndim != 1 or (values < 0).any():
        raise ValueError(
            f"bincount takes a vector of integers of at least 0, got shape {x.shape}"
            + (f" with {values.min()}" if values.size else "")
        )
    if weights is None:
        counts = numpy.bincount(values, minlength=least).astype(numpy.int64)
        return _made(counts, x)
    w = as_tensor(weights, "weights")
    if w.shape != x.shape:
        raise ValueError(f"bincount takes one weight for each of the {x.shape[0]} integers, got {w.shape}")
    if w.requires_grad:
        raise RuntimeError("bincount has no gradient: use tn.zeros(k).scatter_add(0, input, weights)")
    sums = numpy.bincount(values, to_numpy(w.array), least)
    return _made(sums.astype(w.dtype if w.dtype == numpy.float32 else numpy.float64), x)


def _as_rows(name: str, input: Any, dim: int | None) -> tuple[Tensor, numpy.ndarray, int | None]:
    """Return the input, its elements or slices as rows (n, size of each), and the axis."""
    x = as_tensor(input).detach()
    array, axis = to_numpy(x.array), None if dim is None else normalize_dim(dim, x.ndim)
    if axis is None or not x.ndim:
        return x, array.reshape(-1, 1), None if axis is None else 0
    n, others = x.shape[axis], x.shape[:axis] + x.shape[axis + 1 :]
    size = int(numpy.prod(others))
    if n and not size:
        raise ValueError(f"{name} along dim {dim} of shape {x.shape}: the slices have no elements")
    return x, numpy.moveaxis(array, axis, 0).reshape(n, size), axis


def _differs(rows: numpy.ndarray) -> numpy.ndarray:
    """Return which rows differ from the one before; the first does."""
    first = numpy.ones(len(rows), bool)
    first[1:] = (rows[1:] != rows[:-1]).any(1)
    return first


def _results(
    x: Tensor,
    axis: int | None,
    at: numpy.ndarray,
    inverse: numpy.ndarray,
    with_inverse: bool,
    with_counts: bool,
) -> Any:
    check_flags(return_inverse=with_inverse, return_counts=with_counts)
    values = to_numpy(x.array)
    chosen = values.reshape(-1)[at] if axis is None or not x.ndim else values.take(at, axis)
    results = [_made(chosen, x)]
    if with_inverse:
        results.append(_made(inverse.reshape(x.shape) if axis is None else inverse, x))
    if with_counts:
        results.append(_made(numpy.bincount(inverse, minlength=len(at)).astype(numpy.int64), x))
    return tuple(results) if len(results) > 1 else results[0]


def _made(values: numpy.ndarray, x: Tensor) -> Tensor:
    """Return a new tensor on the device of x."""
    return Tensor._wrap(asarray(values).copy()).to(x.device)
