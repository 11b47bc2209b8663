"""Rectifiers: activations made of straight pieces.

Their derivative is one number per piece, and PyTorch's choice at a kink, where there is none.
"""

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..module import Module
from ..normalization.checks import check_input
from ..registry import Case, ErrorCase, distinct, register


def relu_composed(input: Tensor) -> Tensor:
    """Relu from primitives: autograd finds the gradient."""
    return input.maximum(0.0)


class Relu(Function):
    """y = max(x, 0) · dx = dy where x > 0, else 0"""

    def forward(self, x: Array) -> Array:
        y = namespace(x).maximum(x, 0)
        self.saved = (y,)
        return y

    def backward(self, dy: Array) -> Gradients:
        (y,) = self.saved
        return dy * (y > 0)


def relu(input: Tensor) -> Tensor:
    """Return input where it is positive, else 0."""
    check_input(input, "relu")
    return Relu.apply(input)


class ReLU(Module):
    """relu as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        return relu(input)


register(
    name="relu",
    function=relu,
    composed=relu_composed,
    cases=(Case((distinct(3, 4),)), Case((distinct(2, 3, 2),)), Case((distinct(),)), Case(((0, 3),))),
    errors=(ErrorCase(lambda: relu([1.0]), TypeError, "Tensor"),),  # type: ignore[arg-type]
    torch="torch.nn.functional.relu",
)
