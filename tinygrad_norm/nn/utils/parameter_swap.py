"""functional_call: a module as a function of its parameters, which other tensors replace during one call."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...autograd.tensor import Tensor
from ...module import Module


def functional_call(
    module: Module,
    parameters: Mapping[str, Tensor],
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """Return module(*args, **kwargs), computed with `parameters`, by dotted name, instead of its own.

    Gradients flow to the given tensors; the module is unchanged afterwards.

    Raises:
        ValueError: if a name is not that of a parameter, or a tensor does not have the parameter's shape.
    """
    own = dict(module.named_parameters())
    for name, tensor in parameters.items():
        if name not in own:
            raise ValueError(f"{type(module).__name__} has no parameter {name!r}, only {', '.join(own)}")
        if tensor.shape != own[name].shape:
            raise ValueError(f"{name} has shape {own[name].shape}, got a tensor of shape {tensor.shape}")
    try:
        _assign(module, parameters)
        return module(*args, **(kwargs or {}))
    finally:
        _assign(module, own)


def _assign(module: Module, tensors: Mapping[str, Any]) -> None:
    for name, tensor in tensors.items():
        path, _, last = name.rpartition(".")
        owner = module.get_submodule(path)
        owner._parameters[last] = tensor
