"""Derivatives of functions: products with the Jacobian and the Hessian, and both as matrices.

    y = f(x)   vjp: vᵀ·J   jvp: J·v   jacobian: J = ∂y/∂x
    y a number   hvp: H·v   vhp: vᵀ·H   hessian: H = ∂²y/∂x²

`f` takes one tensor or several, and returns one or several. Names, arguments and shapes are those of
torch.autograd.functional. J·v is a gradient of vᵀ·J, which is linear in v ("double backward").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from ..autograd.differentiation import grad
from ..autograd.flags import check_flags
from ..autograd.grad_mode import enable_grad
from ..autograd.tensor import Tensor
from .creation import ones_like, zeros, zeros_like
from .elementwise import clone
from .joining import stack


@enable_grad()
def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """Return the outputs of `func(*inputs)`, and vᵀ·J for each input.

    Args:
        func: takes the inputs, returns a tensor or several.
        inputs: a tensor, or a tuple of some.
        v: like the outputs; not needed if there is one output of one element.
        create_graph: let the results be differentiated again.
        strict: raise an error if an output does not depend on an input, instead of taking 0 for it.

    Raises:
        TypeError: if an input or output is not a tensor, or a flag not a bool.
        ValueError: if v does not have the shapes of the outputs.
        RuntimeError: with `strict`, if an output does not depend on an input.
    """
    call = _Call(func, inputs, create_graph, strict)
    vs = _vectors(v, call.outputs, "v", "output")
    dxs = call.gradients(call.outputs, call.inputs, vs, create_graph)
    return call.packed(call.outputs, call.one_output), call.packed(dxs, call.one_input)


@enable_grad()
def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """Return the outputs of `func(*inputs)`, and J·v for each output.

    v is like the inputs; not needed if there is one input of one element. Other arguments, and errors, are
    those of `vjp`.
    """
    call = _Call(func, inputs, create_graph, strict)
    vs = _vectors(v, call.inputs, "v", "input")
    dys = [zeros_like(y, requires_grad=True) for y in call.outputs]
    dxs = call.gradients(call.outputs, call.inputs, dys, True)
    products = call.gradients(dxs, dys, vs, create_graph, "output")
    return call.packed(call.outputs, call.one_output), call.packed(products, call.one_output)


@enable_grad()
def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """Return J = ∂y/∂x, of shape (*y.shape, *x.shape), for each output and each input.

    A tensor for one output and one input; a tuple for several of either, a tuple of tuples for several of
    both. Arguments and errors are those of `vjp`; `vectorize` and `strategy` must keep their defaults.
    """
    check_flags(vectorize=vectorize)
    if vectorize or strategy != "reverse-mode":
        raise ValueError(
            "jacobian has one strategy: one backward per element of the outputs. Leave out vectorize and "
            f'strategy (got {vectorize} and "{strategy}")'
        )
    call = _Call(func, inputs, create_graph, strict)
    rows = [call.packed(call.jacobians(y, create_graph), call.one_input) for y in call.outputs]
    return call.packed(rows, call.one_output)


@enable_grad()
def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """Return H = ∂²y/∂x∂x' of a function with one output of one element, for each pair of inputs.

    A tensor of shape (*x.shape, *x.shape) for one input; a tuple of tuples for several. Arguments and errors
    are those of `jacobian`.

    Raises:
        ValueError: if the output is not one tensor of one element.
    """

    def gradient(*xs: Tensor) -> tuple[Tensor, ...]:
        y = _number(func(*xs))
        dxs = grad(y, xs, create_graph=True, allow_unused=True) if y.requires_grad else (None,) * len(xs)
        if strict and any(dx is None for dx in dxs):
            raise RuntimeError(_independent("output", "input"))
        return tuple([zeros_like(x) if dx is None else dx for x, dx in zip(xs, dxs, strict=True)])

    given, one = _as_tuple(inputs, "inputs")
    rows = jacobian(gradient, given, create_graph, strict, vectorize, outer_jacobian_strategy)
    return rows[0][0] if one else rows


@enable_grad()
def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Tensor, Any]:
    """Return the output of `func(*inputs)`, which has one element, and H·v for each input.

    v is like the inputs. Other arguments are those of `vjp`. H is symmetric, so this is `vhp`.

    Raises:
        ValueError: if the output is not one tensor of one element, or v does not have the inputs' shapes.
    """
    return vhp(func, inputs, v, create_graph, strict)


@enable_grad()
def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Tensor, Any]:
    """Return the output of `func(*inputs)`, which has one element, and vᵀ·H for each input.

    Arguments and errors are those of `hvp`.
    """
    call = _Call(func, inputs, create_graph, strict)
    y = _number(call.outputs[0] if call.one_output else tuple(call.outputs))
    vs = _vectors(v, call.inputs, "v", "input")
    dxs = call.gradients([y], call.inputs, [None], True)
    products = call.gradients(dxs, call.inputs, vs, create_graph)
    return call.outputs[0] if create_graph else y.detach(), call.packed(products, call.one_input)


class _Call:
    """One call of a function: its inputs and outputs as lists, and gradients between them."""

    def __init__(self, func: Callable[..., Any], inputs: Any, create_graph: bool, strict: bool) -> None:
        check_flags(create_graph=create_graph, strict=strict)
        self.strict, self.create_graph = strict, create_graph
        given, self.one_input = _as_tuple(inputs, "inputs")
        for x in given:
            if not x.is_floating_point():
                raise TypeError(f"inputs must be floating-point tensors, got {x.dtype}: use .float()")
        self.inputs = [clone(x) if create_graph and x.requires_grad else _leaf(x) for x in given]
        outputs, self.one_output = _as_tuple(func(*self.inputs), "the outputs of func")
        self.outputs = list(outputs)

    def gradients(
        self, ys: Sequence[Tensor], xs: Sequence[Tensor], dys: Sequence[Any], graph: bool, of: str = "input"
    ) -> list[Tensor]:
        """Return Σ dy·∂y/∂x for each of `xs`, 0 for one that no y depends on."""
        pairs = [(y, dy) for y, dy in zip(ys, dys, strict=True) if y.requires_grad]
        dxs: Sequence[Tensor | None] = [None] * len(xs)
        if pairs:
            known, given = zip(*pairs, strict=True)
            dxs = grad(known, xs, given, retain_graph=True, create_graph=graph, allow_unused=True)
        if self.strict and any(dx is None for dx in dxs):
            raise RuntimeError(_independent("output", of))
        return [zeros_like(x) if dx is None else dx for x, dx in zip(xs, dxs, strict=True)]

    def jacobians(self, y: Tensor, graph: bool) -> list[Tensor]:
        """Return ∂y/∂x for each input."""
        rows = [self.gradients([y[at]], self.inputs, [None], graph) for at in numpy.ndindex(y.shape)]
        if not rows:
            return [zeros((*y.shape, *x.shape), dtype=x.dtype) for x in self.inputs]
        return [
            stack(part).reshape((*y.shape, *x.shape))
            for part, x in zip(zip(*rows, strict=True), self.inputs, strict=True)
        ]

    def packed(self, values: Sequence[Any], one: bool) -> Any:
        """Return `values` as func has them: one, or a tuple; without a graph unless it was asked for."""
        if not self.create_graph:
            values = [value.detach() if isinstance(value, Tensor) else value for value in values]
        return values[0] if one else tuple(values)


def _leaf(x: Tensor) -> Tensor:
    return x.detach().requires_grad_()


def _as_tuple(values: Any, what: str) -> tuple[tuple[Tensor, ...], bool]:
    """Return `values` as a tuple of tensors, and whether it was one tensor."""
    one = isinstance(values, Tensor)
    every = (values,) if one else tuple(values) if isinstance(values, tuple | list) else ()
    wrong = next((value for value in every if not isinstance(value, Tensor)), None)
    if not every or wrong is not None:
        got = values if wrong is None else wrong
        raise TypeError(f"{what} must be a Tensor or a tuple of Tensors, got {type(got).__name__}")
    return every, one


def _vectors(v: Any, like: Sequence[Tensor], name: str, what: str) -> list[Tensor]:
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise ValueError(f"{name} is needed unless there is one {what} of one element: pass {name}")
        return [ones_like(like[0])]
    vectors, _ = _as_tuple(v, name)
    shapes, expected = [x.shape for x in vectors], [x.shape for x in like]
    if shapes != expected:
        raise ValueError(f"{name} has the shapes {shapes}, but must have those of the {what}s, {expected}")
    return list(vectors)


def _number(y: Any) -> Tensor:
    if not isinstance(y, Tensor) or y.numel() != 1:
        got = f"shape {y.shape}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
        raise ValueError(f"func must return one tensor of one element, got {got}: reduce it, as with .sum()")
    return y.reshape(()) if y.ndim else y


def _independent(output: str, of: str) -> str:
    return f"strict=True, and an {output} of func does not depend on an {of}: its derivative is 0 everywhere"
