"""Identity testing: are two forms of an op the same function, and is its backward the derivative?

At a random point x, with random dy and v, the closed form's backward gives dx, and the composed form on dual
numbers gives y and J·v. All are exact, so the forms agree if

    y of both forms are equal, entry by entry, and      Σ dy·(J·v) = Σ dx·v

The second is one equation for all gradients: v and dy are random, so a wrong entry of dx cannot be made up
for by another (Schwartz, Zippel).
"""

import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy

from ..autograd.tensor import Tensor
from ..backends.cpu.loop_mode import use_loops
from ..registry import Case, Op
from .apart import is_whole, told_apart
from .degrees import NO_ROOTS, Degree, bound
from .duals import Dual, derivative, value
from .errors import NoGradient, NoRoot, NotExact, RootOfSquare
from .exactloops import loops_in_place_of_bodies
from .field import Given, P, Powers, is_square
from .numberarray import NumberArray, each, numbers
from .points import Point, anywhere, as_given, instead_of_zero, of_any_size
from .replay import Leaves, Replay, recording_detached
from .residues import Residue, lift, real
from .written import as_fraction, as_written, came_in

ROUNDING = 1e-12
"""A difference of real values that floats computed on the way may explain."""

ROUNDING_OF_ONE = 4e-15
"""The same, if both forms have the same float: of c and 2·c one may be written short, and so be read."""

LOOKS = 24
"""Points at which a number is a square by chance once in 2²⁴ times."""


@dataclass(frozen=True)
class Difference:
    """An entry in which a form is wrong at a point.

    Attributes:
        what: "output 0", or "gradient of input 1"; with "loops: " if a loop differs from its body.
        index: of the entry.
        got: the number that the form gives, and its real value.
        expected: the number of the composed form, or the derivative of it.
    """

    what: str
    index: tuple[int, ...]
    got: Residue
    expected: Residue


class Recorded:
    """One form of an op on a case, recorded by an ordinary run, ready to be run again on exact numbers.

    With `constants`, all floats of the case have a gradient while it is recorded, so that steps from which
    no input gets one are recorded too.
    """

    def __init__(
        self, op: Op, case: Case, form: Callable[..., Any] | None = None, constants: bool = False
    ) -> None:
        self.inputs = [
            None
            if one is None
            else Tensor(one[0].astype(float) if one[0].dtype.kind == "f" else one[0], requires_grad=one[1])
            for one in told_apart(case)
        ]
        for x in self.inputs if constants else ():
            if x is not None and x.array.dtype.kind == "f":
                x.requires_grad = True
        with use_loops("off"), recording_detached(constants) as self.detached:
            result = op.call(self.inputs, case.options, form)
        self.outputs = list(result) if isinstance(result, tuple) else [result]

    def run(self, arrays: dict[int, NumberArray], constant: Callable[[float], Any]) -> Replay:
        """Return the form's run on arrays of numbers, given by number of the input."""
        return Replay(self.outputs, self._leaves(arrays), constant, self.detached)

    def gradients(self, run: Replay, dys: list[NumberArray]) -> dict[int, Any]:
        """Return dL/dx of a run, by number of the input; without inputs that the loss does not depend on."""
        found = run.gradients(self.outputs, dys)
        return {i: found[id(x)] for i, x in enumerate(self.inputs) if id(x) in found}

    def _leaves(self, arrays: dict[int, NumberArray]) -> Leaves:
        return [(x, arrays[i]) for i, x in enumerate(self.inputs) if x is not None and i in arrays]


class Comparison:
    """A closed form and its reference at one point: the composed form, or for a primitive the form itself.

    The closed form runs by its loops, too, and gives the same numbers; `loops` names their kernels.

    Raises:
        NotExact: if a form does what exact numbers cannot do.
        NoRoot: if no point has all roots.
    """

    def __init__(self, op: Op, case: Case, rng: random.Random) -> None:
        self.closed, self.reference = Recorded(op, case), _reference(op, case)
        chosen = [k for k, y in enumerate(self.closed.outputs) if y.requires_grad]
        for form in (self.closed, self.reference):
            form.outputs = [form.outputs[k] for k in chosen]
        self.dys = [random_numbers(rng, y.shape) for y in self.closed.outputs]
        self.directions = {
            i: random_numbers(rng, x.shape)
            for i, x in enumerate(self.closed.inputs)
            if x is not None and x.requires_grad
        }
        point = point_of(case, rng)
        Powers.roots = 0
        self.arrays = point.with_roots(self._run)
        if not self.directions:
            raise NoGradient("it has no case with a gradient")
        if Powers.roots:
            self._look_for_roots_of_squares(point, rng)

    def _look_for_roots_of_squares(self, point: Point, rng: random.Random) -> None:
        """Raise NotExact if what is under a root is a square at every point.

        The root of y² is |y|, and that of the field may be -|y|: nothing could be said of either form.
        """
        suspects: dict[int, set[int]] | None = None
        for _ in range(LOOKS):
            arrays = {
                i: each(lambda x: of_any_size(rng, x), a) if point.draw[i] is not as_given else a
                for i, a in self.arrays.items()
            }
            under_roots: list[int] = []
            Powers.looked_at = under_roots
            try:
                self.closed.run(arrays, constant)
                self.reference.run(arrays, constant)
            finally:
                Powers.looked_at = None
            squares = {k: a for k, a in enumerate(under_roots) if is_square(a)}
            suspects = {
                k: {a} | (suspects or {}).get(k, set())
                for k, a in squares.items()
                if suspects is None or k in suspects
            }
            if not suspects:
                return
        if any(len(values) > 1 for values in (suspects or {}).values()):
            raise RootOfSquare("it takes the root of a square, and √(y²) is y or -y: write abs(y) for it")

    def _run(self, arrays: dict[int, NumberArray]) -> dict[int, NumberArray]:
        """Run both forms at a point, and return the point."""
        self.arrays = arrays
        Given.used.clear()
        self.found = self.closed.run(arrays, constant)
        self.gradients = self.closed.gradients(self.found, self.dys)
        of_closed = dict(Given.used)
        Given.used.clear()
        self.expected = self._derivative(self.directions)
        self.rounded = of_closed | Given.used
        self.allowed = ROUNDING_OF_ONE if _is_one(of_closed, Given.used) else ROUNDING
        self._run_loops()
        return arrays

    def _run_loops(self) -> None:
        """Run the closed form with its loops in place of the bodies."""
        try:
            with loops_in_place_of_bodies() as self.loops:
                run = self.closed.run(self.arrays, constant)
                self.by_loops = run.outputs, self.closed.gradients(run, self.dys)
        except NoRoot:
            raise
        except Exception:  # a step that is written for floats, such as one on their bits
            self.loops = set()

    def _derivative(self, directions: dict[int, NumberArray]) -> list[Any]:
        """Return the outputs of the reference as dual numbers, with their derivatives along `directions`."""
        duals = {
            i: each(Dual, a, directions[i]) if i in directions else each(Dual, a)
            for i, a in self.arrays.items()
        }
        return self.reference.run(duals, lambda x: Dual(constant(x))).outputs

    def _along(self, outputs: list[Any]) -> Residue:
        """Return Σ dy·(J·v)."""
        return sum_of(_total(dy, each(derivative, y)) for dy, y in zip(self.dys, outputs, strict=True))

    def difference(self) -> Difference | None:
        """Return the first entry that is wrong; None if the forms agree and dx is the derivative.

        Raises:
            NotExact: if the difference may be rounding, as floats came in that were computed on the way.
        """
        found = self._difference()
        if found is not None and self.rounded and _is_rounding(found, self.allowed):
            number, place = next(iter(self.rounded.items()))
            raise NotExact(came_in(number), place)
        return found or self._difference_of_loops()

    def _difference_of_loops(self) -> Difference | None:
        """Return the first entry that a loop gets wrong."""
        if not self.loops:
            return None
        outputs, gradients = self.by_loops
        of_bodies = self.found.outputs
        pairs = [(f"output {k}", *pair) for k, pair in enumerate(zip(outputs, of_bodies, strict=True))]
        pairs += [(f"gradient of input {i}", gradients[i], dx) for i, dx in self.gradients.items()]
        for what, got, expected in pairs:
            for index in numpy.ndindex(expected.shape):
                if got[index] != expected[index]:
                    return Difference(f"loops: {what}", index, lift(got[index]), lift(expected[index]))
        return None

    def _difference(self) -> Difference | None:
        for k, (y, reference) in enumerate(zip(self.found.outputs, self.expected, strict=True)):
            for index in numpy.ndindex(y.shape):
                if y[index] != value(reference[index]):
                    return Difference(f"output {k}", index, lift(y[index]), lift(value(reference[index])))
        forward = self._along(self.expected)
        backward = sum_of(_total(dx, self.directions[i]) for i, dx in self.gradients.items())
        return None if forward == backward else self._wrong_entry()

    def bound(self) -> float:
        """Return a bound of the probability that `difference` overlooks a wrong entry at this point."""
        bits = itertools.count()
        degrees = {
            i: each(lambda x, i=i: Degree(real(x), 2, 0, NO_ROOTS, 1 << next(bits), is_square=True), a)
            for i, a in self.arrays.items()
        }
        run = self.closed.run(degrees, lambda x: x)
        gradients = self.closed.gradients(run, [each(lambda x: Degree(real(x), 1, 0), dy) for dy in self.dys])
        duals = {
            i: each(lambda x, i=i: Dual(x, Degree(0.5, 1, 0)) if i in self.directions else Dual(x), a)
            for i, a in degrees.items()
        }
        outputs = [y for part in self.reference.run(duals, Dual).outputs for y in part.flat]
        return max(
            (
                bound(dx, outputs, x.variables)
                for i, gradient in gradients.items()
                for dx, x in zip(gradient.flat, degrees[i].flat, strict=True)
            ),
            default=0.0,
        )

    def _wrong_entry(self) -> Difference:
        """Return the first wrong entry of a gradient, by a derivative along each entry alone."""
        for i, direction in self.directions.items():
            for index in numpy.ndindex(direction.shape):
                along = each(lambda x: 0, direction)
                along[index] = 1
                expected = self._along(self._derivative({i: along}))
                got = lift(self.gradients[i][index] if i in self.gradients else 0)
                if got != expected:
                    return Difference(f"gradient of input {i}", index, got, expected)
        raise AssertionError("the sums differ, but no entry does")


def _reference(op: Op, case: Case) -> Recorded:
    """Return the composed form, recorded with all its steps if it takes constants with a gradient."""
    try:
        return Recorded(op, case, op.composed, constants=True)
    except (ValueError, RuntimeError):
        return Recorded(op, case, op.composed)


def constant(x: float) -> Any:
    """Return what a float of a constant tensor stands for; infinity and NaN stay, to compare with."""
    if not numpy.isfinite(x):
        return x
    try:
        as_written(x)
    except NotExact:
        fraction = as_fraction(x)
        return lift(x if fraction is None else fraction)
    return lift(x)


def _is_one(closed: dict[float, str], reference: dict[float, str]) -> bool:
    """Return whether both forms have one given float, the same; ± it and 2ᵏ of it are the same, too.

    Of several, one may be computed of the others, and rounded.
    """
    digits = set(map(_digits, closed))
    return len(digits) == 1 and digits == set(map(_digits, reference))


def _digits(x: float) -> float:
    return math.frexp(abs(x))[0]


def _is_rounding(found: Difference, allowed: float) -> bool:
    a, b = real(found.got), real(found.expected)
    return abs(a - b) <= allowed * max(abs(a), abs(b), 0.1)


def sum_of(parts: Iterator[Any]) -> Residue:
    """Return the sum of residues, 0 of none."""
    return sum(parts, Residue(0, 0.0))


def random_numbers(rng: random.Random, shape: tuple[int, ...]) -> Any:
    """Return random numbers of the field, with real values in [-1, 1)."""
    size = int(numpy.prod(shape))
    return numbers([Residue(rng.randrange(P), rng.uniform(-1, 1)) for _ in range(size)]).reshape(shape)


def point_of(case: Case, rng: random.Random) -> Point:
    """Return a point on the branches of a case."""
    floats: dict[int, Any] = {}
    how: dict[int, Any] = {}
    for i, drawn in enumerate(told_apart(case)):
        if drawn is not None and drawn[0].dtype.kind == "f":
            floats[i] = drawn[0]
            if not drawn[1] and is_whole(drawn[0]):
                how[i] = as_given
            else:
                how[i] = anywhere if drawn[0].any() else instead_of_zero
    return Point(rng, floats, how)


def _total(a: Any, b: Any) -> Residue:
    """Return Σ a·b over all entries."""
    return sum_of(x * y for x, y in zip(numpy.ravel(a), numpy.ravel(b), strict=True))
