"""`mpiexec -n 2 tinygrad-norm train`: the figures of one process, one folder, faults that end all ranks."""

import json
import sys

import numpy as np
import pytest
from mpi_runs import MISSING, mpiexec

pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]
PROGRAM = sys.executable, "-m", "tinygrad_norm"
TRAIN = "train", "digits", "--norm", "sync-batch", "--optimizer", "sgd", "--lr", "0.02", "--epochs", "3"
SCRIPT = """
import sys
import tinygrad_norm as tn
from tinygrad_norm.training import Config, Run

group = tn.distributed.init()
def fail(run):
    if group.rank == 1 and (run.progress.epoch, run.progress.step) == (2, 3):
        raise ValueError("a fault")

Run(Config("digits", norm="sync-batch", optimizer="sgd", lr=0.02, epochs=3), sys.argv[1]).train(fail)
"""


def figures(folder):
    return np.loadtxt(folder / "metrics.csv", delimiter=",", skiprows=1)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a run of one process."""
    out = tmp_path_factory.mktemp("one") / "run"
    done = mpiexec(1, *PROGRAM, *TRAIN, "-o", str(out))
    assert done.returncode == 0, done.stderr
    return out


def test_the_figures_are_those_of_one_process(undisturbed, tmp_path):
    out = tmp_path / "run"
    done = mpiexec(2, *PROGRAM, *TRAIN, "-o", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 processes" in done.stdout
    assert done.stdout.count("epoch 3/3") == 1
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in undisturbed.iterdir())
    np.testing.assert_allclose(figures(out), figures(undisturbed), rtol=1e-4)
    ours, right = (json.loads((folder / "results.json").read_text()) for folder in (out, undisturbed))
    assert ours["test"]["loss"] == pytest.approx(right["test"]["loss"], rel=1e-4)


def test_a_rank_that_fails_is_named_and_the_run_resumes_with_any_number_of_ranks(undisturbed, tmp_path):
    script, out = tmp_path / "script.py", tmp_path / "run"
    script.write_text(SCRIPT, encoding="utf-8")
    done = mpiexec(2, sys.executable, str(script), str(out))
    assert done.returncode != 0
    assert "rank 1 of 2: ValueError: a fault\n" in done.stderr
    assert len(np.atleast_2d(figures(out))) == 2  # epochs that are saved
    assert not list(out.glob(".*"))
    done = mpiexec(3, *PROGRAM, "train", "--resume", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    assert "continuing after epoch 2" in done.stdout
    np.testing.assert_allclose(figures(out), figures(undisturbed), rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--norm", "bogus"), "rank 0 of 2: error: unknown norm 'bogus'"),
        (("--norm", "batch", "--norm", "group"), "rank 0 of 2: error: mpiexec trains one norm with one seed"),
        (
            ("--norm", "batch", "--batch-size", "2"),
            "rank 0 of 2: error: batch_norm in training needs more than one value",
        ),
    ],
    ids=["unknown", "grid", "one sample per rank"],
)
def test_an_error_of_all_ranks_is_printed_once(options, message, tmp_path):
    done = mpiexec(2, *PROGRAM, "train", "digits", *options, "-o", str(tmp_path / "run"))
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr
