"""The table of converters: which ONNX operators a Function becomes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..autograd.function import Function
from .graph_builder import GraphBuilder, Name
from .sizes import Call

Emit = Callable[[GraphBuilder, Call], Name | Sequence[Name]]
"""Adds the nodes of a call and returns the names of its outputs."""


def always(opset: int, inputs: Sequence[Any], options: dict[str, Any]) -> bool:
    """Accept every call."""
    return True


@dataclass(frozen=True)
class Converter:
    """How a Function is written, and whether it can be, given the opset and a call's inputs and options."""

    emit: Emit
    accepts: Callable[[int, Sequence[Any], dict[str, Any]], bool] = always


CONVERTERS: dict[type[Function], Converter] = {}


def converts(
    *functions: type[Function],
    accepts: Callable[[int, Sequence[Any], dict[str, Any]], bool] = always,
) -> Callable[[Emit], Emit]:
    """Register the decorated function as the converter of `functions`."""

    def decorate(emit: Emit) -> Emit:
        CONVERTERS.update({function: Converter(emit, accepts) for function in functions})
        return emit

    return decorate


def from_opset(oldest: int) -> Callable[[int, Sequence[Any], dict[str, Any]], bool]:
    """Accept a call from this opset on."""
    return lambda opset, inputs, options: opset >= oldest
