"""Inputs to try: small arrays for the arguments of a forward, found by their names and by trying shapes.

No weight is 1, no bias 0, every axis has another size, and pools have 3 entries or more, so that no mistake
hides behind them. Each trial has more inputs of the same kind: of other sizes and larger values, since a
number that is written into a backward is right for one size only.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy

from .roles import role_of
from .subject import Subject

SHAPES = ((4, 5), (3, 4, 5), (3, 4, 2, 3), (5,))
FLAGS = ("training", "train", "is_training")
_GROUPS = ("num_groups", "groups", "n_groups", "g")
_NUMBERS: dict[str, Any] = dict.fromkeys(_GROUPS, 2) | {
    "eps": 1e-5,
    "axis": -1,
    "dim": -1,
    "training": True,
    "train": True,
    "is_training": True,
    "momentum": 0.1,
    "causal": False,
}
Shape = tuple[int, ...]
Inputs = tuple[Any, ...]


@dataclass(frozen=True)
class Style:
    """How inputs are drawn: the sizes that replace the usual ones, a factor on x, or x between 0 and 1."""

    sizes: dict[int, int] = field(default_factory=dict)
    scale: float = 1.0
    positive: bool = False

    def resized(self, shape: Shape) -> Shape:
        """Return a shape with the sizes replaced."""
        return tuple(self.sizes.get(n, n) for n in shape)


_OTHER = {5: 3, 4: 6, 3: 2, 2: 3}
STYLES = (Style(), Style(_OTHER, 4.0), Style(_OTHER), Style(scale=4.0))
"""The first is for the first check; of the others, the first that forward takes is for the second."""


@dataclass(frozen=True)
class Trial:
    """Inputs in each of the STYLES. `equal` if they only have equal shapes because no name says more."""

    inputs: Inputs
    again: tuple[Inputs, ...]
    equal: bool = False


def trials(subject: Subject, positive: bool = False) -> Iterator[Trial]:
    """Yield inputs for a subject, simple shapes first; most of them its forward cannot take."""
    styles = [replace(style, positive=positive) for style in STYLES]
    ways = [(False, (_of_module, _by_names)), (True, (_plain,))]
    for equal, drawn in ways:
        for way in drawn:
            for inputs, *again in zip(*(way(subject, style) for style in styles), strict=True):
                yield Trial(inputs, tuple(again), equal)


def flipped(subject: Subject, arguments: Inputs) -> Inputs | None:
    """Return the arguments with the other value of a flag such as `training`; None if there is no flag."""
    for k, p in enumerate(subject.signature):
        if p.name.lower() in FLAGS:
            given = (*arguments, *(q.default for q in subject.signature[len(arguments) : k + 1]))
            if any(value is p.empty for value in given):
                return None
            return (*given[:k], not given[k], *given[k + 1 :])
    return None


def _of_module(subject: Subject, style: Style) -> Iterator[Inputs]:
    """Yield inputs of a module of one argument that may suit the sizes of its parameters."""
    needed = _needed(subject.signature)
    if subject.module is None or len(needed) != 1:
        return
    rng, n = numpy.random.default_rng(0), style.resized((4,))[0]
    for _, p in subject.module.named_parameters():
        for size in dict.fromkeys((*p.shape[1:2], *p.shape[-1:], *p.shape[:1])):
            wide = tuple(k + 1 for k in p.shape[2:])
            for shape in dict.fromkeys(((n, size, *wide), (n, size), (n, size, 3), (n, size, 3, 2))):
                yield (_drawn(rng, "x", shape, style),)
        if len(p.shape) == 2:
            yield (rng.integers(0, p.shape[0], (n, 3)),)


def _by_names(subject: Subject, style: Style) -> Iterator[Inputs]:
    """Yield inputs of the shapes that the arguments' names suggest."""
    needed = _needed(subject.signature)
    roles = {p.name: role_of(p.name) for p in needed}
    by_role = set(roles.values())
    if {"query", "key", "value"} <= by_role:
        if subject.module is not None:
            width = next((p.shape[-1] for _, p in subject.module.named_parameters()), 4)
            shapes: dict[str, Shape] = {"query": (3, width), "key": (7, width), "value": (7, width)}
            yield _filled(needed, roles, shapes, (3, width), style)
        for batch in ((), (2,)):
            sizes = {"query": (*batch, 3, 4), "key": (*batch, 5, 4), "value": (*batch, 5, 2)}
            yield _filled(needed, roles, sizes, (3, 4), style)
    if {"u", "v"} < set(roles):
        w = numpy.random.default_rng(0).normal(size=style.resized((3, 4)))
        u, _, vt = numpy.linalg.svd(w)
        yield tuple({"u": u[:, 0], "v": vt[0]}.get(p.name, w) for p in needed)
    if {"value", "length"} <= by_role:
        for length in ((3, 1), (3,), (1, 4), (4,), ()):
            yield _filled(needed, roles, {"value": (3, 4), "length": length}, (3, 4), style)
    if "target" in by_role:
        scored = {name: role or "x" for name, role in roles.items()}
        yield _filled(needed, scored, {"x": (4, 3), "target": (4,)}, (4, 3), style)
        yield _filled(needed, scored, {"x": (4, 3)}, (4, 3), style)
    for role, p in zip(("x", "weight", "bias"), needed, strict=False):
        if p.name.lower() not in _NUMBERS and p.default in (p.empty, None):
            roles[p.name] = roles[p.name] or role
    for shape in SHAPES:
        for parameter in dict.fromkeys(_parameter_shapes(shape)):
            parameters = "weight", "bias", "running_mean", "running_var", "length"
            sizes = {"x": shape} | dict.fromkeys(parameters, parameter)
            yield _filled(needed, roles, sizes, shape, style)
            if "length" in by_role:  # the number of groups is called g, too
                del sizes["length"]
                yield _filled(needed, roles, sizes, shape, style)
    for weight in ((3, 5), (5, 3)):
        yield _filled(needed, roles, {"x": (4, 5), "weight": weight, "bias": (3,)}, (4, 5), style)


def _plain(subject: Subject, style: Style) -> Iterator[Inputs]:
    """Yield arrays of one shape for all arguments, and two matrices that can be multiplied."""
    needed = _needed(subject.signature)
    if len(needed) < 2:
        return
    roles = {p.name: "any" if role_of(p.name) else "" for p in needed}
    yield _filled(needed, roles, {"any": (4, 5)}, (4, 5), style)
    if len(needed) == 2:
        roles = dict(zip(roles, ("left", "right"), strict=True))
        for right in ((5, 3), (3, 5)):
            yield _filled(needed, roles, {"left": (4, 5), "right": right}, (4, 5), style)


def _needed(signature: tuple[inspect.Parameter, ...]) -> list[inspect.Parameter]:
    """Return the arguments up to the last that must be given; an array that may be None is given too."""
    given = [
        k for k, p in enumerate(signature) if p.default is p.empty or (p.default is None and role_of(p.name))
    ]
    return list(signature[: given[-1] + 1]) if given else list(signature[:1])


def _parameter_shapes(shape: Shape) -> Iterator[Shape]:
    yield shape[-1:]
    if len(shape) > 1:
        yield shape[1:2]
        yield (1, shape[1], *(1,) * (len(shape) - 2))
        yield (shape[1], *(1,) * (len(shape) - 2))
        yield shape[1:]
        for count in (2, 3):
            yield shape[-count:]


def _filled(
    needed: list[inspect.Parameter],
    roles: dict[str, str],
    sizes: dict[str, Shape],
    shape: Shape,
    style: Style,
) -> Inputs:
    rng = numpy.random.default_rng(0)
    shape = style.resized(shape)
    inputs: list[Any] = []
    for p in needed:
        role, name = roles[p.name], p.name.lower()
        if name in ("normalized_shape", "shape"):
            inputs.append(shape[-1:])
        elif role == "target" and len(sizes.get(role, shape)) == 1:
            inputs.append(rng.integers(0, shape[-1], style.resized(sizes.get(role, shape))))
        elif role in sizes:
            inputs.append(_drawn(rng, role, style.resized(sizes[role]), style))
        elif name in _NUMBERS or p.default is not p.empty:
            number = _NUMBERS[name] if p.default is p.empty else p.default
            groups = name in _GROUPS and p.default is p.empty
            inputs.append(style.resized((number,))[0] if groups else number)
        else:
            inputs.append(_drawn(rng, role, shape, style))
    return tuple(inputs)


def _drawn(rng: numpy.random.Generator, role: str, shape: Shape, style: Style) -> numpy.ndarray:
    if role in ("weight", "length"):
        return rng.uniform(0.5, 2.0, shape) * numpy.where(rng.random(shape) < 0.3, -1.0, 1.0)
    if role == "running_var":
        return rng.uniform(0.5, 2.0, shape)
    x = 1.5 * rng.normal(size=shape) + (0.5 if role == "x" else 0.0)
    return style.scale * (rng.uniform(0.1, 0.9, shape) if style.positive else x)
