"""Trace a computation: its primitive calls in order, and the names that its code gives to the results.

`Function.apply` is watched for the calls, and Python's profiler for the names: when a function of a
normalization or a block is called, its arguments have names, and when it returns, its local variables. The
first name of a tensor counts. So `mean = x.mean(axes)` in a composed form is all it takes to name a result.
The functions and layers that are running are the scopes of a call.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from ..autograd.function import Function
from ..autograd.tensor import Tensor
from ..module import Module

_MACHINERY = ("autograd", "backends", "ops", "registry", "module", "gradient_check", "learn")
_PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True, eq=False)
class Scope:
    """One call of a Python function or, by its class, of a module; `place` is the module's name."""

    title: str
    frame: int
    place: str = ""


@dataclass(frozen=True)
class Call:
    """One call of a Function: the node, what it was given, the tensors it made, and the calls around it."""

    node: Function
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    outputs: tuple[Tensor, ...]
    scopes: tuple[Scope, ...] = ()


@dataclass
class Trace:
    """The calls with a gradient, in order; by id of tensor, its name and the module that gave it.

    `places` has the names of layers, by id.
    """

    calls: list[Call] = field(default_factory=list)
    names: dict[int, tuple[str, str]] = field(default_factory=dict)
    kept: list[Any] = field(default_factory=list)  # named tensors, so that no id is used again
    places: dict[int, str] = field(default_factory=dict)
    scopes: list[Scope] = field(default_factory=list)  # the calls that are running, outermost first

    @property
    def modules(self) -> list[str]:
        """The modules that gave names, each once."""
        return list(dict.fromkeys(module for _, module in self.names.values()))

    def name(self, x: Any, name: str, module: str = "") -> None:
        """Name a tensor, or each tensor of a tuple, unless it has a name."""
        if isinstance(x, Tensor):
            if id(x) not in self.names:
                self.names[id(x)] = name, module
                self.kept.append(x)
        elif isinstance(x, tuple | list) and all(isinstance(part, Tensor) for part in x):
            for i, part in enumerate(x):
                self.name(part, f"{name}[{i}]", module)


@contextmanager
def traced(model: Module | None = None) -> Iterator[Trace]:
    """Record every call in this block that has a gradient, and the names of its inputs and results.

    The layers of `model` are known by their names.
    """
    layers = {} if model is None else {id(layer): name for name, layer in model.named_modules()}
    trace = Trace(places=layers)
    apply = Function.__dict__["apply"]

    def recorded(function: type[Function], *inputs: Any, **options: Any) -> Any:
        result = apply.__func__(function, *inputs, **options)
        outputs = result if isinstance(result, tuple) else (result,)
        made = [y.creator for y in outputs if y.creator is not None]
        if made:
            trace.calls.append(Call(made[0], inputs, options, tuple(outputs), tuple(trace.scopes)))
        return result

    before = sys.getprofile()
    Function.apply = classmethod(recorded)  # type: ignore[method-assign, assignment]
    sys.setprofile(_namer(trace))
    try:
        yield trace
    finally:
        sys.setprofile(before)
        Function.apply = apply  # type: ignore[method-assign]


def _namer(trace: Trace) -> Callable[[FrameType, str, Any], None]:
    def observe(frame: FrameType, event: str, _: Any) -> None:
        if event not in ("call", "return"):
            return
        module = frame.f_globals.get("__name__", "")
        if _is_machinery(module):
            return
        code, values = frame.f_code, frame.f_locals
        _enter_or_leave(trace, frame, event)
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        for name in arguments if event == "call" else code.co_varnames:
            # An argument that is bound anew has the name of another value.
            if name in values and (event == "call" or name not in arguments):
                trace.name(values[name], name, module)

    return observe


def _enter_or_leave(trace: Trace, frame: FrameType, event: str) -> None:
    name = frame.f_code.co_name
    if event == "return":
        if trace.scopes and trace.scopes[-1].frame == id(frame):
            trace.scopes.pop()
    elif not name.startswith("<"):  # a comprehension or a lambda is part of the call around it
        layer = frame.f_locals.get("self") if name == "forward" else None
        title = type(layer).__name__ if isinstance(layer, Module) else name.removesuffix("_composed")
        trace.scopes.append(Scope(title, id(frame), trace.places.get(id(layer), "")))


def _is_machinery(module: str) -> bool:
    package, _, path = module.partition(".")
    return package in ("numpy", "contextlib", "typing") or (
        package == _PACKAGE and path.partition(".")[0] in _MACHINERY
    )
