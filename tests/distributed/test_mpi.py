"""Real processes: `mpiexec` starts them, and mpi4py carries their messages."""

import sys
import textwrap

import pytest
from mpi_runs import MISSING, mpiexec

pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]


@pytest.fixture
def script(tmp_path):
    """Runs a script on several ranks and returns what the process has written."""

    def run(size, text):
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return mpiexec(size, sys.executable, str(path))

    return run


def test_two_processes_train_as_one(script):
    done = script(
        2,
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
        train(model, slice(0, 2) if group.rank == 0 else slice(2, 7))
        for own, right in zip(model.module.state_dict().values(), alone.state_dict().values()):
            np.testing.assert_allclose(own.numpy(), right.numpy(), rtol=1e-12, atol=1e-12)
        ranks = group.all_gather_object((tn.distributed.get_rank(), tn.distributed.get_world_size()))
        if group.rank == 0:
            print(ranks)
        """,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[(0, 2), (1, 2)]\n", "")


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
