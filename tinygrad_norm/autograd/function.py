"""Function: one node of the graph, a forward and its hand-derived backward."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy

from ..backends import Array
from ..backends.cpu.silence import enter_silence, leave_silence
from . import guards
from .grad_mode import mode
from .memory import tick, watched
from .tensor import Tensor

_new = object.__new__

Gradients = Array | tuple[Array | None, ...]
"""What a backward returns: one gradient per input, or the only one."""

Observer = Callable[["Function", list[Array | None]], Any]
"""Called as observer(node, dys) instead of node.backward(*dys); returns what that returns.

It sees what goes into every backward of a sweep, what comes out, and what is raised.
"""


class Function(guards.PyTorchHabits):
    """Subclass with `forward(*arrays, **options)` and `backward(*dys)`; call with `apply`.

    An instance is one call and the node of the graph: `forward` keeps in the tuple `self.saved` what
    `backward` reads, and that tuple is the memory that the call costs. Both work on raw arrays. NumPy does
    not warn within them: infinity and NaN are results, as in PyTorch.

    Inputs are tensors, None (not given) or Python numbers. `backward` returns one gradient per input,
    None for an input without one; it may skip the work for input i if `self.needs[i]` is False. To say
    that the only input has no gradient, return `(None,)`: a bare None raises, as a forgotten `return`.

    A forward that returns a tuple has several outputs. `backward` then takes one gradient for each: None
    for the outputs in `constants` and for integers, zeros for an output that the loss does not depend on.

    The class docstring is the formula and its derivative; graphs show the formula.
    """

    is_view = False  # the outputs share memory with the first input; forward may set it for one call
    constants: ClassVar[tuple[int, ...]] = ()  # outputs through which no gradient flows
    composed: ClassVar[Callable[..., Any] | None] = None
    """The same from primitives, of tensors to one output, for second derivatives; not needed if forward and
    backward run on recorded arrays (ops/recorded)."""

    def forward(self, *arrays: Any, **options: Any) -> Any:
        """Compute the output from raw arrays, keeping what `backward` needs in `self.saved`."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def backward(self, *dys: Any, **_: Any) -> Any:
        """Return dL/dx for every input x from dL/dy."""
        raise NotImplementedError(f"{type(self).__name__} must define backward")

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Any:
        """Run forward on the inputs' arrays; record the call if a gradient is required."""
        arrays: list[Any] = []
        needs: list[bool] = []
        for x in inputs:
            if isinstance(x, Tensor):
                arrays.append(x.array)
                needs.append(x._requires_grad)
            else:
                arrays.append(x)
                needs.append(False)
        if watched:
            guards.check_for_writes(inputs)  # what was written until now was written before this call
        node = cls()
        recorded = True in needs and mode.enabled
        node.needs = needs if recorded else [False] * len(needs)
        token = enter_silence()
        try:
            y = node.forward(*arrays, **options) if options else node.forward(*arrays)
        finally:
            leave_silence(token)
        if recorded:
            node.inputs, node.created_at = inputs, tick()
            if options:
                node.options = options
        if type(y) is tuple:
            outs = node._wrap_outputs(y) if recorded else tuple([Tensor._wrap(part) for part in y])
            return _as_views(inputs[0], outs) if node.is_view else outs
        if not recorded or type(y) is not numpy.ndarray or y.dtype.kind != "f":
            out = Tensor._wrap(y, node if recorded else None)
            if recorded and out.array.dtype.kind != "f":
                out = Tensor._wrap(out.array)
        else:  # what Tensor._wrap does, without a call
            out = _new(Tensor)
            out.array, out.creator, out._requires_grad = y, node, True
        return _as_views(inputs[0], (out,))[0] if node.is_view else out

    def _wrap_outputs(self, ys: tuple[Any, ...]) -> tuple[Tensor, ...]:
        self.outputs = []
        outs = []
        for index, y in enumerate(ys):
            out = Tensor._wrap(y, self, index)
            if index in self.constants or out.array.dtype.kind != "f":
                self.outputs.append(None)
                outs.append(Tensor._wrap(out.array))
                continue
            self.outputs.append((out.shape, out.dtype))
            outs.append(out)
        return tuple(outs)

    def gradient_buffer(self, i: int) -> Array | None:
        """Return an array for backward to write the gradient of input i to, if an optimizer keeps one."""
        slot = self.inputs[i].grad_slot
        return None if slot is None else slot.gradient_buffer()


def _as_views(x: Tensor, outs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Let `outs` share the memory of x."""
    memory = x._shared_memory()
    for view in outs:
        view.memory = memory
    return outs
