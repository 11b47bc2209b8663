"""Containers of parameters: a list and a dict whose entries a module registers."""

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from ..autograd.tensor import Tensor
from ..module import Module, Parameter


def _as_parameter(value: Any) -> Parameter:
    if isinstance(value, Parameter):
        return value
    if not isinstance(value, Tensor):
        raise TypeError(f"a container of parameters holds tensors, got {type(value).__name__}")
    return Parameter(value)


class ParameterList(Module):
    """A list of parameters, with the names "0", "1", ...; other tensors become parameters. It has no forward.

    Raises:
        TypeError: if a value is not a tensor.
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self.extend(() if values is None else values)

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Any]:
        return iter([self._parameters[name] for name in self._parameters])

    def __contains__(self, value: object) -> bool:
        return any(value is entry for entry in self)

    def _name_at(self, index: int) -> str:
        n, position = len(self), operator.index(index)
        if not -n <= position < n:
            raise IndexError(f"index {index} is out of range for ParameterList of {n} parameters")
        return str(position % n)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return self._parameters[self._name_at(index)]

    def __setitem__(self, index: int, value: Any) -> None:
        self.register_parameter(self._name_at(index), _as_parameter(value))

    def append(self, value: Any) -> Self:
        """Add a parameter at the end; return self."""
        self.register_parameter(str(len(self)), _as_parameter(value))
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add several parameters at the end; return self."""
        if not isinstance(values, Iterable) or isinstance(values, Tensor):
            raise TypeError(f"ParameterList takes a list of tensors, got {type(values).__name__}")
        for value in values:
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)

    def extra_repr(self) -> str:
        entries: Any = self._parameters.items()
        return ", ".join(f"({name}): {p.shape}" for name, p in entries)


class ParameterDict(Module):
    """A dict of parameters; other tensors become parameters. It has no forward.

    Raises:
        TypeError: if a value is not a tensor.
    """

    def __init__(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None) -> None:
        super().__init__()
        self.update({} if parameters is None else parameters)

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._parameters))

    def __contains__(self, name: object) -> bool:
        return name in self._parameters

    def __getitem__(self, name: str) -> Any:
        return self._parameters[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.register_parameter(name, _as_parameter(value))

    def __delitem__(self, name: str) -> None:
        del self._parameters[name]

    def keys(self) -> Iterable[str]:
        """Return the names."""
        return self._parameters.keys()

    def values(self) -> Iterable[Any]:
        """Return the parameters."""
        return self._parameters.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Return the pairs (name, parameter)."""
        return self._parameters.items()

    def get(self, name: str, default: Any = None) -> Any:
        """Return the parameter of this name, or `default`."""
        return self._parameters.get(name, default)

    def pop(self, name: str) -> Any:
        """Remove the parameter of this name; return it."""
        value = self[name]
        del self[name]
        return value

    def setdefault(self, name: str, default: Any) -> Any:
        """Return the parameter of this name, which is made from `default` if there is none."""
        if name not in self:
            self[name] = default
        return self[name]

    def clear(self) -> None:
        """Remove all parameters."""
        self._parameters.clear()

    def copy(self) -> Self:
        """Return another dict of the same parameters."""
        return type(self)(self.items())

    def update(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Add parameters; one replaces another of the same name."""
        entries: Any = parameters.items() if hasattr(parameters, "items") else parameters
        for name, value in entries:
            self[name] = value

    def extra_repr(self) -> str:
        entries: Any = self._parameters.items()
        return ", ".join(f"({name}): {p.shape}" for name, p in entries)
