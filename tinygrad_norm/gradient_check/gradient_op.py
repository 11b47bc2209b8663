"""The gradient of an op as an op of its own: to check it is to check the op's second derivatives.

Its inputs are those of the op, then dy for each output that requires grad; its outputs are the gradients of
the op's inputs. Closed and composed form are the gradients of the op's closed and composed form. A gradient
that is 0 but for rounding, such as that of a vector of one value that keeps its length, is left out: its
relative error says nothing.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from ..autograd.differentiation import grad
from ..autograd.tensor import Tensor
from ..backends import to_numpy
from ..registry import Case, Input, Op
from .registered import Form, cotangent, draw

_GRADIENTS = "gradients_of"
"""The option of a case that says how many of its inputs are the op's, and which gradients are its outputs.

There are several such pairs if the op is a gradient itself.
"""

_ROUNDING = 1e-13  # beside inputs and dy of size 1


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


def _with_cotangents(op: Op, case: Case) -> Case | None:
    """Return the case with an input for each dy; None if there is no gradient."""
    sizes: list[list[float]] = []
    for seed in range(2):
        inputs = draw(case, seed=seed)
        ys = _outputs(op, op.function, inputs, case.options)
        dys = [Tensor(cotangent(y.shape, k, seed)) for k, y in enumerate(ys)]
        dxs = _gradients(ys, inputs, dys)
        sizes.append([float(abs(to_numpy(dx.array)).max(initial=0.0)) for dx in dxs])
    varying = tuple([i for i, size in enumerate(zip(*sizes, strict=True)) if max(size) > _ROUNDING])
    if not varying:
        return None
    gradients = ((len(inputs), varying), *case.options.get(_GRADIENTS, ()))
    return Case((*case.inputs, *[Input(y.shape) for y in ys]), case.options | {_GRADIENTS: gradients})


def _outputs(op: Op, form: Form, inputs: Any, options: dict[str, Any]) -> list[Tensor]:
    result = op.call(inputs, options, form)
    results = result if isinstance(result, tuple | list) else (result,)
    return [y for y in results if isinstance(y, Tensor) and y.requires_grad]


def _gradients(ys: list[Tensor], inputs: Sequence[Any], dys: Sequence[Any]) -> list[Tensor]:
    xs = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
    dxs = grad(ys, xs, dys, create_graph=True, allow_unused=True) if ys and xs else (None,) * len(xs)
    return [x * 0 if dx is None else dx for x, dx in zip(xs, dxs, strict=True)]


def _gradient(op: Op, form: Form) -> Form:
    def gradient(*tensors: Any, **options: Any) -> tuple[Tensor, ...]:
        (count, varying), *further = options.pop(_GRADIENTS)
        if further:
            options[_GRADIENTS] = tuple(further)
        inputs = tensors[:count]
        dxs = _gradients(_outputs(op, form, inputs, options), inputs, tensors[count:])
        return tuple([dxs[i] for i in varying])

    return gradient
