"""Cross entropy: how surprised the predicted distribution is by the true one.

    x (N, C, ...) logits   p = softmax(x) over C   q (N, C, ...) the target's probability mass per class

    loss = -Σc q_c·log p_c   with   log p = x - m - log Σ exp(x - m),   m = max x

For class indices t all mass is on one class, q = w_t·onehot(t), and the loss is -w_t·log p_t. Class
weights w, label smoothing ε (the mass ε is shared equally by all classes) and ignored targets only change q:

    q_c = w_c·((1 - ε)·onehot(t)_c + ε/C)   and q = 0 if t is ignored

The mean divides by Σ w_t over the targets that are not ignored, or, for probabilities, by the number of
samples. Label smoothing: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna 2015, arXiv:1512.00567.

Backward, for one sample, from dy = dL/dloss. x_k reaches the loss through every log p_c, and the chain rule
adds up the contributions of all these paths, dx_k = dy·Σc ∂loss/∂log p_c · ∂log p_c/∂x_k:

    ∂loss/∂log p_c = -q_c      ∂log p_c/∂x_k = onehot(c)_k - p_k

    dx_k = -dy·Σc q_c·(onehot(c)_k - p_k) = dy·(p_k·Σq - q_k)

and for class indices Σq = w_t: dx = dy·w_t·(p - onehot(t)).

Insight: the exponential and the logarithm cancel, so the gradient is prediction minus truth: bounded,
and largest where the prediction is confidently wrong. A softmax followed by a logarithm would compute
log 0 there.
"""

from collections.abc import Sequence
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.sums import total
from ...backends.cuda.launch import CudaSource, contiguous, kept_bytes, teams
from ...module import Module
from ...ops import arange, ones
from ...ops.arguments import as_number, as_size, check_numbers
from ...ops.checks import check_input
from ...registry import Case, ErrorCase, Input, fixed, integers, positive, register
from ..activation.softmax import log_softmax_forward
from ..activation.softmax_axis import as_rows, axis_maxima, axis_sums, from_rows
from .class_indices import by_class, check_class_weight, check_classes, locate_targets
from .crossentropy_loops import (
    cross_entropy_backward_by_rows,
    cross_entropy_forward_by_rows,
    soft_cross_entropy_backward_by_rows,
    soft_cross_entropy_forward_by_rows,
)
from .loss_reduction import check_reduction, reduce_losses, reduce_losses_backward

_kernels = CudaSource(__file__)


def cross_entropy_composed(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy from primitives: autograd finds the gradient."""
    axis = min(input.ndim - 1, 1)
    per_class = (input.shape[axis], *(1,) * (input.ndim - axis - 1))
    w = ones(per_class, dtype=input.dtype) if weight is None else weight.reshape(per_class)
    if target.is_floating_point():
        q, divisor = target, input.numel() / per_class[0]
    else:
        t = target.unsqueeze(axis)
        hits, counts = t.eq(arange(per_class[0]).reshape(per_class)), t.ne(ignore_index)
        q, divisor = hits.to(input.dtype), (w * (hits & counts)).sum()
        w = w * counts
    q = w * (q * (1 - label_smoothing) + label_smoothing / per_class[0])
    losses = -(q * (input - input.logsumexp(axis, keepdim=True))).sum(axis)
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.sum() / divisor


@kernel
def cross_entropy_forward(x: Array, index: Array) -> tuple[Array, Array]:
    """Return -log p of the targets and p: x and p (N, C) or (N, C, S), index (N,) or (N, S) into flat x."""
    xp = namespace(x)
    z = x - axis_maxima(x)
    true = z.reshape(-1)[index]
    p = xp.exp(z, out=z)
    sums = axis_sums(p)
    p /= sums
    return xp.log(sums).reshape(index.shape) - true, p


cross_entropy_forward.cpu(cross_entropy_forward_by_rows)


@cross_entropy_forward.cuda
def cross_entropy_forward_cuda(x: Array, index: Array) -> tuple[Array, Array]:
    """One kernel: every row is read once, p is written once."""
    rows = as_rows(x)
    (N, C), xp = rows.shape, namespace(x)
    losses, p = xp.empty(N, x.dtype), xp.empty_like(rows)
    at = index.reshape(-1) if x.ndim == 2 else xp.arange(N) * C + index.reshape(-1) // x.shape[2] % C
    shape = teams(C, rows, p)
    shared = kept_bytes(shape, C, rows)
    args = rows, contiguous(at.astype("int64", copy=False))[0], losses, p, N, C, shared > 0
    blocks = shape.blocks(N)
    _kernels.launch("cross_entropy_forward", x.dtype, shape.template, blocks, shape.block, args, shared)
    return losses.reshape(index.shape), from_rows(p, x.shape)


@kernel
def cross_entropy_backward(dlosses: Array, p: Array, index: Array) -> Array:
    """Return dx: dlosses has the shape of index, or is 0-d."""
    dx = p * (dlosses[:, None] if dlosses.ndim else dlosses)
    dx.reshape(-1)[index] -= dlosses
    return dx


cross_entropy_backward.cpu(cross_entropy_backward_by_rows)


@cross_entropy_backward.cuda
def cross_entropy_backward_cuda(dlosses: Array, p: Array, index: Array) -> Array:
    """One kernel: p is read once, dx is written once. For x (N, C, S) the array body runs instead."""
    if p.ndim > 2:
        return cross_entropy_backward.numpy_version(dlosses, p, index)
    dlosses, p, index = contiguous(dlosses.astype(p.dtype, copy=False), p, index.astype("int64", copy=False))
    (N, C), dx = p.shape, namespace(p).empty_like(p)
    shape = teams(C, p, dx)
    args = dlosses, p, index, dx, N, C, dlosses.ndim == 0
    _kernels.launch("cross_entropy_backward", p.dtype, shape.template, shape.blocks(N), shape.block, args)
    return dx


@kernel
def soft_cross_entropy_forward(x: Array, q: Array) -> tuple[Array, Array]:
    """Return -Σ q·log p and log p: x, q and log p (N, C) or (N, C, S), the losses (N,) or (N, S)."""
    xp = namespace(x)
    log_p = log_softmax_forward(x)
    return -total(xp.where(q == 0, 0, q * log_p), (1,)), log_p


soft_cross_entropy_forward.cpu(soft_cross_entropy_forward_by_rows)


@kernel
def soft_cross_entropy_backward(
    dlosses: Array, log_p: Array, q: Array, needs: Sequence[bool]
) -> tuple[Array | None, Array | None]:
    """Return dx and dq, or None where `needs` is False: dlosses has the losses' shape, or is 0-d."""
    dlosses = dlosses[:, None] if dlosses.ndim else dlosses
    dx = dlosses * (namespace(q).exp(log_p) * axis_sums(q) - q) if needs[0] else None
    return dx, -dlosses * log_p if needs[1] else None


soft_cross_entropy_backward.cpu(soft_cross_entropy_backward_by_rows)


class CrossEntropyFunction(Function):
    """y = -w_t·log p_t, reduced · dx = dy·w_t·(p - onehot(t)) with p = softmax(x)"""

    def forward(
        self, x: Array, target: Array, weight: Array | None, *, ignore_index: int, reduction: str
    ) -> Array:
        rows = by_class(x)
        entries = locate_targets(target, rows, weight, ignore_index)
        losses, p = cross_entropy_forward(rows, entries.index)
        self.saved = p, entries, reduction, x.shape
        losses = entries.weigh(losses).reshape(target.shape)
        return downcast(reduce_losses(losses, reduction, entries.divisor), x)

    def backward(self, dy: Array) -> Gradients:
        p, entries, reduction, shape = self.saved
        dlosses = reduce_losses_backward(upcast(dy), reduction, entries.index.shape, entries.divisor)
        dx = cross_entropy_backward(entries.weigh(dlosses), p, entries.index)
        return dx.reshape(shape), None, None


class SoftCrossEntropyFunction(Function):
    """y = -Σ q·log p, reduced · dx = dy·(p·Σq - q), dq = -dy·log p with p = softmax(x)"""

    def forward(self, x: Array, q: Array, *, reduction: str, divisor: Any) -> Array:
        y, self.saved = _of_masses(x, q, reduction, divisor)
        return y

    def backward(self, dy: Array) -> Gradients:
        return _gradients_of_masses(dy, self.needs, *self.saved)


class SmoothedCrossEntropyFunction(Function):
    """y = -Σ q·log p, reduced, q = w·((1 - s)·onehot(t) + s/C) · dx = dy·(p·Σq - q) with p = softmax(x)"""

    def forward(
        self,
        x: Array,
        target: Array,
        weight: Array | None,
        *,
        ignore_index: int,
        reduction: str,
        smoothing: float,
    ) -> Array:
        q, divisor = _smoothed(x, target, weight, ignore_index, smoothing)
        y, self.saved = _of_masses(x, q, reduction, divisor)
        return y

    def backward(self, dy: Array) -> Gradients:
        dx, _ = _gradients_of_masses(dy, self.needs, *self.saved)
        return dx, None, None


def _of_masses(x: Array, q: Array, reduction: str, divisor: Any) -> tuple[Array, tuple[Any, ...]]:
    """Return -Σ q·log p, reduced, and what the gradients need."""
    masses = by_class(q)
    losses, log_p = soft_cross_entropy_forward(by_class(x), masses)
    batch = x.shape[:1] + x.shape[2:] if x.ndim > 1 else ()
    y = downcast(reduce_losses(losses.reshape(batch), reduction, divisor), x)
    return y, (log_p, masses, reduction, divisor, x.shape)


def _gradients_of_masses(
    dy: Array,
    needs: Sequence[bool],
    log_p: Array,
    q: Array,
    reduction: str,
    divisor: Any,
    shape: tuple[int, ...],
) -> tuple[Array | None, Array | None]:
    """Return dx and dq, or None where `needs` is False."""
    dlosses = reduce_losses_backward(upcast(dy), reduction, q.shape[:1] + q.shape[2:], divisor)
    dx, dq = soft_cross_entropy_backward(dlosses, log_p, q, needs)
    return None if dx is None else dx.reshape(shape), None if dq is None else dq.reshape(shape)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the cross entropy of softmax(input) against `target`, in nats.

    Args:
        input: logits (N, C), (N, C, ...) or, for one sample, (C,).
        target: class indices of the input's shape without C, or probabilities of the input's shape.
        weight: (C,), the weight of each class. A constant.
        ignore_index: the class index of targets to ignore; not for probabilities.
        reduction: "none", "sum", or "mean": Σ loss / Σ weight of the targets that are not ignored, 0 if all
            are (PyTorch: NaN); for probabilities Σ loss / number of samples.
        label_smoothing: the fraction of the mass, in [0, 1], that is shared equally by all classes.

    Raises:
        TypeError: if the input is not a floating-point tensor, or the target is neither integers nor
            floating-point.
        ValueError: if the shapes do not fit, the reduction is unknown, or label_smoothing is outside [0, 1].
        IndexError: if a class index is out of range.

    Source: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna 2015, arXiv:1512.00567 (label smoothing).
    """
    check_reduction(reduction, "cross_entropy")
    if not 0 <= as_number(label_smoothing, "label_smoothing") <= 1:
        raise ValueError(f"label_smoothing must be between 0 and 1, got {label_smoothing}")
    ignore_index = as_size(ignore_index, "ignore_index", None)
    if isinstance(target, Tensor) and target.array.dtype.kind == "f":
        return _of_probabilities(input, target, weight, ignore_index, reduction, label_smoothing)
    check_classes(input, target, weight, "cross_entropy")
    if label_smoothing == 0:
        return CrossEntropyFunction.apply(
            input, target, weight, ignore_index=ignore_index, reduction=reduction
        )
    return SmoothedCrossEntropyFunction.apply(
        input,
        target,
        weight,
        ignore_index=ignore_index,
        reduction=reduction,
        smoothing=float(label_smoothing),
    )


def _of_probabilities(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, smoothing: float
) -> Tensor:
    check_input(input, "cross_entropy")
    if target.shape != input.shape or not input.ndim:
        raise ValueError(
            f"cross_entropy takes class probabilities of the input's shape {input.shape}, got "
            f"{target.shape}; class indices are integers: convert them with .long()"
        )
    if ignore_index >= 0:
        raise ValueError(
            f"ignore_index ({ignore_index}) is for class indices, but the target holds probabilities"
        )
    C = input.shape[min(input.ndim - 1, 1)]
    check_class_weight(weight, C)
    q = target.to(input.dtype)
    if smoothing:
        q = q * (1 - smoothing) + smoothing / C
    if weight is not None:
        q = q * weight.to(input.dtype).reshape(C, *(1,) * (input.ndim - 2))
    return SoftCrossEntropyFunction.apply(
        input, q, reduction=reduction, divisor=max(input.numel() // max(C, 1), 1)
    )


def _smoothed(
    x: Array, target: Array, weight: Array | None, ignore_index: int, smoothing: float
) -> tuple[Array, Any]:
    """Return the smoothed mass q, with the shape of x, and the divisor of the mean."""
    rows = by_class(x)
    entries = locate_targets(target, rows, weight, ignore_index)
    q = namespace(x).full(rows.shape, smoothing / rows.shape[1], rows.dtype)
    q.reshape(-1)[entries.index] += 1 - smoothing
    if weight is not None:
        q *= weight.reshape(-1, *(1,) * (rows.ndim - 2))
    if entries.valid is not None:
        q *= entries.valid[:, None]
    return q.reshape(x.shape), entries.divisor


class CrossEntropyLoss(Module):
    """cross_entropy as a layer; `weight` (C,) is a buffer. Takes logits and targets."""

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        check_numbers(label_smoothing=label_smoothing)
        check_reduction(reduction, type(self).__name__)
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction, self.label_smoothing = ignore_index, reduction, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


def _probabilities(*shape: int) -> Input:
    return Input(shape, lambda rng, s: rng.dirichlet(numpy.ones(s[1]), s[:1] + s[2:]).swapaxes(-1, 1))


_WEIGHT = positive(3, differentiable=False)
_SOME_IGNORED = fixed([[0, -100, 2], [1, 0, -100]])


def _logits(*shape: int) -> Tensor:
    return ones(shape)


register(
    name="cross_entropy",
    function=cross_entropy,
    composed=cross_entropy_composed,
    cases=(
        Case(((4, 3), integers(3, 4), None)),
        Case(((4, 3), integers(3, 4), _WEIGHT), {"reduction": "none"}),
        Case(((4, 3), integers(3, 4), _WEIGHT)),
        Case(((4, 3), integers(3, 4), None), {"reduction": "sum", "ignore_index": 1}),
        Case(((2, 3, 3), _SOME_IGNORED, _WEIGHT)),
        Case(((2, 3, 3), _SOME_IGNORED, _WEIGHT), {"label_smoothing": 0.2}),
        Case(((2, 3, 3), _SOME_IGNORED, None), {"label_smoothing": 1.0, "reduction": "none"}),
        Case(((2, 3, 2, 2), integers(3, 2, 2, 2), None), {"label_smoothing": 0.1, "reduction": "sum"}),
        Case(((3,), integers(3), None)),
        Case(((3,), integers(3), _WEIGHT), {"reduction": "none", "label_smoothing": 0.1}),
        Case(((4, 3), _probabilities(4, 3), None)),
        Case(((4, 3), _probabilities(4, 3), _WEIGHT), {"label_smoothing": 0.2}),
        Case(((2, 3, 2), _probabilities(2, 3, 2), _WEIGHT), {"reduction": "none"}),
        Case(((4, 1), integers(1, 4), None)),
    ),
    errors=(
        ErrorCase(lambda: cross_entropy(_logits(2, 3), Tensor([0, 3])), IndexError, "3 classes"),
        ErrorCase(lambda: cross_entropy(_logits(2, 3), Tensor([0, -1])), IndexError, "target -1"),
        ErrorCase(
            lambda: cross_entropy(_logits(2, 3), Tensor([0, 5]), label_smoothing=0.1), IndexError, "target 5"
        ),
        ErrorCase(lambda: cross_entropy(_logits(2, 3), Tensor([0, 1, 2])), ValueError, "one class index"),
        ErrorCase(lambda: cross_entropy(_logits(2, 3), Tensor([0.0, 1.0])), ValueError, "probabilities"),
        ErrorCase(
            lambda: cross_entropy(_logits(2, 3), Tensor([0, 1]), Tensor([1.0])), ValueError, "per class"
        ),
        ErrorCase(
            lambda: cross_entropy(_logits(2, 3), Tensor([0, 1]), Tensor([1.0] * 3, requires_grad=True)),
            ValueError,
            "constants",
        ),
        ErrorCase(
            lambda: cross_entropy(_logits(2, 3), _logits(2, 3), ignore_index=0), ValueError, "ignore_index"
        ),
        ErrorCase(
            lambda: cross_entropy(_logits(2, 3), Tensor([0, 1]), reduction="avg"), ValueError, "reduction"
        ),
        ErrorCase(
            lambda: cross_entropy(_logits(2, 3), Tensor([0, 1]), label_smoothing=2.0), ValueError, "smoothing"
        ),
        ErrorCase(lambda: cross_entropy(_logits(2, 3), [0, 1]), TypeError, "integer"),  # type: ignore[arg-type]
        ErrorCase(lambda: CrossEntropyLoss(reduction="avg"), ValueError, "reduction"),
    ),
    kind="loss",
    title="Cross entropy",
    torch="torch.nn.functional.cross_entropy",
    bench=(
        Case(((64, 10), integers(10, 64), None)),
        Case(((2048, 128), integers(128, 2048), None)),
        Case(((64, 10), integers(10, 64), None), {"label_smoothing": 0.1}),
    ),
)
