"""Predict the step time of data parallelism on many ranks, from a step of one process and the α-β model.

    step = compute + joining + blocking + late(weighing) + late(buckets)

compute    a step of one process that does all the work of data parallelism, without waiting
joining    by how much longer SyncBatchNorm joins the moments of all ranks than those of two, as in that step
blocking   the messages of SyncBatchNorm, one after the other: nothing runs meanwhile
late(m)    by how much the message ends after forward (the weighing, which begins with it), or after backward
           (the last bucket). A bucket begins when its gradients are complete and the one before has ended.

It is an optimistic model: the network is used fully and proceeds while the ranks compute, no rank is slower
than the others, and messages do not disturb each other. So it says from where on data parallelism can pay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy

from ..distributed.reducer import BUCKET_BYTES
from .alpha_beta import Network
from .parallel_step import CLASSES, SHAPE, SHARDS, WIDE_LAYERS, WIDTH, Profile

RANKS = SHARDS[2:]
"""The numbers of processes that are predicted: 8 to 1,024."""
WIDTHS = tuple(round(2 ** (4 + k / 4)) for k in range(49))
"""The widths that are tried in the search for the smallest model: 16 to 65,536."""
WEIGHING_BYTES = 8


def predicted_seconds(profile: Profile, network: Network, ranks: int) -> float:
    """Return the seconds of a step in which every rank has the samples of the profile."""
    if ranks == 1:
        return profile.plain
    blocking = sum(network.all_gather(nbytes, ranks) for nbytes in profile.gathers)
    blocking += sum(network.all_reduce(nbytes, ranks) for nbytes in profile.sums)
    weighing = max(0.0, network.all_reduce(WEIGHING_BYTES, ranks) - profile.forward)
    end = 0.0
    for ready, nbytes in profile.buckets:
        end = max(end, ready) + network.all_reduce(nbytes, ranks)
    late = weighing + max(0.0, end - profile.backward)
    return profile.whole + _joining(profile, ranks) + blocking + late


def _joining(profile: Profile, ranks: int) -> float:
    """Return the seconds beyond those of two ranks; between the measured numbers of ranks on a line."""
    counts, seconds = zip(*profile.joints, strict=True)
    here, of_two = numpy.interp((ranks, 2), counts, seconds)
    return max(0.0, float(here - of_two))


def efficiency(profile: Profile, network: Network, ranks: int) -> float:
    """Return the predicted time of one process / the predicted time of `ranks`, by weak scaling."""
    return profile.plain / predicted_seconds(profile, network, ranks)


def scaled(measured: Profile, width: int) -> Profile:
    """Return the profile of the wide mlp if its hidden layers had `width` features.

    The work of SyncBatchNorm grows with the width, all other with the parameters: the flop rate stays, also
    for small models, where in truth it is lower.
    """
    sizes = list(_parameter_sizes(width))
    parameters = sum(sizes)
    ratio = parameters / measured.parameters
    plain, bucketed = measured.plain * ratio, measured.bucketed * ratio
    whole = bucketed + (measured.whole - measured.bucketed) * width / WIDTH
    forward, backward = (time * whole / measured.whole for time in (measured.forward, measured.backward))
    buckets = []
    done = 0
    for run in bucket_sizes(sizes, BUCKET_BYTES):
        done += sum(run)
        buckets.append((backward * done / parameters, 4 * (sum(run) + len(run))))
    gathers, sums = (16 * width,) * WIDE_LAYERS, (8 * width,) * WIDE_LAYERS
    times = plain, bucketed, whole, forward, backward
    joints = tuple((ranks, seconds * width / WIDTH) for ranks, seconds in measured.joints)
    return Profile(measured.model, parameters, *times, tuple(buckets), gathers, sums, joints)


def smallest_model(
    measured: Profile, network: Network, ranks: int, least: float, to_same_work: bool = False
) -> int | None:
    """Return the parameters of the smallest wide mlp from which on the efficiency is at least `least`.

    All wider ones up to 65,536 features have it too; None if the widest has not. With `to_same_work`, the
    efficiency is the time of the same work on two ranks without waiting / the predicted time. So the network
    and the joining of more moments count.
    """
    found = None
    for width in reversed(WIDTHS):
        profile = scaled(measured, width)
        base = profile.whole if to_same_work else profile.plain
        if base / predicted_seconds(profile, network, ranks) < least:
            break
        found = profile.parameters
    return found


def bucket_sizes(sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Return the elements of float32 parameters, the last first, in runs as the reducer makes them."""
    runs: list[list[int]] = [[]]
    for size in sizes:
        if 4 * sum(runs[-1]) >= limit:
            runs.append([])
        runs[-1].append(size)
    return runs


def _parameter_sizes(width: int) -> Iterator[int]:
    """Yield the elements of the wide mlp's parameters, the last first."""
    yield from (CLASSES, CLASSES * width)
    for layer in reversed(range(WIDE_LAYERS)):
        before = width if layer else SHAPE[0] * SHAPE[1] * SHAPE[2]
        yield from (width, width, width, before * width)
