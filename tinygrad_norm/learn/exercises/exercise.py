"""What an exercise is besides its text: title, level, hints, and the inputs to check it with."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy

from ...suggestions import unknown
from . import NAMES


@dataclass(frozen=True)
class TypicalMistake:
    """A gradient as many write it first, and what is wrong with it.

    Attributes:
        gradient: that is wrong, such as "dx".
        words: what is wrong, such as "the factor 1 - y is missing".
        value: returns the wrong gradient for the arguments of backward.
    """

    gradient: str
    words: str
    value: Callable[..., Any]


@dataclass(frozen=True)
class Exercise:
    """One exercise. It stands at the end of its file, as `EXERCISE`.

    Attributes:
        name: of the exercise, and of the file that the learner gets.
        title: what is learned, in a few words.
        level: 1 to 4.
        hints: three to five, from gentle to nearly the answer.
        inputs: returns the arguments of forward, given a random generator and `more`: 0, or 1 for other
            sizes. Arrays of floating-point numbers in float64, other than all ones, with pools of 3 or more.
        like: the registered op that forward computes, so that the doctor knows its usual mistakes.
        mistakes: typical ones that the doctor does not name by itself.
        tolerance: the largest difference of forward's y from the right one, relative to its largest value.
        needs_compiler: whether forward runs a CUDA kernel on the emulator, which needs g++.
    """

    name: str
    title: str
    level: int
    hints: tuple[str, ...]
    inputs: Callable[[numpy.random.Generator, int], tuple[Any, ...]]
    like: str | None = None
    mistakes: tuple[TypicalMistake, ...] = ()
    tolerance: float = 1e-9
    needs_compiler: bool = False


@dataclass(frozen=True)
class Solved:
    """An exercise's own file: its text, its functions and its description."""

    exercise: Exercise
    module: ModuleType
    source: str


def load(name: str) -> Solved:
    """Return the exercise called `name`, with its solution.

    Raises:
        ValueError: if there is none.
    """
    if name not in NAMES:
        raise ValueError(unknown("exercise", name, NAMES))
    module = import_module(f"{__package__}.{name}_exercise")
    return Solved(module.EXERCISE, module, inspect.getsource(module))
