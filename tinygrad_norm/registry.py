"""The registry of ops: every registered op is gradient-checked, compared, benchmarked and documented.

An `Op` has several forms of one computation. Its `Case`s are inputs on which the forms must agree, its
`ErrorCase`s are calls that must raise an exception. Both are data, so the tests, `tinygrad-norm
gradcheck`, the benchmarks and the tables of the docs need no list of their own.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy


@dataclass(frozen=True)
class Input:
    """How to draw one input: its shape, its distribution, and whether it has a gradient.

    `draw` receives a seeded generator and the shape. In a `Case`, a plain shape means
    `Input(shape)`: standard normal numbers with a gradient.
    """

    shape: tuple[int, ...]
    draw: Callable[[numpy.random.Generator, tuple[int, ...]], numpy.ndarray] = lambda rng, shape: rng.normal(
        size=shape
    )
    differentiable: bool = True


def positive(*shape: int, differentiable: bool = True) -> Input:
    """Numbers in [0.5, 2): the domain of log, sqrt, a variance."""
    return Input(shape, lambda rng, s: rng.uniform(0.5, 2.0, s), differentiable)


def uniform(low: float, high: float, *shape: int, differentiable: bool = True) -> Input:
    """Numbers in [low, high)."""
    return Input(shape, lambda rng, s: rng.uniform(low, high, s), differentiable)


def integers(high: int, *shape: int) -> Input:
    """Integers in [0, high): class labels, indices."""
    return Input(shape, lambda rng, s: rng.integers(0, high, s), differentiable=False)


def booleans(*shape: int) -> Input:
    """True and False: masks."""
    return Input(shape, lambda rng, s: rng.random(s) < 0.6, differentiable=False)


def distinct(*shape: int) -> Input:
    """A shuffled grid with steps of at least 0.1: no ties, so that max, min and sort have a gradient.

    No value is 0, so relu and abs are not evaluated at their kink.
    """

    def draw(rng: numpy.random.Generator, s: tuple[int, ...]) -> numpy.ndarray:
        n = int(numpy.prod(s))
        return ((rng.permutation(n) - n // 2 + 0.5) * max(0.1, 4.0 / max(n, 1))).reshape(s)

    return Input(shape, draw)


def fixed(values: Any, differentiable: bool = False) -> Input:
    """Exactly `values`."""
    array = numpy.asarray(values)
    return Input(array.shape, lambda rng, s: array.copy(), differentiable)


@dataclass(frozen=True)
class Case:
    """Inputs in the op's argument order (None: not given) and the remaining options by name."""

    inputs: tuple[Input | tuple[int, ...] | None, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def draw(self, seed: int = 0) -> list[tuple[numpy.ndarray, bool] | None]:
        """Return, for every input, its float64 (or integer) values and whether it has a gradient."""
        rng = numpy.random.default_rng(seed)
        drawn: list[tuple[numpy.ndarray, bool] | None] = []
        for spec in self.inputs:
            if spec is None:
                drawn.append(None)
                continue
            spec = spec if isinstance(spec, Input) else Input(spec)
            drawn.append((numpy.asarray(spec.draw(rng, spec.shape)), spec.differentiable))
        return drawn

    def __str__(self) -> str:
        shapes = [
            "–" if i is None else "×".join(map(str, i.shape if isinstance(i, Input) else i)) or "()"
            for i in self.inputs
        ]
        return " ".join([*shapes, *(f"{k}={v}" for k, v in self.options.items())])


@dataclass(frozen=True)
class ErrorCase:
    """A call that must raise an exception: the call, the exception, and words that its message contains."""

    call: Callable[[], Any]
    error: type[Exception]
    match: str


@dataclass(frozen=True)
class Op:
    """The forms of one computation, and the cases on which they must agree.

    name        unique, and the name under which `tinygrad-norm gradcheck NAME` finds it
    function    the closed form, from tensors to a tensor (or several)
    composed    the same built from primitives; None if the op is itself a primitive
    cases       inputs and options on which both, and finite differences, must agree
    inputs      the argument names of the cases' inputs, if they are not the first arguments
    parameters  those inputs that a module would register as parameters; of *weights, the name of all
    errors      calls that must raise an exception
    kind        "primitive", "function", "block", "loss" or "normalization"
    title       its name in prose
    paper       "Authors year, arXiv:id", or empty
    pool        which entries share one statistic, or empty
    torch       the same function in PyTorch: its dotted name, if it takes the same arguments; or a function
                of the module `torch` and the arguments, for the cases whose options it takes; or empty
    bench       cases for benchmarks
    """

    name: str
    function: Callable[..., Any]
    composed: Callable[..., Any] | None
    cases: tuple[Case, ...]
    inputs: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    errors: tuple[ErrorCase, ...] = ()
    kind: str = "function"
    title: str = ""
    paper: str = ""
    pool: str = ""
    torch: str | Callable[..., Any] = ""
    bench: tuple[Case, ...] = ()

    @property
    def family(self) -> str:
        """The folder of `normalization` that defines the op: batch, sample, vector, weight or gradient.

        For all other ops it is the kind.
        """
        package, _, module = getattr(self.function, "__module__", "").partition(".normalization.")
        family, _, file = module.partition(".")
        return family if package == __package__ and file else self.kind

    def call(
        self, tensors: Sequence[Any], options: dict[str, Any], function: Callable[..., Any] | None = None
    ) -> Any:
        """Call the closed form, or `function` (composed or PyTorch's), with the arguments of a case."""
        function = function or self.function
        if not self.inputs:
            return function(*tensors, **options)
        return function(**dict(zip(self.inputs, tensors, strict=False)), **options)

    def torch_function(self, torch: Any) -> Callable[..., Any]:
        """Return PyTorch's function, given the module `torch`."""
        if isinstance(self.torch, str):
            return functools.reduce(getattr, self.torch.split(".")[1:], torch)
        return functools.partial(self.torch, torch)

    def is_in_torch(self, case: Case) -> bool:
        """Return whether PyTorch has the op with the options of this case."""
        if isinstance(self.torch, str):
            return bool(self.torch)
        return case.options.keys() <= inspect.signature(self.torch).parameters.keys()


REGISTRY: dict[str, Op] = {}


def register(**fields: Any) -> Op:
    """Add an `Op` to the registry and return it.

    Raises:
        ValueError: if the name is already registered, or the op has no cases.
    """
    op = Op(**fields)
    if op.name in REGISTRY:
        raise ValueError(f"an op named {op.name!r} is already registered: choose another name")
    if not op.cases:
        raise ValueError(f"op {op.name!r} needs at least one case")
    REGISTRY[op.name] = op
    return op
