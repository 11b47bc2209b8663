"""The derivation of a normalization over a pool, fitted to a forward: BatchNorm, LayerNorm, RMSNorm, …

    m = mean(x)   c = x - m   v = Σ c²/n   r = 1/√(v + eps)   x̂ = c·r   y = w·x̂ + b      RMSNorm: m = 0

`fit_pool` finds out from x and y whether 1 is added to the weight, which entries share a pool, whether m is
subtracted, what eps is, where it stands, and whether v is divided by n or n - 1. So the mistakes are those of
the learner's own forward.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy

from ...gradient_check.mistakes.normalization import Pool, pools
from .catalogue import FITS, Derivation
from .parametermistakes import of_parameters
from .poolmistakes import of_dx, of_evaluation
from .poolsteps import EVALUATION, STEPS

SEEN = 1e-6
"""So large a part of v + eps must eps be, for gradients to show what is done with it."""


def fit_pool(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivations of normalizations that give `y` for these arguments, the first is x.

    `roles` says which argument is "weight", "bias", "running_mean" or "running_var", where that is known.
    """
    (name, x), *others = arguments.items()
    if x.shape != y.shape or x.ndim < 1 or x.dtype.kind != "f":
        return
    statistics = [roles[role] for role in ("running_mean", "running_var") if role in roles]
    rest = {key: array for key, array in others if array.dtype.kind == "f" and key not in statistics}
    for weight, bias in _affines(list(rest), roles):
        possible = [views(rest[key], x.shape) if key else [None] for key in (weight, bias)]
        ones = (0.0, 1.0) if weight else (0.0,)
        for one, (w_view, b_view) in itertools.product(ones, itertools.product(*possible)):
            w = one + rest[weight].reshape(w_view) if weight else numpy.float64(1.0)
            b = rest[bias].reshape(b_view) if bias else numpy.float64(0.0)
            if (w == 0).any():
                continue
            given: dict[str, Any] = {"x": x, "w": w, "b": b, "one": one}
            gradients = {name: "dx"}
            if weight:
                given |= {"w_view": w_view, "w_shape": rest[weight].shape}
                gradients[weight] = "dw"
            if bias:
                given |= {"b_view": b_view, "b_shape": rest[bias].shape}
                gradients[bias] = "db"
            x_hat = (y - b) / w
            for found in (*_frozen(arguments, x_hat, statistics), *pooled(x, x_hat)):
                yield _derivation(given | found, gradients)


def _affines(names: list[str], roles: dict[str, str]) -> list[tuple[str, str]]:
    """Return which arguments may be weight and bias, "" for none; those that are named so come first."""
    known = tuple(roles.get(role, "") for role in ("weight", "bias"))
    ways = [(w, b) for w in ("", *names) for b in ("", *names) if w != b or not w]
    ways = [way for way in ways if sum(map(bool, way)) == len(names)] if len(names) <= 2 else []
    return sorted(ways, key=lambda way: way != known)


def views(array: numpy.ndarray, shape: tuple[int, ...]) -> list[tuple[int, ...] | None]:
    """Return the shapes in which an array broadcasts to `shape`: its axes may be any neighbours there."""
    views = [(*array.shape, *(1,) * after) for after in range(len(shape) - array.ndim + 1)]
    return [v for v in views if all(i in (1, o) for i, o in zip(reversed(v), reversed(shape), strict=False))]


def _frozen(
    arguments: dict[str, numpy.ndarray], x_hat: numpy.ndarray, statistics: list[str]
) -> Iterator[dict[str, Any]]:
    """Yield what fits if the statistics are given: evaluation."""
    if len(statistics) != 2:
        return
    x = next(iter(arguments.values()))
    mean, var = (arguments[key] for key in statistics)
    for view in views(mean, x.shape) if mean.shape == var.shape else ():
        assert view is not None
        c, v = x - mean.reshape(view), numpy.broadcast_to(var.reshape(view), x.shape)
        axes = tuple(k for k, n in enumerate((1,) * (x.ndim - len(view)) + view) if n == 1 < x.shape[k])
        for eps, outside in _epsilons(c, x_hat, v) if axes else ():
            pool = Pool(x.shape, axes, 1)
            yield {
                "pool": pool,
                "n": pool.size,
                "count": pool.size,
                "centered": True,
                "eps": eps,
                "outside": outside,
                "running_mean": numpy.broadcast_to(mean.reshape(view), x.shape),
                "running_var": v,
            }


def pooled(x: numpy.ndarray, x_hat: numpy.ndarray) -> Iterator[dict[str, Any]]:
    """Yield the pools, and what eps does, with which x̂ is the normalization of x."""
    for pool in pools(x.shape, least=2):
        n, scale = pool.size, abs(x_hat).max(initial=0.0)
        if pool.totals(x_hat * x_hat).max(initial=0.0) > (1 + FITS) * n:
            continue  # x̂ has mean square 1, less by eps
        for centered in (True, False):
            c = x - pool.totals(x) / n if centered else x
            if centered and abs(pool.totals(x_hat)).max(initial=0.0) > FITS * n * scale:
                continue
            squares = pool.totals(c * c)
            for count in (n, n - 1) if centered else (n,):
                for eps, outside in _epsilons(c, x_hat, squares / count):
                    yield {
                        "pool": pool,
                        "n": n,
                        "count": count,
                        "centered": centered,
                        "eps": eps,
                        "outside": outside,
                    }


def _epsilons(c: numpy.ndarray, x_hat: numpy.ndarray, v: numpy.ndarray) -> Iterator[tuple[float, bool]]:
    """Yield eps, and whether it stands outside the root, if x̂ = c/√(v + eps) or c/(√v + eps)."""
    at = abs(c) > 0.1 * abs(c).max(initial=0.0)
    if not at.any() or not (v[at] > 0).all() or (x_hat[at] == 0).any():
        return
    root = c[at] / x_hat[at]
    for found, outside in ((root**2 - v[at], False), (root - v[at] ** 0.5, True)):
        eps = float(f"{numpy.median(found):.3g}")
        eps = 0.0 if abs(eps) < 1e-13 else eps
        fitted = c / (v**0.5 + eps) if outside else c / (v + eps) ** 0.5
        if 0 <= eps <= 10 and abs(fitted - x_hat).max() <= FITS * abs(x_hat).max():
            yield eps, outside
            return


def names_of(given: dict[str, Any]) -> tuple[str, ...]:
    """Return the registered ops that have this pool; the usual one first."""
    if not given["centered"]:
        return ("rms_norm",)
    pool, ndim, shape = given["pool"], given["x"].ndim, given["x"].shape
    if pool.groups > 1:
        return ("group_norm",)
    axes, wide = set(pool.axes), {k for k in range(ndim) if shape[k] > 1}
    per_channel = ndim > 2 and given["w"].shape[-1:] == (1,) and shape[-1] > 1
    names = []
    if axes == wide - {1} and ndim > 1 and (0 in axes or per_channel):
        names.append("batch_norm")
    if axes == wide - {0, 1} and ndim > 2:
        names.append("instance_norm")
    if axes == wide - {0}:
        names += ["group_norm", "layer_norm"] if per_channel else ["layer_norm", "group_norm"]
    return tuple(names) or ("layer_norm",)


def _derivation(given: dict[str, Any], gradients: dict[str, str]) -> Derivation:
    frozen = "running_mean" in given
    notes = []
    if given["outside"]:
        notes.append("forward adds eps outside the root, 1/(√v + eps); the derivation has 1/√(v + eps)")
    if given["count"] == given["n"] - 1:
        notes.append("forward divides the variance by n - 1; the derivation divides by n")
    if given["one"]:
        notes.append("forward multiplies by 1 + weight, which is w in what follows")
    mistakes = (*(of_evaluation() if frozen else ()), *of_dx(given), *of_parameters(given))
    steps = STEPS | (EVALUATION if frozen else {})
    names, notes = names_of(given), [*notes, *_hiding(given, frozen)]
    return Derivation(names[0], given, steps, gradients, mistakes, tuple(notes), names)


def _hiding(given: dict[str, Any], frozen: bool) -> Iterator[str]:
    """Return which mistakes these inputs would hide."""
    w, n = given["w"], given["n"]
    if "w_view" in given and numpy.ptp(w) == 0:
        yield (
            f"all weights are {float(w.flat[0]):g}: with weights that differ, it would show where a weight "
            "is forgotten, applied twice or applied at the wrong place"
        )
    if "b_view" in given and not given["b"].any():
        yield "all biases are 0: with others, it would show where y stands for w·x̂"
    if n == 2 and not frozen:
        yield (
            "pools of 2 hide almost everything: x̂ is ±1 whatever x is, and dx is nearly 0; use pools of 3 "
            "or more"
        )
    if not frozen and _share_of_eps(given) < SEEN:
        yield (
            f"eps ({given['eps']:g}) is too small beside the variance to be seen: a backward that forgets "
            "it, or puts it elsewhere, would pass"
        )


def _share_of_eps(given: dict[str, Any]) -> float:
    """Return the largest eps/(v + eps) of a pool."""
    x, pool, eps = given["x"], given["pool"], given["eps"]
    c = x - pool.totals(x) / pool.size if given["centered"] else x
    return float((eps / (pool.totals(c * c) / given["count"] + eps)).max(initial=0.0)) if eps else 0.0
