"""Connectionist temporal classification: the probability of a text, whatever the times of its letters.

x (T, N, C) log-probabilities at T times   l = the targets with blanks around each, of length L = 2S + 1

A path names one entry of l at every time. It begins at the first blank or letter, ends at the last letter or
blank, and stays, goes on by one, or leaves out a blank between two different letters. Its probability is the
product of its p_t = exp(x_t), and that of the text is the sum over all paths, y = -log p(text). With α_t(s)
the sum over all ways to be at s at time t, and β_t(s) over all ways to go on from there, both with p_t(l_s):

    α_t(s) = p_t(l_s)·(α_{t-1}(s) + α_{t-1}(s - 1) + α_{t-1}(s - 2) if l_s is a letter other than l_{s-2})
    β_t(s) = p_t(l_s)·(β_{t+1}(s) + β_{t+1}(s + 1) + β_{t+1}(s + 2) if l_{s+2} is a letter other than l_s)

All are kept as logarithms.

Backward: p(text) is linear in every p_t(c), and the paths that use it at time t are those through all s with
l_s = c, so dx_t(c) = dy·∂y/∂x_t(c) is minus their share of all paths, times dy:

    dx_t(c) = -dy·Σ_{s: l_s = c} α_t(s)·β_t(s)/(p_t(c)·p(text))

PyTorch's gradient is p_t(c) plus this: after log_softmax, where it belongs, both are the same.

Graves, Fernández, Gomez, Schmidhuber 2006, "Connectionist temporal classification".
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, asarray, to_numpy
from ...backends.cpu.half import downcast, upcast
from ...module import Module
from ...ops import eq, full, logaddexp, ones, stack, tensor, where, zeros
from ...ops.arguments import as_size, check_flags
from ...ops.checks import check_input
from ...registry import Case, ErrorCase, Input, register
from .loss_reduction import check_reduction

Lengths = Sequence[int] | Tensor


def _texts(targets: numpy.ndarray, lengths: numpy.ndarray, blank: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return l (N, L) and where two entries may be left behind at once (N, L)."""
    N, S = len(lengths), int(lengths.max(initial=0))
    if targets.ndim == 1:
        ends = lengths.cumsum()
        rows = [targets[end - n : end] for end, n in zip(ends, lengths, strict=True)]
    else:
        rows = [row[:n] for row, n in zip(targets, lengths, strict=True)]
    texts = numpy.full((N, 2 * S + 1), blank)
    for text, row in zip(texts, rows, strict=True):
        text[1 : 2 * len(row) : 2] = row
    skips = numpy.zeros(texts.shape, bool)
    skips[:, 2:] = (texts[:, 2:] != blank) & (texts[:, 2:] != texts[:, :-2])
    return texts, skips


def _shifted(a: numpy.ndarray, by: int) -> numpy.ndarray:
    """Return a (N, L) moved up by `by` entries (down if negative), with -∞ where nothing was."""
    out = numpy.full_like(a, -math.inf)
    if by > 0:
        out[:, by:] = a[:, :-by]
    else:
        out[:, :by] = a[:, -by:]
    return out


def _paths(
    x: numpy.ndarray, texts: numpy.ndarray, skips: numpy.ndarray, times: numpy.ndarray, lengths: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return log p(text) (N,) and the share of every log-probability, (T, N, C)."""
    T, N, C = x.shape
    rows = numpy.arange(N)
    emitted = x[:, rows[:, None], texts]  # (T, N, L)
    add, low = numpy.logaddexp, -math.inf
    alphas = numpy.full_like(emitted, low)
    alphas[0, :, :2] = emitted[0, :, :2]
    alphas[0][:, 1:2][lengths == 0] = low
    for t in range(1, T):
        before = alphas[t - 1]
        two = numpy.where(skips, _shifted(before, 2), low)
        alphas[t] = add(add(before, _shifted(before, 1)), two) + emitted[t]
    betas = numpy.full_like(emitted, low)
    later = numpy.where(_shifted(skips.astype(float), -2) > 0, 0.0, low)  # s + 2 may follow s
    for t in range(T - 1, -1, -1):
        if t < T - 1:
            after = betas[t + 1]
            betas[t] = add(add(after, _shifted(after, -1)), _shifted(after, -2) + later) + emitted[t]
        last = times - 1 == t
        betas[t][last] = low
        betas[t][last, 2 * lengths[last]] = emitted[t][last, 2 * lengths[last]]
        some = last & (lengths > 0)
        betas[t][some, 2 * lengths[some] - 1] = emitted[t][some, 2 * lengths[some] - 1]
    total = numpy.logaddexp.reduce(alphas[0] + betas[0] - emitted[0], 1)
    known = numpy.where(numpy.isfinite(total), total, 0)[:, None]
    through = numpy.exp(alphas + betas - numpy.where(numpy.isfinite(emitted), emitted, 0) - known)
    through[numpy.arange(T)[:, None] >= times] = 0
    through[:, ~numpy.isfinite(total)] = 0
    letters = (texts[:, :, None] == numpy.arange(C)).astype(x.dtype)
    return total, numpy.matmul(through.transpose(1, 0, 2), letters).transpose(1, 0, 2)


class CTCLossFunction(Function):
    """y = -log p(text), reduced · dx_t(c) = -dy·(the share of the paths through c at time t)"""

    @staticmethod
    def composed(x: Tensor, *, targets: Any, times: Any, lengths: Any, **options: Any) -> Tensor:
        """The composed form, of the checked arguments: forward runs on the host."""
        return ctc_loss_composed(x, targets, times, lengths, **options)

    def forward(
        self,
        x: Array,
        *,
        targets: numpy.ndarray,
        times: numpy.ndarray,
        lengths: numpy.ndarray,
        blank: int,
        reduction: str,
        zero_infinity: bool,
    ) -> Array:
        texts, skips = _texts(targets, lengths, blank)
        total, shares = _paths(to_numpy(upcast(x)).astype(numpy.float64), texts, skips, times, lengths)
        losses = -total
        if zero_infinity:
            losses = numpy.where(numpy.isinf(losses), 0, losses)
        scale = numpy.ones(len(lengths))
        if reduction == "mean":
            scale = 1 / numpy.maximum(lengths, 1) / max(len(lengths), 1)
        weighed = losses * scale
        result = weighed if reduction == "none" else weighed.sum()
        self.saved = shares * scale[:, None], x.dtype, upcast(x).dtype
        return downcast(asarray(numpy.asarray(result, self.saved[2])), x)

    def backward(self, dy: Array) -> Gradients:
        shares, dtype, wide = self.saved
        return (-upcast(dy).reshape(-1, 1) * asarray(numpy.asarray(shares, wide))).astype(dtype)


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Return -log of the probability of texts whose letters have no known times.

    Args:
        log_probs: (T, N, C), the log_softmax of every time; or (T, C) for one sample.
        targets: class indices, (N, S), or all texts end to end in one vector; none is `blank`.
        input_lengths: the number of times of each sample, (N,).
        target_lengths: the number of letters of each text, (N,).
        blank: the class that stands for no letter.
        reduction: "none" for (N,), "sum", or "mean": of the losses divided by their target length.
        zero_infinity: take 0 for the loss of a text that no path gives, as it is too long. Its gradient is 0
            in any case.

    Raises:
        TypeError: if log_probs is not a floating-point tensor, or the targets or lengths are not integers.
        ValueError: if the reduction is unknown, or shapes, lengths or classes do not fit.

    Source: Graves, Fernández, Gomez, Schmidhuber 2006.
    """
    x, arrays = _checked(log_probs, targets, input_lengths, target_lengths, blank, reduction)
    check_flags(zero_infinity=zero_infinity)
    result = CTCLossFunction.apply(x, **arrays, reduction=reduction, zero_infinity=bool(zero_infinity))
    return result.reshape(()) if log_probs.ndim == 2 else result


def _checked(
    x: Tensor, targets: Any, input_lengths: Any, target_lengths: Any, blank: int, reduction: str
) -> tuple[Tensor, dict[str, Any]]:
    """Return log_probs (T, N, C) and the rest as arrays of integers."""
    check_reduction(reduction, "ctc_loss")
    check_input(x, "ctc_loss")
    if x.ndim not in (2, 3) or not x.shape[0]:
        raise ValueError(f"ctc_loss takes log_probs (T, N, C) or (T, C) with T above 0, got shape {x.shape}")
    x = x if x.ndim == 3 else x.reshape(x.shape[0], 1, x.shape[1])
    T, N, C = x.shape
    goal, times, lengths = (
        _integers(name, value)
        for name, value in (
            ("targets", targets),
            ("input_lengths", input_lengths),
            ("target_lengths", target_lengths),
        )
    )
    times, lengths = times.reshape(-1), lengths.reshape(-1)
    if times.shape != (N,) or lengths.shape != (N,):
        raise ValueError(f"ctc_loss of {N} samples takes {N} lengths, got {times.shape} and {lengths.shape}")
    if not ((times >= 1) & (times <= T)).all() or (lengths < 0).any():
        raise ValueError(f"input_lengths must be from 1 to T = {T}, and target_lengths at least 0")
    longest = lengths.max(initial=0)
    if goal.ndim == 1 and N == 1 and goal.size >= longest:
        goal = goal[:longest]
    if goal.ndim not in (1, 2) or (goal.ndim == 1 and goal.size != lengths.sum()):
        raise ValueError(f"targets are (N, S), or one vector of {lengths.sum()} letters, got {goal.shape}")
    if goal.ndim == 2 and (len(goal) != N or goal.shape[1] < longest):
        raise ValueError(f"targets of shape {goal.shape} do not hold {N} texts of up to {longest} letters")
    blank = as_size(blank, "blank", 0)
    if blank >= C or (goal.size and not (goal.min() >= 0 and goal.max() < C)):
        raise ValueError(f"blank and targets are classes from 0 to {C - 1}")
    return x, {"targets": goal, "times": times, "lengths": lengths, "blank": blank}


def _integers(name: str, value: Any) -> numpy.ndarray:
    array = to_numpy(value.array) if isinstance(value, Tensor) else numpy.asarray(value)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{name} must be integers, got {array.dtype}")
    return array.astype(numpy.int64)


def ctc_loss_composed(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """CTC loss from primitives, time by time, sample by sample: autograd finds the gradient."""
    x, a = _checked(log_probs, targets, input_lengths, target_lengths, blank, reduction)
    texts, skips = _texts(a["targets"], a["lengths"], a["blank"])
    losses = []
    for n, length in enumerate(a["lengths"].tolist()):
        L = 2 * length + 1
        text, allowed, low = tensor(texts[n, :L]), tensor(skips[n, :L]), -math.inf
        start = tensor(numpy.arange(L) < 2)
        alpha = where(start, x[0, n][text], full((L,), low, dtype=x.dtype))
        for t in range(1, int(a["times"][n])):
            nothing = full((2,), low, dtype=x.dtype)
            moved = nothing[:1].cat(alpha)[:L], nothing.cat(alpha)[:L]
            two = where(allowed, moved[1], full((L,), low, dtype=x.dtype))
            alpha = logaddexp(logaddexp(alpha, moved[0]), two) + x[t, n][text]
        total = logaddexp(alpha[-1], alpha[-2]) if length else alpha[-1]
        loss = -total
        losses.append(where(eq(loss, math.inf), zeros((), dtype=x.dtype), loss) if zero_infinity else loss)
    if not losses:
        return x.sum() * 0
    every = stack(losses)
    if reduction == "none":
        return every.reshape(()) if log_probs.ndim == 2 else every
    if reduction == "sum":
        return every.sum()
    return (every / tensor(numpy.maximum(a["lengths"], 1)).to(x.dtype)).mean()


class CTCLoss(Module):
    """ctc_loss as a layer."""

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__()
        check_reduction(reduction, "CTCLoss")
        check_flags(zero_infinity=zero_infinity)
        self.blank, self.reduction, self.zero_infinity = as_size(blank, "blank", 0), reduction, zero_infinity

    def forward(
        self, log_probs: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths
    ) -> Tensor:
        return ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction, self.zero_infinity
        )


def _log_probabilities(rng: numpy.random.Generator, shape: tuple[int, ...]) -> numpy.ndarray:
    x = rng.normal(size=shape)
    return x - numpy.log(numpy.exp(x).sum(-1, keepdims=True))


_TEXTS = {
    "targets": numpy.array([[1, 2, 2], [3, 1, 0]]),
    "input_lengths": (6, 5),
    "target_lengths": (3, 2),
}

register(
    name="ctc_loss",
    function=ctc_loss,
    composed=ctc_loss_composed,
    cases=(
        Case((Input((6, 2, 4), _log_probabilities),), _TEXTS),
        Case((Input((6, 2, 4), _log_probabilities),), {**_TEXTS, "reduction": "none"}),
        Case(
            (Input((4, 3), _log_probabilities),),
            {
                "targets": numpy.array([0, 1]),
                "input_lengths": (4,),
                "target_lengths": (2,),
                "blank": 2,
                "reduction": "sum",
            },
        ),
        Case(
            (Input((3, 2, 3), _log_probabilities),),
            {
                "targets": numpy.array([1]),
                "input_lengths": (3, 2),
                "target_lengths": (1, 0),
            },
        ),
    ),
    errors=(
        ErrorCase(lambda: ctc_loss(ones(3), ones(1), (1,), (1,)), ValueError, "(T, N, C)"),
        ErrorCase(lambda: ctc_loss(ones(3, 1, 2), ones(1, 1), (3,), (1,)), TypeError, "must be integers"),
        ErrorCase(lambda: ctc_loss(ones(3, 1, 2), tensor([[2]]), (3,), (1,)), ValueError, "from 0 to 1"),
        ErrorCase(lambda: ctc_loss(ones(3, 1, 2), tensor([[1]]), (4,), (1,)), ValueError, "from 1 to T"),
        ErrorCase(lambda: ctc_loss(ones(3, 1, 2), tensor([[1]]), (3, 3), (1,)), ValueError, "1 lengths"),
        ErrorCase(lambda: ctc_loss(ones(3, 1, 2), tensor([[1]]), (3,), (2,)), ValueError, "do not hold"),
    ),
    kind="loss",
    title="CTC",
    paper="Graves 2006",
)
