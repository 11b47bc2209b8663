"""Module: the base of every layer, with named parameters, buffers and submodules.

State names, shapes and behaviour are PyTorch's, so a state dict can travel between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy

from .autograd.conversion import device_and_dtype
from .autograd.tensor import Tensor
from .backends import asarray, namespace, to_device


class Parameter(Tensor):
    """A leaf tensor that a Module registers and an optimizer updates.

    Shares memory with `data`, unless that is not in C order.
    """

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data.array if isinstance(data, Tensor) else data, requires_grad)
        if not self.array.flags.c_contiguous:  # safetensors writes the bytes of an array as they lie
            self.array = namespace(self.array).ascontiguousarray(self.array)
        elif isinstance(data, Tensor):
            self.memory = data._shared_memory()

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class IncompatibleKeys(NamedTuple):
    """The names that `load_state_dict(strict=False)` missed, and those it did not expect."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base of every layer: subclass, assign parameters and submodules, define `forward`.

    Assigning a Parameter or a Module to an attribute registers it; `register_buffer` registers state
    that is saved but not trained (running statistics). Call `super().__init__()` first.
    """

    training: bool

    def __init__(self) -> None:
        # object.__setattr__, since __setattr__ below needs these three to exist.
        for name in ("_parameters", "_buffers", "_modules"):
            object.__setattr__(self, name, {})
        object.__setattr__(self, "_not_persistent", set())
        object.__setattr__(self, "training", True)

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _not_persistent: set[str]

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Compute the output. Every layer defines its own."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        return self.forward(*inputs, **options)

    # -- attributes

    def __setattr__(self, name: str, value: Any) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError(
                f"assigning {type(self).__name__}.{name} before Module.__init__: "
                "call super().__init__() first"
            )
        registry: dict[str, Any] | None = None  # None for a plain attribute
        if isinstance(value, Parameter):
            registry = self._parameters
        elif isinstance(value, Module):
            registry = self._modules
        else:
            registry = next((other for other in self._registries() if name in other), None)
            if value is not None and registry is not None:
                self._check_replacement(registry, name, value)
        for other in self._registries():
            if other is not registry:
                other.pop(name, None)
        self._set(registry, name, value)

    def _check_replacement(self, registry: dict[str, Any], name: str, value: Any) -> None:
        kinds = {"Parameter": self._parameters, "Tensor": self._buffers, "Module": self._modules}
        expected = next(kind for kind, other in kinds.items() if other is registry)
        if expected != "Tensor" or not isinstance(value, Tensor):
            raise TypeError(
                f"{type(self).__name__}.{name} is registered: assign a {expected} or None, got "
                f"{type(value).__name__}"
                + ("" if expected == "Module" else f"; to change its values, use {name}.copy_(...)")
            )

    def _registries(self) -> tuple[dict[str, Any], ...]:
        return self._parameters, self._buffers, self._modules

    def _set(self, registry: dict[str, Any] | None, name: str, value: Any) -> None:
        """Register `value`, and set it as a plain attribute too: reading it then costs no `__getattr__`."""
        if registry is not None:
            registry[name] = value
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        # Called only for names that are not plain attributes: the numbered children of containers.
        children = self.__dict__.get("_modules", {})
        if name in children:
            return children[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        registered = [registry.pop(name) for registry in self._registries() if name in registry]
        if not registered or name in self.__dict__:
            object.__delattr__(self, name)

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Register `parameter` under `name`; None reserves the name (a layer without bias)."""
        self._register(self._parameters, name, parameter, Parameter)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Register state that is not trained; it is part of `state_dict` if `persistent`."""
        self._register(self._buffers, name, tensor, Tensor)
        (self._not_persistent.discard if persistent else self._not_persistent.add)(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Register a submodule under `name`, which may be any string without a dot."""
        self._register(self._modules, name, module, Module)

    add_module = register_module

    def _register(self, registry: dict[str, Any], name: str, value: Any, kind: type) -> None:
        """Register `value` in `registry`, where it may replace an entry of the same name.

        Raises:
            TypeError: if the value is not of type `kind`, or the name is not a string.
            KeyError: if the name is empty, contains a dot, or is that of another attribute.
        """
        if not isinstance(name, str):
            raise TypeError(f"a registered name must be a str, got {name!r}")
        if not name or "." in name:
            raise KeyError(f"a registered name must be non-empty and without dots, got {name!r}")
        if hasattr(self, name) and name not in registry:
            raise KeyError(
                f"{type(self).__name__} has an attribute {name!r} already: choose another name for the "
                f"{kind.__name__}, or assign it to the attribute if it is to take its place"
            )
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name!r} must be a {kind.__name__} or None, got {type(value).__name__}")
        self._set(registry, name, value)

    # -- walking

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield (name, submodule) for the direct submodules, each of them once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """Yield the direct submodules, each of them once."""
        return (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "", _seen: set[int] | None = None) -> Iterator[tuple[str, Module]]:
        """Yield (dotted name, module) for this module and all below, each of them once."""
        seen = set() if _seen is None else _seen
        if id(self) in seen:
            return
        seen.add(id(self))
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(f"{prefix}.{name}" if prefix else name, seen)

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below, each of them once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Yield (dotted name, parameter), each parameter once even if modules share it."""
        return self._named("_parameters", prefix, recurse, once=True)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield the parameters, each of them once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """Yield (dotted name, buffer), each buffer once."""
        return self._named("_buffers", prefix, recurse, once=True)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield the buffers, each of them once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _named(self, kind: str, prefix: str, recurse: bool, once: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, entry in getattr(module, kind).items():
                if entry is None or (once and id(entry) in seen):
                    continue
                seen.add(id(entry))
                yield f"{path}.{name}" if path else name, entry

    def get_submodule(self, target: str) -> Module:
        """Return the submodule with the dotted name `target`."""
        module = self
        for name in target.split(".") if target else ():
            child = module._modules.get(name)
            if child is None:
                raise AttributeError(
                    f"{type(module).__name__} has no submodule {name!r} (looking for {target!r})"
                )
            module = child
        return module

    # -- state

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Return every parameter and persistent buffer by dotted name, sharing memory with the module."""
        state: dict[str, Tensor] = {}
        for path, module in self._walk(prefix):
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    state[path + name] = parameter.detach()
            for name, buffer in module._buffers.items():
                if buffer is not None and name not in module._not_persistent:
                    state[path + name] = buffer.detach()
        return state

    def _walk(self, prefix: str) -> Iterator[tuple[str, Module]]:
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module._walk(f"{prefix}{name}.")

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy the values of `state_dict` (tensors or arrays by dotted name) into this module.

        Nothing is changed unless everything fits. A state without `num_batches_tracked`, as older files
        have it, fits too.

        Raises:
            TypeError: if `state_dict` is not a mapping.
            RuntimeError: if names are missing or unexpected (unless `strict=False`), or shapes differ;
                the message lists all of them.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"load_state_dict takes a mapping of names to tensors or arrays, got "
                f"{type(state_dict).__name__}: read a file first, with safetensors.numpy.load_file"
            )
        own = self.state_dict()
        missing = [name for name in own if name not in state_dict and not _is_optional(name)]
        unexpected = [name for name in state_dict if name not in own]
        problems = []
        if strict and missing:
            problems.append(f"missing: {', '.join(missing)}")
        if strict and unexpected:
            problems.append(f"unexpected: {', '.join(unexpected)}")
        arrays = {
            name: asarray(value.array if isinstance(value, Tensor) else value)
            for name, value in state_dict.items()
            if name in own
        }
        problems += [
            f"{name}: the state has shape {array.shape}, the module {own[name].shape}"
            for name, array in arrays.items()
            if array.shape != own[name].shape
        ]
        if problems:
            raise RuntimeError(
                f"the state does not fit {type(self).__name__}; was it saved from another architecture?\n  "
                + "\n  ".join(problems)
            )
        for name, array in arrays.items():
            own[name].copy_(array)
        return IncompatibleKeys(missing, unexpected)

    # -- modes, dtypes and gradients

    def train(self, mode: bool = True) -> Self:
        """Set training mode (dropout drops, batch statistics are used) here and below; return self."""
        if not isinstance(mode, bool):
            raise TypeError(f"training mode is True or False, got {mode!r}")
        for module in self.modules():
            object.__setattr__(module, "training", mode)
        return self

    def eval(self) -> Self:
        """Set evaluation mode here and below; return self."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set `requires_grad` of all parameters; return self."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set every parameter's gradient to None, or fill it with zeros."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.zero_()

    def apply(self, function: Callable[[Module], Any]) -> Self:
        """Call `function` on every submodule, then on this module; return self."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def to(self, *targets: Any, device: str | None = None, dtype: Any = None) -> Self:
        """Move parameters and buffers to a device, convert the floating-point ones to a dtype, or both.

        Raises:
            TypeError: if an argument is neither a device nor a floating-point dtype, or if two devices
                or two dtypes are given.
            ValueError: if a device or dtype has an unknown name.
        """
        device, dtype = device_and_dtype(targets, device, dtype)
        if dtype is not None and dtype.kind != "f":
            raise TypeError(f"a module converts to a floating-point dtype, got {dtype}")
        if device is not None:
            self._convert(lambda array: to_device(array, device))
        if dtype is not None:
            self._convert(lambda array: array.astype(dtype) if array.dtype.kind == "f" else array)
        return self

    def double(self) -> Self:
        """Convert parameters and floating-point buffers to float64; return self."""
        return self.to(numpy.float64)

    def float(self) -> Self:
        """Convert parameters and floating-point buffers to float32; return self."""
        return self.to(numpy.float32)

    def cpu(self) -> Self:
        """Move parameters and buffers to the CPU; return self."""
        return self.to("cpu")

    def cuda(self) -> Self:
        """Move parameters and buffers to the GPU; return self."""
        return self.to("cuda")

    def half(self) -> Self:
        """Convert parameters and floating-point buffers to float16; return self."""
        return self.to(numpy.float16)

    def _convert(self, convert: Callable[[Any], Any]) -> Self:
        for tensor in (*self.parameters(), *self.buffers()):
            tensor.array = convert(tensor.array)
            tensor.mark_written()
            tensor.grad_slot = None
            if tensor.grad is not None:
                tensor.grad = Tensor._wrap(convert(tensor.grad.array))
        return self

    # -- printing

    def extra_repr(self) -> str:
        """Return the text between the parentheses of `repr`. Every layer defines its own."""
        return ""

    def __repr__(self) -> str:
        lines = []
        for name, module in self._modules.items():
            lines.append(f"({name}): {module!r}".replace("\n", "\n  "))
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        body = "\n  ".join(([self.extra_repr()] if self.extra_repr() else []) + lines)
        return f"{type(self).__name__}(\n  {body}\n)"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__


def _is_optional(name: str) -> bool:
    """Return whether a state may lack the entry, as older files of a BatchNorm lack its count of batches."""
    return name.rpartition(".")[2] == "num_batches_tracked"
