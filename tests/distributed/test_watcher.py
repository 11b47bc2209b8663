"""The watcher names the rank whose connection breaks, and no rank that takes leave."""

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

if sys.platform != "linux":
    pytest.skip("the watcher needs Linux", allow_module_level=True)

from tinygrad_norm.distributed import lifeline, watcher


class Machine:
    """The ranks of a machine, of which each can speak and die, and their watcher on a thread."""

    def __init__(self, processes, size, words=None):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("")
        listener.listen(len(processes))
        self.ranks = [socket.socket(socket.AF_UNIX) for _ in processes]
        for number, (rank, process) in enumerate(zip(self.ranks, processes, strict=True)):
            rank.connect(listener.getsockname())
            rank.sendall(f"{number} {process}\n".encode() + (words or {}).get(number, b""))
        self.thread = threading.Thread(target=watcher.watch, args=(listener, len(processes), size))
        self.thread.start()
        while listener.fileno() != -1:  # closed when all ranks are watched
            time.sleep(0.001)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for rank in self.ranks:
            rank.close()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture(autouse=True)
def processes():
    """Three processes that the watcher may end."""
    started = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    yield [process.pid for process in started]
    for process in started:
        process.kill()
        process.wait()


def test_the_first_rank_that_dies_is_named(processes, capfd):
    with Machine(processes, 3) as machine:
        machine.ranks[2].close()
        machine.ranks[0].close()
    said = capfd.readouterr().err
    assert said.startswith(f"rank 2 of 3 was killed or has crashed (process {processes[2]} on ")
    assert said.count("\n") == 1
    assert "another machine" not in said


def test_on_one_of_several_machines_another_may_have_ended_all(processes, capfd):
    with Machine(processes, 8) as machine:
        machine.ranks[1].close()
    assert "rank 1 of 8 was killed or has crashed, or another machine has ended all" in capfd.readouterr().err


def test_ranks_that_leave_are_not_named(processes, capfd):
    with Machine(processes, 3) as machine:
        machine.ranks[1].send(watcher.LEFT)
        machine.ranks[1].close()
        time.sleep(0.05)
        assert machine.thread.is_alive()  # it watches the others
        for rank in machine.ranks[::2]:
            rank.send(watcher.LEFT)
    assert capfd.readouterr().err == ""


def test_a_rank_that_has_left_before_the_watcher_began_is_not_named_and_the_others_are_watched(
    processes, capfd
):
    with Machine(processes, 3, {1: watcher.LEFT}) as machine:
        machine.ranks[1].close()
        time.sleep(0.05)
        machine.ranks[2].close()
    said = capfd.readouterr().err
    assert said.startswith("rank 2 of 3 was killed")
    assert said.count("\n") == 1


def test_what_dies_after_a_rank_that_ended_all_is_not_named(processes, capfd):
    with Machine(processes, 3) as machine:
        machine.ranks[1].send(watcher.ENDED)
        machine.ranks[0].close()
    assert capfd.readouterr().err == ""


def test_ranks_that_the_launcher_leaves_alive_are_killed(processes, monkeypatch, capfd):
    monkeypatch.setattr(watcher, "GRACE", 0.1)
    with Machine(processes, 3) as machine:
        machine.ranks[1].send(watcher.LEFT)
        machine.ranks[0].close()
        machine.thread.join(10)
        assert not machine.thread.is_alive()
        assert os.waitid(os.P_PID, processes[2], os.WEXITED | os.WNOWAIT).si_status == 9
        assert os.waitid(os.P_PID, processes[1], os.WEXITED | os.WNOHANG) is None
    assert capfd.readouterr().err.startswith("rank 0 of 3")


class Local:
    """The communicator of a machine with one rank."""

    rank, size = 0, 1

    def bcast(self, value):
        return value

    def barrier(self): ...


def test_a_lifeline_starts_the_watcher(capfd):
    line = lifeline.Lifeline()
    line.attach(Local(), 0, 1)
    line.line.close()
    said, deadline = "", time.monotonic() + 30
    while not said and time.monotonic() < deadline:
        time.sleep(0.01)
        said = capfd.readouterr().err
    assert said.startswith(f"rank 0 of 1 was killed or has crashed (process {os.getpid()} on ")
