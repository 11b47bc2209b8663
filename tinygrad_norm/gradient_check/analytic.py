"""The analytic Jacobian: backward, run with one dy after another, and observed while it runs.

A backward is linear in dy: its result for a mixture of dys is the mixture of its results for each. With one
dy per output entry, only one entry of dy is not 0 and that is 1, so dy² = |dy| = dy. So backward is also run
with all of them at once, in random sizes of both signs.
"""

import traceback
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from ..autograd.function import Function
from ..autograd.sweep import gradients
from ..autograd.tensor import Tensor
from ..backends import backend_of, to_numpy
from .closeness import same
from .error import GradcheckError
from .probing import Index, Key, Probes, label


class Analytic(NamedTuple):
    """What backward gives for one output and one input: a row per dy, and the row for a mixture of them."""

    matrix: numpy.ndarray
    mixed: numpy.ndarray
    weights: numpy.ndarray


def analytic(
    o: int, y: Tensor, v: Probes, xs: dict[Key, Tensor], us: dict[Key, Probes], nondet_tol: float
) -> dict[Key, Analytic]:
    """Return the Jacobian of output `o` with respect to every input; backward runs twice for each dy.

    Raises:
        GradcheckError: if backward fails, gives two results, NaN or infinity, or a narrower dtype than the
            input's.
    """
    signs = numpy.where(numpy.arange(len(v)) % 2, 1.0, -1.0)
    weights = signs * numpy.random.default_rng(0).uniform(1.0, 2.0, len(v))
    try:
        first = _backward(y, v, xs, us)
        second = _backward(y, v, xs, us)
        mixed = _backward(y, [v.mixed(weights)], xs, us)
    except GradcheckError:
        raise
    except RuntimeError as error:
        raise GradcheckError(f"the backward of output {o} failed: {error}") from error
    for i, x in xs.items():
        place = f"of output {o} with respect to {label(i)} (shape {x.shape})"
        if not numpy.isfinite(first[i]).all():
            raise GradcheckError(f"the analytic gradient {place} is NaN or infinite")
        if not same(first[i], second[i], nondet_tol):
            raise GradcheckError(
                f"the gradient {place} differed between two backward passes with the same dy: "
                "backward must not change what forward saved, nor draw random numbers"
            )
    return {i: Analytic(first[i], mixed[i][0], weights) for i in xs}


def _backward(y: Tensor, dys: Any, xs: dict[Key, Tensor], us: dict[Key, Probes]) -> dict[Key, numpy.ndarray]:
    matrices = {i: numpy.zeros((len(dys), len(u))) for i, u in us.items()}
    if y.requires_grad:
        for row, probe in enumerate(dys):
            dy = backend_of(y.array).from_numpy(probe)
            dxs = gradients([y], list(xs.values()), [dy], retain=True, observer=_checked_backward)
            for (i, u), dx in zip(us.items(), dxs, strict=True):
                if dx is not None:
                    matrices[i][row] = u.measure(to_numpy(dx))
    return matrices


def _checked_backward(node: Function, dys: list[Any]) -> Any:
    """Run one backward of the sweep and return what it returns, if that can be a gradient.

    Raises:
        GradcheckError: if backward raises, changes a dy, or returns a gradient that is not an array, has lost
            axes, or has a narrower dtype than its input.
    """
    before = [None if dy is None else dy.copy() for dy in dys]
    try:
        dxs = node.backward(*dys)
    except Exception as error:
        shapes = ", ".join("None" if dy is None else str(dy.shape) for dy in dys)
        raise GradcheckError(
            f"{node.name}.backward, called with dy of shape {shapes}, raised {type(error).__name__}: "
            f"{error}{_place(error)}{_cause(node, error)}"
        ) from error
    for dy, old in zip(dys, before, strict=True):
        if dy is not None and old is not None and not same(to_numpy(dy), to_numpy(old), 0.0):
            raise GradcheckError(
                f"{node.name}.backward changed dy (shape {dy.shape}) in place, which other functions "
                "read too: work on a copy"
            )
    parts = dxs if type(dxs) is tuple else (dxs,)
    if len(parts) == len(node.inputs):  # else the sweep raises
        for i, dx in enumerate(parts):
            if node.needs[i] and dx is not None:
                _check_gradient(node, i, dx, dys)
    return dxs


def _check_gradient(node: Function, i: int, dx: Any, dys: list[Any]) -> None:
    x = node.inputs[i]
    if not hasattr(dx, "dtype") or not hasattr(dx, "shape"):
        raise GradcheckError(
            f"{node.name}.backward returned a {type(dx).__name__} for its input {i}: return an array "
            f"of the input's shape, {x.shape}, or a tuple with one for each input"
        )
    cause = _lost_axes(x.shape, dx.shape, [dy.shape for dy in dys if dy is not None])
    if cause:
        raise GradcheckError(
            f"{node.name}.backward returned a gradient of shape {dx.shape} for its input {i}, whose "
            f"shape is {x.shape}\n  hint: {cause}"
        )
    if dx.dtype.itemsize < x.dtype.itemsize:  # the sweep converts it silently
        raise GradcheckError(
            f"{node.name}.backward returned a {dx.dtype} gradient for its input {i}, "
            f"which is {x.dtype}: something in it converts to a narrower dtype"
        )


def _place(error: Exception) -> str:
    """Return " (FILE.py, line N)" for the last line that ran before the error outside of libraries, or ""."""
    libraries = (str(Path(__file__).parents[1]), str(Path(numpy.__file__).parent))
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(libraries)]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def _cause(node: Function, error: Exception) -> str:
    """Return what forward did that explains the error, if that is certain; else ""."""
    code = getattr(type(node).backward, "__code__", None)
    reads_saved = code is not None and "saved" in code.co_names
    if isinstance(error, AttributeError) and error.obj is node:
        return f"\n  hint: forward did not set self.{error.name}: keep what backward needs in self.saved"
    if reads_saved and not isinstance(node.saved, tuple | list):
        kind = type(node.saved).__name__
        return f"\n  hint: forward set self.saved to a {kind}, not a tuple: self.saved = (x,), with the comma"
    if reads_saved and len(node.saved) == 0:
        return "\n  hint: forward kept nothing in self.saved, which backward reads: self.saved = (x,)"
    return ""


def _lost_axes(shape: Index, got: Index, of_dys: list[Index]) -> str:
    """Return how a gradient may have lost or gained axes of size 1, or lost all of its axes; else ""."""
    if len(got) < len(shape) and _wide(got) == _wide(shape):
        return "axes of size 1 are lost: sum or average over them with keepdims=True"
    if len(got) > len(shape) and _wide(got) == _wide(shape):
        return "it has axes of size 1 that the input does not have: sum over them without keepdims"
    if got == () != shape:
        if all(of_dy == () for of_dy in of_dys):
            return "dy is one number for all entries of the input: broadcast it, as in dy * np.ones(shape)"
        return "it is one number: is it summed over all axes instead of some (axis=...)?"
    return ""


def _wide(shape: Index) -> Index:
    return tuple(length for length in shape if length != 1)
