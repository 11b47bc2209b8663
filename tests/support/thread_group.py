"""Ranks as threads of one process: a group for tests, which checks that all ranks make the same calls.

Until `wait()`, an array that is being added up holds NaN: who reads it too early gets wrong results.
"""

import threading

import numpy as np

from tinygrad_norm.distributed.group import Group

TIMEOUT = 60  # seconds: a rank that waits so long waits forever


class Meeting:
    """Where the ranks leave what they send, by channel and number of the call."""

    def __init__(self, size):
        self.size, self.calls, self.condition, self.broken = size, {}, threading.Condition(), None

    def leave(self, key, rank, what, value):
        with self.condition:
            sent = self.calls.setdefault(key, {})
            sent[rank] = what, value
            self.condition.notify_all()

    def collect(self, key):
        """The values of all ranks, in order, once all have left theirs."""
        with self.condition:
            ready = self.condition.wait_for(lambda: self.broken or len(self.calls[key]) == self.size, TIMEOUT)
            if self.broken:
                raise ConnectionError(f"another rank has failed: {self.broken}")
            assert ready, f"{key}: only ranks {sorted(self.calls[key])} came"
            sent = [self.calls[key][rank] for rank in range(self.size)]
        kinds = {what for what, _ in sent}
        assert len(kinds) == 1, f"{key}: the ranks make different calls: {kinds}"
        return [value for _, value in sent]

    def fail(self, error):
        with self.condition:
            self.broken = self.broken or repr(error)
            self.condition.notify_all()


class ThreadCollectives:
    def __init__(self, meeting, rank, log=None):
        self.meeting, self.rank, self.numbers = meeting, rank, {"blocking": 0, "started": 0}
        self.log = [] if log is None else log

    def _leave(self, channel, what, x):
        assert x.flags.c_contiguous
        key = channel, self.numbers[channel]
        self.numbers[channel] += 1
        self.log.append((what, x.shape))
        self.meeting.leave(key, self.rank, (what, x.shape, x.dtype), x.copy())
        return key

    def broadcast(self, x):
        x[...] = self.meeting.collect(self._leave("blocking", "broadcast", x))[0]

    def all_gather(self, x):
        return np.stack(self.meeting.collect(self._leave("blocking", "all_gather", x)))

    def all_reduce(self, x):
        x[...] = sum(self.meeting.collect(self._leave("blocking", "all_reduce", x)))

    def start_all_reduce(self, x):
        key = self._leave("started", "all_reduce", x)
        x[...] = np.nan if x.dtype.kind == "f" else 0
        return ThreadWork(self, key, x)


class ThreadWork:
    def __init__(self, collectives, key, x):
        self.collectives, self.key, self.x = collectives, key, x

    def poll(self): ...

    def wait(self):
        self.x[...] = sum(self.collectives.meeting.collect(self.key))
        self.collectives.log.append(("waited", self.x.shape))


def run_ranks(size, function):
    """The results of `function(group)` on each of `size` ranks; the first error of one is raised here."""
    meeting, results, errors = Meeting(size), [None] * size, []

    def run(rank):
        collectives = ThreadCollectives(meeting, rank)
        group = Group(rank, size, collectives, lambda status: meeting.fail("ended"))
        group.log = collectives.log
        try:
            results[rank] = function(group)
        except BaseException as error:
            errors.append(error)
            meeting.fail(error)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise next((e for e in errors if not isinstance(e, ConnectionError)), errors[0])
    return results
