"""Guards: what can go wrong in a Function, and messages that say what to do.

They are for authors of Functions, above all for those who know PyTorch's, and for users who write to an
array that a backward still needs.
"""

from typing import Any, NoReturn

from .memory import Memory, watched
from .node import Node, same_memory
from .tensor import Tensor


def _no_ctx(instead: str) -> property:
    """Return an attribute that exists on PyTorch's ctx: reading it says what to use instead."""

    def explain(node: Node) -> NoReturn:
        raise AttributeError(f"{node.name} has no ctx, as PyTorch's functions do: {instead}", name="ctx")

    return property(explain)


class PyTorchHabits(Node):
    """Base of Function: answers code that is written as for PyTorch's Function."""

    save_for_backward = _no_ctx("self.saved = (x,) keeps x for backward")
    saved_tensors = _no_ctx("(x,) = self.saved reads what forward kept")
    needs_input_grad = _no_ctx("self.needs[i] says whether input i needs a gradient")
    mark_non_differentiable = _no_ctx("constants = (1,) in the class says that output 1 has no gradient")

    def __init_subclass__(cls) -> None:
        for name in ("forward", "backward"):
            method = cls.__dict__.get(name)
            if isinstance(method, staticmethod):
                form = "is a static method"
            elif _parameters(method)[1:2] == ("ctx",):
                form = "takes a ctx"
            else:
                continue
            raise TypeError(
                f"{cls.__name__}.{name} {form}, as in PyTorch. Here the instance is the "
                f"context: def forward(self, x), def backward(self, dy), with self.saved = (x,) "
                "between them, on raw arrays"
            )

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        cls = type(self).__name__
        raise TypeError(f"a {cls} is the node of one call, not a function: call {cls}.apply(x, ...)")


def _parameters(method: Any) -> tuple[str, ...]:
    code = getattr(method, "__code__", None)
    return () if code is None else code.co_varnames[: code.co_argcount]


# -- what backward returns


def already_freed(node: Node) -> RuntimeError:
    """Return the error for a second backward through a node that is freed."""
    return RuntimeError(
        f"backward through {node.name} a second time: the first freed the graph. "
        "Pass retain_graph=True to the first backward to go through the graph again"
    )


def missing_return(node: Node) -> RuntimeError:
    """Return the error for a backward that returns None."""
    return RuntimeError(
        f"{node.name}.backward returned None: did you forget to return the gradient? If the only input has "
        "no gradient, return (None,)"
    )


def wrong_count(node: Node, dxs: tuple[Any, ...]) -> RuntimeError:
    """Return the error for a backward that does not return one gradient per input."""
    name, n = f"{node.name}.backward", len(node.inputs)
    if len(dxs) == 1 and type(dxs[0]) is list:
        return RuntimeError(f"{name} returned a list for {n} inputs: return a tuple, one gradient each")
    return RuntimeError(
        f"{name} returned {len(dxs)} gradient{'s' if len(dxs) != 1 else ''} for {n} "
        f"input{'s' if n != 1 else ''}: return one per input, None where an input has no gradient"
    )


def wrong_gradient(node: Node, i: int, dx: Any) -> RuntimeError:
    """Return the error for a gradient of input i that is not an array, or has another shape."""
    name, shape = f"{node.name}.backward", node.inputs[i].shape
    if isinstance(dx, Tensor):
        return RuntimeError(f"{name} returned a Tensor for input {i}: work on raw arrays, as dy is one")
    if not hasattr(dx, "shape"):
        return RuntimeError(
            f"{name} returned a {type(dx).__name__} for its input {i}: return an array of "
            f"the input's shape, {shape}, or a tuple with one for each input"
        )
    return RuntimeError(
        f"{name} returned a gradient of shape {dx.shape} for input {i}, "
        f"whose shape is {shape}{_likely_cause(shape, dx.shape)}"
    )


def _likely_cause(shape: tuple[int, ...], got: tuple[int, ...]) -> str:
    """Return why a gradient may have a wrong shape, or ""."""
    new = len(got) - len(shape)
    pairs = list(enumerate(zip((1,) * new + shape, got, strict=False)))
    if new >= 0 and all(n in (1, m) for _, (n, m) in pairs):
        axes = tuple(k for k, (n, m) in pairs if k < new or n != m)
        return f": if forward broadcasts an input, sum its gradient over the broadcast axes, here {axes}"
    if got == shape[::-1]:
        return ": is it transposed?"
    return ""


# -- writes in place


def check_for_writes(inputs: tuple[Any, ...], memories: tuple[Memory, ...] = ()) -> None:
    """Detect writes through raw arrays to the memory of the inputs, and to `memories`."""
    for memory in (*[x.memory for x in inputs if isinstance(x, Tensor)], *memories):
        if memory in watched:
            memory.check_for_writes()


def raise_if_written(node: Node) -> None:
    """Raise RuntimeError if an array that backward needs was changed in place after the call."""
    created_at = node.created_at
    for i, x in enumerate(node.inputs):
        memory = x.memory if isinstance(x, Tensor) else None
        if memory is None or memory.written <= created_at:
            continue
        if any(same_memory(array, x.array) for array in node.saved_arrays()):
            raise RuntimeError(
                f"input {i} of {node.name} (shape {x.shape}) was changed in place after it was saved "
                "for backward: the gradient would be wrong. Change a copy, or run backward first"
            )
    for output in node.saved_outputs:
        if output.written > node.created_at:
            raise RuntimeError(
                f"the output of {node.name} was changed in place, but its backward needs it: "
                "change a copy, or run backward first"
            )
