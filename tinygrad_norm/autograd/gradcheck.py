"""gradcheck: is the hand-derived backward the derivative of the forward?

Backward gives the Jacobian row by row (one dy per output entry), finite differences give it column by
column (one input entry moved at a time), and every entry a (analytic) must equal its n (numeric):

    relative error = |a - n| / max(|a|, |n|, scale)
    scale          = max(largest |n|, largest |y| / max(1, |x|)) / 1000

over the block of one output y and one input x, x being the entry that was moved. The scale keeps zeros
and roundoff from counting as errors; it grows and shrinks with the function, so tiny gradients are
checked as strictly as large ones. Right gradients come out at 1e-9 or better.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy

from ..backends import backend_of, to_numpy
from .finite_differences import Derivative, derivative
from .function import Function
from .grad_mode import enable_grad
from .graph import grad, reachable
from .tensor import Tensor

Outputs = dict[int, Tensor]


class GradcheckError(RuntimeError):
    """A backward that is not the derivative of its forward; the message says where and by how much."""


@dataclass(frozen=True)
class Block:
    """The Jacobian of one output with respect to one input, from backward and from finite differences.

    Both are matrices with a row per output entry and a column per input entry; in fast mode the one
    entry is vᵀJu along random directions. `size` is the largest |y| / max(1, |x|), per column.
    """

    input: int
    output: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    analytic: numpy.ndarray
    numeric: Derivative
    size: numpy.ndarray
    fast_mode: bool

    @cached_property
    def largest(self) -> numpy.ndarray:
        """The denominator of the relative error: max(|a|, |n|, scale), entry by entry."""
        n = numpy.where(numpy.isfinite(self.numeric.error), abs(self.numeric.value), 0.0)
        scale = numpy.maximum(n.max(initial=0.0), self.size) / 1000
        return numpy.maximum(numpy.maximum(abs(self.analytic), n), scale)

    @cached_property
    def difference(self) -> numpy.ndarray:
        """|a - n|, entry by entry; infinite where finite differences found no value."""
        known = numpy.isfinite(self.numeric.error)
        return numpy.where(known, abs(self.analytic - numpy.where(known, self.numeric.value, 0.0)), numpy.inf)

    @cached_property
    def relative_error(self) -> numpy.ndarray:
        """|a - n| / max(|a|, |n|, scale), entry by entry; 0 where both are 0."""
        return self.difference / numpy.where(self.largest == 0, 1.0, self.largest)

    @property
    def worst(self) -> float:
        """The largest relative error."""
        return float(self.relative_error.max(initial=0.0))

    def wrong(self, atol: float, rtol: float) -> numpy.ndarray:
        """Return where the two disagree: |a - n| > atol + rtol·max(|a|, |n|, scale)."""
        return self.difference > atol + rtol * self.largest


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
    entry by entry. Also checked: that `func` gives the same twice and leaves its inputs alone, and that
    backward gives finite gradients, the same twice, in no narrower dtype than the input's. The defaults
    are stricter than PyTorch's (eps 1e-6, atol 1e-5, rtol 1e-3), as the differences are of sixth order.

    Args:
        func: from tensors to a tensor or a tuple of tensors. Freeze its randomness.
        inputs: its arguments: a tensor, or a tuple of anything. Those to be checked are float64.
        eps: the first step of the differences, in units of max(1, |x|); shrunk where that is better.
        atol: the absolute error allowed, in units of the gradient.
        rtol: the relative error allowed, a fraction of max(|a|, |n|, scale).
        raise_exception: raise where the check fails, instead of returning False.
        nondet_tol: the difference allowed between two runs of the same thing, in units of the result.
        fast_mode: check vᵀJu along one random v and u per output and input, instead of every entry of J.

    Returns:
        True where everything agrees, else False.

    Raises:
        GradcheckError: where the check fails, with the worst entry and a hint.
        ValueError: for inputs or outputs that cannot be checked.
        TypeError: for outputs that are no tensors.
    """
    try:
        blocks = jacobians(func, inputs, eps=eps, nondet_tol=nondet_tol, fast_mode=fast_mode)
        wrong = [block for block in blocks if block.wrong(atol, rtol).any()]
        if wrong:
            raise GradcheckError(_describe(wrong, atol, rtol))
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def jacobians(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-3,
    nondet_tol: float = 0.0,
    fast_mode: bool = False,
) -> list[Block]:
    """Return both Jacobians of every output with respect to every input, as `gradcheck` compares them.

    Raises:
        GradcheckError: where they cannot be compared: `func` does not repeat itself or changes its
            inputs, or backward fails, does not repeat itself, or gives NaN or infinity.
        ValueError: for inputs or outputs that cannot be checked.
        TypeError: for outputs that are no tensors.
    """
    arguments = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    xs = _checked_inputs(arguments)
    rng = numpy.random.default_rng(0) if fast_mode else None
    with enable_grad():
        ys = _checked_outputs(func, arguments, nondet_tol)
        dys = {o: list(_probes(y.shape, rng)) for o, y in ys.items()}
        rows = {o: _backward(o, y, dys[o], xs, nondet_tol) for o, y in ys.items()}
        values = {o: to_numpy(y.array) for o, y in ys.items()}

        def outputs() -> numpy.ndarray:
            moved = _call(func, arguments)
            flat = [to_numpy(moved[o].array).reshape(-1) for o in ys]
            if rng is not None:
                flat = [numpy.vdot(dys[o][0], y).reshape(1) for o, y in zip(ys, flat, strict=True)]
            return numpy.concatenate(flat) if flat else numpy.zeros(0)

        blocks = []
        for k, (i, x) in enumerate(xs.items()):
            units = numpy.maximum(1.0, abs(to_numpy(x.array)))
            directions = list(_probes(x.shape, rng))
            if rng is not None:
                directions = [u * units / abs(u).max(initial=1.0) for u in directions]
                units = numpy.ones(1)
            columns = _differentiate(outputs, x, directions, eps * units.reshape(-1))
            start = 0
            for o, y in ys.items():
                analytic = rows[o][k]
                if rng is not None:
                    analytic = analytic @ directions[0].reshape(-1, 1)
                stop = start + len(analytic)
                largest = _magnitude(values[o], dys[o][0] if rng is not None else None)
                blocks.append(
                    Block(
                        input=i,
                        output=o,
                        input_shape=x.shape,
                        output_shape=y.shape,
                        analytic=analytic,
                        numeric=Derivative(*(part[start:stop] for part in columns)),
                        size=largest / units.reshape(-1),
                        fast_mode=fast_mode,
                    )
                )
                start = stop
    return blocks
