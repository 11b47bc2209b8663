"""Inputs to try: small arrays for the arguments of a forward, found by their names and by trying shapes.

No weight is 1, no bias 0, every axis has another size, and pools have 3 entries or more, so that no mistake
hides behind them.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import numpy

from .roles import role_of
from .subject import Subject

SHAPES = ((4, 5), (3, 4, 5), (3, 4, 2, 3), (5,))
_NUMBERS = {
    "num_groups": 2,
    "groups": 2,
    "n_groups": 2,
    "g": 2,
    "eps": 1e-5,
    "axis": -1,
    "dim": -1,
    "training": True,
    "train": True,
    "momentum": 0.1,
    "causal": False,
}


def trials(subject: Subject) -> Iterator[tuple[Any, ...]]:
    """Yield inputs for a subject, simple shapes first; most of them its forward cannot take."""
    needed = _needed(subject.signature)
    roles = {p.name: role_of(p.name) for p in needed}
    by_role = set(roles.values())
    if {"query", "key", "value"} <= by_role:
        for batch in ((), (2,)):
            sizes = {"query": (*batch, 3, 4), "key": (*batch, 5, 4), "value": (*batch, 5, 2)}
            yield from _filled(needed, roles, sizes, (3, 4))
        return
    if {"u", "v"} <= set(roles):
        w = numpy.random.default_rng(0).normal(size=(3, 4))
        u, _, vt = numpy.linalg.svd(w)
        yield tuple({"u": u[:, 0], "v": vt[0]}.get(p.name, w) for p in needed)
        return
    if {"value", "length"} <= by_role:
        for length in ((3, 1), (3,), (1, 4), (4,), ()):
            yield from _filled(needed, roles, {"value": (3, 4), "length": length}, (3, 4))
        return
    if "target" in by_role:
        roles = {name: role or "x" for name, role in roles.items()}
        yield from _filled(needed, roles, {"x": (4, 3), "target": (4,)}, (4, 3))
        yield from _filled(needed, roles, {"x": (4, 3)}, (4, 3))
    for position, p in enumerate(needed):
        roles[p.name] = roles[p.name] or ("x", "weight", "bias")[position] if position < 3 else roles[p.name]
    for shape in SHAPES:
        for parameter in dict.fromkeys(_parameter_shapes(shape)):
            sizes = {"x": shape} | dict.fromkeys(("weight", "bias", "running_mean", "running_var"), parameter)
            yield from _filled(needed, roles, sizes, shape)
    for weight in ((3, 5), (5, 3)):
        yield from _filled(needed, roles, {"x": (4, 5), "weight": weight, "bias": (3,)}, (4, 5))


def _needed(signature: tuple[inspect.Parameter, ...]) -> list[inspect.Parameter]:
    """Return the arguments up to the last that must be given; an array that may be None is given too."""
    given = [
        k for k, p in enumerate(signature) if p.default is p.empty or (p.default is None and role_of(p.name))
    ]
    return list(signature[: given[-1] + 1]) if given else list(signature[:1])


def _parameter_shapes(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
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
    sizes: dict[str, tuple[int, ...]],
    shape: tuple[int, ...],
) -> Iterator[tuple[Any, ...]]:
    rng = numpy.random.default_rng(0)
    inputs: list[Any] = []
    for p in needed:
        role, name = roles[p.name], p.name.lower()
        if name in ("normalized_shape", "shape"):
            inputs.append(shape[-1:])
        elif role in sizes:
            inputs.append(_drawn(rng, role, sizes[role]))
        elif name in _NUMBERS or p.default is not p.empty:
            inputs.append(p.default if p.default is not p.empty else _NUMBERS[name])
        else:
            inputs.append(_drawn(rng, role, shape))
    yield tuple(inputs)


def _drawn(rng: numpy.random.Generator, role: str, shape: tuple[int, ...]) -> numpy.ndarray:
    if role in ("weight", "length"):
        return rng.uniform(0.5, 2.0, shape) * numpy.where(rng.random(shape) < 0.3, -1.0, 1.0)
    if role == "target" and len(shape) == 1:
        return rng.integers(0, 3, shape)
    if role == "running_var":
        return rng.uniform(0.5, 2.0, shape)
    return 1.5 * rng.normal(size=shape) + (0.5 if role == "x" else 0.0)
