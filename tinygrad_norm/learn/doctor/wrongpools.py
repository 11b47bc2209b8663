"""Means over the wrong pool: too many axes leak, too few leave out a share."""

from collections.abc import Iterator
from typing import Any

from ...gradient_check.mistakes.normalization import Pool, pools
from .catalogue import Mistake, Step


def of_pools(given: dict[str, Any]) -> Iterator[Mistake]:
    """Yield the means over every other pool."""
    pool, shape = given["pool"], given["x"].shape
    right = f"mean over the pool {pool}"
    for other in pools(shape, least=2):
        if other == pool:
            continue
        name, wrong = _wrong_pool(pool, other), f"mean over the pool {other}"
        use: dict[str, Step] = {"used": _constant(other)}
        yield Mistake(f"{name}: the means of backward are taken {other}", "mean", wrong, right, use)
        if given["centered"]:
            yield Mistake(
                f"{name}: the mean of g is taken {other}",
                "through m",
                wrong,
                right,
                {"mean_g": _mean_of_g(other, other.size)},
            )
            yield Mistake(
                f"{name}: the mean of g·x̂ is taken {other}",
                "through r",
                wrong,
                right,
                {"mean_gx": _mean_of_gx(other, other.size)},
            )
        yield Mistake(
            f"{name}: all statistics of backward are taken {other}",
            "m, v",
            wrong,
            right,
            use | _statistics(other, given["centered"]),
        )
        if other.size != pool.size:
            sums = {"mean_g": _mean_of_g(other, pool.size), "mean_gx": _mean_of_gx(other, pool.size)}
            name = f"{name}: the sums of backward are taken {other}, and divided by {pool.size}"
            yield Mistake(name, "mean", f"sum over the pool {other}, divided by {pool.size}", right, sums)


def _constant(pool: Pool) -> Step:
    return lambda s: pool


def _mean_of_g(pool: Pool, n: int) -> Step:
    return lambda s: pool.totals(s.g) / n


def _mean_of_gx(pool: Pool, n: int) -> Step:
    return lambda s: pool.totals(s.g * s.x_hat) / n


def _statistics(pool: Pool, centered: bool) -> dict[str, Step]:
    return {
        "m": lambda s: pool.totals(s.x) / pool.size if centered else 0 * s.x,
        "v": lambda s: pool.totals(s.c * s.c) / pool.size,
    }


def _wrong_pool(pool: Pool, other: Pool) -> str:
    """Return what taking means over `other` does: which entries get mixed, or left out."""
    if other.groups == 1 and pool.groups == 1:
        more = sorted(set(other.axes) - set(pool.axes))
        if 0 in more:
            return "statistics leak across samples"
        if more:
            return (
                "statistics leak across channels" if more[0] == 1 else f"statistics leak along axis {more[0]}"
            )
        return "too few axes"
    original = {k - (k > 2) if pool.groups > 1 else k for k in pool.axes}
    if 0 in other.axes and 0 not in original:
        return "statistics leak across samples"
    if pool.groups > 1 and ((other.groups == 1 and 1 in other.axes) or other.groups < pool.groups):
        return "statistics leak across groups"
    return "wrong groups" if other.groups > 1 or pool.groups > 1 else "wrong axes"
