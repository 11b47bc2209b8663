"""Training with the CUDA kernels, run on the CPU: the losses of the NumPy bodies, to float32 rounding."""

import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

import tinygrad_norm as tn
from tinygrad_norm.backends.emulator import record
from tinygrad_norm.cli import app
from tinygrad_norm.training import Config, Run

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")


class Enough(Exception):
    pass


def losses(model, norm, backend, folder, steps=6):
    """The loss of every one of the first steps."""
    sums = [0.0]

    def on_step(run):
        sums.append(float(run.progress.sums.loss))
        if len(sums) > steps:
            raise Enough

    with tn.use_backend(backend):
        # With seed 0 one value before a ReLU is 3e-7 here and below 0 there, and gradients part at once.
        run = Run(Config("digits", model, norm, batch_size=16, seed=1), folder / backend)
        with pytest.raises(Enough):
            run.train(on_step)
    return np.diff(sums) / 16


CASES = [
    ("mlp", "batch", ("batch_norm_backward", "cross_entropy_forward", "adam_step")),
    ("mlp", "layer", ("layer_norm_forward", "layer_norm_backward")),
    ("mlp", "rms", ("rms_norm_forward", "rms_norm_backward")),
    ("cnn", "batch", ("strip_moments", "batch_norm_backward", "adam_step")),
    ("cnn", "group", ("group_norm_forward", "group_norm_backward")),
    ("cnn", "instance", ("instance_norm_forward", "instance_norm_backward")),
]


def check(model, norm, backend, folder):
    expected = losses(model, norm, "numpy", folder)
    assert expected[-1] != expected[0]
    np.testing.assert_allclose(losses(model, norm, backend, folder), expected, rtol=1e-5)


@needs_compiler
@pytest.mark.parametrize(("model", "norm", "kernels"), CASES)
def test_a_training_run_has_the_losses_of_numpy(tmp_path, model, norm, kernels):
    with record() as launches:
        check(model, norm, "emulator", tmp_path)
    assert set(kernels) <= {launch.name.partition("<")[0] for launch in launches}


@pytest.mark.cuda(stand_in="slow")  # not yet run on a GPU
@pytest.mark.parametrize(("model", "norm"), [case[:2] for case in CASES])
def test_a_training_run_has_the_losses_of_numpy_on_a_gpu(tmp_path, model, norm):
    check(model, norm, "cupy", tmp_path)


@needs_compiler
@pytest.mark.parametrize(("model", "norm"), [("mlp", "layer"), ("cnn", "batch")])
def test_train_on_the_emulator(tmp_path, model, norm):
    options = ["--model", model, "--norm", norm, "--backend", "emulator", "--epochs", "1"]
    with tn.use_backend("numpy"):
        result = CliRunner().invoke(app, ["train", "digits", *options, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert float(result.output.split("test accuracy: ")[1].split("%")[0]) > 80
