"""Parameter: a tensor that modules register and optimizers update."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import numpy

from .autograd.tensor import Tensor
from .backends import namespace


class Parameter(Tensor):
    """A leaf tensor that a Module registers and an optimizer updates.

    Shares memory with `data`, unless that is not in C order. Without `data` it is empty, of shape (0,).
    """

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        data = numpy.empty(0, numpy.float32) if data is None else data
        super().__init__(data.array if isinstance(data, Tensor) else data, requires_grad)
        if not self.array.flags.c_contiguous:  # safetensors writes the bytes of an array as they lie
            self.array = namespace(self.array).ascontiguousarray(self.array)
        elif isinstance(data, Tensor):
            self.memory = data._shared_memory()
            self.memory.share(data)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __getstate__(self) -> Any:
        state: Any = super().__getstate__()
        return {**state, "hooks": [_Hook(hook) for hook in self.hooks]} if self.hooks else state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        if self.hooks:
            self.hooks = [entry.hook if isinstance(entry, _Hook) else entry for entry in self.hooks]


class _Hook:
    """A hook in the state of a parameter, which explains why it cannot be pickled."""

    def __init__(self, hook: Any) -> None:
        self.hook = hook

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            pickle.dumps(self.hook)
        except Exception as error:
            raise pickle.PicklingError(
                f"a parameter has the hook {self.hook!r}, which cannot be pickled ({error}): define it as a "
                "function of a module, or remove it first with the handle's remove()"
            ) from error
        return _Hook, (self.hook,)
