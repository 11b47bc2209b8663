"""How a statement of a random program chooses: by the digits of a number, among the tensors that are there.

Most operands have values below 1000.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from program_machine import Machine

Shape = tuple[int, ...]

SHAPES: tuple[Shape, ...] = (
    (3,),
    (2, 3),
    (2, 3, 4),
    (3, 1),
    (4, 4),
    (),
    (1, 3),
    (2, 1, 3),
    (5, 2),
    (1,),
    (0, 3),
)


class Digits:
    """The digits of a number, least first: each answers one question, and 0 is the simplest answer."""

    def __init__(self, number: int) -> None:
        self.rest = number

    def below(self, n: int) -> int:
        self.rest, digit = divmod(self.rest, n)
        return digit

    def of(self, options: Sequence[Any]) -> Any:
        return options[self.below(len(options))]

    def one_in(self, n: int) -> bool:
        return self.below(n) == n - 1


def leaf(m: Machine, d: Digits, shape: Shape, low: float = -math.inf, high: float = math.inf) -> str:
    """Add a leaf of normal numbers, or of numbers between the bounds, and return its name."""
    rng = f"numpy.random.default_rng({len(m.names)})"
    numbers = f"normal(size={shape})" if low == -math.inf else f"uniform({low}, {high}, {shape})"
    grad = "" if d.one_in(4) else ", requires_grad=True"
    return m.assign(f"tn.tensor({array_of(rng, numbers, shape)}{grad})")[0]


def array_of(rng: str, numbers: str, shape: Shape) -> str:
    return f"{rng}.{numbers}" if shape else f"numpy.array({rng}.{numbers})"


def pick(m: Machine, d: Digits, suits: Callable[[str], bool] = lambda name: True, shape: Shape = ()) -> str:
    """Return a tensor of floats that suits, a new leaf of `shape` if there is none."""
    wild = d.one_in(32)
    found = [x for x in reversed(m.names) if (m.is_tame(x) or (wild and is_float(m, x))) and suits(x)]
    return m.use(d.of(found) if found else leaf(m, d, shape or d.of(SHAPES)))


def is_float(m: Machine, name: str) -> bool:
    return m.values[name].dtype == float


def shape_of(m: Machine, name: str) -> Shape:
    return m.values[name].shape


def axis_of(d: Digits, shape: Shape) -> int:
    """An axis, sometimes counted from the end, seldom one that does not exist."""
    if d.one_in(40):
        return len(shape)
    return d.below(len(shape)) - len(shape) * d.below(2) if shape else 0


def axes_of(d: Digits, shape: Shape) -> str:
    """Arguments of a reduction: no axis, one or several, kept or not."""
    how = d.below(4)
    if how == 0 or not shape:
        return ""
    dim = str(axis_of(d, shape))
    if how == 3 and len(shape) > 1:
        first = d.below(len(shape))
        dim = str((first, (first + 1 + d.below(len(shape) - 1)) % len(shape)))
    return f"dim={dim}" + (", keepdim=True" if d.one_in(3) else "")


def island(d: Digits) -> bool:
    return d.one_in(12)


def fits_to(m: Machine, shape: Shape) -> Callable[[str], bool]:
    def fits(name: str) -> bool:
        return all(a == b or 1 in (a, b) for a, b in zip(shape[::-1], shape_of(m, name)[::-1], strict=False))

    return fits
