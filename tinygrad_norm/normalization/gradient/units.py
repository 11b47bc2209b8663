"""The gradients of parameters, and their units: what the functions of this folder read and write."""

import math
import warnings
from collections.abc import Iterable, Iterator

from ...autograd.tensor import Tensor
from ...backends import Array
from ...backends.cpu.half import upcast
from ...backends.cuda.launch import contiguous
from ...module import Module

Tensors = Tensor | Iterable[Tensor]


def with_gradients(parameters: Tensors) -> list[tuple[Tensor, Tensor]]:
    """Return each parameter that has a gradient, and this gradient.

    Raises:
        TypeError: if `parameters` are not tensors.
    """
    return [(p, p.grad) for p in listed(parameters) if p.grad is not None]


def listed(tensors: Tensors) -> list[Tensor]:
    """Return one tensor or several as a list.

    Raises:
        TypeError: if they are not tensors: a module, for example.
    """
    if isinstance(tensors, Module):
        raise TypeError(f"expected tensors, got the module {type(tensors).__name__}: pass its parameters()")
    if not isinstance(tensors, Iterable):
        raise TypeError(f"expected a tensor or several, got {type(tensors).__name__}")
    result = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if not result and isinstance(tensors, Iterator):
        warnings.warn(
            "the generator of tensors is empty, so no gradient is changed: it was used before; call "
            "parameters() again",
            stacklevel=4,
        )
    for i, tensor in enumerate(result):
        if not isinstance(tensor, Tensor):
            advice = ": pass parameters(), not named_parameters()" if isinstance(tensor, tuple) else ""
            raise TypeError(f"expected tensors, entry {i} is a {type(tensor).__name__}{advice}")
    return result


def is_vector(x: Array | Tensor) -> bool:
    """Return whether x (K,), (K, 1, 1, 1) or () has one entry for each output: a bias or a gain.

    (K, 1) is the weight of a linear layer with one input: K units.
    """
    return x.ndim != 2 and math.prod(x.shape[1:]) == 1


def as_units(x: Array) -> Array:
    """Return x as rows (K, D), one for each unit: the weights of one output, or a whole vector."""
    shape = (1, x.size) if is_vector(x) else (len(x), math.prod(x.shape[1:]))
    return contiguous(upcast(x).reshape(shape))[0]
