"""Draw a registered op on one of its cases, composed form beside closed form.

Both forms get the same inputs and the same random dy, so both must show the same gradients. The closed
form does not need the nodes between inputs and output.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.tensor import Tensor
from ..gradient_check.registered import cotangent
from ..gradient_check.registered import draw as inputs_of
from ..module import Parameter
from ..registry import Case, Op
from .dot import Panel, argument_names
from .draw import MAX_NODES, Drawing
from .subgraph import Subgraph, find_subgraph


def draw_op(op: Op, case: Case, forms: Sequence[str], backward: bool = True) -> Drawing:
    """Draw `op` on `case` in each of `forms` ("composed", "closed"); with gradients if `backward`.

    Raises:
        ValueError: if the composed form is requested but the op is a primitive, which has none.
    """
    panels = []
    for form in forms:
        function = {"composed": op.composed, "closed": op.function}[form]
        if function is None:
            raise ValueError(f"{op.name} is a primitive without a composed form: draw its closed form")
        graph, names = _compute(op, case, function, backward)
        count = len(graph.functions) + graph.omitted
        title = {"composed": "composed", "closed": "closed form" if op.composed else "primitive"}[form]
        panels.append(Panel(graph, names, f"{title}: {count} function{'s' * (count != 1)}"))
    gradients = "gradients of sum(y·dy) for a random dy" if backward else "before backward"
    return Drawing(panels, f"{op.title or op.name}   {case}\n{gradients}")


def _compute(
    op: Op, case: Case, function: Callable[..., Any], backward: bool
) -> tuple[Subgraph, dict[int, str]]:
    count = len(case.inputs)  # a case may leave out the last of op.inputs
    names = op.inputs[:count] or argument_names(op.function, count)
    inputs = [_as_parameter(name, x) for name, x in zip(names, inputs_of(case), strict=True)]
    result = op.call(inputs, case.options, function)
    outputs = [result] if isinstance(result, Tensor) else list(result)
    graph = find_subgraph(outputs, MAX_NODES)
    for x in graph.tensors if backward else ():
        if x.requires_grad:
            x.retain_grad()
    differentiable = [y for y in outputs if y.requires_grad]
    for k, y in enumerate(differentiable if backward else ()):
        y.backward(cotangent(y.shape, k), retain_graph=True)
    return graph, {id(x): name for name, x in zip(names, inputs, strict=True) if x is not None}


def _as_parameter(name: str, x: Tensor | None) -> Tensor | None:
    """Return x as a Parameter if a module would store it as one: weight, bias_hh, weights[0], …"""
    is_parameter = x is not None and x.requires_grad and name.startswith(("weight", "bias", "parameters"))
    return Parameter(x) if is_parameter else x
