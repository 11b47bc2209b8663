"""Normalization hints: which path of a backward is wrong, or by which statistic its rows are off.

Along the axes of a pool of n entries,

    numeric    n_i = r·(g_i - mean(g) - x̂_i·mean(g·x̂))       Σ n = 0  and  Σ n·x̂ = 0 (nearly: eps)
               straight  through the mean  through the variance

The two sums are 0 because shifting x and scaling x change nothing. If both are 0 for the numeric gradient,
and analytic - numeric is a constant, a multiple of x̂, or a sum of both, the mistake is in those paths.
The dy of one output entry is 0 at all others. At those entries there is no straight path, so they show how
much of the other two paths the analytic gradient has.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy

from ..closeness import CLOSE_SUM, count_name
from ..jacobian import JacobianPair
from ..probing import Index, label


@dataclass(frozen=True)
class Pool:
    """Axes of an input along which entries may share a statistic; `shape` may split axis 1 into groups."""

    shape: Index
    axes: Index
    groups: int

    @property
    def size(self) -> int:
        return math.prod(self.shape[k] for k in self.axes)

    def totals(self, array: numpy.ndarray) -> numpy.ndarray:
        """Return, at every entry of an array of the input's shape, the sum over its pool."""
        cube = array.reshape(self.shape)
        return numpy.broadcast_to(cube.sum(self.axes, keepdims=True), self.shape).reshape(array.shape)

    def lines(self, rows: numpy.ndarray) -> numpy.ndarray:
        """Return rows of input entries as lines, one for every row and every pool."""
        cube = rows.reshape(-1, *self.shape)
        ends = range(-len(self.axes), 0)
        return numpy.moveaxis(cube, [k + 1 for k in self.axes], list(ends)).reshape(-1, self.size)

    def __str__(self) -> str:
        if self.groups == 1:
            names = [str(k) for k in self.axes]
        else:
            names = [f"1 (in {self.groups} groups)" if k == 2 else str(k - (k > 2)) for k in self.axes]
        return f"along axis {names[0]}" if len(names) == 1 else f"along axes {', '.join(names)}"


def pools(shape: Index, least: int = 3) -> Iterator[Pool]:
    """Yield every choice of axes with at least `least` entries, and with axis 1 in groups."""
    channels = shape[1] if len(shape) > 1 else 1
    for groups in (1, *(g for g in range(2, channels) if channels % g == 0)):
        view = shape if groups == 1 else (shape[0], groups, channels // groups, *shape[2:])
        wide = [k for k, length in enumerate(view) if length > 1]
        for count in range(1, len(wide) + 1):
            for axes in itertools.combinations(wide, count):
                pool = Pool(view, axes, groups)
                if pool.size >= least and (groups == 1 or (2 in axes and 1 not in axes)):
                    yield pool


class _Lines:
    """Both gradients in lines of a pool, and whether func changes if x is shifted or scaled."""

    def __init__(self, pair: JacobianPair, pool: Pool) -> None:
        self.pair, self.pool = pair, pool
        real = abs(pair.n) > pair.numeric.floor
        self.n, self.a = pool.lines(numpy.where(real, pair.n, 0.0)), pool.lines(pair.analytic)
        self.tiny = CLOSE_SUM * pool.lines(pair.largest).max(1, keepdims=True)
        self.shifts = bool((abs(self.n.sum(1, keepdims=True)) <= pool.size * self.tiny).all())
        x = pool.lines(pair.x)
        x = x - x.mean(1, keepdims=True) if self.shifts else x
        self.x = numpy.tile(x, (len(pair.n), 1))  # centred where shifting changes nothing

    @cached_property
    def scales(self) -> bool:
        """Whether scaling x changes nothing, up to an eps that is small beside the variance."""
        along = abs((self.n * self.x).sum(1))
        allowed = 0.01 * abs(self.n * self.x).sum(1) + self.tiny[:, 0] * abs(self.x).sum(1)
        return bool((along <= allowed).all())

    @cached_property
    def moves(self) -> bool:
        return bool((abs(self.n) > 100 * self.tiny).any())

    def paths(self) -> tuple[bool, bool] | None:
        """Return whether the mean's and the variance's path are wrong; None if the mistake is elsewhere."""
        d, squares = self.a - self.n, (self.x * self.x).sum(1, keepdims=True)
        mean = d.mean(1, keepdims=True) if self.shifts else numpy.zeros((len(d), 1))
        slope = (d * self.x).sum(1, keepdims=True) / numpy.where(squares == 0, 1.0, squares)
        slope = slope if self.scales else 0 * slope
        if (abs(d - mean - slope * self.x) > self.tiny).any():
            return None
        in_mean = bool((abs(mean) > 100 * self.tiny).any())
        in_slope = bool((abs(slope * self.x) > 100 * self.tiny).any())
        return (in_mean, in_slope) if (in_mean or in_slope) else None

    def constant(self) -> bool:
        """Return whether analytic - numeric is constant along every line, and not 0 along all."""
        d = self.a - self.n
        mean = d.mean(1, keepdims=True)
        return bool((abs(d - mean) <= self.tiny).all() and (abs(mean) > 100 * self.tiny).any())

    def shares(self) -> list[float | None]:
        """Return the share of the path through the mean, and of the other, that the analytic gradient has.

        Measured at the entries of a pool where dy itself is 0; None if these do not determine it.
        """
        unknown: list[float | None] = [None, None]
        if self.pair.input_shape != self.pair.output_shape or self.pool.size < 3 + self.shifts:
            return unknown
        own = self.pool.lines(numpy.eye(len(self.pair.n))) > 0
        found = []
        for line in numpy.flatnonzero(own.any(1)):
            off = ~own[line]
            basis = numpy.stack([numpy.full(off.sum(), float(self.shifts)), self.x[line, off]], axis=1)
            both = numpy.stack([self.n[line, off], self.a[line, off]], axis=1)
            weights = numpy.linalg.lstsq(basis, both, rcond=None)[0]
            if (abs(both - basis @ weights) > self.tiny[line]).any():
                return unknown
            found.append(weights)
        n, a = numpy.moveaxis(numpy.array(found), -1, 0)
        shares = (n * a).sum(0) / numpy.maximum((n * n).sum(0), numpy.finfo(float).tiny)
        constant = (abs(a - shares * n) <= 1e-5 * abs(n).max(0)).all(0) & n.any(0)
        return [float(share) if sure else None for share, sure in zip(shares, constant, strict=True)]


def wrong_paths(pair: JacobianPair) -> str:
    """Return what is wrong with the paths through the statistics of a normalization, or ""."""
    for pool in pools(pair.input_shape):
        lines = _Lines(pair, pool)
        if not lines.moves or not (lines.shifts or lines.scales):
            continue
        if not lines.shifts and lines.constant():
            return (
                f"analytic - numeric is the same number at every entry {pool}: does backward have a path "
                "through a mean that func does not subtract, or does it miss the path through a sum?"
            )
        wrong = lines.paths()
        if wrong is None or (all(wrong) and pool.size < 4):
            continue
        of_mean, of_slope = (_share(share, pool.size) for share in lines.shares())
        slope, x = ("variance", "x̂") if lines.shifts else ("mean square (the norm)", "x")
        if wrong == (True, False):
            found = f"the path through the mean {of_mean}", "is the same number at every entry"
        elif wrong == (False, True):
            found = f"the path through the {slope} {of_slope}", f"is a multiple of {x}"
        else:
            found = (
                f"the path through the mean {of_mean}, the path through the variance {of_slope}",
                "is a number plus a multiple of x̂",
            )
        return f"{found[0]}: {pool}, analytic - numeric {found[1]}"
    return ""


def _share(share: float | None, size: int) -> str:
    if share is None:
        return "is missing or wrong"
    if abs(share) < 1e-5:
        return "is missing"
    if abs(share + 1) < 1e-5:
        return "has the wrong sign"
    name = count_name(share, {size})
    return f"is {share:.5g} × what it should be" + (f" ({name})" if name else "")


def row_factors(pair: JacobianPair) -> str:
    """Return by which factor of its own every output entry's gradient is wrong, or ""."""
    a, n = pair.analytic, pair.n
    squares = (n * n).sum(1)
    factors = (a * n).sum(1) / numpy.where(squares == 0, 1.0, squares)
    several = (abs(n) > 1e-6 * abs(n).max(1, keepdims=True)).sum(1) > 2
    if not (squares > 0).all() or not pair.close(a, factors[:, None] * n):
        return ""
    argument = _argument(pair, factors)
    if not argument and not several.all():
        return ""
    found = (
        f"the gradient of every output entry is off by a factor of its own, from {factors.min():.7g} to "
        f"{factors.max():.7g}"
    )
    known = argument or _statistic(pair, factors)
    if known:
        return f"{found}: {known}"
    cube, close = factors.reshape(pair.output_shape), 1e-7 * abs(factors).max()
    axes = [str(k) for k in range(cube.ndim) if (numpy.ptp(cube, axis=k) > close).any()]
    if len(axes) < sum(length > 1 for length in cube.shape):
        found += f", which depends on its index along axis {' and '.join(axes)} alone"
    return f"{found}: a factor too many or too few?"


def _argument(pair: JacobianPair, factors: numpy.ndarray) -> str:
    """Return which argument of func equals the factors, or one over them, or ""."""
    sizes = abs(factors)
    if numpy.ptp(sizes) < 0.01 * sizes.max():
        return ""
    for key, array in pair.arguments.items():
        for value in _broadcast(array, pair.output_shape):
            if (abs(factors * value - 1) <= CLOSE_SUM).all():
                return f"it is 1 / {label(key)}: is a multiplication by it missing, or a division too many?"
            if (abs(factors - value) <= CLOSE_SUM * abs(value)).all():
                return f"it is {label(key)}: is a division by it missing, or a multiplication too many?"
    return ""


def factor_outside(pair: JacobianPair) -> str:
    """Return which argument is a factor of the gradient, but belongs to dy, or "".

    Where only dy_i is 1, the first has w_j at dx_j and the second w_i. If all else is symmetric, as in a
    normalization, one is the transpose of the other.
    """
    if pair.input_shape != pair.output_shape:
        return ""
    for key, array in pair.arguments.items():
        for w in _broadcast(array, pair.output_shape):
            if w.all() and numpy.ptp(w) and pair.close(pair.analytic * w[:, None], pair.n * w):
                name = label(key)
                return (
                    f"{name} is a factor of the gradient, but it is one of func's result: multiply dy by "
                    f"{name} first, inside all sums and means, not the gradient at the end"
                )
    return ""


def _broadcast(array: numpy.ndarray, shape: Index) -> Iterator[numpy.ndarray]:
    """Yield the array broadcast to a shape in every way: its axes may be any that are neighbours there."""
    for after in range(len(shape) - array.ndim + 1 if array.dtype.kind == "f" else 0):
        view: Index = array.shape + (1,) * after
        if all(i in (1, o) for i, o in zip(reversed(view), reversed(shape), strict=False)):
            yield numpy.broadcast_to(array.reshape(view), shape).reshape(-1)


def _statistic(pair: JacobianPair, factors: numpy.ndarray) -> str:
    """Return which statistic of x equals the factors, or one over them, or ""."""
    if pair.input_shape != pair.output_shape or numpy.ptp(factors) < 0.01 * abs(factors).max():
        return ""
    for pool in pools(pair.input_shape):
        x = pair.x.reshape(pool.shape)
        mean = x.mean(pool.axes, keepdims=True)
        for name, centred in (("standard deviation", x - mean), ("root mean square", x)):
            size = numpy.sqrt((centred * centred).mean(pool.axes, keepdims=True))
            size = numpy.broadcast_to(size, pool.shape).reshape(-1)
            if (abs(factors - size) <= 1e-3 * size).all():
                return f"the {name} of x {pool} (within 0.1 %); is a division by it missing?"
            if (abs(factors * size - 1) <= 1e-3).all():
                return f"1 / the {name} of x {pool} (within 0.1 %); is there one division by it too many?"
    return ""
