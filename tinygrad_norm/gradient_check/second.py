"""gradgradcheck: is the derivative of the gradient right?

The gradient dx = J(x)ᵀ·dy is a function of x and dy, with a graph under `create_graph`. So it is checked as
any other function is: `gradcheck` compares its gradients with finite differences.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from ..autograd.differentiation import grad
from ..autograd.tensor import Tensor
from ..backends import current_backend
from .check import gradcheck


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    grad_outputs: Tensor | Sequence[Tensor] | None = None,
    *,
    eps: float = 1e-3,
    atol: float = 0.0,
    rtol: float = 1e-6,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    fast_mode: bool = False,
) -> bool:
    """Check second derivatives of `func` against finite differences, as `torch.autograd.gradgradcheck`.

    Checked is the gradient of the gradients of `func`, with respect to its inputs and to `grad_outputs`.

    Args:
        func: from tensors to a tensor or a tuple of tensors; its randomness frozen.
        inputs: its arguments: a tensor, or a tuple of anything. Tensors to be checked must be float64.
        grad_outputs: dy for each output that requires grad, in order; default: random numbers.
        eps, atol, rtol, raise_exception, nondet_tol, fast_mode: as of `gradcheck`; what they say of values is
            said of gradients here.

    Raises:
        GradcheckError: if the check fails, with the worst entry.
        ValueError, TypeError: as `gradcheck`, or if there is another number of grad_outputs.
    """
    arguments = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    outputs = _outputs(func, arguments)
    dys = _cotangents(outputs, grad_outputs)
    count = len(arguments)

    def gradient(*moving: Any) -> tuple[Tensor, ...]:
        xs = [x for x in moving[:count] if isinstance(x, Tensor) and x.requires_grad]
        ys = _outputs(func, moving[:count])
        dxs = grad(ys, xs, moving[count:], create_graph=True, allow_unused=True)
        return tuple([dx for dx in dxs if dx is not None])

    return gradcheck(
        gradient,
        (*arguments, *dys),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        fast_mode=fast_mode,
    )


def _outputs(func: Callable[..., Any], arguments: Sequence[Any]) -> list[Tensor]:
    """Return the outputs of `func` that require grad."""
    result = func(*arguments)
    results = result if isinstance(result, tuple | list) else (result,)
    return [y for y in results if isinstance(y, Tensor) and y.requires_grad]


def _cotangents(outputs: Sequence[Tensor], given: Any) -> list[Tensor]:
    if not outputs:
        raise ValueError("gradgradcheck needs an output that requires grad: func returned none")
    if given is None:
        rng, backend = numpy.random.default_rng(0), current_backend()
        return [Tensor(backend.from_numpy(rng.normal(size=y.shape)), requires_grad=True) for y in outputs]
    dys = [given] if isinstance(given, Tensor) else list(given)
    if [dy.shape for dy in dys] != [y.shape for y in outputs]:
        raise ValueError(
            f"grad_outputs have the shapes {[dy.shape for dy in dys]}, but the outputs that require grad "
            f"{[y.shape for y in outputs]}: give one for each"
        )
    return dys
