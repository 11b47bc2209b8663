"""What the residual norms have in common: the sum of input and residual, and the check of the residual."""

from ...autograd.tensor import Tensor
from ...backends import Array
from ...backends.cpu.half import downcast, upcast
from ...ops.checks import check_vector


def residual_sum(x: Array, z: Array) -> Array:
    """Return x + z, rounded to the dtype of x."""
    return downcast(upcast(x) + upcast(z), x)


def check_residual(input: Tensor, residual: Tensor) -> None:
    """Raise TypeError or ValueError unless the residual is a tensor of the input's dtype and shape."""
    if not isinstance(residual, Tensor):
        raise TypeError(f"residual must be a Tensor, got {type(residual).__name__}: use tn.tensor(...)")
    if residual.dtype != input.dtype:
        raise TypeError(f"residual is of {residual.dtype}, the input of {input.dtype}: convert one of them")
    check_vector(residual, "residual", input.shape)
