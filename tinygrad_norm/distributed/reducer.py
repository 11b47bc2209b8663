"""Reducer: the gradients of all ranks, averaged in flat buckets while backward is still running.

    bucket   | dw_1 .............. | dw_2 ....... | used_1 | used_2 |

`used` counts the ranks whose loss depended on the parameter; where that is 0, `.grad` stays what it was, as
in one process. The mean is over ranks: shards of different sizes are weighed before backward (weighing.py).

The first buckets are those of the last layers, whose gradients are complete first. A bucket is sent as soon
as it and all before it are full, so on all ranks in one order. The end of backward sends the rest and waits
for all: after `loss.backward()`, every `.grad` is that of the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy

from ..autograd.accumulation import accumulate
from ..autograd.leaf_hooks import after_backward, register_post_accumulate_grad_hook
from ..autograd.tensor import Tensor
from ..backends import namespace, to_numpy
from ..backends.cpu.silence import silent
from .group import Group, Work

BUCKET_BYTES = 1 << 20
"""Bytes of a bucket: enough to hide the latency of a message, and few enough to send the first one early."""


class Bucket:
    """The gradients of some parameters of one dtype, end to end. Those of half types are float32."""

    def __init__(self, parameters: list[Tensor]) -> None:
        like = parameters[0].array
        self.parameters = parameters
        bounds = numpy.cumsum([0, *(p.array.size for p in parameters)]).tolist()
        self.length = bounds[-1]
        dtype = numpy.promote_types(like.dtype, numpy.float32)
        self.flat: Any = namespace(like).zeros(self.length + len(parameters), dtype)
        self.views = [
            self.flat[start : start + p.array.size].reshape(p.array.shape)
            for p, start in zip(parameters, bounds, strict=False)
        ]
        self.work: Work | None = None
        self.used = [False] * len(parameters)  # since the last averages
        self.empty()

    def empty(self) -> None:
        """Prepare for the next backward."""
        self.work, self.received = None, [False] * len(self.parameters)

    def receive(self, i: int) -> None:
        """Copy the gradient of parameter i."""
        grad = self.parameters[i].grad
        assert grad is not None
        self.views[i][...] = grad.array
        self.received[i] = self.used[i] = True

    def send(self, group: Group) -> None:
        """Begin to add up the buckets of all ranks; a gradient may be older than this backward."""
        for i, (parameter, view) in enumerate(zip(self.parameters, self.views, strict=True)):
            if parameter.grad is None:
                view[...], self.used[i] = 0, False
            elif not self.received[i]:
                view[...] = parameter.grad.array
        self.flat[self.length :] = namespace(self.flat).asarray(self.used)
        self.work = group.start_all_reduce(self.flat)

    def unpack(self, size: int) -> None:
        """Wait for the sums over `size` ranks, and let the gradients of the parameters be the means."""
        assert self.work is not None
        self.work.wait()
        self.flat[: self.length] /= size
        used = None
        for i, (parameter, mean) in enumerate(zip(self.parameters, self.views, strict=True)):
            if not self.used[i]:
                used = to_numpy(self.flat[self.length :]) if used is None else used
                if not used[i]:
                    continue
            if parameter.grad is None:
                accumulate(((parameter, mean.astype(parameter.dtype)),))
            else:
                parameter.grad.array[...] = mean
                parameter.grad.mark_written()
        self.used = [False] * len(self.parameters)
        self.empty()


class Reducer:
    """Averages the gradients of `parameters` over the ranks of `group` in every backward that reaches one.

    Args:
        parameters: those of one model, the same on all ranks; frozen ones are left out.
        group: the processes.
        bucket_bytes: a bucket is sent on its own if it has at least so many bytes.

    While `active` is False, gradients stay those of this rank; the next backward averages their sums.
    """

    def __init__(
        self, parameters: Iterable[Tensor], group: Group, bucket_bytes: float = BUCKET_BYTES
    ) -> None:
        self.group = group
        self.buckets = [Bucket(run) for run in _runs(parameters, bucket_bytes)]
        self.places = {
            id(parameter): (bucket, i)
            for bucket in self.buckets
            for i, parameter in enumerate(bucket.parameters)
        }
        self.sent = 0  # buckets, in this backward
        self.running, self.active = False, True
        self.broken = False  # an error has ended the last backward
        if group.size > 1:
            for bucket in self.buckets:
                for parameter in bucket.parameters:
                    register_post_accumulate_grad_hook(parameter, self._receive)

    def _receive(self, parameter: Tensor) -> None:
        bucket, i = self.places[id(parameter)]
        if not self.active:
            bucket.used[i] = True
            return
        if not self.running:
            self.end_broken()
            self.running, self.sent = True, 0
            after_backward(self._finish, self._break_off)
        with silent():
            bucket.receive(i)
            for earlier in self.buckets[: self.sent]:
                if earlier.work is not None:
                    earlier.work.poll()
            while self.sent < len(self.buckets) and all(self.buckets[self.sent].received):
                self._send_next()

    def end_broken(self) -> None:
        """Exchange what a backward that an error has ended left to send, so that the next one begins anew.

        Not before: the others may not have had the error. All ranks that go on must call it, by a forward.
        """
        if not self.broken:
            return
        self.broken = False
        with silent():
            while self.sent < len(self.buckets):
                self._send_next()
            for bucket in self.buckets:
                if bucket.work is not None:
                    bucket.work.wait()
                bucket.empty()

    def _break_off(self) -> None:
        self.running, self.broken = False, True

    def _finish(self) -> None:
        self.running = False
        with silent():
            while self.sent < len(self.buckets):
                self._send_next()
            for bucket in self.buckets:
                bucket.unpack(self.group.size)

    def _send_next(self) -> None:
        self.buckets[self.sent].send(self.group)
        self.sent += 1


def _runs(parameters: Iterable[Tensor], bucket_bytes: float) -> Iterator[list[Tensor]]:
    """Yield the parameters, the last first, in runs of one kind of array and of about `bucket_bytes`."""
    run: list[Tensor] = []
    size = 0
    for parameter in reversed([p for p in parameters if p.requires_grad]):
        array = parameter.array
        alike = run and type(array) is type(run[0].array) and array.dtype == run[0].dtype
        if run and (not alike or size >= bucket_bytes):
            yield run
            run, size = [], 0
        run.append(parameter)
        size += array.nbytes
    if run:
        yield run
