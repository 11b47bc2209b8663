"""gradcheck: is the hand-derived backward the derivative of the forward?

Backward gives the Jacobian row by row, one dy per output entry; finite differences give it column by
column, one input entry moved at a time; every entry must agree (`jacobian.py` says how they are
compared). A loss such as y.sum() would see only the sum of the rows, which for a normalization is zero
whatever its backward does. The fast mode looks at one number per output and input, vᵀJu along random v
and u: no dy of special structure either.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy

from ..backends import backend_of, to_numpy
from .finite_differences import Derivative, above_rounding, derivative
from .function import Function
from .grad_mode import enable_grad
from .graph import grad, reachable
from .jacobian import Block, Index
from .tensor import Tensor

DOUBTFUL = 1e-8  # the relative error from which on the rounding of a function is looked at


class GradcheckError(RuntimeError):
    """A backward that is not the derivative of its forward; the message says where and by how much."""


def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-3,
    atol: float = 0.0,
    rtol: float = 1e-7,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    fast_mode: bool = False,
) -> bool:
    """Check the gradients of `func` at `inputs` against finite differences, as `torch.autograd.gradcheck`.

    Every floating-point output that requires grad is checked with respect to every input that does,
    entry by entry. Also checked: `func` gives the same twice and leaves its inputs alone; backward gives
    finite gradients, the same twice, in no narrower dtype than the input's. The defaults are stricter
    than PyTorch's (eps 1e-6, atol 1e-5, rtol 1e-3), because the differences are of sixth order.

    Args:
        func: from tensors to a tensor or a tuple of tensors, its randomness frozen.
        inputs: its arguments: a tensor, or a tuple of anything. Those to be checked are float64.
        eps: the first step of the differences, in units of max(1, |x|); shrunk where that is better.
        atol: the absolute error allowed, in units of the gradient.
        rtol: the relative error allowed, a fraction of max(|a|, |n|, scale).
        raise_exception: raise where the check fails, instead of returning False.
        nondet_tol: the difference allowed between two runs of the same thing, in the result's units.
        fast_mode: compare vᵀJu, for one random v and u per output and input, instead of all of J.

    Raises:
        GradcheckError: where the check fails, with the worst entry and a hint at the cause.
        ValueError: for inputs or outputs that cannot be checked (none requires grad, or not float64),
            and for an eps that is not positive.
        TypeError: for outputs that are no tensors.
    """
    try:
        blocks = jacobians(func, inputs, eps=eps, nondet_tol=nondet_tol, fast_mode=fast_mode)
        message = disagreement(blocks, atol, rtol)
        if message:
            raise GradcheckError(message)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def disagreement(blocks: Sequence[Block], atol: float, rtol: float) -> str:
    """Return what `gradcheck` says of these Jacobians: the worst wrong entry, or "" where all agree."""
    wrong = [block for block in blocks if block.wrong(atol, rtol).any()]
    if not wrong:
        return ""
    message = max(wrong, key=lambda block: block.worst).describe(atol, rtol)
    if len(wrong) == 1:
        return message
    pairs = ", ".join(f"output {block.output} / input {block.input}" for block in wrong)
    return f"{message}\n  wrong in all: {pairs}"


def jacobians(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-3,
    nondet_tol: float = 0.0,
    fast_mode: bool = False,
) -> list[Block]:
    """Return both Jacobians, of every output with respect to every input, as `gradcheck` compares them.

    Raises:
        GradcheckError: where there is nothing to compare: `func` does not repeat itself or changes its
            inputs; backward fails, does not repeat itself, or gives NaN, infinity or a narrower dtype.
        ValueError: for inputs or outputs that cannot be checked (none requires grad, or not float64),
            and for an eps that is not positive.
        TypeError: for outputs that are no tensors.
    """
    if not eps > 0:
        raise ValueError(f"eps is the first step of the differences and must be positive, got {eps}")
    arguments = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    xs = _differentiable(arguments)
    rng = numpy.random.default_rng(0) if fast_mode else None
    with enable_grad():
        ys = _evaluate_twice(func, arguments, nondet_tol)
        units = {i: numpy.maximum(1.0, abs(to_numpy(x.array))) for i, x in xs.items()}
        us = {i: _Probes(x.shape, units[i], rng) for i, x in xs.items()}
        vs = {o: _Probes(y.shape, numpy.ones(y.shape), rng) for o, y in ys.items()}
        values = {o: to_numpy(y.array).copy() for o, y in ys.items()}
        analytic = {o: _backward_twice(o, y, vs[o], xs, us, nondet_tol) for o, y in ys.items()}

        def measure() -> numpy.ndarray:
            moved = _call(func, arguments)
            return numpy.concatenate([v.measure(to_numpy(moved[o].array)) for o, v in vs.items()])

        blocks = []
        for i, x in xs.items():
            reach = numpy.array([abs(u / units[i]).max() for u in us[i]])
            sizes = {o: numpy.outer(vs[o].bound(values[o]), reach) for o in ys}
            moving = _Moving(measure, x, us[i], eps / reach)

            def compare(numeric: Derivative, i: int = i, x: Tensor = x, sizes: Any = sizes) -> list[Block]:
                stops = numpy.cumsum([len(analytic[o][i]) for o in ys])[:-1]
                parts = zip(*(numpy.split(matrix, stops) for matrix in numeric), strict=True)
                return [
                    Block(i, o, x.shape, y.shape, analytic[o][i], Derivative(*part), sizes[o], fast_mode)
                    for (o, y), part in zip(ys.items(), parts, strict=True)
                ]

            numeric = moving.differentiate()
            compared = compare(numeric)
            doubtful = numpy.any([(b.relative_error > DOUBTFUL).any(0) for b in compared], axis=0)
            blocks += compare(moving.above_rounding(numeric, doubtful)) if doubtful.any() else compared
    return blocks


class _Probes:
    """The directions in which an array is probed: every entry by itself, or one at random."""

    def __init__(self, shape: Index, units: numpy.ndarray, rng: numpy.random.Generator | None) -> None:
        self.shape = shape
        self.random = None if rng is None or 0 in shape else numpy.asarray(rng.normal(size=shape) * units)

    def __len__(self) -> int:
        return math.prod(self.shape) if self.random is None else 1

    def __iter__(self) -> Iterator[numpy.ndarray]:
        if self.random is not None:
            yield self.random
            return
        for entry in range(math.prod(self.shape)):
            direction = numpy.zeros(self.shape)
            direction.reshape(-1)[entry] = 1.0
            yield direction

    def measure(self, array: numpy.ndarray) -> numpy.ndarray:
        """Return the inner product of `array` with every probe."""
        if self.random is None:
            return array.reshape(-1)
        return numpy.vdot(self.random, array).reshape(1)

    def bound(self, array: numpy.ndarray) -> numpy.ndarray:
        """Return how large the inner product of `array` with every probe can be: Σ |probe·array|."""
        finite = numpy.where(numpy.isfinite(array), abs(array), 0.0)
        if self.random is None:
            return finite.reshape(-1)
        return (abs(self.random) * finite).sum().reshape(1)


def _differentiable(arguments: tuple[Any, ...]) -> dict[int, Tensor]:
    """Return the inputs to check, by position."""
    xs = {i: x for i, x in enumerate(arguments) if isinstance(x, Tensor) and x.requires_grad}
    if not xs:
        raise ValueError(
            "gradcheck needs at least one input tensor that requires grad: "
            "tn.tensor(data, dtype=tn.float64, requires_grad=True)"
        )
    for i, x in xs.items():
        if x.dtype != numpy.float64:
            raise ValueError(
                f"gradcheck needs float64, but input {i} requires grad in {x.dtype}: finite differences "
                "of coarser numbers are mostly roundoff. Check x.detach().double().requires_grad_(), and "
                "call .double() on a module"
            )
    return xs


def _call(func: Callable[..., Any], arguments: tuple[Any, ...]) -> dict[int, Tensor]:
    """Return the tensors that `func` gives, by position; None among them is passed over."""
    result = func(*arguments)
    results = result if isinstance(result, tuple | list) else (result,)
    for o, y in enumerate(results):
        if not isinstance(y, Tensor | None):
            raise TypeError(
                f"gradcheck needs a func that returns tensors, but output {o} is of type {type(y).__name__}"
            )
    return {o: y for o, y in enumerate(results) if y is not None}


def _evaluate_twice(
    func: Callable[..., Any], arguments: tuple[Any, ...], nondet_tol: float
) -> dict[int, Tensor]:
    """Return the outputs to check, by position, from a `func` seen to repeat itself."""
    tensors = {i: x for i, x in enumerate(arguments) if isinstance(x, Tensor)}
    before = {i: to_numpy(x.array).copy() for i, x in tensors.items()}
    first = _call(func, arguments)
    for i, x in tensors.items():
        if not _same(to_numpy(x.array), before[i], 0.0):
            raise GradcheckError(f"func changed input {i} (shape {x.shape}) in place: work on a copy")
    values = {o: to_numpy(y.array).copy() for o, y in first.items()}
    second = _call(func, arguments)
    for o, value in values.items():
        if o not in second or not _same(to_numpy(second[o].array), value, nondet_tol):
            raise GradcheckError(
                f"func is not deterministic: output {o} differed between two calls with the same inputs. "
                "Freeze its randomness and its state (seed, dropout mask, running statistics), or pass "
                "nondet_tol"
            )
    floating = {o: y for o, y in first.items() if y.is_floating_point()}
    # Outputs that claim no gradient at all are held to it: they must not depend on the inputs.
    ys = {o: y for o, y in floating.items() if y.requires_grad} or floating
    if not ys:
        raise ValueError("gradcheck needs a func with a floating-point output")
    for o, y in ys.items():
        if y.dtype != numpy.float64:
            raise ValueError(
                f"gradcheck needs float64, but output {o} is {y.dtype}: func must keep the dtype"
            )
    return ys


def _backward_twice(
    o: int, y: Tensor, v: _Probes, xs: dict[int, Tensor], us: dict[int, _Probes], nondet_tol: float
) -> dict[int, numpy.ndarray]:
    """Return the analytic Jacobian with respect to every input, from a backward seen to repeat itself."""
    try:
        with _watched_dtypes(y):
            first, second = _backward(y, v, xs, us), _backward(y, v, xs, us)
    except GradcheckError:
        raise
    except RuntimeError as error:
        raise GradcheckError(f"the backward of output {o} failed: {error}") from error
    for i, x in xs.items():
        place = f"of output {o} with respect to input {i} (shape {x.shape})"
        if not numpy.isfinite(first[i]).all():
            raise GradcheckError(f"the analytic gradient {place} is NaN or infinite")
        if not _same(first[i], second[i], nondet_tol):
            raise GradcheckError(
                f"the gradient {place} differed between two backward passes with the same dy: "
                "backward must not change what forward saved, nor draw random numbers"
            )
    return first


def _backward(
    y: Tensor, v: _Probes, xs: dict[int, Tensor], us: dict[int, _Probes]
) -> dict[int, numpy.ndarray]:
    matrices = {i: numpy.zeros((len(v), len(u))) for i, u in us.items()}
    if y.requires_grad:
        for row, probe in enumerate(v):
            dy = backend_of(y.array).from_numpy(probe)
            dxs = grad([y], list(xs.values()), [dy], retain_graph=True, allow_unused=True)
            for (i, u), dx in zip(us.items(), dxs, strict=True):
                if dx is not None:
                    matrices[i][row] = u.measure(to_numpy(dx.array))
    return matrices


@contextmanager
def _watched_dtypes(y: Tensor) -> Iterator[None]:
    """Refuse gradients narrower than their inputs, which the sweep would widen without a word."""
    nodes = reachable([] if y.creator is None else [y.creator])
    for node in nodes:
        node.run_backward = _refusing_narrow(node)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for node in nodes:
            del node.run_backward


def _refusing_narrow(node: Function) -> Callable[..., Any]:
    def run_backward(dys: Any, retain: bool) -> Any:
        dxs = type(node).run_backward(node, dys, retain)
        for i, (x, dx) in enumerate(zip(node.inputs, dxs, strict=True)):
            if node.needs[i] and dx is not None and dx.dtype.itemsize < x.dtype.itemsize:
                raise GradcheckError(
                    f"{node.name}.backward returned a {dx.dtype} gradient for its input {i}, "
                    f"which is {x.dtype}: something in it narrows"
                )
        return dxs

    return run_backward


class _Moving:
    """An input that moves along every probe, and what that does to `measure`: a column each."""

    def __init__(
        self, measure: Callable[[], numpy.ndarray], x: Tensor, probes: _Probes, steps: numpy.ndarray
    ) -> None:
        self.measure, self.x, self.probes, self.steps = measure, x, probes, steps

    def differentiate(self) -> Derivative:
        """Return the derivative of `measure` along every probe."""
        with self._at_home_afterwards() as along:
            columns = [derivative(along(u), step) for u, step in zip(self.probes, self.steps, strict=True)]
        height = len(columns[0].value) if columns else len(self.measure())
        parts = (numpy.array([c[k] for c in columns]) for k in range(len(Derivative._fields)))
        return Derivative(*(part.reshape(len(self.probes), height).T for part in parts))

    def above_rounding(self, found: Derivative, doubtful: numpy.ndarray) -> Derivative:
        """Return what was found, with the rounding of the doubtful columns looked at."""
        result = Derivative(*(part.copy() for part in found))
        with self._at_home_afterwards() as along:
            for k, (u, step) in enumerate(zip(self.probes, self.steps, strict=True)):
                if doubtful[k]:
                    column = above_rounding(along(u), step, Derivative(*(part[:, k] for part in found)))
                    for part, new in zip(result, column, strict=True):
                        part[:, k] = new
        return result

    @contextmanager
    def _at_home_afterwards(self) -> Iterator[Callable[[numpy.ndarray], Callable[[float], numpy.ndarray]]]:
        x, home = self.x, self.x.array

        def along(probe: numpy.ndarray) -> Callable[[float], numpy.ndarray]:
            def moved_by(t: float) -> numpy.ndarray:
                x.array = home.copy()
                x.array += backend_of(home).from_numpy(t * probe)
                return self.measure()

            return moved_by

        try:
            yield along
        finally:
            x.array = home


def _same(a: numpy.ndarray, b: numpy.ndarray, tolerance: float) -> bool:
    if tolerance == 0 or a.dtype.kind not in "f" or a.shape != b.shape:
        return numpy.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return numpy.allclose(a, b, rtol=0.0, atol=tolerance, equal_nan=True)
