"""Frames of padded sequences x (T, N, C): which are valid, the pools that they make, and running statistics.

Pools with equally many valid frames are worked on together: G pools of n frames are channels of a batch,
(n, G·C, 1), for the cores of batch normalization.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy

from ...autograd.tensor import Tensor
from ...backends import Array, namespace, to_numpy
from ...backends.cuda.capture import upload
from .running_stats import update_both

Mask = Tensor | numpy.ndarray | Sequence[Any]
"""(T, N) bool, True for valid frames."""


class Pools(NamedTuple):
    """G pools of n valid frames each: their time steps (G,), and the numbers (n, G) of their frames."""

    steps: numpy.ndarray
    frames: Array


UpdatePools = Callable[[Pools, Array, Array], None]
"""Called with pools, and their means and biased variances (1, G·C, 1)."""


def valid_frames(mask: Mask | None, shape: tuple[int, ...]) -> numpy.ndarray:
    """Return a mask on the host, all True for None.

    Raises:
        TypeError: if it is not bool.
        ValueError: if its shape is not `shape`.
    """
    if mask is None:
        return numpy.ones(shape, bool)
    valid = to_numpy(mask.array) if isinstance(mask, Tensor) else numpy.asarray(mask)
    if valid.dtype != bool:
        raise TypeError(f"the mask must be bool, True for valid frames, got {valid.dtype}")
    if valid.shape != shape:
        raise ValueError(f"the mask has shape {valid.shape}, expected {shape}: one for each frame")
    return valid


def pools_of(valid: numpy.ndarray, mode: str, like: Array) -> list[Pools]:
    """Return the pools of a mask (T, N), in mode "frame" those of equally many valid frames together.

    The numbers of the frames are on the device of `like`.
    """
    xp, numbers, counts = namespace(like), numpy.arange(valid.size).reshape(valid.shape), valid.sum(1)
    if mode == "sequence":
        return [Pools(numpy.zeros(1, int), upload(numbers[valid][:, None], xp))] if counts.any() else []
    return [
        Pools(steps, upload(numbers[steps][valid[steps]].reshape(len(steps), n).T, xp))
        for n in numpy.unique(counts[counts > 0])
        for steps in [numpy.flatnonzero(counts == n)]
    ]


def check_mode(mode: str) -> None:
    """Raise ValueError unless the mode is "frame" or "sequence"."""
    if mode not in ("frame", "sequence"):
        raise ValueError(f"mode must be 'frame' or 'sequence', got {mode!r}")


def check_pools(pools: list[Pools], name: str, mode: str = "frame") -> None:
    """Raise ValueError for pools of one frame: their variance is 0, and y would not depend on x."""
    for each in pools:
        if len(each.frames) == 1:
            which = f"step {each.steps[0]} has one" if mode == "frame" else "the batch has one"
            raise ValueError(
                f"{name} in training needs more than one valid frame in each pool, but {which}: use "
                "sequences of one length or sequence-wise statistics, or a larger batch"
            )


def for_pools(v: Array | None, pools: Pools) -> Array | None:
    """Return a vector (C,), or one (L, C) for each of the first L steps, as (1, G·C, 1).

    After step L - 1, its vector is used.
    """
    if v is None:
        return None
    xp, steps = namespace(v), pools.steps
    if v.ndim == 1:
        return xp.broadcast_to(v, (len(steps), len(v))).reshape(1, -1, 1)
    return v[upload(steps.clip(max=len(v) - 1), xp)].reshape(1, -1, 1)


def sum_of_pools(v: Array, C: int) -> Array:
    """Return the sums over pools (C,) of v (1, G·C, 1)."""
    return v.reshape(-1, C).sum(0)


def running_update(
    running_mean: Tensor | None, running_var: Tensor | None, momentum: float, pools: list[Pools], C: int
) -> UpdatePools:
    """Return what moves the running statistics, (C,) or (L, C), towards those of all pools, in place.

    For (C,) these are the means over the pools, weighted by their numbers of frames n. Variances count
    n/(n - 1) times: unbiased.
    """
    count, steps = sum(each.frames.size for each in pools), sum(len(each.steps) for each in pools)
    totals: list[Any] = [0, 0]

    def update_steps(each: Pools, mean: Array, var: Array) -> None:
        n, xp = len(each.frames), namespace(mean)
        for running, new, gain in ((running_mean, mean, 1.0), (running_var, var, n / max(n - 1, 1))):
            if running is not None:
                kept = each.steps[each.steps < len(running)]
                at, new = upload(kept, xp), new.reshape(-1, C)[: len(kept)] * (momentum * gain)
                running.array[at] = running.array[at] * (1 - momentum) + new
                running.mark_written()

    def update_all(each: Pools, mean: Array, var: Array) -> None:
        share = len(each.frames) / count
        totals[:] = [
            total + sum_of_pools(new * share, C) for total, new in zip(totals, (mean, var), strict=True)
        ]
        if each is pools[-1]:
            update_both(running_mean, running_var, totals[0], totals[1], momentum, count / steps)

    per_step = any(running is not None and running.ndim == 2 for running in (running_mean, running_var))
    return update_steps if per_step else update_all
