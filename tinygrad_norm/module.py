"""Module: the base of every layer, with named parameters, buffers and submodules.

State names, shapes and behaviour are PyTorch's, so a state dict can travel between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Self

import numpy

from .autograd.conversion import device_and_dtype
from .autograd.tensor import Tensor
from .backends import to_device
from .module_hooks import Hooked
from .module_registry import (
    BUFFER,
    MODULE,
    NO_NAMES,
    PARAMETER,
    REGISTRIES,
    UNSAVED_BUFFER,
    Names,
    RegistryAttribute,
    SetByInit,
    from_older_state,
    kind_of,
    with_name,
    without_name,
)
from .module_state import IncompatibleKeys, load_state
from .ops.arguments import check_flags
from .parameter import Parameter


class Module(Hooked):
    """Base of every layer: subclass, assign parameters and submodules, define `forward`.

    Assigning a Parameter or a Module to an attribute registers it; `register_buffer` registers state
    that is saved but not trained (running statistics). Call `super().__init__()` first.
    """

    def __init__(self) -> None:
        self.__dict__["_registered"] = NO_NAMES
        self.__dict__["training"] = True

    if TYPE_CHECKING:
        training: bool
        _registered: Names
        _parameters: MutableMapping[str, Parameter | None]
        _buffers: MutableMapping[str, Tensor | None]
        _modules: MutableMapping[str, Module | None]

        def __getattr__(self, name: str) -> Any: ...
    else:
        _registered = SetByInit()
        _parameters, _buffers, _modules = RegistryAttribute(), RegistryAttribute(), RegistryAttribute()

    # -- attributes

    def __setattr__(self, name: str, value: Any) -> None:
        registered: Names | None = self.__dict__.get("_registered")
        kind: str | None
        if isinstance(value, Parameter | Module):
            if registered is None:
                raise AttributeError(
                    f"assigning {type(self).__name__}.{name} before Module.__init__: "
                    "call super().__init__() first"
                )
            kind = PARAMETER if isinstance(value, Parameter) else MODULE
        else:
            kind = kind_of(name, registered) if registered else None
            if kind:
                self._check_replacement(name, kind, value)
        if not kind or isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        else:
            self._set(name, kind, value)

    def _check_replacement(self, name: str, kind: str, value: Any) -> None:
        if value is not None and not (kind in (BUFFER, UNSAVED_BUFFER) and isinstance(value, Tensor)):
            expected = {PARAMETER: "Parameter", MODULE: "Module"}.get(kind, "Tensor")
            raise TypeError(
                f"{type(self).__name__}.{name} is registered: assign a {expected} or None, got "
                f"{type(value).__name__}"
                + ("" if kind == MODULE else f"; to change its values, use {name}.copy_(...)")
            )

    def _set(self, name: str, kind: str, value: Any) -> None:
        """Set the attribute and register its name, under one kind only."""
        registered = self._registered
        if name not in registered[kind]:
            known = kind_of(name, registered)
            others = without_name(registered, name, known) if known else registered
            self.__dict__["_registered"] = with_name(others, name, kind)
        self.__dict__[name] = value

    def __delattr__(self, name: str) -> None:
        registered: Names = self.__dict__.get("_registered", NO_NAMES)
        kind = kind_of(name, registered)
        if kind:
            del self.__dict__[name]
            self.__dict__["_registered"] = without_name(registered, name, kind)
        else:
            object.__delattr__(self, name)

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Register `parameter` under `name`; None reserves the name (a layer without bias)."""
        self._register(name, parameter, Parameter, PARAMETER)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Register state that is not trained; it is part of `state_dict` if `persistent`."""
        check_flags(persistent=persistent)
        self._register(name, tensor, Tensor, BUFFER if persistent else UNSAVED_BUFFER)

    def register_module(self, name: str, module: Module | None) -> None:
        """Register a submodule under `name`, which may be any string without a dot."""
        self._register(name, module, Module, MODULE)

    add_module = register_module

    def _register(self, name: str, value: Any, expected: type, kind: str) -> None:
        """Register `value`, which may replace an entry of the same name and type.

        Raises:
            TypeError: if the value is not of type `expected`, or the name is not a string.
            KeyError: if the name is empty, contains a dot, or is that of another attribute.
        """
        if not isinstance(name, str):
            raise TypeError(f"a registered name must be a str, got {name!r}")
        if not name or "." in name:
            raise KeyError(f"a registered name must be non-empty and without dots, got {name!r}")
        known = kind_of(name, self._registered)
        replaces = any(kind in kinds and known in kinds for kinds in REGISTRIES.values())
        if hasattr(self, name) and not replaces:
            raise KeyError(
                f"{type(self).__name__} has an attribute {name!r} already: choose another name for the "
                f"{expected.__name__}, or assign it to the attribute if it is to take its place"
            )
        if value is not None and not isinstance(value, expected):
            raise TypeError(f"{name!r} must be a {expected.__name__} or None, got {type(value).__name__}")
        self._set(name, kind, value)

    def _entries(self, *kinds: str) -> Iterator[tuple[str, Any]]:
        """Yield the names and values registered under `kinds`, without those that are None."""
        registered, values = self._registered, self.__dict__
        for kind in kinds:
            for name in registered[kind]:
                if values[name] is not None:
                    yield name, values[name]

    # -- walking

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield (name, submodule) for the direct submodules, each of them once."""
        seen: set[int] = set()
        for name, module in self._entries(MODULE):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """Yield the direct submodules, each of them once."""
        return (module for _, module in self.named_children())

    def named_modules(
        self, prefix: str = "", _seen: set[int] | None = None, *, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Yield (dotted name, module) for this module and all below.

        Each of them is there once, or with `remove_duplicate=False` under every name that it has.
        """
        seen = set() if _seen is None else _seen
        if id(self) in seen:
            return
        if remove_duplicate:
            seen.add(id(self))
        yield prefix, self
        for name, module in self._entries(MODULE):
            path = f"{prefix}.{name}" if prefix else name
            yield from module.named_modules(path, seen, remove_duplicate=remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below, each of them once."""
        return (module for _, module in self.named_modules())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yield (dotted name, parameter), each parameter once even if modules share it.

        With `remove_duplicate=False`, a shared parameter is there under every name that it has.
        """
        return self._named(prefix, recurse, remove_duplicate, PARAMETER)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield the parameters, each of them once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield (dotted name, buffer), each buffer once, or under every name that it has."""
        return self._named(prefix, recurse, remove_duplicate, BUFFER, UNSAVED_BUFFER)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield the buffers, each of them once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _named(self, prefix: str, recurse: bool, once: bool, *kinds: str) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = self.named_modules(prefix, remove_duplicate=once) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, entry in module._entries(*kinds):
                if id(entry) not in seen:
                    if once:
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

    def set_submodule(self, target: str, module: Module) -> None:
        """Put `module` in the place of the submodule with the dotted name `target`, or under a new name.

        Raises:
            AttributeError: if there is no module to put it in.
            ValueError: if target is empty.
            TypeError: if `module` is not a Module.
        """
        path, _, name = target.rpartition(".")
        if not name:
            raise ValueError(f"set_submodule needs the name of a submodule, got {target!r}")
        self.get_submodule(path).register_module(name, module)

    def get_parameter(self, target: str) -> Parameter:
        """Return the parameter with the dotted name `target`."""
        return self._get(target, "_parameters", "parameter")

    def get_buffer(self, target: str) -> Tensor:
        """Return the buffer with the dotted name `target`."""
        return self._get(target, "_buffers", "buffer")

    def _get(self, target: str, registry: str, what: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        entry = getattr(module, registry).get(name)
        if entry is None:
            raise AttributeError(f"{type(module).__name__} has no {what} {name!r} (looking for {target!r})")
        return entry

    # -- state

    def state_dict(self, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """Return every parameter and persistent buffer by dotted name, sharing memory with the module.

        The tensors follow when an optimizer moves the parameters; arrays that `.numpy()` returned do not.
        With `keep_vars`, they are the parameters and buffers themselves, with their gradients.
        """
        check_flags(keep_vars=keep_vars)
        return {
            path + name: tensor if keep_vars else tensor.detach()
            for path, module in self._walk(prefix)
            for name, tensor in module._entries(PARAMETER, BUFFER)
        }

    def _walk(self, prefix: str) -> Iterator[tuple[str, Module]]:
        yield prefix, self
        for name, module in self._entries(MODULE):
            yield from module._walk(f"{prefix}{name}.")

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy the values of `state_dict` (tensors or arrays by dotted name) into this module.

        Nothing is changed unless everything fits. A state without `num_batches_tracked`, as older files
        have it, fits too.

        With `assign`, nothing is copied: new parameters and buffers have the memory, dtype and device
        of the state, and a Parameter in it becomes that of the module. Make the optimizer afterwards.

        Raises:
            TypeError: if `state_dict` is not a mapping, or a flag is not a bool.
            RuntimeError: if names are missing or unexpected (unless `strict=False`), shapes differ, or
                values are not numbers (text, dates); the message lists all of them.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"load_state_dict takes a mapping of names to tensors or arrays, got "
                f"{type(state_dict).__name__}: read a file first, with tn.load"
            )
        check_flags(strict=strict, assign=assign)
        put = self._assign if assign else None
        return load_state(self.state_dict(), state_dict, strict, type(self).__name__, put)

    def _assign(self, target: str, value: Any) -> None:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        own = getattr(module, name)
        value = value if isinstance(value, Tensor) else Tensor(value)
        if isinstance(own, Parameter):
            value = value if isinstance(value, Parameter) else Parameter(value, own.requires_grad)
        module._set(name, PARAMETER if isinstance(own, Parameter) else BUFFER, value)

    # -- modes, dtypes and gradients

    def train(self, mode: bool = True) -> Self:
        """Set training mode (dropout drops, batch statistics are used) here and below; return self."""
        if not isinstance(mode, bool | numpy.bool_):
            raise TypeError(f"training mode is True or False, got {mode!r}")
        for module in self.modules():
            object.__setattr__(module, "training", bool(mode))
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
        check_flags(set_to_none=set_to_none)
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

    def to(
        self, *targets: Any, device: str | None = None, dtype: Any = None, non_blocking: bool = False
    ) -> Self:
        """Move parameters and buffers to a device, convert the floating-point ones to a dtype, or both.

        `non_blocking` has no effect.

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

    def type(self, dst_type: Any) -> Self:
        """Convert parameters and floating-point buffers to a dtype; return self.

        Counts stay integers, where PyTorch converts them too.
        """
        return self.to(dtype=dst_type)

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

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(from_older_state(state) if "_parameters" in state else state)
