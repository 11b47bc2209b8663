"""Real processes: `mpiexec` starts them, and mpi4py carries their messages."""

import os
import signal
import sys
import textwrap
import time

import pytest
from mpi_runs import MISSING, finished, mpiexec, started

pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]


@pytest.fixture
def script(tmp_path):
    """Runs a script on several ranks and returns what the process has written."""

    def run(size, text):
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return mpiexec(size, sys.executable, str(path))

    return run


@pytest.mark.parametrize("size", [2, 4])
def test_several_processes_train_as_one(script, size):
    done = script(
        size,
        """
        import numpy as np
        import tinygrad_norm as tn
        from tinygrad_norm import nn
        from tinygrad_norm.nn import functional as F

        def batch(step):
            rng = np.random.default_rng(step)
            return rng.normal(size=(7, 5)) + 1, rng.integers(0, 3, 7)

        def train(model, part):
            optimizer = tn.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
            for step in range(50):
                x, t = (tn.tensor(a[part]) for a in batch(step))
                optimizer.zero_grad()
                F.cross_entropy(model(x), t).backward()
                optimizer.step()

        def network():
            return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)).double()

        group = tn.distributed.init()
        assert group is tn.distributed.init() and tn.distributed.is_initialized()
        tn.manual_seed(0)
        alone = network()
        train(alone, slice(None))
        tn.manual_seed(group.rank)
        model = tn.distributed.DistributedDataParallel(nn.SyncBatchNorm.convert_sync_batchnorm(network()))
        bounds = {2: (0, 2, 7), 4: (0, 1, 4, 5, 7)}[group.size]
        train(model, slice(*bounds[group.rank : group.rank + 2]))
        for own, right in zip(model.module.state_dict().values(), alone.state_dict().values()):
            np.testing.assert_allclose(own.numpy(), right.numpy(), rtol=1e-12, atol=1e-12)
        ranks = group.all_gather_object((tn.distributed.get_rank(), tn.distributed.get_world_size()))
        if group.rank == 0:
            print(ranks)
        """,
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"{[(rank, size) for rank in range(size)]}\n",
        "",
    )


def test_sums_of_sync_batch_norm_do_not_meet_buckets_that_another_rank_sends_later(script):
    done = script(
        2,
        """
        import numpy as np
        import tinygrad_norm as tn

        group = tn.distributed.init()
        bucket, sums = np.full(8, 1.0), np.full(3, 10.0)
        if group.rank == 0:
            work = group.start_all_reduce(bucket)
            group.all_reduce(sums)
        else:
            group.all_reduce(sums)
            work = group.start_all_reduce(bucket)
        work.wait()
        assert bucket.tolist() == [2] * 8 and sums.tolist() == [20] * 3, (bucket, sums)
        """,
    )
    assert done.returncode == 0, done.stderr


def test_a_launcher_that_does_not_say_how_many_it_started_is_noticed(script):
    done = script(
        2,
        """
        import os
        import tinygrad_norm as tn
        from tinygrad_norm.distributed import mpi

        mpi.launched = lambda: 0  # MPICH itself needs PMI_SIZE
        os.environ["SLURM_STEP_NUM_TASKS"] = "2"
        assert tn.distributed.init().size == 2
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_one_process_of_such_a_launcher_is_alone(script):
    done = script(
        1,
        """
        import os
        os.environ["PMIX_RANK"] = "0"
        import tinygrad_norm as tn

        assert tn.distributed.init().size == 1
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_of_one_rank_ends_all_and_names_it(script):
    done = script(
        2,
        """
        import numpy as np
        import tinygrad_norm as tn

        group = tn.distributed.init()
        if group.rank == 1:
            raise ValueError("no more data")
        group.all_reduce(np.ones(3))
        """,
    )
    assert done.returncode != 0
    assert "rank 1 of 2: ValueError: no more data\n" in done.stderr
    assert "Traceback" in done.stderr


def test_a_backend_that_one_rank_does_not_have_ends_all(script):
    done = script(
        2,
        """
        import importlib, os, sys
        from tinygrad_norm.cli import app

        def use_backend(name):
            if os.environ["PMI_RANK"] == "1":
                raise RuntimeError("no such driver")

        importlib.import_module("tinygrad_norm.cli.train").use_backend = use_backend
        sys.argv = ["tinygrad-norm", "train", "digits", "--backend", "numpy"]
        app()
        """,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("rank 0 of 2: error: rank 1: no such driver\n")


WORK = """
import os, sys, time
import numpy as np
import tinygrad_norm as tn

group, (victim, moment) = tn.distributed.init(), sys.argv[1:]
while True:
    group.all_reduce(np.ones(3))
    if group.rank == int(victim):
        print("ready", os.getpid(), flush=True)
        if moment == "forked" and os.fork() == 0:
            time.sleep(3)  # it holds what its parent held
            os._exit(0)
        if moment == "in Python":
            while True:
                pass
        if moment != "in a message":
            time.sleep(60)
    elif moment == "in a message":
        time.sleep(60)
"""


@pytest.fixture
def work(tmp_path):
    """Starts ranks of which one waits at a moment to be killed; yields the process and the rank's number."""

    def start(victim, moment):
        path = tmp_path / "work.py"
        path.write_text(WORK, encoding="utf-8")
        return started(2, sys.executable, str(path), str(victim), moment)

    return start


def wait_until_ready(process):
    word, number = process.stdout.readline().split()
    assert word == "ready"
    time.sleep(0.2)
    return int(number)


@pytest.mark.parametrize(
    ("victim", "moment"),
    [(0, "in a message"), (1, "in Python"), (1, "forked")],
    ids=["0 in a message", "1 in Python", "1 forked"],
)
def test_a_rank_that_is_killed_is_named_and_all_end(work, victim, moment):
    with work(victim, moment) as process:
        killed = wait_until_ready(process)
        os.kill(killed, signal.SIGKILL)
        before = time.monotonic()
        done = finished(process)
    assert time.monotonic() - before < 10
    assert done.returncode != 0
    assert f"rank {victim} of 2 was killed or has crashed (process {killed} on " in done.stderr
    assert done.stderr.count("killed") == 1


@pytest.mark.parametrize("moment", ["in a message", "in Python"])
def test_ctrl_c_ends_all_with_one_message(work, moment):
    with work(1, moment) as process:
        wait_until_ready(process)
        process.send_signal(signal.SIGINT)  # as a terminal does: each rank is in a session of its own
        before = time.monotonic()
        done = finished(process)
    assert time.monotonic() - before < 10
    assert done.returncode == 130
    assert done.stderr.count("Stopped by Ctrl-C.\n") == 1
    assert "Traceback" not in done.stderr
    assert "killed" not in done.stderr


def test_without_mpi4py_the_processes_say_what_is_missing(script):
    done = script(
        2,
        """
        import os, sys
        sys.modules["mpi4py"] = None
        import tinygrad_norm as tn
        try:
            tn.distributed.init()
        except RuntimeError as error:
            if os.environ["PMI_RANK"] == "0":
                print(error)
        """,
    )
    assert "they cannot find each other" in done.stdout
    assert "pip install 'tinygrad_norm[mpi]'" in done.stdout
