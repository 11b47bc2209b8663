"""What the page asks: a normalization, its numbers and options, checked before anything is computed."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy

from ..autograd.grad_mode import no_grad
from ..autograd.tensor import Tensor
from ..backends import to_numpy
from ..learn.given import Given, choose, names_of_arguments
from ..learn.sharing import small_input
from ..learn.smallinputs import with_weights
from ..registry import REGISTRY, Op
from ..suggestions import did_you_mean, unknown

MOST = 64
"""Numbers in x: every one of them is a cell that can be edited, and a row of a Jacobian."""

_KEYS = ("op", "shape", "x", "dy", "inputs", "seed", "options")


def norms() -> list[Op]:
    """Return the registered normalizations, by family."""
    found = [op for op in REGISTRY.values() if op.kind == "normalization"]
    return sorted(found, key=lambda op: (op.family, (op.title or op.name).lower()))


def read(question: Any) -> tuple[Op, Given]:
    """Return the normalization that is asked about, and its inputs: with the weights that it can take.

    Args:
        question: a mapping with "op", and if wanted "shape", "x" and "dy" (lists of numbers), "seed", and
            "inputs", lists of numbers by argument: {"weight": [1.0, 2.0]}, and "options", whose values are
            texts as in Python: {"num_groups": "2"}.

    Raises:
        ValueError: if something in it is of the wrong type, unknown, too large or not finite.
    """
    if not isinstance(question, Mapping):
        raise ValueError(f"a question must be a JSON object, got {type(question).__name__}")
    for key in question:
        if key not in _KEYS:
            raise ValueError(unknown("key", str(key), _KEYS))
    op = _op(question.get("op"))
    seed = question.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be an integer from 0 to 2**32 - 1, got {seed!r}")
    shape = _shape(question.get("shape"))
    given = small_input(op, seed, shape)
    options = given.options | _options(op, question.get("options", {}))
    x = _numbers(question.get("x"), "x")
    first = next(x for x in given.inputs if x is not None)
    if x is None:
        x = to_numpy(first.array)
    elif x.size != first.numel():
        raise ValueError(f"x must have {first.numel()} numbers for shape {first.shape}, got {x.size}")
    chosen = choose(
        op, x.reshape(first.shape), _numbers(question.get("dy"), "dy"), seed=seed, options=options
    )
    chosen = replace(chosen, inputs=with_weights(op, (chosen.inputs, chosen.options), seed))
    return op, _with_inputs(op, chosen, question.get("inputs", {}))


def _with_inputs(op: Op, given: Given, wanted: Any) -> Given:
    """Return `given` with other numbers in the inputs after x; integers stay integers."""
    names = names_of_arguments(op, len(given.inputs))
    known = [name for name, x in zip(names, given.inputs, strict=True) if x is not None][1:]
    if not isinstance(wanted, Mapping):
        raise ValueError(f"inputs must be an object of lists, such as {{'weight': [1, 2]}}, got {wanted!r}")
    for name in wanted:
        if name not in known:
            raise ValueError(unknown(f"input of {op.name} beside x", str(name), known))
    inputs = [
        x if x is None or wanted.get(name) is None else _changed(x, _numbers(wanted[name], name), name)
        for name, x in zip(names, given.inputs, strict=True)
    ]
    changed = replace(given, inputs=inputs)
    if wanted:
        _check_call(op, changed)
    return changed


def _changed(x: Tensor, values: numpy.ndarray | None, name: str) -> Tensor:
    assert values is not None
    if values.size != x.numel():
        raise ValueError(f"{name} must have {x.numel()} numbers, got {values.size}")
    array = to_numpy(x.array)
    if array.dtype.kind not in "fc" and (values != values.astype(array.dtype)).any():
        raise ValueError(f"{name} must be whole numbers")
    return Tensor(values.astype(array.dtype).reshape(x.shape), requires_grad=x.requires_grad)


def _check_call(op: Op, given: Given) -> None:
    """Raise ValueError if the op cannot take the numbers."""
    copies = [x if x is None else Tensor(x.array.copy()) for x in given.inputs]
    try:
        with no_grad(), numpy.errstate(all="ignore"):
            result = op.call(copies, given.options)
    except Exception as error:
        raise ValueError(f"{op.name} cannot take these numbers: {error}") from error
    for y in result if isinstance(result, tuple) else (result,):
        if not numpy.isfinite(to_numpy(y.array)).all():
            raise ValueError(f"the result of {op.name} is not finite for these numbers")


def _op(name: Any) -> Op:
    names = [op.name for op in norms()]
    if name not in names:
        raise ValueError(f"no normalization is called {name!r}{did_you_mean(str(name), names)}")
    return REGISTRY[name]


def _shape(sizes: Any) -> tuple[int, ...] | None:
    if sizes is None:
        return None
    if not isinstance(sizes, list) or not 1 <= len(sizes) <= 5:
        raise ValueError(f"shape must be a list of 1 to 5 sizes, got {sizes!r}")
    if any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in sizes):
        raise ValueError(f"shape needs sizes of at least 1, got {sizes!r}")
    if numpy.prod(sizes, dtype=float) > MOST:
        raise ValueError(f"x may have {MOST} numbers here, shape {'×'.join(map(str, sizes))} has more")
    return tuple(sizes)


def _numbers(values: Any, name: str) -> numpy.ndarray | None:
    if values is None:
        return None
    if not isinstance(values, list) or not 1 <= len(values) <= 4 * MOST:
        raise ValueError(f"{name} must be a list of 1 to {4 * MOST} numbers")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} must be numbers, got {value!r}")
        if not abs(value) <= 1e6:
            raise ValueError(f"{name} must be between -1000000 and 1000000, got {value!r}")
    return numpy.array(values, dtype=numpy.float64)


def _options(op: Op, texts: Any) -> dict[str, Any]:
    if not isinstance(texts, Mapping) or not all(isinstance(text, str) for text in texts.values()):
        raise ValueError(f"options must be an object of texts, such as {{'eps': '0.1'}}, got {texts!r}")
    inputs: Sequence[str] = names_of_arguments(op, max(len(case.inputs) for case in op.cases))
    known = [name for name in inspect.signature(op.function).parameters if name not in inputs]
    for name in texts:
        if name not in known:
            raise ValueError(unknown(f"option of {op.name}", name, known))
    return {name: _value(text) for name, text in texts.items()}


def _value(text: str) -> Any:
    """Return a Python literal, infinity, or else the text itself."""
    if len(text) > 40:
        raise ValueError("the text of an option may have 40 characters")
    if text in ("inf", "-inf"):
        return float(text)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
