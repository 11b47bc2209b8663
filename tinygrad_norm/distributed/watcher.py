"""The watcher: a small process on each machine that says which rank was killed.

Run as a script, with the listening socket of the lifelines (lifeline.py) as stdin. It needs Linux.
"""

import os
import select
import signal
import socket
import sys
from contextlib import ExitStack, suppress
from typing import NamedTuple

LEFT, ENDED = b".", b"!"
"""What a rank sends before it ends normally, and before it ends all: then no rank was killed."""
GRACE = 3.0
"""Seconds in which the launcher ends the other ranks of the machine, before the watcher does."""


class Watched(NamedTuple):
    """A rank of this machine: its connection, number and process."""

    line: socket.socket
    rank: int
    process: int


def watch(listener: socket.socket, here: int, size: int) -> None:
    """Watch the `here` ranks of this machine, of `size`, until all have ended; name the first that dies."""
    with listener, select.epoll() as epoll, ExitStack() as lines:
        living: dict[int, Watched] = {}
        for _ in range(here):
            line = lines.enter_context(listener.accept()[0])
            greeting, _, _ = line.recv(100, socket.MSG_PEEK).partition(b"\n")
            line.recv(len(greeting) + 1)  # its last word may have come too
            rank, process = map(int, greeting.split())
            living[line.fileno()] = Watched(line, rank, process)
            epoll.register(line, select.EPOLLIN)
        listener.close()
        killed = False
        while living:
            ready = epoll.poll(GRACE if killed else None)  # in the order in which they became ready
            if not ready:
                break
            for number, _ in ready:
                watched = living.pop(number)
                epoll.unregister(number)
                word = watched.line.recv(1)
                if word == ENDED:
                    return
                if word != LEFT and not killed:
                    killed = True
                    _say(watched, here, size)
        for watched in living.values():
            with suppress(ProcessLookupError):
                os.kill(watched.process, signal.SIGKILL)


def _say(watched: Watched, here: int, size: int) -> None:
    why = "" if here == size else ", or another machine has ended all"
    message = (
        f"rank {watched.rank} of {size} was killed or has crashed{why} (process {watched.process} on "
        f"{socket.gethostname()}): all ranks end. Often, memory had run out\n"
    )
    with suppress(OSError):  # the launcher is gone
        os.write(2, message.encode())


if __name__ == "__main__":
    if os.fork() == 0:  # the rank that starts it waits for the first process only
        watch(socket.socket(fileno=0), int(sys.argv[1]), int(sys.argv[2]))
