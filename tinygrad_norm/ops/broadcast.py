"""The adjoint of broadcasting."""

from typing import Any


def unbroadcast(dy: Any, shape: tuple[int, ...]) -> Any:
    """Sum `dy` over the axes that broadcasting added to, or stretched in, an input of `shape`."""
    if dy.shape == shape:
        return dy
    added = dy.ndim - len(shape)
    axes = (*range(added), *(added + i for i, n in enumerate(shape) if n == 1 and dy.shape[added + i] != 1))
    return dy.sum(axes).reshape(shape)


def shape_of(x: Any) -> tuple[int, ...]:
    """Return the shape of an array, () for a Python number."""
    return getattr(x, "shape", ())
