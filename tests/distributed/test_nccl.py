"""NCCL's calls, on a stand-in for CuPy that records them: nothing here runs on a GPU."""

from types import SimpleNamespace

import numpy as np
import pytest

from tinygrad_norm.backends.cuda import nccl
from tinygrad_norm.distributed.group import Group


class Memory(np.ndarray):
    """An array with a device pointer."""

    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)


def on_device(values):
    return np.array(values).view(Memory)


class Stream:
    def __init__(self, name, log):
        self.name, self.log, self.ptr = name, log, hash(name)

    def record(self):
        self.log.append((self.name, "records"))
        return self.name

    def wait_event(self, event):
        self.log.append((self.name, "waits for", event))


@pytest.fixture
def calls(monkeypatch):
    """What is called, in order."""
    log, current = [], Stream("current", [])
    current.log = log

    class Communicator:
        def __init__(self, size, identity, rank):
            log.append(("communicator", size, rank, len(identity)))

        def __getattr__(self, name):
            return lambda *arguments: log.append((name, *arguments))

    fake = SimpleNamespace(
        cuda=SimpleNamespace(
            nccl=SimpleNamespace(
                available=True,
                NcclCommunicator=Communicator,
                get_unique_id=lambda: (-5,) * 128,
                NCCL_UINT8="bytes",
                NCCL_FLOAT16="half",
                NCCL_FLOAT32="single",
                NCCL_FLOAT64="double",
                NCCL_SUM="sum",
            ),
            Stream=lambda non_blocking: Stream("nccl", log),
            get_current_stream=lambda: current,
            runtime=SimpleNamespace(getDeviceCount=lambda: 2, runtimeGetVersion=lambda: 13000),
            Device=lambda number: SimpleNamespace(
                use=lambda: log.append(("device", number)), pci_bus_id=f"bus {number}"
            ),
        ),
        empty=lambda shape, dtype: on_device(np.empty(shape, dtype)),
    )
    monkeypatch.setattr(nccl, "load_cupy", lambda: fake)
    return log


@pytest.fixture
def carrier(calls):
    made = nccl.NcclCollectives(1, 3, nccl.new_id())
    assert calls == [("communicator", 3, 1, 128)]
    del calls[:]
    return made


BEFORE = [("current", "records"), ("nccl", "waits for", "current")]
RECORDED = ("nccl", "records")
AFTER = ("current", "waits for", "nccl")


@pytest.mark.parametrize(
    ("dtype", "kind"), [("float16", "half"), ("float32", "single"), ("float64", "double")]
)
def test_an_all_reduce_runs_beside_the_current_stream_until_it_is_waited_for(carrier, calls, dtype, kind):
    x = on_device(np.ones(5, dtype))
    work = carrier.start_all_reduce(x)
    pointer = x.ctypes.data
    assert calls == [*BEFORE, ("allReduce", pointer, pointer, 5, kind, "sum", hash("nccl")), RECORDED]
    work.poll()
    work.wait()
    assert calls[4:] == [AFTER]


def test_other_messages_are_bytes_and_waited_for(carrier, calls):
    x = on_device(np.ones((2, 3), np.int64))
    carrier.broadcast(x)
    pointer = x.ctypes.data
    assert calls == [*BEFORE, ("broadcast", pointer, pointer, 48, "bytes", 0, hash("nccl")), RECORDED, AFTER]
    del calls[:]
    gathered = carrier.all_gather(x)
    assert gathered.shape == (3, 2, 3)
    sent = "allGather", pointer, gathered.ctypes.data, 48, "bytes", hash("nccl")
    assert calls == [*BEFORE, sent, RECORDED, AFTER]


def test_a_process_takes_one_gpu(calls):
    seen = nccl.visible_gpus()
    assert seen == ["bus 0", "bus 1"]
    nccl.take_device(1, [seen] * 3)
    assert calls == [("device", 1)]
    with pytest.raises(RuntimeError, match="process 3 of this machine, which has 2 GPUs: start one process"):
        nccl.take_device(2, [seen] * 3)


@pytest.mark.parametrize(
    ("seen", "numbers"),
    [("ab", "00"), (["a", "ab"], "01"), (["ab", "ab", "cd", "cd"], "0101")],
    ids=["one each", "all for the second", "two for each pair"],
)
def test_a_process_takes_a_gpu_that_the_launcher_shows_it(calls, seen, numbers):
    for rank in range(len(seen)):
        nccl.take_device(rank, seen)
    assert calls == [("device", int(number)) for number in numbers]


def test_two_processes_that_are_shown_the_same_gpu_are_refused(calls):
    with pytest.raises(RuntimeError, match="process 2 of this machine, which has 1 GPU: start one process"):
        nccl.take_device(1, ["a", "a"])


def test_missing_nccl_says_what_to_install(calls, monkeypatch):
    monkeypatch.setattr(nccl.load_cupy().cuda.nccl, "available", False)
    with pytest.raises(RuntimeError, match="pip install nvidia-nccl-cu13"):
        nccl.new_id()


def test_the_ranks_agree_on_an_id_over_the_host(calls):
    class Host:
        def broadcast(self, x):
            self.seen = x.copy()
            x[...] = -5

    for rank in (0, 1):
        host = Host()
        made = Group(rank, 2, host, lambda status: None)._nccl()
        assert host.seen.tolist() == [-5 * (rank == 0)] * 128
        assert (type(made), calls[-1]) == (nccl.NcclCollectives, ("communicator", 2, rank, 128))
