"""Roles of arguments, known by their usual names."""

from collections.abc import Iterable

ROLES = {
    "x": ("x", "input", "inp", "inputs", "a", "data", "z", "logits"),
    "weight": ("weight", "w", "gamma", "scale"),
    "bias": ("bias", "b", "beta", "shift"),
    "running_mean": ("running_mean", "moving_mean", "mean", "mu", "m"),
    "running_var": ("running_var", "moving_var", "var", "v_run", "sigma2"),
    "query": ("query", "q", "queries"),
    "key": ("key", "k", "keys"),
    "value": ("value", "v", "values"),
    "target": ("t", "target", "targets", "label", "labels", "classes"),
    "length": ("g", "gain", "length"),
}
STATISTICS = ("running_mean", "running_var")
"""Inputs that have no gradient: they are buffers."""

_BY_NAME = {name: role for role, names in ROLES.items() for name in names}


def role_of(name: str) -> str:
    """Return what an argument is by its name, or ""."""
    return _BY_NAME.get(name.lower().rsplit(".", 1)[-1], "")


def constants_of(names: Iterable[str]) -> set[str]:
    """Return which of these arguments have no gradient: running statistics, and the vectors u, v of a σ."""
    names = tuple(names)
    vectors = {"u", "v"} if {"u", "v"} <= set(names) else set()
    return vectors | {name for name in names if role_of(name) in STATISTICS}


def roles_of(names: Iterable[str]) -> dict[str, str]:
    """Return which of these arguments has which role; the first, if several have."""
    found: dict[str, str] = {}
    for name in names:
        role = role_of(name)
        if role:
            found.setdefault(role, name)
    return found
