"""Mistakes in the paths of any registered op: the paths that `explain` shows, dropped or of the wrong sign.

The composed form of the op is traced, and every dy is swept back along one path at a time (`pathways.py`). So
no formula is written here; the names and formulas are those of the op's own derivation.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy

from ...autograd.tensor import Tensor
from ...backends import to_numpy
from ...registry import Op
from ..formulas import argument_names
from ..pathways import gradients_of_paths
from ..steps import names_of
from ..tracing import traced
from .catalogue import Derivation, Mistake, Step, Steps, fits_output, times

Contribution = tuple[str, str, list[numpy.ndarray]]


def fit_paths(op: Op, names: Sequence[str], inputs: Sequence[Any], y: numpy.ndarray) -> Iterator[Derivation]:
    """Yield the derivation of a registered op, with the options of the first of its cases that gives `y`.

    `inputs` are in the order of the op's own, and `names` the user's names for them.
    """
    if op.composed is None:
        return
    for options in ({}, *(case.options for case in op.cases)):
        leaves = [Tensor(x.array.copy(), requires_grad=True) if _floats(x) else x for x in inputs]
        arguments = (op.inputs or argument_names(op.function, len(leaves)))[: len(leaves)]
        with traced() as trace:
            for argument, leaf in zip(arguments, leaves, strict=False):
                trace.name(leaf, argument)
            try:
                result = op.call(leaves, options, op.composed)
            except Exception:
                continue
        first = result[0] if isinstance(result, tuple) else result
        if not isinstance(first, Tensor) or not fits_output(to_numpy(first.array), y):
            continue
        xs = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]
        used = [name for name, leaf in zip(names, leaves, strict=False) if any(leaf is x for x in xs)]
        dy = numpy.ones(y.shape)
        known = names_of(op, trace, trace.calls, [first])

        def paths(dy: numpy.ndarray) -> list[Contribution]:
            found = gradients_of_paths(op, trace, xs, [first], [dy], known)  # noqa: B023
            return [
                (name, formula, [_array(dx, x) for dx, x in zip(dxs, xs, strict=True)])  # noqa: B023
                for name, formula, dxs in found
            ]

        yield _derivation(op, used, paths, dy)
        return


def _floats(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


def _array(dx: Any, x: Tensor) -> numpy.ndarray:
    return numpy.zeros(x.shape) if dx is None else to_numpy(dx)


def _derivation(op: Op, names: Sequence[str], paths: Any, dy: numpy.ndarray) -> Derivation:
    labels = [(name, formula) for name, formula, _ in paths(dy)]
    steps: Steps = {"paths": lambda s: {name: dxs for name, _, dxs in paths(s.dy)}}
    mistakes: list[Mistake] = []
    for i, argument in enumerate(names):
        own = [f"{argument}, {label}" for label, _ in labels]
        steps |= {key: _path(label, i) for key, (label, _) in zip(own, labels, strict=True)}
        steps[f"d{argument}"] = _total(own)
        for key, (label, formula) in zip(own, labels, strict=True):
            right = formula or "see `tinygrad-norm explain " + op.name + "`"
            where = "the straight path" if label == "straight" else f"the path {label}"
            mistakes += [
                Mistake(f"{where} is dropped", label, "0", right, {key: times(steps[key], 0.0)}),
                Mistake(
                    f"the sign of {where} is wrong",
                    label,
                    "its negative",
                    right,
                    {key: times(steps[key], -1.0)},
                ),
                Mistake(f"{where} counts twice", label, "2 times", right, {key: times(steps[key], 2.0)}),
                Mistake(f"{where} counts half", label, "half of", right, {key: times(steps[key], 0.5)}),
            ]
        whole = steps[f"d{argument}"]
        mistakes.append(
            Mistake(
                "the sign is wrong",
                f"d{argument}",
                "its negative",
                "the sum of the paths",
                {f"d{argument}": times(whole, -1.0)},
            )
        )
    gradients = {argument: f"d{argument}" for argument in names}
    return Derivation(op.name, {}, steps, gradients, tuple(mistakes))


def _path(label: str, i: int) -> Step:
    return lambda s: s.paths[label][i] if label in s.paths else 0.0


def _total(keys: Sequence[str]) -> Step:
    return lambda s: sum((getattr(s, key) for key in keys[1:]), getattr(s, keys[0]))
