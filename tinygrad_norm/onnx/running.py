"""The table of operators that a loaded file may have, and what each needs to know of its node."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..autograd.tensor import Tensor
from .onnx_package import OnnxError, onnx_package

Runner = Callable[..., Any]
"""Called as runner(node, *inputs), with None for an input not given; returns one output or a tuple."""

RUNNERS: dict[str, Runner] = {}


@dataclass(frozen=True, eq=False)
class Node:
    """A node of a loaded graph. `training` is a function, as the module's mode may change."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    opset: int
    training: Callable[[], bool]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or the default."""
        return self.attributes.get(name, default)

    def fail(self, reason: str) -> OnnxError:
        """Return the error that names the operator and the node."""
        return OnnxError(f"{self.kind} ({self.name}): {reason}")


def runs(*kinds: str) -> Callable[[Runner], Runner]:
    """Register the decorated function for the operators `kinds`."""

    def decorate(runner: Runner) -> Runner:
        RUNNERS.update(dict.fromkeys(kinds, runner))
        return runner

    return decorate


def ints(x: Tensor) -> list[int]:
    """Return the integers of a 1-d tensor."""
    return [int(value) for value in x.detach().numpy().reshape(-1)]


def dtype_of(code: int) -> Any:
    """Return the NumPy dtype of an ONNX element type."""
    return onnx_package().helper.tensor_dtype_to_np_dtype(code)
