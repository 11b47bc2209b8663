"""Time training steps on several processes, with what they send and how long they wait for it.

All ranks of a group make the same calls with the same arguments. The times of steps and messages are wall
times of rank 0: the median, and the fastest. Other programs only add time, and a rank that they hold up holds
up all others, so on a busy machine the fastest says more. Predictions start from profiles, which are in
processor time.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy

from .. import nn, optim
from ..autograd.tensor import Tensor
from ..backends.random import manual_seed
from ..distributed.data_parallel import DistributedDataParallel
from ..distributed.group import Group
from ..distributed.sharding import shard
from ..module import Module
from ..nn import functional as F
from ..normalization.batch.shardmoments import joint_moments
from ..training.models import cnn, mlp
from ..training.norm_choices import Norm, find_norm
from .counted_messages import (
    BACKWARD,
    BUCKET,
    FORWARD,
    Message,
    counted_groups,
    counts_and_bytes,
    mirrored,
)

Clock = Callable[[], float]
SHAPE, CLASSES = (1, 8, 8), 10
"""Those of the digits."""
SIZES = tuple(8 ** (k + 1) for k in range(8))
"""Bytes of the messages that are timed: 8 B to 16 MiB."""
SHARDS = tuple(2**k for k in range(1, 11))
"""The numbers of ranks for which the joining of their moments is timed: 2 to 1,024."""
WIDE_LAYERS, WIDTH = 4, 512
WARMUP, LEAST_STEPS = 3, 5


def wide_mlp(shape: tuple[int, ...], classes: int, norm: Norm) -> Module:
    """Return four hidden layers (Linear, norm, ReLU) of 512 features, and a Linear to the classes."""
    sizes = [int(numpy.prod(shape)), *[WIDTH] * WIDE_LAYERS]
    hidden = [
        layer
        for before, after in itertools.pairwise(sizes)
        for layer in (nn.Linear(before, after), norm((after,)), nn.ReLU())
    ]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(WIDTH, classes))


MODELS: dict[str, Callable[[tuple[int, ...], int, Norm], Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    "wide-mlp": wide_mlp,
}


@dataclass(frozen=True)
class Step:
    """A training step of `samples` on `ranks` processes, in seconds.

    scaling          strong: the samples of one process are shared; weak: every process has as many
    seconds          the median
    waiting          inside calls of messages, the median
    fastest          of all steps
    fastest_waiting  inside calls of messages, in that step
    alone            for the same messages one after the other, with nothing to compute, the fastest
    messages         by kind, how many and their bytes
    """

    model: str
    scaling: str
    ranks: int
    samples: int
    seconds: float
    waiting: float
    fastest: float
    fastest_waiting: float
    alone: float
    messages: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Profile:
    """A step of one process that does the work of data parallelism, without waiting.

    Times are the fastest seconds of processor time.

    parameters         of the model
    plain              a step without that work
    bucketed           a step with that of the gradients, but BatchNorm in place of SyncBatchNorm
    whole              a step with all of it; it includes the optimizer
    forward, backward  parts of `whole`
    buckets            when each is complete, counted from the start of backward, and its bytes
    gathers, sums      bytes of the messages of SyncBatchNorm
    joints             ranks, and the seconds in which all SyncBatchNorms join the moments of so many; `whole`
                       has those of two
    """

    model: str
    parameters: int
    plain: float
    bucketed: float
    whole: float
    forward: float
    backward: float
    buckets: tuple[tuple[float, int], ...]
    gathers: tuple[int, ...]
    sums: tuple[int, ...]
    joints: tuple[tuple[int, float], ...]


class Training:
    """A model with SyncBatchNorm, trained by cross entropy and Adam on this rank's shard."""

    def __init__(
        self,
        model: str,
        samples: int,
        group: Group,
        statistics_of: Group | None = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.clock = clock
        manual_seed(0)
        made = MODELS[model](SHAPE, CLASSES, find_norm("sync-batch"))
        gradients, moments, self.record = counted_groups(group, clock)
        for layer in made.modules():
            if isinstance(layer, nn.SyncBatchNorm):
                layer.process_group = moments if statistics_of is None else statistics_of
        self.model = DistributedDataParallel(made, process_group=gradients)
        self.optimizer = optim.Adam(self.model.parameters())
        rng = numpy.random.default_rng(0)
        batch = rng.random((samples, *SHAPE), numpy.float32), rng.integers(0, CLASSES, samples)
        self.inputs, self.labels = map(Tensor, shard(batch, group))

    def step(self) -> tuple[float, float, float, float]:
        """Make a step; return when it began, when forward and backward ended, and when it ended."""
        self.record.clear()
        began = self.clock()
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(self.inputs), self.labels)
        forward = self.clock()
        loss.backward()
        backward = self.clock()
        self.optimizer.step()
        return began, forward, backward, self.clock()


def measure(model: str, scaling: str, samples: int, seconds: float, group: Group) -> Step:
    """Time steps for about `seconds`, then their messages alone for about a fourth of it."""
    total = samples * group.size if scaling == "weak" else samples
    training = Training(model, total, group)
    times, waits = [], []
    for _ in _repeated(training.step, seconds, group):
        began, *_, ended = training.step()
        times.append(ended - began)
        waits.append(training.record.seconds)
    messages = list(training.record.messages)
    return Step(
        model,
        scaling,
        group.size,
        total,
        seconds=statistics.median(times),
        waiting=statistics.median(waits),
        fastest=min(times),
        fastest_waiting=waits[times.index(min(times))],
        alone=_fastest(partial(_repeat, messages, group), seconds / 4, group) if messages else 0.0,
        messages=counts_and_bytes(messages),
    )


def profile(model: str, samples: int, seconds: float, alone: Group) -> Profile:
    """Measure the profile of a step of `samples` for about thrice `seconds`, all kinds of steps by turns.

    The clock is that of the processor: nothing waits, so it is wall time without that of other programs.
    """
    clock = time.process_time
    plain, mirror = (
        Training(model, samples, alone, clock=clock),
        Training(model, 2 * samples, mirrored(), clock=clock),
    )
    bucketed = Training(model, 2 * samples, mirrored(), statistics_of=alone, clock=clock)
    sections, ready = [], []
    others: dict[Training, list[float]] = {plain: [], bucketed: []}
    for _ in _repeated(mirror.step, seconds, alone):
        for training, times in others.items():
            began, *_, ended = training.step()
            times.append(ended - began)
        began, forward, backward, ended = mirror.step()
        sections.append((ended - began, forward - began, backward - forward))
        sent = [message for message in mirror.record.messages if message.kind == BUCKET]
        ready.append([message.moment - forward for message in sent])
    fastest = sections.index(min(sections))
    whole, forward, backward = sections[fastest]

    def sizes(kind: str) -> tuple[int, ...]:
        return tuple(message.nbytes for message in mirror.record.messages if message.kind == kind)

    return Profile(
        model,
        parameters=sum(p.array.size for p in plain.model.parameters()),
        plain=min(others[plain]),
        bucketed=min(others[bucketed]),
        whole=whole,
        forward=forward,
        backward=backward,
        buckets=tuple(zip(ready[fastest], sizes(BUCKET), strict=True)),
        gathers=sizes(FORWARD),
        sums=sizes(BACKWARD),
        joints=tuple((ranks, joining_seconds(sizes(FORWARD), ranks)) for ranks in SHARDS),
    )


def joining_seconds(gathers: Sequence[int], ranks: int) -> float:
    """Return the processor time in which SyncBatchNorms join the moments of so many ranks, the fastest.

    `gathers` has the bytes that each SyncBatchNorm gets from a rank. Any moments take as long.
    """
    fastest = {}
    for nbytes in set(gathers):
        sent = numpy.ones((ranks, 4, nbytes // 16, 1), numpy.float32)
        times = []
        for _ in range(LEAST_STEPS):
            began = time.process_time()
            joint_moments(sent)
            times.append(time.process_time() - began)
        fastest[nbytes] = min(times)
    return sum(fastest[nbytes] for nbytes in gathers)


def time_all_reduces(seconds: float, group: Group) -> list[tuple[int, int, float]]:
    """Return (ranks, bytes, fastest seconds) of all-reduces of `SIZES`, timed for `seconds` each."""
    messages = [Message(BUCKET, nbytes, "float32", 0.0) for nbytes in SIZES]
    return [
        (group.size, message.nbytes, _fastest(partial(message.repeat, group), seconds, group))
        for message in messages
    ]


def _repeat(messages: list[Message], group: Group) -> None:
    for message in messages:
        message.repeat(group)


def _fastest(function: Callable[[], object], seconds: float, group: Group) -> float:
    times = []
    for _ in _repeated(function, seconds, group):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)


def _repeated(function: Callable[[], object], seconds: float, group: Group) -> Iterator[int]:
    """Call `function` to warm up; then count as many turns on all ranks as take about `seconds` on rank 0."""
    for _ in range(WARMUP):
        began = time.perf_counter()
        function()
        last = time.perf_counter() - began
    turns = max(LEAST_STEPS, int(seconds / max(last, 1e-9)))
    yield from range(group.all_gather_object(turns)[0])


@dataclass(frozen=True)
class Measured:
    """What was measured once on `ranks` processes; there are profiles only on one."""

    ranks: int
    steps: list[Step]
    profiles: list[Profile]
    all_reduces: list[tuple[int, int, float]]


def measure_all(models: Iterable[str], samples: int, seconds: float, group: Group) -> Measured:
    """Measure everything on this number of ranks; each step takes about `seconds`."""
    steps, profiles = [], []
    for model in models:
        strong = measure(model, "strong", samples, seconds, group)
        if group.size == 1:
            steps += [strong, dataclasses.replace(strong, scaling="weak")]
            profiles.append(profile(model, samples, seconds, group))
        else:
            steps += [strong, measure(model, "weak", samples, seconds, group)]
    times = time_all_reduces(seconds / len(SIZES), group) if group.size > 1 else []
    return Measured(group.size, steps, profiles, times)
