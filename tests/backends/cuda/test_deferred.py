"""Checks of indices on the GPU: no step waits for them, and the next value that is read raises the error."""

import shutil

import fake_cupy
import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.backends import to_numpy, use_backend
from tinygrad_norm.backends.cuda.capture import Graph
from tinygrad_norm.backends.cuda.deferred import check_later, raise_found
from tinygrad_norm.nn import functional as F
from tinygrad_norm.training import Config, Diverged, Run
from tinygrad_norm.training.task import Sums

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
pytestmark = needs_compiler


@pytest.fixture
def emulator():
    with use_backend("emulator"):
        yield


def loss_of(target, **options):
    return F.cross_entropy(tn.ones(len(target), 4), tn.Tensor(target), **options)


CALLS = {
    "target": (lambda: loss_of([0, 9]), "target 9 is out of range for 4 classes"),
    "negative": (lambda: loss_of([0, -1]), "target -1 is out of range"),
    "nll": (lambda: F.nll_loss(tn.ones(1, 4), tn.Tensor([4])), "target 4 is out of range"),
    "not_ignored": (lambda: loss_of([7, 9], ignore_index=7), r"target 9 .* ignore_index \(7\)"),
    "embedding": (lambda: F.embedding(tn.Tensor([[1, 5]]), tn.ones(5, 3)), "from 0 to 4, got 5"),
    "one_hot": (lambda: F.one_hot(tn.Tensor([-2]), 3), "from 0 to 2, got -2"),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_next_value_that_is_read_raises_the_error_once(emulator, name):
    call, message = CALLS[name]
    unrelated = tn.ones(2)
    result = call()
    with pytest.raises(IndexError, match=message):
        unrelated.numpy()
    assert unrelated.sum().item() == 2
    if result.is_floating_point():
        assert np.isnan(result.sum().item())
    call()
    with pytest.raises(IndexError, match=message):
        repr(unrelated)


def outside(**options):
    return F.binary_cross_entropy(tn.Tensor([0.5, 1.5]), tn.ones(2), **options)


LATE = {
    "gather": (lambda: tn.ones(3).gather(0, tn.Tensor([2, -1])), IndexError, "got the index -1"),
    "index_select": (
        lambda: tn.ones(3).index_select(0, tn.Tensor([-1])),
        IndexError,
        "has size 3: use 0 to 2",
    ),
    "take_along_dim": (lambda: tn.ones(3).take_along_dim(tn.Tensor([-3]), 0), None, ""),
    "probability": (outside, ValueError, "between 0 and 1: use binary_cross_entropy_with_logits"),
    "kl_div": (lambda: F.kl_div(tn.ones(2), tn.Tensor([-0.5, 1.0])), ValueError, "log_target=True"),
    "remainder": (lambda: tn.Tensor([3]) % tn.Tensor([0]), ZeroDivisionError, "remainder of integers by 0"),
    "floor": (lambda: tn.Tensor([3]) // tn.Tensor([0]), ZeroDivisionError, "of integers by 0"),
    "lengths": (
        lambda: tn.nn.GRU(2, 2).to("emulator")(tn.ones(3, 1, 2), lengths=tn.Tensor([4])),
        ValueError,
        "the 3 steps of x, got 4",
    ),
}


@pytest.mark.filterwarnings("ignore:divide by zero")  # NumPy's, in the emulator
@pytest.mark.parametrize("name", LATE)
def test_other_checks_are_late_too(emulator, name):
    call, error, message = LATE[name]
    call()
    if error is None:
        raise_found()
    else:
        with pytest.raises(error, match=message):
            tn.ones(1).item()
    assert tn.ones(1).item() == 1


def test_indices_in_range_raise_nothing(emulator):
    assert loss_of([0, 3]).item() == pytest.approx(np.log(4))
    assert loss_of([0, -100]).item() == pytest.approx(np.log(4))
    assert loss_of([9, 1], ignore_index=9).item() == pytest.approx(np.log(4))
    np.testing.assert_array_equal(F.embedding(tn.Tensor([0, 4]), tn.ones(5, 3)).numpy(), np.ones((2, 3)))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64"])
def test_every_integer_type_is_checked(emulator, dtype):
    index = tn.Tensor(np.array([3, 4], dtype)).array
    check_later(index, 5, "got {}")
    raise_found()
    check_later(index, 4, "got {}")
    with pytest.raises(IndexError, match="got 4"):
        raise_found()
    raise_found()


@pytest.mark.parametrize(
    "options", [{}, {"label_smoothing": 0.1}, {"reduction": "sum", "label_smoothing": 0.1}]
)
def test_every_replay_of_a_graph_repeats_the_check(monkeypatch, options):
    fake_cupy.install(monkeypatch)
    with use_backend("emulator"):
        x, t, loss = tn.ones(3, 4), tn.Tensor([0, 3, -100]), tn.zeros(())
        graph = Graph(lambda: loss.copy_(F.cross_entropy(x, t, **options)))
        for wrong in (False, True, False):
            t.copy_(tn.Tensor([0, 9 if wrong else 3, -100]))
            graph()
            if wrong:
                with pytest.raises(IndexError, match="target 9 is out of range"):
                    loss.item()
            expected = np.nan if wrong else F.cross_entropy(x, tn.Tensor([0, 3, -100]), **options).item()
            assert loss.item() == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_a_check_that_is_new_in_the_capture_raises(monkeypatch):
    fake_cupy.install(monkeypatch)
    with use_backend("emulator"):
        limits, t = iter((1003, 1019)), tn.Tensor([3, 1])
        with pytest.raises(
            RuntimeError, match=r"cannot be captured.*indices are checked that the run before"
        ):
            Graph(lambda: check_later(t.array, next(limits), "{} is too large"), warm_up=1)


def test_a_run_on_a_gpu_reads_its_sums_at_the_end_of_an_epoch_only(emulator, tmp_path, monkeypatch):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    run = Run(Config("digits", batch_size=512, epochs=2), tmp_path / "run")
    reads, read = [], Sums.read
    monkeypatch.setattr(Sums, "read", lambda sums: reads.append(1) or read(sums))
    run.train(lambda run: reads.append("step"))
    steps = len(run.loader)
    assert reads[:steps] == ["step"] * steps
    assert reads.count(1) <= 6


def test_a_run_on_a_gpu_that_diverged_says_so_after_the_epoch(emulator, tmp_path):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    run = Run(Config("digits", norm="none", batch_size=512, lr=1e30, optimizer="sgd"), tmp_path / "run")
    with pytest.raises(Diverged, match="in epoch 1"):
        run.train()
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()
    assert to_numpy(tn.ones(1).array) == 1
