"""Differentiation: `backward`, from one tensor into `.grad`, and `grad`, from outputs to chosen inputs."""

from collections.abc import Sequence
from typing import Any

from .accumulation import accumulate
from .flags import check_flags
from .hooks import register_hook
from .leaf_hooks import Completion, hooked
from .recorded_sweep import recorded_sweep
from .sweep import gradients, sweep
from .tensor import Tensor


def backward(
    root: Tensor, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False
) -> None:
    """Add dL/dx to `x.grad` of every leaf x, with L = this tensor, or sum(tensor · gradient).

    Args:
        root: this tensor.
        gradient: dL/d(this tensor), of its shape; not needed if it has one element.
        retain_graph: keep the graph, so that backward can run again, or `draw` can show it; default: as
            `create_graph`.
        create_graph: let each `.grad` have a graph itself, so that it can be differentiated again.

    Raises:
        TypeError: if a flag is not a bool.
        RuntimeError: if no gradient is required; if this tensor has several elements and no gradient is
            given; a second time without `retain_graph`; if an array saved for backward was changed in place.
    """
    run([root], [gradient], retain_graph, create_graph)


def run(roots: Sequence[Tensor], dys: Sequence[Any], retain_graph: bool | None, create_graph: bool) -> None:
    """Add to `.grad` of every leaf the gradient of Σ sum(root · dy); the flags are those of `backward`."""
    retain = _check(retain_graph, create_graph)
    if not hooked and not create_graph:
        accumulate(sweep(roots, dys, retain).values())
        return
    with Completion(roots) as completion:
        if create_graph:
            completion.finish_recorded(recorded_sweep(roots, dys, retain))
        else:
            completion.finish(sweep(roots, dys, retain, completion=completion))


def _check(retain_graph: Any, create_graph: Any) -> bool:
    """Return whether the graph is retained."""
    check_flags(create_graph=create_graph)
    if retain_graph is None:
        return bool(create_graph)
    check_flags(retain_graph=retain_graph)
    return bool(retain_graph)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """Return dL/dx for each of `inputs`; no `.grad` changes.

    L = Σ sum(output · grad_output) over `outputs`; a grad_output may be None for an output of one element.
    Only what lies between the outputs and `inputs` runs: hooks elsewhere are not called.
    With `create_graph`, the gradients are functions of the inputs and of `grad_outputs`, to be differentiated
    again; the graph is then retained unless `retain_graph` is False.

    Raises:
        TypeError: if a flag is not a bool.
        RuntimeError: if there are no inputs, or an input was not used, unless `allow_unused` (its gradient
            is then None).
    """
    retain = _check(retain_graph, create_graph)
    check_flags(allow_unused=allow_unused)
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if not inputs:
        raise RuntimeError("grad needs at least one input to differentiate with respect to, got none")
    if grad_outputs is None or isinstance(grad_outputs, Tensor) or hasattr(grad_outputs, "dtype"):
        grad_outputs = [grad_outputs] * len(outputs)
    if create_graph:
        dxs = _recorded_gradients(outputs, inputs, grad_outputs, retain)
    else:
        arrays = gradients(outputs, inputs, grad_outputs, retain)
        dxs = [None if dx is None else Tensor._wrap(dx) for dx in arrays]
    for i, (x, dx) in enumerate(zip(inputs, dxs, strict=True)):
        if dx is None and not allow_unused:
            raise RuntimeError(
                f"input {i} (shape {x.shape}) was not used to compute the outputs, or does not require "
                "grad: pass allow_unused=True to get None for it"
            )
    return tuple(dxs)


def _recorded_gradients(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], dys: Sequence[Any], retain: bool
) -> list[Tensor | None]:
    computed: dict[int, Tensor] = {}

    def record(x: Tensor) -> Any:
        return register_hook(x, lambda dx: computed.update({id(x): dx}))

    handles = [record(x) for x in inputs if x.creator is not None]
    try:
        leaves = recorded_sweep(outputs, dys, retain, wanted=inputs)
    finally:
        for handle in handles:
            handle.remove()
    return [leaves[id(x)][1] if id(x) in leaves else computed.get(id(x)) for x in inputs]
