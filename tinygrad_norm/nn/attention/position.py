"""Positions: attention treats a sequence as a set, so every element gets a vector added that encodes where.

    x (L, N, D) or (N, L, D)   y = x + P[0…L-1]   P (L, D)

Learned: P is a parameter (Gehring et al. 2017, arXiv:1705.03122). Sinusoidal (Vaswani et al. 2017,
arXiv:1706.03762): P is a row of clocks, from one turn per 2π steps to one turn per 10000·2π steps,

    P_l,2i = sin(l·ω_i)   P_l,2i+1 = cos(l·ω_i)   ω_i = 10000^(-2i/D)

Backward: dx = dy. P_l is added to every sample of the batch, and the contributions of all samples add up:
dP_l = Σ over the batch of dy_l.

Insight: a shift by k turns every pair (sin, cos) by the angle k·ω_i, whatever l is: it is one linear map,
so attention can learn to attend k steps back.
"""

import functools
import math
from typing import Any

import numpy

from ...autograd.tensor import Tensor
from ...backends import namespace
from ...backends.cuda.capture import upload
from ...module import Module, Parameter
from ...ops import arange, ones, stack
from ...ops.arguments import as_size, check_flags
from ...ops.checks import check_input
from ...registry import Case, ErrorCase, register
from .. import init
from ..utils.parameter_swap import functional_call


def sinusoidal_positions_composed(input: Tensor, *, embedding_dim: int, batch_first: bool = True) -> Tensor:
    """Sinusoidal positions, batch first or of one sample, from primitives: autograd finds the gradient."""
    position = arange(input.shape[-2], dtype=input.dtype).unsqueeze(1)
    omega = (arange(0, embedding_dim, 2, dtype=input.dtype) * (-math.log(10000) / embedding_dim)).exp()
    P = stack([(position * omega).sin(), (position * omega).cos()], -1)
    return input + P.flatten(-2)[:, :embedding_dim]


def learned_positions_composed(
    input: Tensor, weight: Tensor, *, max_length: int, embedding_dim: int, batch_first: bool = True
) -> Tensor:
    """Learned positions, batch first or of one sample, from primitives: one position at a time."""
    return stack([input[..., i, :] + weight[i] for i in range(input.shape[-2])], -2)


@functools.lru_cache(maxsize=8)
def sinusoids(length: int, features: int) -> numpy.ndarray:
    """Return P (length, features) in float64, read-only."""
    angles = numpy.outer(numpy.arange(length), 10000.0 ** (-numpy.arange(0, features, 2) / features))
    P = numpy.empty((length, features))
    P[:, 0::2] = numpy.sin(angles)
    P[:, 1::2] = numpy.cos(angles[:, : features // 2])
    P.flags.writeable = False
    return P


class _Positions(Module):
    def __init__(self, embedding_dim: int, batch_first: bool) -> None:
        super().__init__()
        check_flags(batch_first=batch_first)
        self.embedding_dim, self.batch_first = as_size(embedding_dim, "embedding_dim"), batch_first

    def positions(self, x: Tensor, length: int) -> Tensor:
        """Return P (length, D) in the dtype of x."""
        raise NotImplementedError(f"{type(self).__name__} must define positions")

    def forward(self, input: Tensor) -> Tensor:
        check_input(input, type(self).__name__)
        axes = "(N, L, D)" if self.batch_first else "(L, N, D)"
        if input.ndim not in (2, 3) or input.shape[-1] != self.embedding_dim:
            raise ValueError(
                f"{type(self).__name__} takes x {axes}, or (L, D) for one sample, with D = embedding_dim = "
                f"{self.embedding_dim}, got shape {input.shape}"
            )
        length_second = self.batch_first and input.ndim == 3
        P = self.positions(input, input.shape[1 if length_second else 0])
        return input + (P if length_second or input.ndim == 2 else P.unsqueeze(1))


class SinusoidalPositions(_Positions):
    """Add sines and cosines of the position: no parameters, any length.

    Takes and returns (L, N, embedding_dim), with batch_first (N, L, embedding_dim), or (L, embedding_dim).
    Source: Vaswani et al. 2017, arXiv:1706.03762.
    """

    def __init__(self, embedding_dim: int, batch_first: bool = False) -> None:
        super().__init__(embedding_dim, batch_first)

    def positions(self, x: Tensor, length: int) -> Tensor:
        """Return P (length, D) in the dtype of x."""
        return Tensor._wrap(upload(sinusoids(length, self.embedding_dim).astype(x.dtype), namespace(x.array)))

    def extra_repr(self) -> str:
        return f"{self.embedding_dim}, batch_first={self.batch_first}"


class LearnedPositions(_Positions):
    """Add a learned vector per position: weight (max_length, embedding_dim), normal at first.

    Takes and returns (L, N, embedding_dim), with batch_first (N, L, embedding_dim), or (L, embedding_dim);
    L is at most max_length. Source: Gehring et al. 2017, arXiv:1705.03122.
    """

    def __init__(self, max_length: int, embedding_dim: int, batch_first: bool = False) -> None:
        super().__init__(embedding_dim, batch_first)
        self.max_length = as_size(max_length, "max_length")
        self.weight = Parameter(numpy.empty((max_length, embedding_dim), numpy.float32))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values for the weight."""
        init.normal_(self.weight)

    def positions(self, x: Tensor, length: int) -> Tensor:
        """Return the first `length` rows of the weight."""
        if length > self.max_length:
            raise ValueError(
                f"a sequence of {length} has no position beyond max_length = {self.max_length}: cut it, or "
                "use a larger max_length"
            )
        return self.weight[:length]

    def extra_repr(self) -> str:
        return f"{self.max_length}, {self.embedding_dim}, batch_first={self.batch_first}"


def _sinusoidal(input: Tensor, **options: Any) -> Tensor:
    return SinusoidalPositions(**options)(input)


def _learned(input: Tensor, weight: Tensor, **options: Any) -> Tensor:
    return functional_call(LearnedPositions(**options), {"weight": weight}, (input,))


_SIZES = {"embedding_dim": 5, "batch_first": True}

register(
    name="sinusoidal_positions",
    function=_sinusoidal,
    composed=sinusoidal_positions_composed,
    cases=(
        Case(((2, 3, 5),), _SIZES),
        Case(((4, 6),), {"embedding_dim": 6}),
        Case(((0, 3, 5),), _SIZES),
    ),
    errors=(
        ErrorCase(lambda: SinusoidalPositions(0), ValueError, "embedding_dim must be at least 1"),
        ErrorCase(lambda: SinusoidalPositions(6)(ones(3, 2, 4)), ValueError, "embedding_dim = 6"),
        ErrorCase(lambda: SinusoidalPositions(6)(ones(6)), ValueError, "(L, N, D)"),
        ErrorCase(lambda: SinusoidalPositions(6)(ones(3, 6).long()), TypeError, "floating-point"),
    ),
    kind="block",
    title="Sinusoidal positions",
    paper="Vaswani et al. 2017, arXiv:1706.03762",
)
register(
    name="learned_positions",
    function=_learned,
    composed=learned_positions_composed,
    parameters=("weight",),
    cases=(
        Case(((2, 3, 5), (4, 5)), _SIZES | {"max_length": 4}),
        Case(((3, 6), (3, 6)), {"max_length": 3, "embedding_dim": 6}),
    ),
    errors=(
        ErrorCase(lambda: LearnedPositions(0, 6), ValueError, "max_length must be at least 1"),
        ErrorCase(lambda: LearnedPositions(2, 6)(ones(3, 6)), ValueError, "no position beyond max_length"),
        ErrorCase(lambda: LearnedPositions(3, 6, batch_first=True)(ones(2, 3, 5)), ValueError, "(N, L, D)"),
    ),
    kind="block",
    title="Learned positions",
    paper="Gehring et al. 2017, arXiv:1705.03122",
)
