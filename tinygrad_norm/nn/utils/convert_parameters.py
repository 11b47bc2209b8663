"""All parameters of a module as one vector, and back."""

from collections.abc import Iterable

from ...autograd.grad_mode import no_grad
from ...autograd.tensor import Tensor
from ...ops import cat


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Return the values of tensors end to end, (P,); gradients flow back to them.

    Raises:
        TypeError: if `parameters` is a single tensor, or has entries that are not tensors.
        ValueError: if there are none.
    """
    tensors = _tensors(parameters)
    if not tensors:
        raise ValueError("there are no parameters (a generator is empty the second time)")
    return cat([tensor.flatten() for tensor in tensors])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy the parts of a vector (P,) into tensors, in order. Nothing is recorded.

    Raises:
        TypeError: if vec is not a Tensor, or `parameters` are not tensors.
        ValueError: if vec does not have as many elements as the parameters have.
    """
    tensors = _tensors(parameters)
    size = sum(tensor.numel() for tensor in tensors)
    if not isinstance(vec, Tensor):
        raise TypeError(f"vec must be a Tensor, got {type(vec).__name__}")
    if vec.shape != (size,):
        raise ValueError(f"vec has shape {vec.shape}, but the parameters have {size} elements")
    position = 0
    with no_grad():
        for tensor in tensors:
            tensor.copy_(vec[position : position + tensor.numel()].reshape(tensor.shape))
            position += tensor.numel()


def _tensors(parameters: Iterable[Tensor]) -> list[Tensor]:
    tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    if isinstance(parameters, Tensor) or not all(isinstance(tensor, Tensor) for tensor in tensors):
        names = ", ".join(sorted({type(tensor).__name__ for tensor in tensors}))
        raise TypeError(f"parameters must be tensors, as from module.parameters(), got {names}")
    return tensors
