"""Random draws with given probabilities, from the generator that `tn.manual_seed` restarts."""

from typing import Any

import numpy

from ..autograd.integer_range import check_range
from ..autograd.tensor import Tensor
from ..backends import asarray, to_numpy
from ..backends.random import generator
from .arguments import as_number, as_size, check_flags
from .operands import as_tensor


def bernoulli(input: Tensor) -> Tensor:
    """Return 1 with the probability in `input` and 0 otherwise, element by element, in its dtype.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if a probability is outside of [0, 1].
    """
    x = as_tensor(input)
    if x.array.dtype.kind != "f":
        raise TypeError(f"bernoulli takes floating-point probabilities, got {x.dtype}")
    p = to_numpy(x.array).astype(numpy.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("bernoulli takes probabilities from 0 to 1")
    drawn = generator().random(p.shape) < p
    return Tensor._wrap(asarray(drawn.astype(x.dtype)).copy()).to(x.device)


def multinomial(input: Tensor, num_samples: int, replacement: bool = False) -> Tensor:
    """Return the indices of `num_samples` draws from each row, with chances in proportion to its numbers.

    Args:
        input: (D,) or (N, D), numbers of at least 0; they need not add up to 1.
        num_samples: the number of draws.
        replacement: whether an index may be drawn again.

    Returns:
        Indices (num_samples,) or (N, num_samples), int64.

    Raises:
        TypeError: if the input is not a floating-point tensor, or num_samples is not an int.
        ValueError: if a number is negative, NaN or infinite, a row adds up to 0, or there are more draws than
            indices to draw without replacement.
    """
    x = as_tensor(input)
    check_flags(replacement=replacement)
    n = as_size(num_samples, "num_samples")
    if x.array.dtype.kind != "f":
        raise TypeError(f"multinomial takes floating-point numbers, got {x.dtype}")
    if x.ndim not in (1, 2):
        raise ValueError(f"multinomial takes (D,) or (N, D), got shape {x.shape}")
    rows: Any = numpy.atleast_2d(to_numpy(x.array).astype(numpy.float64))
    if not (numpy.isfinite(rows) & (rows >= 0)).all() or not (rows.sum(1) > 0).all():
        raise ValueError("multinomial takes finite numbers of at least 0, in each row one above 0")
    if not replacement and n > (rows > 0).sum(1).min():
        raise ValueError(
            f"{n} draws without replacement need as many numbers above 0 in each row: use replacement=True"
        )
    drawn = [generator().choice(len(row), n, replacement, row / row.sum()) for row in rows]
    indices = numpy.array(drawn, numpy.int64).reshape(*x.shape[:-1], n)
    return Tensor._wrap(asarray(indices).copy()).to(x.device)


def _uniform_(self: Tensor, low: float = 0, high: float = 1) -> Tensor:
    """Overwrite the values with random numbers, uniform in [low, high). Not recorded.

    Raises:
        ValueError: if high is below low, or the tensor does not hold floating-point numbers.
    """
    low, high = as_number(low, "low"), as_number(high, "high")
    if high < low:
        raise ValueError(f"uniform_ needs low at most high, got {low} and {high}")
    return self.copy_(low + (high - low) * _floats("uniform_", self, generator().random(self.shape)))


def _normal_(self: Tensor, mean: float = 0, std: float = 1) -> Tensor:
    """Overwrite the values with random numbers of a normal distribution. Not recorded.

    Raises:
        ValueError: if std is negative, or the tensor does not hold floating-point numbers.
    """
    if as_number(std, "std") < 0:
        raise ValueError(f"std must be at least 0, got {std}")
    drawn = _floats("normal_", self, generator().standard_normal(self.shape))
    return self.copy_(as_number(mean, "mean") + std * drawn)


def _random_(self: Tensor, from_: int | None = None, to: int | None = None) -> Tensor:
    """Overwrite the values with random integers from `from_` to `to` − 1; with one number, from 0 on.

    Without numbers, up to the largest of the dtype, and in floating point up to those that it holds exactly.

    Raises:
        TypeError: if a bound is not an int.
        ValueError: if there is no integer between the bounds.
        OverflowError: if the integers do not fit the dtype.
    """
    if to is None:
        from_, to = 0, _integers_of(self.dtype) if from_ is None else from_
    low, high = as_size(from_ or 0, "from_", None), as_size(to, "to", None)
    if low >= high:
        raise ValueError(f"random_ needs a first bound below the second, got {low} and {high}")
    check_range(numpy.asarray([low, high - 1]), self.dtype)
    return self.copy_(generator().integers(low, high, self.shape))


def _integers_of(dtype: numpy.dtype) -> int:
    """Return the number of integers from 0 on that the dtype holds exactly, at most that of int64."""
    if dtype.kind == "f":
        return 2 ** (numpy.finfo(dtype).nmant + 1) + 1
    return 2 if dtype.kind == "b" else min(int(numpy.iinfo(dtype).max) + 1, 2**63)


def _floats(name: str, x: Tensor, drawn: Any) -> Any:
    if x.array.dtype.kind != "f":
        raise ValueError(f"{name} is for floating-point tensors, got {x.dtype}: use randint")
    return drawn


OVERWRITING = {"uniform_": _uniform_, "normal_": _normal_, "random_": _random_}
"""The methods of Tensor in this file."""
