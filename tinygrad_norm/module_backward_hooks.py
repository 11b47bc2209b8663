"""Backward hooks of modules: functions that see, and may replace, the gradients at a module's two ends.

    inputs ── entrance ── forward ── exit ── outputs

Both ends are a Function y = x. In backward, all gradients of the outputs meet at the exit, and all gradients
of the inputs at the entrance: there the hooks are called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .autograd.function import Function
from .autograd.tensor import Tensor
from .backends import Array, namespace

GradientsOf = tuple[Tensor | None, ...]


@dataclass(frozen=True, eq=False)
class BackwardHook:
    """A function that is called with the gradients of a module."""

    call: Callable[..., Any]


class Crossing:
    """One call of `module`, whose gradients its hooks see."""

    def __init__(self, module: Any, before: Sequence[BackwardHook], after: Sequence[BackwardHook]) -> None:
        self.module, self.before, self.after = module, tuple(before), tuple(after)
        self.dys: GradientsOf = ()
        self.inputs: tuple[Any, ...] = ()
        self.places: list[int] = []  # of the inputs that require grad

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the positional arguments, as they are given to forward."""
        self.inputs = args
        self.places = [i for i, x in enumerate(args) if isinstance(x, Tensor) and x.requires_grad]
        return _replaced(args, self.places, self._cross([args[i] for i in self.places], self._at_entrance))

    def leave(self, output: Any) -> Any:
        """Return the output of forward, as the caller gets it."""
        several = isinstance(output, tuple | list)
        outputs = tuple(output) if several else (output,)
        at = [i for i, y in enumerate(outputs) if isinstance(y, Tensor) and y.requires_grad]
        if not at:
            return output
        crossed = _replaced(outputs, at, self._cross([outputs[i] for i in at], self._at_exit))
        return type(output)(crossed) if several else crossed[0]

    def _cross(self, xs: Sequence[Tensor], meet: Callable[[GradientsOf], GradientsOf]) -> tuple[Tensor, ...]:
        if not xs:
            return ()
        ys = _End.apply(*xs, meet=meet)
        ys = ys if isinstance(ys, tuple) else (ys,)
        for x, y in zip(xs, ys, strict=True):
            y.memory = x._shared_memory()
        return ys

    def _at_exit(self, dys: GradientsOf) -> GradientsOf:
        for hook in self.before:
            dys = _checked(hook.call(self.module, dys), dys, "grad_output")
        self.dys = dys
        if not self.places:  # no gradient arrives at the entrance
            self._call_after((None,) * len(self.inputs))
        return dys

    def _at_entrance(self, dxs: GradientsOf) -> GradientsOf:
        every: list[Tensor | None] = [_zeros(x) if isinstance(x, Tensor) else None for x in self.inputs]
        new = self._call_after(_replaced(every, self.places, dxs))
        return tuple([new[place] for place in self.places])

    def _call_after(self, dxs: GradientsOf) -> GradientsOf:
        for hook in self.after:
            dxs = _checked(hook.call(self.module, dxs, self.dys), dxs, "grad_input")
        return dxs


class _End(Function):
    """y = x for each x · dx = dy, or what the hooks make of all of them"""

    def forward(self, *xs: Array, meet: Callable[[GradientsOf], GradientsOf]) -> tuple[Array, ...]:
        self.meet = meet
        return tuple([x[...] for x in xs])

    def backward(self, *dys: Any) -> Any:
        given = tuple([None if dy is None else _as_tensor(dy) for dy in dys])
        recorded = any(not isinstance(dy, Tensor) and hasattr(dy, "tensor") for dy in dys)
        met = self.meet(given)
        return tuple([dx if dx is None or recorded else dx.array for dx in met])


def _as_tensor(dy: Any) -> Tensor:
    """Return a gradient as a tensor; that of a recorded array has a graph."""
    found = getattr(dy, "tensor", None)
    return found if isinstance(found, Tensor) else Tensor._wrap(dy)


def _zeros(x: Tensor) -> Tensor:
    return Tensor._wrap(namespace(x.array).zeros_like(x.array))


def _replaced(values: Sequence[Any], at: Sequence[int], new: Sequence[Any]) -> tuple[Any, ...]:
    every = list(values)
    for i, value in zip(at, new, strict=True):
        every[i] = value
    return tuple(every)


def _checked(new: Any, old: GradientsOf, name: str) -> GradientsOf:
    """Return what a hook returned in place of `old`: nothing, a tensor, or a tuple of as many."""
    if new is None:
        return old
    every = new if isinstance(new, tuple) else (new,)
    wrong = len(every) != len(old) or any(
        not (a is None if b is None else isinstance(a, Tensor) and a.shape == b.shape)
        for a, b in zip(every, old, strict=True)
    )
    if wrong:
        raise RuntimeError(
            f"a backward hook returns None, or a new {name}: a tensor for each, of its shape, and None where "
            f"it has None; expected {[None if x is None else x.shape for x in old]}, got "
            f"{[getattr(x, 'shape', x) for x in every]}"
        )
    return every
