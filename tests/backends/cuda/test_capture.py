"""Capture of a step: which calls CuPy receives, in which order; rates are read from memory."""

import contextlib
import shutil
import types

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.backends import emulator, to_numpy
from tinygrad_norm.backends.cuda import availability
from tinygrad_norm.backends.cuda.capture import Graph
from tinygrad_norm.optim.adam import adam_step
from tinygrad_norm.optim.sgd import sgd_step


@pytest.fixture
def asked(monkeypatch):
    """The calls that a CuPy without a GPU receives."""
    log = []

    class Stream:
        def __init__(self, non_blocking):
            assert non_blocking

        def __enter__(self):
            log.append("enter")

        def __exit__(self, *_):
            log.append("exit")

        def synchronize(self):
            log.append("synchronize")

        def record(self):
            return "replayed"

        def wait_event(self, event):
            log.append(f"wait until {event}")

        def begin_capture(self):
            log.append("begin")

        def end_capture(self):
            log.append("end")
            return types.SimpleNamespace(launch=lambda stream: log.append("replay"))

    default = types.SimpleNamespace(
        record=lambda: "the inputs are there",
        wait_event=lambda event: log.append(f"others wait until {event}"),
    )

    @contextlib.contextmanager
    def using_allocator(malloc):
        assert malloc == "malloc"
        yield

    fake = types.SimpleNamespace(
        matmul=None,
        ndarray=type("ndarray", (), {"__matmul__": None}),
        cuda=types.SimpleNamespace(
            Stream=Stream,
            get_current_stream=lambda: default,
            MemoryPool=lambda: types.SimpleNamespace(malloc="malloc"),
            Device=lambda: types.SimpleNamespace(synchronize=lambda: log.append("device")),
            using_allocator=using_allocator,
        ),
    )
    monkeypatch.setattr(availability, "load_cupy", lambda: fake)
    return log


def test_a_step_is_warmed_up_captured_and_replayed(asked):
    graph = Graph(lambda: asked.append("step"), warm_up=2)
    expected = ["device", "enter", "step", "step", "synchronize", "begin", "step", "end", "exit"]
    assert asked == expected
    graph()
    graph()
    graph.synchronize()
    replay = ["wait until the inputs are there", "enter", "replay", "exit", "others wait until replayed"]
    assert asked == [*expected, *replay, *replay, "synchronize"]


def test_a_graph_within_a_graph_raises(asked):
    with pytest.raises(RuntimeError, match="cannot make another one"):
        Graph(lambda: Graph(lambda: None))
    Graph(lambda: None)  # the error left no state behind


def test_a_step_that_cannot_be_captured(asked):
    def step():
        if "begin" in asked:
            raise OSError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match=r"cannot be captured.*not permitted.*must not wait for the GPU"):
        Graph(step)
    assert asked[-2:] == ["end", "exit"]


def test_no_warm_up_raises():
    with pytest.raises(ValueError, match="warm_up=0"):
        Graph(lambda: None, warm_up=0)


needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")


@needs_compiler
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_with_step_and_learning_rate_in_memory(decoupled):
    rng = np.random.default_rng(0)
    param, *grads = rng.normal(size=(4, 40))
    options = {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1, "maximize": False}
    options["decoupled"] = decoupled
    expected, state, work = param.copy(), np.zeros((2, 40)), np.zeros((2, 40))
    for t, g in enumerate(grads, 1):
        adam_step(expected, g, *state, None, work, step=t, lr=0.1 / t, **options)
    with tn.use_backend("emulator"):
        found, m, v = emulator.asarray(param), emulator.zeros(40), emulator.zeros(40)
        step, lr = emulator.zeros((), np.int64), emulator.zeros(())
        for t, g in enumerate(grads, 1):
            lr[...] = 0.1 / t
            adam_step(
                found, emulator.asarray(g), m, v, None, emulator.asarray(work), step=step, lr=lr, **options
            )
    assert int(step) == 3
    np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-12)


@needs_compiler
def test_sgd_with_the_learning_rate_in_memory():
    param, grad = np.random.default_rng(0).normal(size=(2, 40))
    options = {"first": True, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.1, "nesterov": False}
    with tn.use_backend("emulator"):
        found, lr = emulator.asarray(param), emulator.asarray(np.array(0.5))
        sgd_step(found, emulator.asarray(grad), None, None, lr=lr, maximize=False, **options)
    np.testing.assert_allclose(to_numpy(found), param - 0.5 * (grad + 0.1 * param), rtol=1e-14)


@pytest.mark.cuda
def test_a_captured_optimizer_step_equals_the_same_steps_one_by_one():
    rng = np.random.default_rng(0)
    options = {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1, "decoupled": True, "maximize": False}
    param, grad = rng.normal(size=(2, 64))
    expected, state, work = param.copy(), np.zeros((2, 64)), np.zeros((2, 64))
    for t in range(1, 6):
        adam_step(expected, grad, *state, None, work, step=t, lr=0.1, **options)
    with tn.use_backend("cupy") as backend:
        on = [backend.from_numpy(a) for a in (param, grad, np.zeros(64), np.zeros(64), work)]
        step, lr = backend.from_numpy(np.array(0)), backend.from_numpy(np.array(0.1))
        graph = Graph(lambda: adam_step(*on[:4], None, on[4], step=step, lr=lr, **options), warm_up=3)
        graph()
        graph()
        graph.synchronize()
    np.testing.assert_allclose(to_numpy(on[0]), expected, rtol=1e-12)
