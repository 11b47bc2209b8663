"""What is measured of a layer while it trains: numbers (), on the device of the arrays, in float64.

activation   y           mean(y), std(y)
gradient     g = dL/dy   ‖g‖ = √Σ g²
update       w → w'      ‖w' - w‖ / ‖w‖
dead units               the share of units of y that are 0 for the whole batch
running      m, v of the batch beside the running M, V
             mean |m - M| / √(V + eps)    exp(mean ln((v + eps) / (V + eps)))
"""

from collections.abc import Iterator
from typing import Any

from ..backends import Array, namespace
from ..backends.cpu.silence import silent


def activation(y: Array, axis: int) -> tuple[Any, Any, Any]:
    """Return the mean and the standard deviation (of n) of all values, and that of a unit of `axis`."""
    others, xp = _without(axis, y), namespace(y)
    with silent():
        y = y.astype("float64")
        means = y.mean(axis=others, keepdims=True)
        mean, within = means.mean(), ((y - means) ** 2).mean()
        return mean, xp.sqrt(within + ((means - mean) ** 2).mean()), xp.sqrt(within)


def length(x: Array) -> Any:
    """Return ‖x‖, the root of the sum of squares."""
    with silent():
        x = x.astype("float64")
        return namespace(x).sqrt((x * x).sum())


def change(before: Array, after: Array) -> Any:
    """Return ‖after - before‖ / ‖before‖; NaN or infinity if before is 0."""
    with silent():
        return length(after.astype("float64") - before) / length(before)


def dead_share(y: Array, axis: int) -> Any:
    """Return the share of the units of `axis` that are 0 in the whole batch."""
    return (y == 0).all(axis=_without(axis, y)).astype("float64").mean()


def beside_running(x: Array, mean: Array, var: Array, eps: float) -> Iterator[Any]:
    """Yield how far the mean of x (N, C, ...) is from the running one, and the ratio of the variances.

    The distance is in running standard deviations, the mean over the channels; the ratio is their geometric
    mean. As running_var is unbiased, so is the batch's variance here.
    """
    axes, xp = (0, *range(2, x.ndim)), namespace(x)
    with silent():
        x, mean, var = (array.astype("float64") for array in (x, mean, var))
        m = x.mean(axis=axes, keepdims=True)
        n = x.size // x.shape[1]
        v = ((x - m) ** 2).sum(axis=axes) / (n - 1)
        yield (abs(m.reshape(-1) - mean) / xp.sqrt(var + eps)).mean()
        yield xp.exp(xp.log((v + eps) / (var + eps)).mean())


def _without(axis: int, y: Array) -> tuple[int, ...]:
    return tuple(i for i in range(y.ndim) if i != axis % y.ndim)
