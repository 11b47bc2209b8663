"""Replay: the forward and the backward of a Function run again, on recorded arrays."""

from collections.abc import Sequence
from typing import Any

from ...autograd.function import Function
from ...autograd.recorded_sweep import partial_gradients, set_replay
from ...autograd.tensor import Tensor
from .recordedarray import BUFFERS, NotRecorded, RecordedArray, as_recorded_tensor


def replay(
    function: type[Function], options: dict[str, Any], inputs: Sequence[Any], dys: Sequence[Any]
) -> list[Tensor | None]:
    """Return dL/dx for each of `inputs` from `dys`, one for each output, as tensors with a graph.

    Running statistics stay as they are: an option whose name begins with "update" is a function that changes
    them, and is not called again.

    Raises:
        NotImplementedError: if forward or backward loses the gradient of an array, or needs a function of
            NumPy that recorded arrays do not have.
    """
    if function.composed is not None:
        composed = function.composed
        return partial_gradients(lambda *xs: (composed(*xs, **options),), inputs, dys)
    node: Any = function()
    node.needs = [isinstance(x, Tensor) and x.requires_grad for x in inputs]
    node.inputs, node.options = tuple(inputs), options
    quiet = {name: _quiet(name, value) for name, value in options.items()}
    try:
        node.forward(*map(_recorded, inputs), **quiet)
        dxs = node.backward(*map(_recorded, dys))
    except NotRecorded as error:
        raise NotImplementedError(
            f"{node.name} has no second derivative: its forward or backward {error}"
        ) from error
    except (AttributeError, TypeError, ValueError) as error:  # on plain arrays, both have run already
        lost = error.__cause__  # NumPy's own error for x[i] = a recorded number comes from ours
        reason = (
            lost
            if isinstance(lost, NotRecorded)
            else (
                f"does not run on recorded arrays ({error}): {BUFFERS}, and use the functions of "
                "ops/recorded/numpyfunctions.py"
            )
        )
        raise NotImplementedError(
            f"{node.name} has no second derivative: its forward or backward {reason}"
        ) from error
    if type(dxs) is not tuple:
        dxs = (dxs,)
    return [None if dx is None else as_recorded_tensor(dx) for dx in dxs]


def _recorded(x: Any) -> Any:
    """Return an input as forward and backward take it: floats as a recorded array."""
    if not isinstance(x, Tensor):
        return x
    return RecordedArray(x) if x.array.dtype.kind == "f" else x.array


def _quiet(name: str, value: Any) -> Any:
    return (lambda *_: None) if name.startswith("update") and callable(value) else value


set_replay(replay)
