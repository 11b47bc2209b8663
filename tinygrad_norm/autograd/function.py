"""Function: one node of the graph, a forward and its hand-derived backward."""

from typing import Any, ClassVar, NoReturn

from ..backends import Array, namespace
from .grad_mode import mode
from .memory import Memory, tick, watched, writes
from .tensor import Tensor

Gradients = Array | tuple[Array | None, ...]
"""What a backward returns: one gradient per input, or the only one."""


def _elsewhere(instead: str) -> property:
    """Return an attribute that says what to use instead of what PyTorch's ctx has under its name."""

    def refuse(node: "Function") -> NoReturn:
        raise AttributeError(f"{node.name} has no ctx, as PyTorch's functions do: {instead}", name="ctx")

    return property(refuse)


class Function:
    """Subclass with `forward(*arrays, **options)` and `backward(*dys)`; call with `apply`.

    An instance is one call and the node of the graph, so what `forward` keeps in the tuple
    `self.saved` is what `backward` reads, and is the memory that the call costs. Both work on raw
    arrays. Inputs are tensors, None (not given) or Python numbers; `backward` returns one gradient
    per input, None where there is none, and may skip work where `self.needs[i]` is False. A bare None
    is a forgotten `return` and is refused: `(None,)` says that the only input has none. A forward
    that returns a tuple has several outputs; `backward` then takes one gradient for each, None for
    those in `constants` (integers are constant anyway), zeros where the loss does not reach.

    The class docstring is its formula and its derivative, as graphs show the first.
    """

    is_view: ClassVar[bool] = False  # the outputs share memory with the first input
    constants: ClassVar[tuple[int, ...]] = ()  # outputs through which no gradient flows

    saved: Any = ()  # a tuple; None once freed
    inputs: tuple[Any, ...]
    needs: list[bool]
    birth: int
    dys: list[Array | None] | None = None
    swept: bool = False  # whether a backward has run through this node
    outputs: list[tuple[tuple[int, ...], Any] | None] | None = None  # several: (shape, dtype) if it varies
    hooks: dict[int, list[Any]] | None = None
    saved_outputs: tuple[Memory, ...] = ()

    save_for_backward = _elsewhere("self.saved = (x,) keeps x for backward")
    saved_tensors = _elsewhere("(x,) = self.saved reads what forward kept")
    needs_input_grad = _elsewhere("self.needs[i] says whether input i needs a gradient")
    mark_non_differentiable = _elsewhere("constants = (1,) in the class says that output 1 has no gradient")

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

    def forward(self, *arrays: Any, **options: Any) -> Any:
        """Compute the output from raw arrays, keeping what `backward` needs in `self.saved`."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def backward(self, *dys: Any, **_: Any) -> Any:
        """Return dL/dx for every input x from dL/dy."""
        raise NotImplementedError(f"{type(self).__name__} must define backward")

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Any:
        """Run forward on the inputs' arrays; record the call where a gradient is required."""
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
            _look_at(inputs)  # what was written until now was written before this call
        tracked = True in needs and mode.enabled
        node.needs = needs if tracked else [False] * len(needs)
        y = node.forward(*arrays, **options) if options else node.forward(*arrays)
        if not tracked:
            if type(y) is tuple:
                return cls._share_memory(tuple([Tensor._wrap(part) for part in y]), inputs)
            y = Tensor._wrap(y)
            if cls.is_view:
                y.memory = inputs[0]._shared_memory()
            return y
        node.inputs, node.birth = inputs, tick()
        node.dys = node.hooks = node.outputs = None  # read often: an instance's own are found faster
        if type(y) is tuple:
            return cls._share_memory(node._wrap_outputs(y), inputs)
        out = Tensor._wrap(y, node)
        if cls.is_view:
            out.memory = inputs[0]._shared_memory()
        return out

    @classmethod
    def _share_memory(cls, outs: tuple[Tensor, ...], inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
        if cls.is_view:
            for out in outs:
                out.memory = inputs[0]._shared_memory()
        return outs

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

    def guard_output(self, out: Tensor) -> None:
        """Remember the memory of an output that backward needs, now that somebody may write to it."""
        if any(_same_memory(array, out.array) for array in self._saved()):
            self.saved_outputs = (*self.saved_outputs, out._shared_memory())

    def run_backward(self, dys: list[Array | None], retain: bool) -> tuple[Array | None, ...]:
        """Check the node, run its backward on `dys`, and check what comes out of it."""
        if self.saved is None:
            raise RuntimeError(
                f"backward through {self.name} a second time: its saved arrays were freed by the first. "
                "Pass retain_graph=True to the first backward to go through the graph again"
            )
        if watched:
            _look_at(self.inputs, self.saved_outputs)
        if writes.latest > self.birth:
            self._refuse_if_written()
        dxs = self.backward(*dys)
        self.swept = True
        if not retain:
            self.saved = None
        if type(dxs) is not tuple:
            if dxs is None:
                raise RuntimeError(
                    f"{self.name}.backward returned None: is its return forgotten? Where the only input has "
                    "no gradient, return (None,)"
                )
            dxs = (dxs,)
        if len(dxs) != len(self.inputs):
            self._refuse_count(dxs)
        return dxs

    def _refuse_count(self, dxs: tuple[Any, ...]) -> NoReturn:
        name, n = f"{self.name}.backward", len(self.inputs)
        if len(dxs) == 1 and type(dxs[0]) is list:
            raise RuntimeError(f"{name} returned a list for {n} inputs: return a tuple, one gradient each")
        raise RuntimeError(
            f"{name} returned {len(dxs)} gradient{'s' if len(dxs) != 1 else ''} for {n} "
            f"input{'s' if n != 1 else ''}: return one per input, None where an input has no gradient"
        )

    def _refuse_if_written(self) -> None:
        """Raise where an array that backward needs was changed in place after the call."""
        for i, x in enumerate(self.inputs):
            changed = isinstance(x, Tensor) and x.memory is not None and x.memory.written > self.birth
            if changed and any(_same_memory(array, x.array) for array in self._saved()):
                raise RuntimeError(
                    f"input {i} of {self.name} (shape {x.shape}) was changed in place after it was saved "
                    "for backward: the gradient would be wrong. Change a copy, or run backward first"
                )
        for output in self.saved_outputs:
            if output.written > self.birth:
                raise RuntimeError(
                    f"the output of {self.name} was changed in place, but its backward needs it: "
                    "change a copy, or run backward first"
                )

    def _saved(self) -> tuple[Any, ...]:
        """Return what forward saved, nothing once it is freed. What is no tuple hides its arrays: refused."""
        if self.saved is not None and type(self.saved) is not tuple:
            raise TypeError(
                f"{self.name}.forward set self.saved to a {type(self.saved).__name__}, not a tuple: "
                "self.saved = (x,), with the comma"
            )
        return self.saved or ()

    def room(self, i: int) -> Array | None:
        """Return an array that the gradient of input i may be written to, where an optimizer keeps one."""
        slot = self.inputs[i].grad_slot
        return None if slot is None else slot.room()

    def refuse_gradient(self, i: int, dx: Any) -> NoReturn:
        """Raise for what is no gradient of input i: no array, or one of another shape."""
        name, shape = f"{self.name}.backward", self.inputs[i].shape
        if isinstance(dx, Tensor):
            raise RuntimeError(f"{name} returned a Tensor for input {i}: work on raw arrays, such as dy is")
        if not hasattr(dx, "shape"):
            raise RuntimeError(
                f"{name} returned a {type(dx).__name__} for its input {i}: return an array of "
                f"the input's shape, {shape}, or a tuple with one for each input"
            ) from None
        raise RuntimeError(
            f"{name} returned a gradient of shape {dx.shape} for input {i}, "
            f"whose shape is {shape}{_misfit(shape, dx.shape)}"
        )

    @property
    def name(self) -> str:
        """The function's name as graphs and messages show it: without a trailing "Function"."""
        return type(self).__name__.removesuffix("Function")


def _parameters(method: Any) -> tuple[str, ...]:
    code = getattr(method, "__code__", None)
    return () if code is None else code.co_varnames[: code.co_argcount]


def _misfit(shape: tuple[int, ...], got: tuple[int, ...]) -> str:
    """Return how a gradient may have come by a wrong shape, or ""."""
    new = len(got) - len(shape)
    pairs = list(enumerate(zip((1,) * new + shape, got, strict=False)))
    if new >= 0 and all(n in (1, m) for _, (n, m) in pairs):
        axes = tuple(k for k, (n, m) in pairs if k < new or n != m)
        return f": where forward stretches an input, its gradient is summed over those axes, here {axes}"
    if got == shape[::-1]:
        return ": is it transposed?"
    return ""


def _look_at(inputs: tuple[Any, ...], memories: tuple[Memory, ...] = ()) -> None:
    """Notice writes through raw arrays to the memory of the inputs, and to `memories`."""
    for memory in (*[x.memory for x in inputs if isinstance(x, Tensor)], *memories):
        if memory in watched:
            memory.look()


def _same_memory(a: Any, b: Array) -> bool:
    return type(a) is type(b) and bool(namespace(b).may_share_memory(a, b))
