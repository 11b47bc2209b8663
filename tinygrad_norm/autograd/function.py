"""Function: one node of the graph, a forward and its hand-derived backward."""

from collections.abc import Callable
from typing import Any, ClassVar

from ..backends import Array
from ..backends.cpu.silence import enter_silence, leave_silence
from . import guards
from .grad_mode import mode
from .memory import tick, watched, writes
from .tensor import Tensor

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

    is_view: ClassVar[bool] = False  # the outputs share memory with the first input
    constants: ClassVar[tuple[int, ...]] = ()  # outputs through which no gradient flows

    def forward(self, *arrays: Any, **options: Any) -> Any:
        """Compute the output from raw arrays, keeping what `backward` needs in `self.saved`."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def backward(self, *dys: Any, **_: Any) -> Any:
        """Return dL/dx for every input x from dL/dy."""
        raise NotImplementedError(f"{type(self).__name__} must define backward")

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Any:
        """Run forward on the inputs' arrays; record the call if a gradient is required."""
        node = cls()
        arrays, needs = [], []
        for x in inputs:
            if isinstance(x, Tensor):
                arrays.append(x.array)
                needs.append(x._requires_grad)
            else:
                arrays.append(x)
                needs.append(False)
        if watched:
            guards.check_for_writes(inputs)  # what was written until now was written before this call
        recorded = True in needs and mode.enabled
        node.needs = needs if recorded else [False] * len(needs)
        token = enter_silence()
        try:
            y = node.forward(*arrays, **options) if options else node.forward(*arrays)
        finally:
            leave_silence(token)
        if recorded:
            node.inputs, node.created_at = inputs, tick()
            node.dys = node.hooks = node.outputs = None  # read often: an instance's own are found faster
        out: Any
        if type(y) is tuple:
            out = node._wrap_outputs(y) if recorded else tuple([Tensor._wrap(part) for part in y])
        else:
            out = Tensor._wrap(y, node if recorded else None)
            if recorded and out.array.dtype.kind != "f":
                out = Tensor._wrap(out.array)
        if cls.is_view:
            memory = inputs[0]._shared_memory()
            for view in out if type(y) is tuple else (out,):
                view.memory = memory
        return out

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

    def run_backward(
        self, dys: list[Array | None], retain: bool, observer: Observer | None = None
    ) -> tuple[Array | None, ...]:
        """Run backward on `dys`, one per output, and return one gradient per input.

        Saved arrays are freed, unless `retain`.

        Raises:
            RuntimeError: if they were freed before or changed in place, or if backward returns another
                number of gradients.
        """
        if self.saved is None:
            raise guards.already_freed(self)
        if watched:
            guards.check_for_writes(self.inputs, self.saved_outputs)
        if writes.latest > self.created_at:
            guards.raise_if_written(self)
        dxs = self.backward(*dys) if observer is None else observer(self, dys)
        self.backward_ran = True
        if not retain:
            self.saved = None
        if type(dxs) is not tuple:
            if dxs is None:
                raise guards.missing_return(self)
            dxs = (dxs,)
        if len(dxs) != len(self.inputs):
            raise guards.wrong_count(self, dxs)
        return dxs

    def gradient_buffer(self, i: int) -> Array | None:
        """Return an array for backward to write the gradient of input i to, if an optimizer keeps one."""
        slot = self.inputs[i].grad_slot
        return None if slot is None else slot.gradient_buffer()
