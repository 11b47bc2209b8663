"""The kernels' algebra: array functions and their CUDA twins give the same exact numbers.

An array function with handwritten kernels has two versions: the body, which is compared with its formula
elsewhere, and the twin, which launches the kernels. Here both run on the same exact numbers, the twin on the
emulator (`launches`), and every entry of their results must be the same number of the field. Real values
decide what is larger, so guards against overflow take the plain path in both; they have ordinary tests.

`covered.py` says which twins are compared, how they are reached, and why others cannot be.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy

from ..backends import KERNELS, Kernel
from ..registry import Case, Op
from . import launches as launches  # of twins, on exact numbers
from .errors import NoRoot, NotExact
from .field import require_square
from .identity import Recorded, constant, point_of, random_numbers
from .numberarray import as_numbers
from .points import Point, anywhere
from .residues import Residue, lift

TAKEN_OUT_OF_ROOTS = {"lp_norm_forward": 1, "lp_batch_norm_forward": 3}
"""A positive result that kernels take out of a root: √(a² + b²) = a·√(1 + b²/a²), true of a square a."""

SCRATCH = {"adam_step": (5,), "sgd_step": (3,)}
"""Arguments that are memory to work in, which versions use differently."""

ATTEMPTS = 20
"""How often a point with all roots is looked for: kernels can take more of them than bodies."""


@dataclass
class Compared:
    """What versions gave, by the name of the array function.

    Attributes:
        equal: how many calls gave the same numbers.
        different: the first difference, such as "result 0 at (1, 3)".
        refused: why exact numbers cannot go through the twin.
    """

    equal: dict[str, int] = field(default_factory=dict)
    different: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


@contextmanager
def compared_versions() -> Iterator[Compared]:
    """Compare every array function that is called on exact numbers within the block with its CUDA twin."""
    found = Compared()
    kernels = {name: kernel for name, kernel in KERNELS.items() if "cuda" in kernel.versions}
    try:
        for name, kernel in kernels.items():
            kernel.versions["numpy"] = _both(name, kernel, found)
        yield found
    finally:
        for kernel in kernels.values():
            kernel.versions["numpy"] = kernel.numpy_version


def compare_on_case(op: Op, case: Case, rng: random.Random) -> Compared:
    """Compare the array functions that an op calls on a case, forward and backward, at a random point.

    Raises:
        NotExact: if the op does what exact numbers cannot do.
        NoRoot: if no point has all roots.
    """
    recorded = Recorded(op, case)
    recorded.outputs = [y for y in recorded.outputs if y.requires_grad]
    dys = [random_numbers(rng, y.shape) for y in recorded.outputs]

    def replay(arrays: Any) -> None:
        recorded.gradients(recorded.run(arrays, constant), dys)

    def run(arrays: Any) -> Compared:
        replay(arrays)  # alone first: most points lack a root
        with compared_versions() as found:
            replay(arrays)
        return found

    point = point_of(case, rng)
    _move_apart(point)
    return point.with_roots(run)


def _move_apart(point: Point) -> None:
    """Change real values by up to a millionth: of two equal ones, lanes would find different ones larger."""
    for key, index in point.entries:
        point.floats[key][index] *= 1 + 1e-6 * point.rng.random()
        point.arrays[key][index] = Residue(point.arrays[key][index].n, float(point.floats[key][index]))


@dataclass(frozen=True)
class Call:
    """A call of an array function that no replay reaches.

    Attributes:
        shapes: of its arrays of exact numbers, by name.
        arguments: makes positional and named arguments of them.
        positive: the names of arrays whose entries are above 0.
    """

    shapes: dict[str, tuple[int, ...]]
    arguments: Callable[..., tuple[Any, ...]]
    options: dict[str, Any] = field(default_factory=dict)
    positive: tuple[str, ...] = ()


def compare_call(name: str, call: Call, rng: random.Random) -> Compared:
    """Compare the versions of an array function on random arrays."""
    values = {
        key: numpy.array([rng.uniform(0.1 if key in call.positive else -1, 1) for _ in range(size)])
        for key, size in ((key, int(numpy.prod(shape))) for key, shape in call.shapes.items())
    }
    floats = {key: value.reshape(call.shapes[key]) for key, value in values.items()}

    def run(arrays: Any) -> Compared:
        copies = {key: array.copy() for key, array in arrays.items()}
        with compared_versions() as found:
            KERNELS[name](*call.arguments(**copies), **call.options)
        return found

    for _ in range(ATTEMPTS - 1):
        try:
            return Point(rng, floats, dict.fromkeys(floats, anywhere)).with_roots(run)
        except NoRoot:
            continue
    return Point(rng, floats, dict.fromkeys(floats, anywhere)).with_roots(run)


def _both(name: str, kernel: Kernel, found: Compared) -> Callable[..., Any]:
    body, twin = kernel.numpy_version, kernel.versions["cuda"]

    def call(*args: Any, **options: Any) -> Any:
        copies = [as_numbers(value.copy()) if isinstance(value, numpy.ndarray) else value for value in args]
        results = body(*args, **options)
        if not args[0].size or args[0].dtype != object or name in found.different:
            return results
        expected = results if isinstance(results, tuple) else (results,)
        if name in TAKEN_OUT_OF_ROOTS:
            for size in expected[TAKEN_OUT_OF_ROOTS[name]].ravel():
                require_square(lift(size).n)
        try:
            given = twin(*copies, **options)
        except TypeError as error:  # NotExact, or arrays of integers that its kernels go through first
            found.refused[name] = str(error)
            return results
        place = _difference("result", expected, given if isinstance(given, tuple) else (given,))
        if place is None:
            written = [i for i in range(len(args)) if i not in SCRATCH.get(name, ())]
            place = _difference("argument", [args[i] for i in written], [copies[i] for i in written])
        if place is None:
            found.equal[name] = found.equal.get(name, 0) + 1
        else:
            found.different[name] = place
        return results

    return call


def _difference(what: str, expected: Any, given: Any) -> str | None:
    """Return where two lists of arrays differ first."""
    for k, (one, other) in enumerate(zip(expected, given, strict=True)):
        if not isinstance(one, numpy.ndarray):
            continue
        if one.shape != other.shape:
            return f"the shape of {what} {k}"
        for index in numpy.ndindex(one.shape):
            if not _equal(one[index], other[index]):
                return f"{what} {k} at {index}"
    return None


def _equal(a: Any, b: Any) -> bool:
    try:
        return bool(a is b or a == b if isinstance(a, bool) else lift(a).n == lift(b).n)
    except NotExact:  # one is not a number of the field, or was not written
        return False
