"""Containers of modules, and Flatten and Unflatten."""

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from ..autograd.tensor import Tensor
from ..module import Module
from ..module_registry import MODULE
from ..ops.dims import as_shape
from ..ops.shape import flatten, unflatten


class _ModuleSequence(Module):
    """Base of Sequential and ModuleList: submodules in order, with the names "0", "1", ..."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        values = self.__dict__
        return iter([values[name] for name in self._registered[MODULE]])

    def __contains__(self, module: object) -> bool:
        return any(module is entry for entry in self)

    def _name_at(self, index: int) -> str:
        n = len(self)
        position = operator.index(index)
        if not -n <= position < n:
            raise IndexError(f"index {index} is out of range for {type(self).__name__} of {n} modules")
        return list(self._modules)[position]

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._from_entries(list(self._modules.items())[index])
        return self._modules[self._name_at(index)]

    def _from_entries(self, entries: Iterable[tuple[str, Module | None]]) -> Self:
        raise NotImplementedError

    def __setitem__(self, index: int, module: Module) -> None:
        self.register_module(self._name_at(index), _check_module(module))

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._modules)[index] if isinstance(index, slice) else [self._name_at(index)]
        self._renumber([module for name, module in self._modules.items() if name not in names])

    def _renumber(self, modules: Iterable[Module | None]) -> None:
        self._modules = {str(i): module for i, module in enumerate(modules)}

    def append(self, module: Module) -> Self:
        """Add a module at the end; return self."""
        self.register_module(str(len(self)), _check_module(module))
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add several modules at the end; return self."""
        if not isinstance(modules, Iterable):
            name = type(modules).__name__
            raise TypeError(f"{type(self).__name__} takes a list of modules, got {name}: put it in brackets")
        for module in modules:
            self.append(module)
        return self

    def pop(self, index: int | slice) -> Any:
        """Remove a module, or a slice of them, and return it; the modules after it are renumbered.

        Raises:
            IndexError: if there is no module at `index`.
        """
        removed = self[index]
        del self[index]
        return removed

    def insert(self, index: int, module: Module) -> Self:
        """Insert a module before position `index`; the modules after it are renumbered; return self.

        Raises:
            IndexError: if the index is below -len(self) or above len(self).
        """
        modules = list(self)
        if not -len(modules) <= operator.index(index) <= len(modules):
            raise IndexError(
                f"cannot insert at {index} in a {type(self).__name__} of {len(modules)} modules: use append "
                "to add at the end"
            )
        modules.insert(index, _check_module(module))
        self._renumber(modules)
        return self


def _check_module(module: Any) -> Module:
    if not isinstance(module, Module):
        hint = ": pass an instance, with ()" if isinstance(module, type) else ""
        raise TypeError(f"a container holds Modules, got {module!r}{hint}")
    return module


class Sequential(_ModuleSequence):
    """Modules called one after the other: Sequential(a, b)(x) is b(a(x)).

    Takes modules, which are named "0", "1", ..., or one OrderedDict of names and modules. Indexing returns
    a module, slicing a Sequential that shares its modules.
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        named = len(modules) == 1 and isinstance(modules[0], OrderedDict)
        entries = modules[0].items() if named else ((str(i), module) for i, module in enumerate(modules))
        for name, module in entries:
            self.register_module(name, _check_module(module))

    def _from_entries(self, entries: Iterable[tuple[str, Module | None]]) -> Self:
        return type(self)(OrderedDict(entries))

    def forward(self, input: Any) -> Any:
        for module in self:
            input = module(input)
        return input

    def __add__(self, other: Any) -> Any:
        return Sequential(*self, *other) if isinstance(other, Sequential) else NotImplemented

    def __iadd__(self, other: Any) -> Any:
        return self.extend(list(other)) if isinstance(other, Sequential) else NotImplemented

    def __mul__(self, times: Any) -> Any:
        """Return `times` repetitions of the same modules, which share their parameters."""
        n = _repetitions(times)
        return NotImplemented if n is None else Sequential(*list(self) * n)

    __rmul__ = __mul__

    def __imul__(self, times: Any) -> Any:
        n, modules = _repetitions(times), list(self)
        return NotImplemented if n is None else self.extend(modules * (n - 1))


def _repetitions(times: Any) -> int | None:
    """Return the factor of a Sequential, or None if it is not an int; raise ValueError if it is below 1."""
    if isinstance(times, bool) or not hasattr(times, "__index__"):
        return None
    if operator.index(times) < 1:
        raise ValueError(f"a Sequential can be repeated once or more, got {times}")
    return operator.index(times)


class ModuleList(_ModuleSequence):
    """A list of modules, whose parameters are registered. It has no forward."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(() if modules is None else modules)

    def _from_entries(self, entries: Iterable[tuple[str, Module | None]]) -> Self:
        return type(self)(module for _, module in entries if module is not None)

    def __add__(self, other: Any) -> Any:
        return ModuleList([*self, *other]) if isinstance(other, Iterable) else NotImplemented

    def __iadd__(self, other: Any) -> Any:
        return self.extend(list(other) if other is self else other)


class ModuleDict(Module):
    """A dict of modules, whose parameters are registered. It has no forward."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __getitem__(self, name: str) -> Any:
        return self._modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.register_module(name, _check_module(module))

    def __delitem__(self, name: str) -> None:
        del self._modules[name]

    def pop(self, name: str) -> Any:
        """Remove the module with this name and return it.

        Raises:
            KeyError: if there is none.
        """
        module = self[name]
        del self[name]
        return module

    def clear(self) -> None:
        """Remove all modules."""
        self._modules.clear()

    def keys(self) -> Iterable[str]:
        """Return the names."""
        return self._modules.keys()

    def values(self) -> Iterable[Any]:
        """Return the modules."""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Return the pairs (name, module)."""
        return self._modules.items()

    def update(self, modules: Mapping[str, Module]) -> None:
        """Add modules; a module replaces one of the same name."""
        for name, module in modules.items():
            self[name] = module


class Flatten(Module):
    """Merge the axes from `start_dim` to `end_dim`, inclusive: by default all except the batch axis."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        return flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Split axis `dim` into axes of sizes `unflattened_size`, one of which may be -1."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim, self.unflattened_size = dim, as_shape(unflattened_size, "unflattened_size")

    def forward(self, input: Tensor) -> Tensor:
        return unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
