"""Lifelines: the connection of each rank to the watcher of its machine, which says which rank was killed.

The system closes a connection when its process dies, whatever it dies of; a rank that ends normally says so
before. The launcher ends all ranks as soon as one is killed, so that none of them could tell, and MPICH's
names a process, but no rank. The watcher has a session of its own, and lives until its message is out.

The line must break before the launcher notices and kills the others, whose lines break too. Linux closes the
files of a dead process in the order of their numbers, so the line is opened before MPI opens its own, and
takes a number below that of the launcher's connection.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Any

from . import watcher


class Lifeline:
    """The connection of this process; make it before MPI is loaded."""

    def __init__(self) -> None:
        self.line = socket.socket(socket.AF_UNIX)

    def attach(self, local: Any, rank: int, size: int) -> None:
        """Connect this process, number `rank` of `size`, to the watcher, which the first of `local` starts.

        `local` are the ranks of this machine, a communicator of mpi4py.
        """
        listener = socket.socket(socket.AF_UNIX) if local.rank == 0 else None
        if listener:
            listener.bind("")  # Linux chooses a name; there is no file
            listener.listen(local.size)
        self.line.connect(local.bcast(listener and listener.getsockname()))
        self.line.sendall(f"{rank} {os.getpid()}\n".encode())
        local.barrier()
        if listener:
            _start_watcher(listener, local.size, size)
        os.register_at_fork(after_in_child=self.line.close)

    def leave(self, word: bytes) -> None:
        """Tell the watcher that this process ends, with LEFT or ENDED."""
        with suppress(OSError):  # the watcher is gone
            self.line.send(word)


def _start_watcher(listener: socket.socket, here: int, size: int) -> None:
    subprocess.run(
        [sys.executable, "-I", "-S", watcher.__file__, str(here), str(size)],
        stdin=listener.fileno(),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    listener.close()
