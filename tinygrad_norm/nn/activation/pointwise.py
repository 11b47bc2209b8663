"""Base classes of the activations: functions of one number, applied to every element.

Activations with an `inplace` option in PyTorch accept it here too, as layers and as functions, so that one
script runs with both libraries. The result is always a new tensor: the input may still be needed for
another backward pass.
"""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy

from ...autograd.function import Function, Gradients
from ...backends import Array, Kernel, kernel
from ...backends.cpu.blocks import elementwise, threads_for
from ...backends.cpu.element_loops import CurveLoop, ElementLoop
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.loop_helpers import helper
from ...backends.cpu.loop_mode import loop_mode
from ...backends.cuda.elements import ElementSource
from ...module import Module
from ...ops import ones
from ...ops.arguments import check_flags
from ...registry import Case, ErrorCase, distinct, register, uniform


@helper
def product(dy: Any, slope: Any) -> Any:
    """Return dx at one number."""
    return dy * slope


_product_on_threads = ElementLoop(product, arrays=2)


class CurveKernels(NamedTuple):
    """The two kernels of an activation: y of x, and dx of dy and x; both take the options as numbers."""

    forward: Kernel
    backward: Kernel
    options: tuple[str, ...]


class PointwiseFunction(Function):
    """y = value(x) · dx = dy·slope(x), element by element

    A subclass defines `value` and `slope` for arrays of float32 or float64; half types are converted to
    float32. `shared` computes once what both need; its result is their second argument. All three run on
    small blocks of x. An exponential may overflow if the formula allows for it: NumPy's warnings are off.

    `loop` attaches the same for one number, for the CPU, and `cuda` attaches kernels for a GPU.

    The forward pass computes the slope, because x is available there, and keeps nothing else. With kernels it
    keeps x instead, and backward computes the slope again: that saves writing an array.
    """

    curve_loop: ClassVar[CurveLoop | None] = None
    curve_kernels: ClassVar[CurveKernels | None] = None

    @classmethod
    def loop(cls, one_number: Callable[..., Any]) -> Callable[..., Any]:
        """Attach a function that takes a number, and the options, and returns y and dy/dx there."""
        cls.curve_loop = CurveLoop(helper(one_number))
        return one_number

    @classmethod
    def cuda(cls, source: ElementSource, name: str) -> None:
        """Attach the kernels `name`_forward and `name`_backward of `source`."""
        parameters = inspect.signature(cls.value).parameters.values()
        options = tuple([one.name for one in parameters if one.kind is one.KEYWORD_ONLY])
        body = cls()

        def forward(x: Array, *numbers: float) -> Array:
            named, wide = dict(zip(options, numbers, strict=True)), upcast(x)
            return downcast(body.value(wide, body.shared(wide, **named), **named), x)

        def backward(dy: Array, x: Array, *numbers: float) -> Array:
            named, wide = dict(zip(options, numbers, strict=True)), upcast(x)
            return downcast(upcast(dy) * body.slope(wide, body.shared(wide, **named), **named), x)

        def twin(version: Callable[..., Array], arrays: int) -> Kernel:
            version.__name__ = f"{name}_{version.__name__}"
            version.__doc__ = f"{cls.__doc__}"
            made = kernel(version)
            made.cuda(lambda *given: source.each(version.__name__, given[:arrays], *given[arrays:]))
            return made

        cls.curve_kernels = CurveKernels(twin(forward, 1), twin(backward, 2), options)

    def shared(self, x: Array, *args: Any, **options: Any) -> Any:
        """Return the values that `value` and `slope` both need."""

    def value(self, x: Array, shared: Any, *args: Any, **options: Any) -> Array:
        """Return y; every activation defines its own."""
        raise NotImplementedError(f"{type(self).__name__} must define value")

    def slope(self, x: Array, shared: Any, *args: Any, **options: Any) -> Array:
        """Return dy/dx; every activation defines its own."""
        raise NotImplementedError(f"{type(self).__name__} must define slope")

    def forward(self, x: Array, **options: Any) -> Array:
        if type(x) is not numpy.ndarray and self.curve_kernels is not None:
            numbers = [options[name] for name in self.curve_kernels.options]
            self.saved = x, *numbers
            return self.curve_kernels.forward(x, *numbers)
        y, *slope = self._run(upcast(x), options)
        self.saved = tuple([downcast(part, x) for part in slope])
        return downcast(y, x)

    def _run(self, x: Array, options: dict[str, Any]) -> tuple[Array, ...]:
        loop = self.curve_loop
        if loop is not None and loop_mode.on:
            results: Any = loop(x, *[options[name] for name in loop.options], slope=self.needs[0])
            if results is not NotImplemented:
                return results
        return elementwise(self._curve, x, **options)

    def _curve(self, x: Array, **options: Any) -> tuple[Array, ...]:
        shared = self.shared(x, **options)
        y = self.value(x, shared, **options)
        return (y, self.slope(x, shared, **options)) if self.needs[0] else (y,)

    def backward(self, dy: Array) -> Gradients:
        if type(dy) is numpy.ndarray:
            if loop_mode.on and threads_for(dy.size) is not map:
                dx: Any = _product_on_threads(dy, self.saved[0])
                if dx is not NotImplemented:
                    return dx
        elif self.curve_kernels is not None and not isinstance(dy, numpy.generic):  # 0-d: NumPy's scalar
            return self.curve_kernels.backward(dy, *self.saved)
        return dy * self.saved[0]


class InplaceModule(Module):
    """Base of the layers with an `inplace` option in PyTorch: the repr shows it, but it has no effect."""

    shown: ClassVar[tuple[str, ...]] = ()  # the options that the repr shows

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        check_flags(inplace=inplace)
        self.inplace = inplace

    def extra_repr(self) -> str:
        parts = [f"{name}={getattr(self, name)!r}" for name in self.shown]
        return ", ".join([*parts, "inplace=True"] if self.inplace else parts)


def register_activation(
    function: Any,
    composed: Any,
    *options: dict[str, Any],
    cases: tuple[Case, ...] = (),
    errors: tuple[ErrorCase, ...] = (),
    **fields: Any,
) -> None:
    """Register an activation with the cases and error cases that all activations share.

    Each of `options` adds a case with these keyword arguments; `fields` are passed to `register`.
    """
    name = function.__name__
    plain = (
        Case((distinct(3, 4),)),
        Case((uniform(-3, 3, 2, 3, 2),)),
        Case((distinct(),)),
        Case(((0, 3),)),
    )
    register(
        name=name,
        function=function,
        composed=composed,
        cases=(*plain, *(Case((distinct(3, 4),), option) for option in options), *cases),
        errors=(
            ErrorCase(lambda: function([1.0]), TypeError, f"{name} takes a Tensor"),
            ErrorCase(lambda: function(ones(2, dtype=int)), TypeError, "floating-point"),
            *errors,
        ),
        **{"torch": f"torch.nn.functional.{name}"} | fields,
    )
