"""Flat buffers: the parameters of a group end to end in one array, their gradients in another.

    values      | weight ........ | bias . | weight ........ |    parameter.array is a view of its place
    gradients   | dweight ....... | dbias  | dweight ....... |    so is parameter.grad.array
    moments     | ............... | ...... | ............... |    what the optimizer remembers, by name

An update is one formula for every number, so a step is a dozen array operations over the whole buffer,
however many parameters there are and whatever their shapes. Each place begins at a multiple of ALIGN
elements, which keeps vector loads aligned; the gaps hold zeros, and every update leaves zeros zero.

Parameters move in when the buffer is made: tensors and arrays that shared a parameter's memory before
keep the values of that moment. What is assigned to `.data` or `.grad` later is copied to its place by
the next step.

A gradient's place is written again by the next backward, unless somebody still holds the last one: a
tensor, an array, or a view of it. The new gradient then gets memory of its own, so that a gradient
that was kept keeps its values.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter, is_
from sys import getrefcount
from typing import Any

import numpy

from ..autograd.memory import owner
from ..autograd.tensor import Tensor
from ..backends import Array, backend_of, namespace, to_device
from ..backends.cpu.blocks import slices

ALIGN = 16  # elements: a cache line of float32, and 16 bytes or more of any type
BLOCK = 1 << 17  # elements that an update works on at a time: they stay in the cache

_array_of = attrgetter("array")


class Place:
    """Where one parameter lives in a buffer: elements `start` to `stop`, of which the last may be a gap.

    `values` and `gradient` are the views of the parameter's shape; `updates` counts the steps that
    its moments have seen.
    """

    __slots__ = ("gradient", "memory", "nobody", "parameter", "start", "stop", "updates", "values")

    gradient: Array
    memory: Array  # the array that owns the memory of all gradients
    nobody: tuple[int, int]  # the reference counts of the two while nobody else holds them

    def __init__(self, parameter: Tensor, start: int, stop: int, values: Array) -> None:
        self.parameter, self.start, self.stop, self.values = parameter, start, stop, values
        self.updates = 0

    def view(self, flat: Array) -> Array:
        """Return this place in the array `flat`, with the parameter's shape."""
        return flat[self.start : self.start + self.values.size].reshape(self.values.shape)

    def references(self) -> tuple[int, int]:
        """Count who holds this gradient's view, and who any view of the memory of all."""
        return getrefcount(self.gradient), getrefcount(self.memory)

    def gradient_buffer(self) -> Array | None:
        """Return the gradient's view, to be written to, if nobody else holds it."""
        free = (getrefcount(self.gradient), getrefcount(self.memory)) == self.nobody
        return self.gradient if free else None

    def receive(self, dx: Array) -> Tensor:
        """Return the gradient `dx` as a tensor, copied to its place if that is free and dx not there yet."""
        if dx is self.gradient:
            return Tensor._wrap(dx)
        place = self.gradient_buffer()
        if place is None or dx.dtype != place.dtype or backend_of(dx) is not backend_of(place):
            return Tensor._wrap(dx.copy())
        place[...] = dx
        return Tensor._wrap(place)

    def settle(self) -> None:
        """Copy what the parameter holds to its place, and make the parameter a view of it."""
        parameter = self.parameter
        self.values[...] = parameter.array
        parameter.array = self.values
        parameter.grad_slot = self
        parameter.mark_written()


class FlatBuffer:
    """The parameters of one dtype on one device, end to end. Moments of half types are float32.

    `previous` has, by a parameter's id, where it lived before: moments and count of updates move along.
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
        self.views = [place.values for place in self.places]
        self._new_gradients()
        for place in self.places:
            place.settle()
            if id(place.parameter) in previous:
                self._inherit(place, *previous[id(place.parameter)])

    def _new_gradients(self) -> None:
        self.gradients = _zeros(self.values, self.values.size, self.values.dtype)
        for place in self.places:
            place.memory, place.gradient = self.gradients.base, place.view(self.gradients)
        for place in self.places:
            place.nobody = place.references()

    def _inherit(self, place: Place, buffer: FlatBuffer, old: Place) -> None:
        place.updates = old.updates
        for name, flat in buffer.moments.items():
            place.view(self.moment(name))[...] = to_device(old.view(flat), backend_of(self.values).device)

    def moment(self, name: str) -> Array:
        """Return the flat array of moments `name`; zeros at first."""
        if name not in self.moments:
            self.moments[name] = _zeros(self.values, self.values.size, self.moment_dtype)
        return self.moments[name]

    def settled(self) -> bool:
        """Make every parameter live in its place; return False where one no longer fits there."""
        if all(map(is_, map(_array_of, self.parameters), self.views)):
            return True
        moved = [place for place in self.places if place.parameter.array is not place.values]
        if any(_kind(place.parameter.array) != _kind(place.values) for place in moved):
            return False
        refuse_shared_memory([place.parameter for place in moved], self.parameters)
        for place in moved:
            place.settle()
        return True

    def ready(self) -> list[list[Place]]:
        """Return the places that have a gradient, now brought there, in lists of neighbours updated alike."""
        stretches: list[list[Place]] = []
        elsewhere: list[Place] = []
        stop = updates = -1
        for place in self.places:
            grad = place.parameter.grad
            if grad is None or not place.parameter.requires_grad:
                continue
            if getattr(grad, "array", None) is not place.gradient:
                elsewhere.append(place)
            if place.start != stop or place.updates != updates:
                stretches.append([])
                updates = place.updates
            stretches[-1].append(place)
            stop = place.stop
        if elsewhere:
            self._bring_gradients(elsewhere, list(itertools.chain.from_iterable(stretches)))
        return stretches

    def _bring_gradients(self, elsewhere: list[Place], ready: list[Place]) -> None:
        for place in elsewhere:
            _check_gradient(place.parameter)
        if any(place.references() != place.nobody for place in elsewhere):
            self._new_gradients()
            elsewhere = ready
        for place in elsewhere:
            place.gradient[...] = place.parameter.grad.array  # type: ignore[union-attr]


class FlatGroup:
    """The buffers of one parameter group, one for each dtype and device among its parameters.

    Frozen parameters stay where they are, unless they were trained before or `kept` has their id.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        previous: Mapping[int, tuple[FlatBuffer, Place]],
        kept: frozenset[int] = frozenset(),
    ) -> None:
        self.parameters = list(parameters)
        self.frozen: list[Tensor] = []
        kinds: dict[Any, list[Tensor]] = {}
        for parameter in parameters:
            if parameter.requires_grad or id(parameter) in previous or id(parameter) in kept:
                kinds.setdefault(_kind(parameter.array)[:2], []).append(parameter)
            else:
                self.frozen.append(parameter)
        self.buffers = [FlatBuffer(alike, previous) for alike in kinds.values()]

    def settled(self, parameters: Sequence[Tensor]) -> bool:
        """Say whether this is still the layout for `parameters`, after making them live in it."""
        if len(parameters) != len(self.parameters) or not all(map(is_, parameters, self.parameters)):
            return False
        if self.frozen and any(parameter.requires_grad for parameter in self.frozen):
            return False
        return all(buffer.settled() for buffer in self.buffers)


def blocks(*arrays: Any) -> Iterator[Sequence[Any]]:
    """Yield the flat arrays (or None) in pieces of at most BLOCK elements."""
    size = arrays[0].size
    if size <= BLOCK:
        yield arrays
        return
    for part in slices(size, BLOCK):
        yield [None if array is None else array[part] for array in arrays]


def _zeros(like: Array, size: int, dtype: numpy.dtype) -> Array:
    """Return zeros beside `like` that begin at a multiple of ALIGN elements in memory, and own none of it."""
    raw = namespace(like).zeros(size + ALIGN, dtype)
    interface = getattr(raw, "__array_interface__", None) or raw.__cuda_array_interface__
    start = -(interface["data"][0] // raw.itemsize) % ALIGN
    return raw[start : start + size]


def refuse_shared_memory(parameters: Sequence[Tensor], among: Sequence[Tensor]) -> None:
    """Refuse a parameter whose memory another one uses too: in places of their own they would drift apart."""
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
