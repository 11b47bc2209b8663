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
_BY_NAME = {name: role for role, names in ROLES.items() for name in names}


def role_of(name: str) -> str:
    """Return what an argument is by its name, or ""."""
    return _BY_NAME.get(name.lower().rsplit(".", 1)[-1], "")


def is_constant(name: str) -> bool:
    """Return whether an argument's name alone says that it has no gradient: running statistics."""
    return name.lower().rsplit(".", 1)[-1].startswith(("running_", "moving_"))


def roles_of(names: Iterable[str]) -> dict[str, str]:
    """Return which of these arguments has which role; the first, if several have."""
    found: dict[str, str] = {}
    for name in names:
        role = role_of(name)
        if role:
            found.setdefault(role, name)
    return found
