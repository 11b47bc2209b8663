"""`tinygrad-norm kernel`: its output and its errors."""

import io
import shutil

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import tinygrad_norm.backends.emulator.build as build
import tinygrad_norm.cli.kernel as cli_kernel
from tinygrad_norm import backends
from tinygrad_norm.backends.emulator import Launch
from tinygrad_norm.cli import app
from tinygrad_norm.cli.kernel import _table

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")


def kernel(*arguments):
    return CliRunner().invoke(app, ["kernel", *arguments])


@needs_compiler
def test_launches_bytes_and_agreement():
    result = kernel("layer_norm", "--case", "0")
    assert result.exit_code == 0, result.output
    assert "layer_norm of 4×8 8 8 normalized_shape=(8,)" in result.output
    assert "layer_norm_forward" in result.output
    assert "layer_norm_backward" in result.output
    # forward: x, weight, bias, y, mean, rstd; backward: dy, x, weight, mean, rstd, dx and a row of both
    # vectors' sums for its one block, which column_sums read and write again; the mean is float64
    forward, backward, sums = 2 * 32 + 2 * 8 + 3 * 4, 3 * 32 + 8 + 3 * 4 + 2 * 8, 2 * 2 * 8
    assert f" times the {4 * (forward + backward + sums):,}\nneeded to read and write" in result.output
    assert max(map(len, result.output.splitlines())) <= 80
    difference, verdict = result.output.strip().split("\n")[-2:]
    assert 0 < float(difference.rsplit(" ", 1)[1]) < 1e-5
    assert verdict == "ok (allowed 2e-05)"


@needs_compiler
@pytest.mark.parametrize("wrong", [1.1, float("nan")])
def test_a_result_that_is_not_numpys_is_named_and_ends_with_status_1(monkeypatch, wrong):
    original = cli_kernel.evaluate

    def evaluate(op, form, case, dtype=np.float64):
        result = original(op, form, case, dtype)
        if dtype == np.float64:
            result.gradients[1] *= wrong
        return result

    monkeypatch.setattr(cli_kernel, "evaluate", evaluate)
    result = kernel("layer_norm", "--case", "0")
    assert result.exit_code == 1
    assert "DISAGREES in dweight by" in result.output
    assert "dinput" not in result.output
    assert "ok (" not in result.output


@needs_compiler
def test_a_nan_that_numpy_has_too_is_not_ok(monkeypatch):
    original = cli_kernel.evaluate

    def evaluate(op, form, case, dtype=np.float64):
        result = original(op, form, case, dtype)
        result.values[0].flat[3] = np.nan
        return result

    monkeypatch.setattr(cli_kernel, "evaluate", evaluate)
    result = kernel("layer_norm", "--case", "0")
    assert result.exit_code == 1
    assert "DISAGREES in output 0, NaN in 1 of 32 places" in result.output
    assert "ok (" not in result.output


@needs_compiler
def test_the_smallest_result_is_judged_by_its_own_size(monkeypatch):
    original = cli_kernel.evaluate

    def evaluate(op, form, case, dtype=np.float64):
        result = original(op, form, case, dtype)
        if dtype == np.float64:
            assert abs(result.gradients[0]).max() < 0.02  # dy / 64
            result.gradients[0] *= 1.001
        return result

    monkeypatch.setattr(cli_kernel, "evaluate", evaluate)
    result = kernel("cross_entropy")
    assert result.exit_code == 1
    assert "DISAGREES in dinput by 1.0e-03" in result.output


@needs_compiler
def test_a_gradient_that_is_0_is_judged_by_the_size_of_the_inputs():
    result = kernel("softmax", "--case", "5")  # one class: y is 1, whatever x is
    assert result.exit_code == 0, result.output


@needs_compiler
def test_integers_count_with_their_own_size_and_a_composite_with_its_kernels_arrays():
    # forward: x, losses, p, and indices of 8 bytes; backward: dlosses, p, indices, dx
    assert (
        f"the {4 * (2 * 640 + 64) + 8 * 64 + 4 * (2 * 640 + 64) + 8 * 64:,}\nneeded"
        in kernel("cross_entropy").output
    )
    for op in ("cross_entropy", "transformer_encoder_layer"):
        (line,) = (
            line for line in kernel(op).output.split("\n") if line.startswith("threads read and write")
        )
        assert float(line.split(" bytes: ")[1].split(" times")[0]) >= 1


def test_a_long_name_folds_before_its_template_arguments():
    name = "instance_norm_backward<float, 4, 128, 4>"
    launch = Launch(name, (2048, 1, 1), (128, 1, 1), 0, 0.9, {0: (19_922_944, 8_404_992)})
    console = Console(width=80, file=io.StringIO())
    console.print(_table([launch]))
    *_, first, second, _ = console.file.getvalue().split("\n")
    assert first.split()[0] == "instance_norm_backward"
    assert second.split() == ["<float,4,128,4>"]


def test_no_name_and_no_number_is_cut_off_in_a_narrow_terminal():
    name = "group_norm_backward<float, 4, 256>"
    launch = Launch(name, (1024, 1, 1), (256, 1, 1), 0, 0.9, {0: (37_756_928, 8_404_992)})
    console = Console(width=72, file=io.StringIO())
    console.print(_table([launch]))
    printed = console.file.getvalue()
    assert "37,756,928" in printed
    assert "8,404,992" in printed
    assert "…" not in printed


@needs_compiler
def test_an_op_without_a_kernel():
    result = kernel("exp")
    assert result.exit_code == 0
    assert "exp has no CUDA kernel of its own" in result.output
    assert "These ops have one: add_layer_norm, add_rms_norm, batch_norm," in result.output


def test_an_unknown_op_and_an_unknown_case():
    assert "no registered op is called 'layer_nrm'" in kernel("layer_nrm").output
    suggested = " ".join(kernel("softmx").output.replace("│", " ").split())
    assert "Did you mean softmax, log_softmax, softcap, lstm?" in suggested  # softmin has none of its own
    result = kernel("layer_norm", "--case", "99")
    assert result.exit_code == 2
    assert "layer_norm has no case 99" in result.output


def test_without_a_compiler(monkeypatch):
    monkeypatch.setattr(backends, "_LOADED", {"numpy": backends._LOADED["numpy"]})
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    build.compiler.cache_clear()
    try:
        result = kernel("layer_norm")
    finally:
        build.compiler.cache_clear()
    assert result.exit_code == 1
    assert "which was not found: " in result.output
