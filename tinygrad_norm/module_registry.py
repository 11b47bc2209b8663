"""The registries of a Module: its parameters, buffers and submodules, as mappings.

A registered value is stored once, as an attribute. `_registered` has the names of each kind, in order. Its
dicts are never changed, only replaced, so all copies of a module's attributes can share them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Self

PARAMETER, BUFFER, UNSAVED_BUFFER, MODULE = "parameter", "buffer", "unsaved buffer", "module"
REGISTRIES = {"_parameters": (PARAMETER,), "_buffers": (BUFFER, UNSAVED_BUFFER), "_modules": (MODULE,)}

Names = Mapping[str, Mapping[str, None]]
"""The registered names of each kind, in the order of registration."""

NO_NAMES: Names = {kind: {} for kinds in REGISTRIES.values() for kind in kinds}


def kind_of(name: str, registered: Names) -> str | None:
    """Return the kind under which `name` is registered."""
    for kind, names in registered.items():
        if name in names:
            return kind
    return None


def with_name(registered: Names, name: str, kind: str) -> Names:
    """Return the names with `name` at the end of `kind`."""
    return {**registered, kind: {**registered[kind], name: None}}


def without_name(registered: Names, name: str, kind: str) -> Names:
    """Return the names without `name`, which is registered under `kind`."""
    return {**registered, kind: {other: None for other in registered[kind] if other != name}}


class Registry(MutableMapping[str, Any]):
    """The registered values of one kind by name. A change is a change of the module's attributes."""

    __slots__ = ("_kinds", "_module")

    def __init__(self, module: Any, kinds: tuple[str, ...]) -> None:
        self._module, self._kinds = module, kinds

    def _names(self) -> list[str]:
        registered = self._module._registered
        return [name for kind in self._kinds for name in registered[kind]]

    def _check_name(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)

    def __getitem__(self, name: str) -> Any:
        self._check_name(name)
        return self._module.__dict__[name]

    def __setitem__(self, name: str, value: Any) -> None:
        known = kind_of(name, self._module._registered)
        self._module._set(name, known if known in self._kinds else self._kinds[0], value)

    def __delitem__(self, name: str) -> None:
        self._check_name(name)
        delattr(self._module, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __contains__(self, name: object) -> bool:
        return any(name in self._module._registered[kind] for kind in self._kinds)

    def __len__(self) -> int:
        return len(self._names())

    def __repr__(self) -> str:
        return repr(dict(self))

    def copy(self) -> dict[str, Any]:
        """Return the entries as a dict."""
        return dict(self)

    def replace(self, entries: Mapping[str, Any]) -> None:
        """Set all entries at once; entries of other names are removed."""
        entries, values = dict(entries), self._module.__dict__
        for name in self._names():
            del values[name]
        none: dict[str, Any] = {kind: {} for kind in self._kinds}
        values["_registered"] = {**self._module._registered, **none}
        for name in entries.keys() & values.keys():
            delattr(self._module, name)
        values["_registered"] = {**self._module._registered, self._kinds[0]: dict.fromkeys(entries)}
        values.update(entries)

    def clear(self) -> None:
        """Remove all entries."""
        self.replace({})


class RegistryAttribute:
    """The attribute `_parameters`, `_buffers` or `_modules` of a module: a Registry."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.kinds = REGISTRIES[name]

    def __get__(self, module: Any, owner: type) -> Registry | Self:
        return self if module is None else Registry(module, self.kinds)

    def __set__(self, module: Any, entries: Mapping[str, Any]) -> None:
        Registry(module, self.kinds).replace(entries)


class SetByInit:
    """An attribute that `Module.__init__` sets: before, reading it raises an AttributeError."""

    def __get__(self, module: Any, owner: type) -> Self:
        if module is None:
            return self
        raise AttributeError(f"Module.__init__ has not run: call super().__init__() in {owner.__name__}")


def from_older_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a module pickled when its registries were dicts of values."""
    state = dict(state)
    unsaved = state.pop("_not_persistent")
    parameters, buffers, modules = (state.pop(registry) for registry in REGISTRIES)
    registered = {
        PARAMETER: dict.fromkeys(parameters),
        BUFFER: {name: None for name in buffers if name not in unsaved},
        UNSAVED_BUFFER: {name: None for name in buffers if name in unsaved},
        MODULE: dict.fromkeys(modules),
    }
    return {"_registered": registered, **state, **parameters, **buffers, **modules}
