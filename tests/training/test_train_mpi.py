"""`mpiexec -n 2 tinygrad-norm train`: the figures of one process, one folder, faults that end all ranks."""

import json
import re
import signal
import sys
import time

import numpy as np
import pytest
from mpi_runs import MISSING, finished, mpiexec, started

pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]
PROGRAM = sys.executable, "-m", "tinygrad_norm"
TRAIN = "train", "digits", "--norm", "sync-batch", "--optimizer", "sgd", "--lr", "0.02"
SCRIPT = """
import os, signal, sys
import tinygrad_norm as tn
from tinygrad_norm.training import Config, Run

group, (folder, fault, rank, epoch) = tn.distributed.init(), sys.argv[1:]
def fail(run):
    if group.rank == int(rank) and (run.progress.epoch, run.progress.step) == (int(epoch), 3):
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("a fault")

config = Config("digits", norm="sync-batch", optimizer="sgd", lr=0.02, epochs=3)
Run(config, folder, resume=os.path.exists(folder)).train(fail)
"""


def figures(folder):
    return np.loadtxt(folder / "metrics.csv", delimiter=",", skiprows=1)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a run of one process."""
    out = tmp_path_factory.mktemp("one") / "run"
    done = mpiexec(1, *PROGRAM, *TRAIN, "--epochs", "3", "-o", str(out))
    assert done.returncode == 0, done.stderr
    return out


def test_the_figures_are_those_of_one_process(undisturbed, tmp_path):
    out = tmp_path / "run"
    done = mpiexec(2, *PROGRAM, *TRAIN, "--epochs", "3", "-o", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 processes" in done.stdout
    assert done.stdout.count("epoch 3/3") == 1
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in undisturbed.iterdir())
    np.testing.assert_allclose(figures(out), figures(undisturbed), rtol=1e-4)
    ours, right = (json.loads((folder / "results.json").read_text()) for folder in (out, undisturbed))
    assert ours["test"]["loss"] == pytest.approx(right["test"]["loss"], rel=1e-4)


def test_the_run_resumes_after_faults_with_any_number_of_ranks(undisturbed, tmp_path):
    script, out = tmp_path / "script.py", tmp_path / "run"
    script.write_text(SCRIPT, encoding="utf-8")
    for size, rank, fault, message in (
        (2, 1, "raise", "rank 1 of 2: ValueError: a fault\n"),
        (3, 0, "kill", "rank 0 of 3 was killed"),
    ):
        epoch = size - 1
        done = mpiexec(size, sys.executable, str(script), str(out), fault, str(rank), str(epoch))
        assert done.returncode != 0
        assert message in done.stderr
        assert len(np.loadtxt(out / "metrics.csv", delimiter=",", skiprows=1, ndmin=2)) == epoch
    done = mpiexec(1, *PROGRAM, "train", "--resume", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    assert "continuing after epoch 2" in done.stdout
    assert not list(out.glob(".*"))
    np.testing.assert_allclose(figures(out), figures(undisturbed), rtol=1e-4)


DIFFERING = """
import os, sys
import numpy as np
import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.training import Config, Run

other = int(os.environ["PMI_RANK"])
said = []
def attempt(start):
    try:
        start()
    except RuntimeError as error:
        said.append(str(error))

np.__version__ += ".1" * other
attempt(tn.distributed.init)
attempt(lambda: Run(Config("digits", lr=0.1 * (1 + other)), sys.argv[1]))
digits = tn.data.load("digits")
digits.train.inputs[0, 0, 0, 0] += other
attempt(lambda: Run(Config("digits"), sys.argv[1], dataset=digits))
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
model[1].bias.fill_(other)
attempt(lambda: Run(Config("digits"), sys.argv[1], model=model))
attempt(lambda: tn.distributed.DistributedDataParallel(nn.Linear(2, 3 + other)))
if other == 0:
    print(*said, sep="\\n")
"""


def test_what_differs_between_ranks_is_named_at_the_start(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(DIFFERING, encoding="utf-8")
    done = mpiexec(2, sys.executable, str(script), str(tmp_path / "run"))
    assert (done.stderr, done.returncode) == ("", 0)
    said = done.stdout.splitlines()
    for line, what in zip(
        said,
        (
            "version of NumPy than rank 0 (",
            "lr than rank 0 (0.2 instead of 0.1)",
            "checksum of the training data than rank 0 (",
            "checksum of the weights than rank 0 (",
            "model than rank 0: ('weight', (4, 2), 'float32') instead of ('weight', (3, 2), 'float32')",
        ),
        strict=True,
    ):
        assert line.startswith(f"rank 1 has another {what}")


def test_ctrl_c_says_once_what_is_saved(tmp_path):
    out = tmp_path / "run"
    with started(2, *PROGRAM, *TRAIN, "--epochs", "1000", "-o", str(out)) as process:
        while not process.stdout.readline().startswith("epoch    2/1000"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        before = time.monotonic()
        done = finished(process)
    assert time.monotonic() - before < 10
    assert done.returncode == 130
    said = re.findall(r"Stopped by Ctrl-C; (\d+) of 1000 epochs are saved", done.stderr)
    assert len(said) == 1
    assert int(said[0]) >= 2
    assert f"Continue with: tinygrad-norm train --resume {out}\n" in done.stderr
    assert "Traceback" not in done.stderr


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
