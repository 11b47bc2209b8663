"""Cross entropy: its derivation, fitted to a forward, and its mistakes. Lines as in crossentropy.py."""

from collections.abc import Iterator
from typing import Any

import numpy

from .catalogue import Derivation, Mistake, Step, Steps, fits_output, times
from .softmaxmistakes import softmax_of

STEPS: Steps = {
    "share": lambda s: s.right_share,
    "each": lambda s: s.share * s.dy.reshape(s.each_shape),
    "straight": lambda s: -s.each * s.q,
    "through_sum": lambda s: s.each * s.p * s.mass,
    "dx": lambda s: s.straight + s.through_sum,
}


def fit_cross_entropy(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of -Σ q·log softmax(x), its mean or sum over the samples, or one for each.

    The target is the class of each sample, or the probabilities q (N, C).
    """
    if len(arguments) != 2:
        return
    (name, x), (_, t) = arguments.items()
    if x.ndim != 2 or x.dtype.kind != "f" or not x.size:
        return
    n, classes = x.shape
    if t.shape == x.shape:
        q = t.astype(x.dtype)
    elif t.dtype.kind in "iu" and t.shape == (n,) and (t >= 0).all() and (t < classes).all():
        q = numpy.eye(classes)[t]
    else:
        return
    p = softmax_of(x, 1)
    losses = -(q * numpy.log(p)).sum(1)
    for reduction, loss, share in (
        ("mean", losses.mean(), 1 / n),
        ("sum", losses.sum(), 1.0),
        ("none", losses, 1.0),
    ):
        if fits_output(numpy.asarray(loss), y.reshape(()) if y.size == 1 and reduction != "none" else y):
            given = {"x": x, "p": p, "q": q, "mass": q.sum(1, keepdims=True), "right_share": share}
            given["each_shape"] = (n, 1) if reduction == "none" else ()
            mistakes = tuple(_mistakes(reduction, n, classes))
            yield Derivation("cross_entropy", given, STEPS, {name: "dx"}, mistakes)
            return


def _mistakes(reduction: str, n: int, classes: int) -> Iterator[Mistake]:
    over = "/N" if reduction == "mean" else ""
    right = f"dy·(p - q){over}"

    def whole(name: str, bracket: str, step: Step) -> Mistake:
        return Mistake(name, "dx", f"dy·{bracket}{over}", right, {"dx": lambda s: s.each * step(s)})

    def shared(name: str, wrong: str, share: float) -> Mistake:
        return Mistake(name, "dx", f"dy·(p - q){wrong}", right, {"share": lambda s: share})

    if reduction == "mean":
        yield from _of_share(shared, n, classes)
    elif reduction == "sum" and n > 1:
        yield shared("there is a share 1/N, but forward sums the losses and divides by nothing", "/N", 1 / n)
    name = "the target is not subtracted: the straight path is dropped"
    yield Mistake(name, "straight", "0", f"-dy·q{over}", {"straight": lambda s: 0 * s.x})
    name = "the path through the softmax's sum is dropped: every score moves it, not only the right class's"
    yield Mistake(name, "through Σexp", "0", f"dy·p{over}", {"through_sum": lambda s: 0 * s.x})
    yield Mistake("the sign is wrong", "dx", f"dy·(q - p){over}", right, {"dx": times(STEPS["dx"], -1)})
    name = "1 is subtracted in every class instead of the right one"
    yield whole(name, "(p - 1)", lambda s: s.p - 1)
    name = "only the right class has a gradient: the others move the loss through the softmax's sum"
    yield whole(name, "(p - 1)·q", lambda s: (s.p - 1) * s.q)
    yield whole("the scores x stand where p = softmax(x) belongs", "(x - q)", lambda s: s.x - s.q)
    yield whole("exp(x) stands where p belongs: divide by its sum", "(exp(x) - q)", _with_exp)
    yield whole("log p stands where p belongs", "(log p - q)", lambda s: numpy.log(s.p) - s.q)
    name = "it is the gradient with respect to p: x reaches the loss through the softmax"
    yield whole(name, "(-q/p)", lambda s: -s.q / s.p)
    name = "the softmax's backward is applied again: p - q already contains it"
    yield whole(name, "p∘(p - q - Σ p∘(p - q))", _softmax_again)


def _of_share(shared: Any, n: int, classes: int) -> Iterator[Mistake]:
    if n > 1:
        yield shared("the mean is forgotten: each of N samples has the share 1/N", "", 1.0)
    if n != classes:
        yield shared("the number of classes stands where that of the samples belongs", "/C", 1 / classes)
    yield shared("the mean is taken over N·C entries, but forward has N losses", "/(N·C)", 1 / (n * classes))
    if n > 1:
        yield shared("the mean over the samples is applied twice", "/N²", 1 / n**2)


def _with_exp(s: Any) -> numpy.ndarray:
    return numpy.asarray(numpy.exp(s.x) - s.q)


def _softmax_again(s: Any) -> numpy.ndarray:
    d = s.p - s.q
    return numpy.asarray(s.p * (d - (s.p * d).sum(1, keepdims=True)))
