"""Parametrizations: a parameter that is computed from others whenever it is read.

    layer.weight        is p_k(… p_1(p_0(original)) …), p_i in the order of registration
    layer.weight = w    sets the original to the right inverses of w, that of p_k first

The original is trained and saved, as `layer.parametrizations.weight.original`. If the right inverse of p_0
returns several tensors, p_0 takes all of them: original0, original1, ...

A parametrized layer gets another class, which computes the parametrized attributes when they are read. The
class refers to no particular layer, so a layer and its copies are independent.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy

from ...autograd.grad_mode import is_grad_enabled, no_grad
from ...autograd.tensor import Tensor
from ...module import Module, Parameter
from ..containers import ModuleDict, ModuleList


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, and the originals from which they compute it."""

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        super().__init__(modules)
        with no_grad():
            new = _right_inverse(self, original.detach(), strict=False)
            tensors = list(new) if isinstance(new, tuple | list) else [new]
            if not unsafe:
                _check_value(modules[0], self._applied(tensors), original)
        self.is_tensor, self.ntensors, self.unsafe = isinstance(new, Tensor), len(tensors), unsafe
        if self.is_tensor:
            _check_dtype("right_inverse", new.dtype, original)
            _write(original, new)
            _register(self, "original", original)
        else:
            for i, tensor in enumerate(tensors):
                _register(self, f"original{i}", _like(original, tensor))

    @property
    def originals(self) -> list[Tensor]:
        """The inputs of the first parametrization."""
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def forward(self) -> Tensor:
        return self._applied(self.originals)

    def _applied(self, originals: Sequence[Tensor]) -> Tensor:
        first, *others = self
        value = first(*originals)
        for parametrization in others:
            value = parametrization(value)
        return value

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals to values from which `value` is computed.

        Raises:
            TypeError: if a right_inverse does not return tensors of the originals' dtype.
            ValueError: if the number or the shapes of these tensors are not those of the originals.
            RuntimeError: if a parametrization has no right_inverse.
        """
        with no_grad():
            new = _right_inverse(self, value, strict=True)
        tensors, originals = list(new) if isinstance(new, tuple | list) else [new], self.originals
        shapes, expected = [t.shape for t in tensors], [t.shape for t in originals]
        if shapes != expected:
            raise ValueError(f"the originals have shapes {expected}, but right_inverse returned {shapes}")
        for original, tensor in zip(originals, tensors, strict=True):
            _check_dtype("right_inverse", tensor.dtype, original)
        for original, tensor in zip(originals, tensors, strict=True):
            _write(original, tensor)


def _right_inverse(parametrizations: ModuleList, value: Tensor, strict: bool) -> Any:
    """Apply the right inverses to `value`; if not strict, parametrizations without one are skipped."""
    new: Any = value
    for parametrization in reversed(list(parametrizations)):
        inverse = getattr(parametrization, "right_inverse", None)
        if inverse is not None:
            new = inverse(new)
        elif strict:
            raise RuntimeError(
                f"a parametrized tensor can be assigned only if all parametrizations have a right_inverse: "
                f"{type(parametrization).__name__} has none"
            )
    tensors = new if isinstance(new, tuple | list) else [new]
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors):
        raise TypeError(f"right_inverse must return a Tensor or a sequence of them, got {new!r}")
    return new


def _check_value(parametrization: Module, value: Any, before: Tensor) -> None:
    """Raise TypeError or ValueError if a parametrization changes the dtype or the shape of `before`."""
    name = type(parametrization).__name__
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must return a Tensor, got {type(value).__name__}")
    _check_dtype(name, value.dtype, before)
    if value.shape != before.shape:
        raise ValueError(f"{name} must keep the shape {before.shape}, it returned {value.shape}")


def _check_dtype(name: str, dtype: numpy.dtype, before: Tensor) -> None:
    if dtype != before.dtype:
        raise TypeError(f"{name} must keep the dtype {before.dtype}, it returned {dtype}")


def _write(original: Tensor, value: Tensor) -> None:
    """Set `original` to the values and the shape of `value`."""
    if value.shape == original.shape:
        original.copy_(value.array if value.is_leaf else value)
    else:
        original.array = value.array.copy()
        original.mark_written()


def _like(original: Tensor, value: Tensor) -> Tensor:
    """Return a copy of `value`, a Parameter if `original` is one."""
    array = value.array.copy()
    return Parameter(array, original.requires_grad) if isinstance(original, Parameter) else Tensor(array)


def _register(module: Module, name: str, tensor: Tensor) -> None:
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


class _Cache(threading.local):
    """What a thread has computed inside of `cached`; None outside of it."""

    values: dict[tuple[ParametrizationList, bool], Tensor] | None = None


_cache = _Cache()


@contextmanager
def cached() -> Iterator[None]:
    """Compute every parametrized tensor only once in this context, at its first use.

    It is for layers that are called many times, such as a cell in a loop. Do not take an optimizer step
    inside. A tensor read with and without gradients is computed once for each.
    """
    outer = _cache.values
    _cache.values = {} if outer is None else outer
    try:
        yield
    finally:
        _cache.values = outer


class _Parametrized(Module):
    """Mixin before the module's own class: computes parametrized attributes when they are read."""

    def __getattr__(self, name: str) -> Any:
        known = _parametrizations(self).get(name)
        if known is None:
            return object.__getattribute__(self, name)  # raises, with Python's message
        computed = _cache.values
        if computed is None:
            return known()
        key = known, is_grad_enabled()
        if key not in computed:
            computed[key] = known()
        return computed[key]

    def __setattr__(self, name: str, value: Any) -> None:
        known = _parametrizations(self).get(name)
        if known is None:
            super().__setattr__(name, value)
            return
        if isinstance(value, Parameter) or not isinstance(value, Tensor):
            raise TypeError(
                f"{name} is computed by parametrizations: assign a Tensor as its value, or call "
                f"remove_parametrizations first; got {type(value).__name__}"
            )
        known.right_inverse(value)
        if _cache.values is not None:
            _cache.values.pop((known, True), None)
            _cache.values.pop((known, False), None)

    def __reduce__(self) -> tuple[Any, ...]:
        return _new, (type_before_parametrizations(self),), self.__getstate__()


def _parametrizations(module: Module) -> dict[str, Any]:
    found = module.__dict__.get("parametrizations")
    return dict(found.items()) if isinstance(found, ModuleDict) else {}


_classes: dict[type[Module], type[Module]] = {}


def _parametrized(base: type[Module]) -> type[Module]:
    if base not in _classes:
        names = {"__doc__": base.__doc__, "__module__": base.__module__}
        _classes[base] = type(f"Parametrized{base.__name__}", (_Parametrized, base), names)
    return _classes[base]


def _new(base: type[Module]) -> Module:
    return object.__new__(_parametrized(base))


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Compute a parameter or buffer of `module` by a parametrization from now on; return the module.

    The parametrization is called with the original and returns the tensor that replaces it. It may have a
    `right_inverse(value)`, which returns an original that gives the value (the first parametrization may
    return several originals). Without one, the original is the tensor itself. Several parametrizations are
    applied in the order of registration.

    An optimizer created before does not have the new parameters: original0, original1, ...

    Args:
        module: its class becomes a subclass with the name Parametrized….
        tensor_name: the name of a parameter or buffer, parametrized already or not.
        parametrization: gets the training mode of `module`.
        unsafe: allow a change of shape and dtype, and check nothing.

    Raises:
        ValueError: if there is no such tensor, or its shape would change.
        TypeError: if its dtype would change, or the parametrization does not return tensors.
    """
    parametrization.train(module.training)
    known = _parametrizations(module).get(tensor_name)
    if known is not None:
        if not unsafe:
            with no_grad():
                before = known()
                _check_value(parametrization, parametrization(before), before)
        known.append(parametrization)
        known.unsafe = known.unsafe or unsafe
        return module
    original = {**module._parameters, **module._buffers}.get(tensor_name)
    if original is None:
        raise ValueError(f"{type(module).__name__} has no parameter or buffer named {tensor_name!r}")
    made = ParametrizationList([parametrization], original, unsafe)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        module.__class__ = _parametrized(type(module))
        module.parametrizations = ModuleDict()
    module.parametrizations[tensor_name] = made
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Return whether the tensor of that name, or if no name is given any tensor, is parametrized."""
    known = _parametrizations(module)
    return bool(known) if tensor_name is None else tensor_name in known


def type_before_parametrizations(module: Module) -> type[Module]:
    """Return the class that `module` has, or had before it was parametrized."""
    return type(module).__bases__[1] if isinstance(module, _Parametrized) else type(module)


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Make a parametrized tensor a plain parameter or buffer again; return the module.

    A single original becomes that parameter: it is the same object, so an optimizer still updates it. Several
    originals are replaced by a new parameter.

    Args:
        module: the module with the parametrized tensor.
        tensor_name: the name of the tensor.
        leave_parametrized: keep the computed value; if False, the value of the single original.

    Raises:
        ValueError: if the tensor is not parametrized, or it has several originals and leave_parametrized
            is False.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"{type(module).__name__} has no parametrized tensor named {tensor_name!r}")
    known = module.parametrizations[tensor_name]
    if not (known.is_tensor or leave_parametrized):
        raise ValueError(
            f"{tensor_name} is computed from {known.ntensors} originals, so it can only keep its computed "
            "value: pass leave_parametrized=True"
        )
    tensor = known.originals[0]
    if leave_parametrized:
        with no_grad():
            value = known()
        if known.is_tensor:
            _check_dtype("a parametrization that is removed", value.dtype, tensor)
            _write(tensor, value)
        else:
            tensor = _like(tensor, value)
    del module.parametrizations[tensor_name]
    if not is_parametrized(module):
        del module.parametrizations
        module.__class__ = type_before_parametrizations(module)
    _register(module, tensor_name, tensor)
    return module
