"""gradcheck: is the hand-derived backward the derivative of the forward?

Backward gives the Jacobian row by row, one dy per output entry; finite differences give it column by
column, one input entry moved at a time; every entry must agree (`jacobian.py` says how they are
compared). A loss such as y.sum() would see only the sum of the rows, which for a normalization is zero
whatever its backward does. The fast mode compares one number per output and input, vᵀJu along random v
and u, so its dy has no special structure either.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy

from ..autograd.function import Function
from ..autograd.grad_mode import enable_grad
from ..autograd.tensor import Tensor
from ..backends import to_numpy
from .analytic import analytic
from .closeness import same
from .error import GradcheckError
from .failure_report import disagreement
from .jacobian import JacobianPair
from .numeric import Derivative, MovedInput
from .probing import Key, Probes, label

DOUBTFUL = 1e-8  # entries with a larger relative error are examined for rounding and kinks


@numpy.errstate(all="ignore")
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

    Every floating-point output that requires grad is checked, entry by entry, with respect to every input
    that does, and to the parameters if `func` is a module. Also checked: `func` gives the same result twice
    and does not change its inputs; backward gives finite gradients, linear in dy, the same twice, and not in
    a narrower dtype than the input's. The defaults are stricter than PyTorch's (eps 1e-6, atol 1e-5,
    rtol 1e-3), because the differences are of sixth order. `func` is called many times at slightly moved
    inputs, six times or more for each entry of an input: state that its forward changes, such as running
    statistics, is not restored.

    Args:
        func: from tensors to a tensor or a tuple of tensors, or a module; its randomness frozen.
        inputs: its arguments: a tensor, or a tuple of anything. Tensors to be checked must be float64.
        eps: the first step of the differences, in units of max(1, |x|), rounded to a power of two; it
            shrinks if that is more accurate.
        atol: the absolute error allowed, in units of the gradient.
        rtol: the relative error allowed, a fraction of max(|a|, |n|, scale).
        raise_exception: raise if the check fails, instead of returning False.
        nondet_tol: the difference allowed between two runs of the same thing, in the result's units.
        fast_mode: compare vᵀJu, for one random v and u per output and input, instead of all of J.

    Raises:
        GradcheckError: if the check fails, with the worst entry and a hint at the cause.
        ValueError: if inputs or outputs cannot be checked (none requires grad, not float64, an input that
            requires grad is NaN or infinite), or if eps is not positive.
        TypeError: if an output is not a tensor, or func is a Function class.
    """
    try:
        pairs = jacobians(func, inputs, eps=eps, nondet_tol=nondet_tol, fast_mode=fast_mode)
        entry = disagreement(pairs, atol, rtol)
        if entry:
            raise GradcheckError(entry.text)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


@numpy.errstate(all="ignore")
def jacobians(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-3,
    nondet_tol: float = 0.0,
    fast_mode: bool = False,
) -> list[JacobianPair]:
    """Return both Jacobians, of every output with respect to every input, as `gradcheck` compares them.

    Raises:
        GradcheckError: if there is nothing to compare: `func` is not deterministic or changes its inputs;
            backward fails, is not deterministic, or gives NaN, infinity or a narrower dtype.
        ValueError, TypeError: as `gradcheck`.
    """
    if isinstance(func, type) and issubclass(func, Function):
        raise TypeError(f"gradcheck calls func: pass {func.__name__}.apply, not {func.__name__}")
    if not eps > 0:
        raise ValueError(f"eps is the first step of the differences and must be positive, got {eps}")
    arguments = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    xs = _differentiable(func, arguments)
    rng = numpy.random.default_rng(0) if fast_mode else None
    with enable_grad():
        ys = _evaluate_twice(func, arguments, xs, nondet_tol)
        units = {i: numpy.maximum(1.0, abs(to_numpy(x.array))) for i, x in xs.items()}
        us = {i: Probes(x.shape, units[i], rng) for i, x in xs.items()}
        vs = {o: Probes(y.shape, numpy.ones(y.shape), rng) for o, y in ys.items()}
        values = {o: to_numpy(y.array) for o, y in ys.items()}
        bounds = {o: vs[o].bound(y) for o, y in values.items()}
        infinities = {o: numpy.where(numpy.isinf(y), y, numpy.nan) for o, y in values.items()}
        found = {o: analytic(o, y, vs[o], xs, us, nondet_tol) for o, y in ys.items()}

        def measure() -> numpy.ndarray:
            results = _call(func, arguments)
            moved = {o: to_numpy(results[o].array) for o in vs}
            # An infinity that stays, as a mask of -inf makes it, adds nothing to a derivative.
            parts = [v.measure(numpy.where(moved[o] == infinities[o], 0.0, moved[o])) for o, v in vs.items()]
            return numpy.concatenate(parts)

        tensors = _tensors(arguments, xs)
        at = {i: to_numpy(x.array).copy() for i, x in tensors.items()}
        pairs = []
        for i, x in xs.items():
            reach = numpy.array([abs(u / units[i]).max() for u in us[i]])
            # A power of two is added to most numbers without rounding.
            moved_input = MovedInput(i, measure, x, us[i], numpy.exp2(numpy.round(numpy.log2(eps / reach))))
            numeric = moved_input.differentiate()
            compared = [
                JacobianPair(i, o, at, y.shape, found[o][i], part, bounds[o], reach, fast_mode)
                for (o, y), part in zip(ys.items(), _by_output(numeric, vs), strict=True)
            ]
            doubtful = _doubtful(compared)
            if doubtful.any():
                parts = _by_output(moved_input.examine(numeric, doubtful), vs)
                compared = [replace(pair, numeric=part) for pair, part in zip(compared, parts, strict=True)]
            pairs += compared
    return pairs


def _by_output(numeric: Derivative, vs: dict[int, Probes]) -> list[Derivative]:
    """Split the derivative of all outputs, one below the other, into one for each output."""
    stops = numpy.cumsum([len(v) for v in vs.values()])[:-1]
    return [Derivative(*part) for part in zip(*(numpy.split(rows, stops) for rows in numeric), strict=True)]


def _doubtful(pairs: Sequence[JacobianPair]) -> numpy.ndarray:
    """Return at which entries of an input any of its Jacobians may be wrong."""
    doubts = [
        (pair.relative_error > DOUBTFUL).any(0) | (pair.relative_nonlinearity > DOUBTFUL) for pair in pairs
    ]
    return numpy.any(doubts, axis=0)


def _differentiable(func: Callable[..., Any], arguments: tuple[Any, ...]) -> dict[Key, Tensor]:
    """Return the tensors to check: the inputs by position, and the parameters of a module by name."""
    xs: dict[Key, Tensor] = {
        i: x for i, x in enumerate(arguments) if isinstance(x, Tensor) and x.requires_grad
    }
    given = {id(x) for x in xs.values()}
    named = func.named_parameters() if hasattr(func, "named_parameters") else ()
    xs.update((name, p) for name, p in named if p.requires_grad and id(p) not in given)
    if not xs:
        raise ValueError(
            "gradcheck needs at least one input tensor that requires grad: "
            "tn.tensor(data, dtype=tn.float64, requires_grad=True)"
        )
    for i, x in xs.items():
        if x.dtype != numpy.float64:
            remedy = (
                "Check x.detach().double().requires_grad_(), and call .double() on a module"
                if isinstance(i, int)
                else "Call .double() on the module first"
            )
            raise ValueError(
                f"gradcheck needs float64, but {label(i)} requires grad in {x.dtype}: finite differences "
                f"of coarser numbers are mostly roundoff. {remedy}"
            )
        finite = numpy.isfinite(to_numpy(x.array))
        if not finite.all():
            place = tuple(map(int, numpy.argwhere(~finite)[0]))
            raise ValueError(
                f"gradcheck cannot move an input that is NaN or infinite, but {label(i)} is "
                f"{to_numpy(x.array)[place]} at {place} (shape {x.shape}): choose finite values"
            )
    return xs


def _tensors(arguments: tuple[Any, ...], xs: dict[Key, Tensor]) -> dict[Key, Tensor]:
    """Return all tensors that `func` is given: those to check, and the others."""
    return xs | {i: x for i, x in enumerate(arguments) if isinstance(x, Tensor)}


def _call(func: Callable[..., Any], arguments: tuple[Any, ...]) -> dict[int, Tensor]:
    """Return the tensors that `func` returns, by position; None among them is skipped."""
    result = func(*arguments)
    results = result if isinstance(result, tuple | list) else (result,)
    for o, y in enumerate(results):
        if not isinstance(y, Tensor | None):
            raise TypeError(
                f"gradcheck needs a func that returns tensors, but output {o} is of type {type(y).__name__}"
            )
    return {o: y for o, y in enumerate(results) if y is not None}


def _evaluate_twice(
    func: Callable[..., Any], arguments: tuple[Any, ...], xs: dict[Key, Tensor], nondet_tol: float
) -> dict[int, Tensor]:
    """Return the outputs to check, by position; `func` is called twice and must be deterministic."""
    tensors = _tensors(arguments, xs)
    before = {i: to_numpy(x.array).copy() for i, x in tensors.items()}
    first = _call(func, arguments)
    for i, x in tensors.items():
        if not same(to_numpy(x.array), before[i], 0.0):
            raise GradcheckError(f"func changed {label(i)} (shape {x.shape}) in place: work on a copy")
    values = {o: to_numpy(y.array).copy() for o, y in first.items()}
    second = _call(func, arguments)
    for o, value in values.items():
        if o not in second or not same(to_numpy(second[o].array), value, nondet_tol):
            raise GradcheckError(
                f"func is not deterministic: output {o} differed between two calls with the same inputs. "
                "Freeze its randomness and its state (seed, dropout mask, running statistics), or pass "
                "nondet_tol"
            )
    floating = {o: y for o, y in first.items() if y.is_floating_point()}
    # If no output requires grad, all are checked: they must not depend on the inputs.
    ys = {o: y for o, y in floating.items() if y.requires_grad} or floating
    if not ys:
        raise ValueError("gradcheck needs a func with a floating-point output")
    for o, y in ys.items():
        if y.dtype != numpy.float64:
            raise ValueError(
                f"gradcheck needs float64, but output {o} is {y.dtype}: func must keep the dtype"
            )
    return ys
