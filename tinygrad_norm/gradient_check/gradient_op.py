"""The gradient of an op as an op of its own: to check it is to check the op's second derivatives.

Its inputs are those of the op, then dy for each output that requires grad; its outputs are the gradients of
the op's inputs. Closed and composed form are the gradients of the op's closed and composed form.
"""

import dataclasses
from typing import Any

from ..autograd.differentiation import grad
from ..autograd.tensor import Tensor
from ..registry import Case, Input, Op
from .registered import Form, draw

_COUNTS = "input_counts"
"""The option of a case that says how many of its inputs are the op's; several, if that is a gradient too."""


def gradient_op(op: Op) -> Op:
    """Return the op whose outputs are the gradients of `op`, on those of its cases that have some."""
    cases = [_with_cotangents(op, case) for case in op.cases]
    return dataclasses.replace(
        op,
        function=_gradient(op, op.function),
        composed=None if op.composed is None else _gradient(op, op.composed),
        cases=tuple([case for case in cases if case is not None]),
        inputs=(),
        errors=(),
        torch="",
        bench=(),
    )


def _outputs(op: Op, form: Form, inputs: Any, options: dict[str, Any]) -> list[Tensor]:
    result = op.call(inputs, options, form)
    results = result if isinstance(result, tuple | list) else (result,)
    return [y for y in results if isinstance(y, Tensor) and y.requires_grad]


def _with_cotangents(op: Op, case: Case) -> Case | None:
    """Return the case with an input for each dy; None if there is no gradient."""
    inputs = draw(case)
    ys = _outputs(op, op.function, inputs, case.options)
    if not ys:
        return None
    counts = (len(inputs), *case.options.get(_COUNTS, ()))
    return Case((*case.inputs, *[Input(y.shape) for y in ys]), case.options | {_COUNTS: counts})


def _gradient(op: Op, form: Form) -> Form:
    def gradient(*tensors: Any, **options: Any) -> tuple[Tensor, ...]:
        count, *counts = options.pop(_COUNTS)
        if counts:
            options[_COUNTS] = tuple(counts)
        inputs, dys = tensors[:count], tensors[count:]
        ys = _outputs(op, form, inputs, options)
        xs = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
        dxs = grad(ys, xs, dys, create_graph=True, allow_unused=True)
        return tuple([x * 0 if dx is None else dx for x, dx in zip(xs, dxs, strict=True)])

    return gradient
