"""Backward from several tensors at once: every function that they share runs its backward once."""

from collections.abc import Sequence
from typing import Any

from .differentiation import run
from .tensor import Tensor


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add dL/dx to `x.grad` of every leaf x, with L = Σ sum(tensor · grad_tensor).

    Args:
        tensors: one or several computed tensors.
        grad_tensors: dL/dtensor for each of them, of its shape; None, also for a single one, if the tensor
            has one element.
        retain_graph: as of `Tensor.backward`.
        create_graph: as of `Tensor.backward`.

    Raises:
        TypeError: if something in `tensors` is not a tensor, or a flag is not a bool.
        RuntimeError: if the numbers of tensors and gradients differ, and as `Tensor.backward`.
    """
    roots = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    for root in roots:
        if not isinstance(root, Tensor):
            raise TypeError(f"autograd.backward takes tensors, got {type(root).__name__}")
    if grad_tensors is None:
        dys = [None] * len(roots)
    else:
        dys = [grad_tensors] if hasattr(grad_tensors, "dtype") else list(grad_tensors)
    if len(dys) != len(roots):
        raise RuntimeError(
            f"autograd.backward got {len(roots)} tensors and {len(dys)} gradients: give each tensor one, or "
            "None if it has one element"
        )
    run(roots, dys, retain_graph, create_graph)
