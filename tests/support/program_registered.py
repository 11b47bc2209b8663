"""The statement that calls a registered op which names its equivalent in PyTorch, with one of its cases."""

import functools
import math
from typing import Any

import numpy
from program_choices import Digits, island, leaf, pick, shape_of
from program_machine import Machine

import tinygrad_norm as tn
from tinygrad_norm.registry import REGISTRY, Case, Op


def _registered() -> list[tuple[Op, Case]]:
    def plain(case: Case) -> bool:
        return all(isinstance(v, int | float | str | tuple | None) for v in case.options.values())

    return [
        (op, case) for op in REGISTRY.values() for case in op.cases if op.is_in_torch(case) and plain(case)
    ]


@functools.cache
def _drawn(op_name: str, number: int) -> tuple[list[Any], list[Any]]:
    case = REGISTRY[op_name].cases[number]
    return case.draw(0), case.draw(1)


WITHOUT_ZEROS = (
    *("weight_norm", "spectral_norm", "norm", "std", "normalize", "pow", "sqrt", "logsumexp", "topk", "sort"),
    *("argsort", "median", "quantile", "cummax", "cummin", "cumprod"),
    *("local_response_norm", "cosine_embedding_loss"),
)
"""Registered ops whose result, gradient or order at zeros, or at equal numbers, is another here on purpose.

PyTorch's cosine_embedding_loss adds 1e-12 to the squares.
"""

READS_BEYOND = ("batch_norm",)
"""Registered ops whose backward in PyTorch 2.13 reads beyond the memory of an expanded weight."""


def registered(m: Machine, d: Digits) -> None:
    op, case = d.of(REGISTERED)
    first, second = _drawn(op.name, op.cases.index(case))
    tensors: list[str] = []
    for spec, a, b in zip(case.inputs, first, second, strict=True):
        if spec is None:
            tensors.append("None")
        elif not a[1] or numpy.array_equal(a[0], b[0]):
            tensors.append(_constant(m, a[0], a[1]))
        else:
            fresh = op.name in WITHOUT_ZEROS
            x = _adapted(m, d, a[0], callable(op.torch), fresh, "norm" in op.name)
            tensors.append(x if op.name not in READS_BEYOND else f"{x}.clone()")
    names = op.inputs or ("",) * len(tensors)
    arguments = [f"{n}={x}" if n else x for n, x in zip(names, tensors, strict=False)]
    arguments += [f"{k}={v!r}" for k, v in case.options.items()]
    names = m.assign(f"{_function(m, op)}({', '.join(arguments)})", island(d))
    if callable(op.torch):  # several functions there, and one output may be made of another
        m.fused.update(names)


def _function(m: Machine, op: Op) -> str:
    if isinstance(op.torch, str):
        *package, name = op.torch.split(".")
        where = {"functional": "F", "torch": "tn", "Tensor": "tn.Tensor"}[package[-1]]
        if hasattr({"F": tn.nn.functional, "tn": tn, "tn.Tensor": tn.Tensor}[where], name):
            return f"{where}.{name}"
    return m.register(op.name)


def _constant(m: Machine, values: numpy.ndarray, grad: bool) -> str:
    numbers = f"numpy.array({values.tolist()!r}, numpy.{values.dtype.name}).reshape({values.shape})"
    return m.assign(f"tn.tensor({numbers}{', requires_grad=True' if grad else ''})")[0]


def _adapted(m: Machine, d: Digits, values: numpy.ndarray, grad: bool, fresh: bool, normalized: bool) -> str:
    """A new leaf of the shape of `values`, or an adapted tensor; in their range if they are ≥ 0.

    What is `normalized` may not be equal numbers.
    """
    low, high = (
        (float(values.min()), float(values.max())) if values.size and values.min() >= 0 else (-math.inf, 0)
    )
    if d.below(3) == 0 or fresh:
        return m.use(leaf(m, Digits(0) if grad else d, values.shape, low, high))
    x = pick(m, d, lambda name: m.values[name].size > 0 and (m.theirs[name].requires_grad or not grad), (3,))
    if normalized and numpy.ptp(m.values[x]) == 0:  # rounding decides what is left
        return m.use(leaf(m, Digits(0) if grad else d, values.shape, low, high))
    text, shape = x, shape_of(m, x)
    if shape != values.shape:
        size = m.values[x].size
        if size != values.size:
            text = f"{text}.flatten()[{[i % size for i in range(values.size)]}]"
        text = f"{text}.reshape({values.shape})"
    if low != -math.inf and not (m.values[x].min() >= low and m.values[x].max() <= high):
        text = f"{text}.sigmoid() * {high - low} + {low}"
    return x if text == x else m.use(m.assign(text)[0])


REGISTERED = _registered()
