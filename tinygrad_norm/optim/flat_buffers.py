"""Flat buffers: the parameters of a group end to end in one array, their gradients in another.

    values      | weight ........ | bias . | weight ........ |    parameter.array is a view of its place
    gradients   | dweight ....... | dbias  | dweight ....... |    so is parameter.grad.array
    moments     | ............... | ...... | ............... |    what the optimizer remembers, by name

An update is one formula for every element, so a step is a dozen array operations over the whole buffer,
however many parameters there are and whatever their shapes. Each place begins at a multiple of ALIGN
elements, which keeps vector loads aligned. The gaps hold zeros, and every update leaves zeros zero.

When the buffer is made, the parameters are copied into it. Their detached tensors, as in a state_dict,
follow. Arrays and views that shared memory with a parameter keep the old values; a warning names the
arrays. An array assigned to `.data` or `.grad` later is copied to its place by the next step.

The next backward writes a gradient to the same place, unless a tensor, an array or a view still refers to
the last one. The new gradient then gets its own memory, so that a gradient that was kept keeps its values.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from operator import is_
from sys import getrefcount
from typing import Any

import numpy

from ..autograd.memory import owner
from ..autograd.tensor import Tensor
from ..backends import Array, backend_of, namespace, to_device
from ..backends.cpu.blocks import slices, threads_for
from ..backends.cpu.loops import Loop
from ..backends.cpu.pool_loops import dtype_of

ALIGN = 16  # elements: a cache line of float32, and 16 bytes or more of any type
BLOCK = 1 << 17  # elements updated at a time: they stay in the cache


class Place:
    """One parameter's part of a buffer: elements `start` to `stop`, of which the last may be a gap.

    `values` and `gradient` are views with the parameter's shape; `updates` counts the updates of its moments.
    """

    __slots__ = (
        "gradient",
        "memory",
        "parameter",
        "start",
        "stop",
        "unshared_references",
        "updates",
        "values",
    )

    gradient: Array
    memory: Array  # the array that owns the memory of all gradients
    unshared_references: tuple[int, int]  # the reference counts of the two if nothing else refers to them

    def __init__(self, parameter: Tensor, start: int, stop: int, values: Array) -> None:
        self.parameter, self.start, self.stop, self.values = parameter, start, stop, values
        self.updates = 0

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()  # a copy of a parameter belongs to no optimizer

    def view(self, flat: Array) -> Array:
        """Return this place in the array `flat`, as a view with the parameter's shape."""
        return flat[self.start : self.start + self.values.size].reshape(self.values.shape)

    def references(self) -> tuple[int, int]:
        """Return the reference counts of this gradient's view and of the memory of all gradients."""
        return getrefcount(self.gradient), getrefcount(self.memory)

    def gradient_buffer(self) -> Array | None:
        """Return the gradient's view, to be written to, if nothing else refers to it."""
        free = (getrefcount(self.gradient), getrefcount(self.memory)) == self.unshared_references
        return self.gradient if free else None

    def receive(self, dx: Array) -> Tensor:
        """Return the gradient `dx` as a tensor, in its place if that is free, else as a copy."""
        gradient = self.gradient
        if dx is gradient:
            return Tensor._wrap(dx)
        if type(dx) is not type(gradient) and backend_of(dx) is not backend_of(gradient):
            return Tensor._wrap(dx.copy())
        if dx.dtype is not gradient.dtype and dx.dtype != gradient.dtype:
            return Tensor._wrap(dx.copy())
        del gradient  # it is a reference
        if (getrefcount(self.gradient), getrefcount(self.memory)) != self.unshared_references:
            return Tensor._wrap(dx.copy())
        self.gradient[...] = dx
        return Tensor._wrap(self.gradient)

    def adopt(self) -> None:
        """Copy the parameter's values to its place, and make the parameter a view of it."""
        parameter, old = self.parameter, self.parameter.array
        self.values[...] = old
        parameter.array = self.values
        parameter._shared_memory().move(old, self.values)
        parameter.grad_slot = self
        parameter.mark_written()


class FlatBuffer:
    """The parameters of one dtype on one device, end to end. Moments of half types are float32.

    `previous` maps a parameter's id to its place before: its moments and its count of updates are copied.
    """

    def __init__(
        self, parameters: Sequence[Tensor], previous: Mapping[int, tuple[FlatBuffer, Place]]
    ) -> None:
        first = parameters[0].array
        bounds = [0, *itertools.accumulate(-(-p.array.size // ALIGN) * ALIGN for p in parameters)]
        self.parameters = list(parameters)
        self.values = _zeros(first, bounds[-1], first.dtype)
        self.moment_dtype = numpy.promote_types(first.dtype, numpy.float32)
        self.moments: dict[str, Array] = {}
        length = min(bounds[-1], BLOCK)
        self.work = _zeros(first, 2 * length, self.moment_dtype).reshape(2, length)
        self.places = []
        for parameter, start, stop in zip(parameters, bounds, bounds[1:], strict=False):
            array = parameter.array
            view = self.values[start : start + array.size].reshape(array.shape)
            self.places.append(Place(parameter, start, stop, view))
        self._new_gradients()
        for place in self.places:
            place.adopt()
            if id(place.parameter) in previous:
                self._inherit(place, *previous[id(place.parameter)])

    def _new_gradients(self) -> None:
        self.gradients = _zeros(self.values, self.values.size, self.values.dtype)
        for place in self.places:
            place.memory, place.gradient = owner(self.gradients), place.view(self.gradients)
        for place in self.places:
            place.unshared_references = place.references()

    def _inherit(self, place: Place, buffer: FlatBuffer, old: Place) -> None:
        place.updates = old.updates
        for name, flat in buffer.moments.items():
            place.view(self.moment(name))[...] = to_device(old.view(flat), backend_of(self.values).device)

    def moment(self, name: str) -> Array:
        """Return the flat array of the moments `name`, zeros at first."""
        if name not in self.moments:
            self.moments[name] = _zeros(self.values, self.values.size, self.moment_dtype)
        return self.moments[name]

    def adopt_parameters(self) -> bool:
        """Make every parameter a view of its place; return False if one no longer fits there."""
        moved = [place for place in self.places if place.parameter.array is not place.values]
        if not moved:
            return True
        if any(_kind(place.parameter.array) != _kind(place.values) for place in moved):
            return False
        check_memory_not_shared([place.parameter for place in moved], self.parameters)
        for place in moved:
            place.adopt()
        return True

    def runs_with_gradient(self) -> list[list[Place]]:
        """Copy all gradients to their places; return those places in runs of neighbours.

        The places of a run lie side by side and have had the same number of updates.
        """
        first = self.places[0].updates
        for place in self.places:
            parameter, grad = place.parameter, place.parameter._grad
            if grad is None or grad.array is not place.gradient or place.updates != first:
                break
            if not parameter._requires_grad:
                break
        else:
            return [self.places]
        runs: list[list[Place]] = []
        outside: list[Place] = []
        stop = updates = -1
        for place in self.places:
            grad = place.parameter.grad
            if grad is None or not place.parameter.requires_grad:
                continue
            if getattr(grad, "array", None) is not place.gradient:
                outside.append(place)
            if place.start != stop or place.updates != updates:
                runs.append([])
                updates = place.updates
            runs[-1].append(place)
            stop = place.stop
        if outside:
            self._copy_gradients(outside, list(itertools.chain.from_iterable(runs)))
        return runs

    def _copy_gradients(self, outside: list[Place], with_gradient: list[Place]) -> None:
        for place in outside:
            _check_gradient(place.parameter)
        if any(place.references() != place.unshared_references for place in outside):
            self._new_gradients()
            outside = with_gradient
        for place in outside:
            place.gradient[...] = place.parameter.grad.array  # type: ignore[union-attr]


class FlatGroup:
    """The buffers of one parameter group, one for each dtype and device among its parameters.

    Frozen parameters stay outside, unless they were trained before or `included` has their id.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        previous: Mapping[int, tuple[FlatBuffer, Place]],
        included: frozenset[int] = frozenset(),
    ) -> None:
        self.parameters = list(parameters)
        self.frozen: list[Tensor] = []
        kinds: dict[Any, list[Tensor]] = {}
        for parameter in parameters:
            if parameter.requires_grad or id(parameter) in previous or id(parameter) in included:
                kinds.setdefault(_kind(parameter.array)[:2], []).append(parameter)
            else:
                self.frozen.append(parameter)
        self.buffers = [FlatBuffer(alike, previous) for alike in kinds.values()]

    def places(self) -> Iterator[tuple[FlatBuffer, Place]]:
        """Yield every place, after the buffer that it is in."""
        return ((buffer, place) for buffer in self.buffers for place in buffer.places)

    def adopt_parameters(self, parameters: Sequence[Tensor]) -> bool:
        """Make every parameter a view of its place; return False if `parameters` need another layout."""
        if len(parameters) != len(self.parameters) or not all(map(is_, parameters, self.parameters)):
            return False
        if self.frozen and any(parameter.requires_grad for parameter in self.frozen):
            return False
        return all(buffer.adopt_parameters() for buffer in self.buffers)


def flat_blocks(*arrays: Any) -> Iterator[Sequence[Any]]:
    """Yield the flat arrays (or None) in blocks of at most BLOCK elements."""
    size = arrays[0].size
    if size <= BLOCK:
        yield arrays
        return
    for part in slices(size, BLOCK):
        yield [None if array is None else array[part] for array in arrays]


def gradient_blocks(
    options: Mapping[str, Any], dtype: numpy.dtype, param: Any, grad: Any, *moments: Any
) -> Iterator[tuple[Any, Any, Any, Sequence[Any]]]:
    """Yield in blocks: θ to write to, θ and g = ±dL/dθ + λ·θ in `dtype`, and the moments.

    The sign is that of `maximize`, and λ is `weight_decay`; it is 0 with `decoupled_weight_decay`.
    """
    decay = 0.0 if options.get("decoupled_weight_decay") else float(options.get("weight_decay", 0))
    for p, grads, *arrays in flat_blocks(param, grad, *moments):
        theta, g = p.astype(dtype, copy=False), grads.astype(dtype, copy=False)
        if options["maximize"]:
            g = -g
        if decay:
            g = g + theta * decay
        yield p, theta, g, arrays


def positive_eps(options: Mapping[str, Any], dtype: numpy.dtype) -> float:
    """Return eps, at least the smallest normal number: a gradient that is always 0 would divide 0 by 0."""
    return max(float(options["eps"]), float(numpy.finfo(dtype).tiny))


def run_flat(loop: Loop, arrays: Sequence[Any], *numbers: float | bool) -> Any:
    """Call `loop(*arrays, *numbers)`, an update of flat arrays (or None), on threads if that is faster.

    Returns NotImplemented for arrays that are not contiguous, of float32 or of float64.
    """
    dtype, size = dtype_of(arrays[0]), arrays[0].size
    for array in arrays:
        if array is not None and (dtype_of(array) is not dtype or not array.flags.carray):
            return NotImplemented
    if dtype is None:
        return NotImplemented
    run_all = threads_for(size)
    if run_all is map:
        return loop(*arrays, *numbers)

    def run_block(part: slice) -> None:
        loop(*[None if array is None else array[part] for array in arrays], *numbers)

    list(run_all(run_block, slices(size, BLOCK)))
    return None


def _zeros(like: Array, size: int, dtype: numpy.dtype) -> Array:
    """Return zeros on the device of `like`, a view that begins at a multiple of ALIGN elements in memory."""
    raw = namespace(like).zeros(size + ALIGN, dtype)
    interface = getattr(raw, "__array_interface__", None) or raw.__cuda_array_interface__
    start = -(interface["data"][0] // raw.itemsize) % ALIGN
    return raw[start : start + size]


def check_memory_not_shared(parameters: Sequence[Tensor], among: Sequence[Tensor]) -> None:
    """Raise ValueError if a parameter shares memory with one of `among`: in two places they would diverge."""
    owners: dict[int, list[Tensor]] = {}
    for other in among:
        owners.setdefault(id(owner(other.array)), []).append(other)
    for parameter in parameters:
        array = parameter.array
        for other in owners[id(owner(array))]:
            if other is not parameter and namespace(array).may_share_memory(array, other.array):
                raise ValueError(
                    f"parameters of shapes {other.shape} and {parameter.shape} share memory: to train them "
                    "as one, assign the same Parameter to both modules; to train both, copy the data of one"
                )


def _kind(array: Array) -> tuple[type, numpy.dtype, tuple[int, ...]]:
    return type(array), array.dtype, array.shape


def _check_gradient(parameter: Tensor) -> None:
    grad: Any = parameter.grad
    if grad.shape != parameter.shape:
        raise ValueError(f"a parameter of shape {parameter.shape} has a grad of shape {grad.shape}")
