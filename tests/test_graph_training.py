"""A whole training step as a graph: the same parameters as the same steps one by one.

Without a GPU, a fake CuPy captures what is done to the emulator's arrays: NumPy functions and kernels,
with the arrays they read and write. As on a GPU, a capture changes nothing, and a replay knows nothing
of Python's side but what lies in those arrays.
"""

import contextlib
import shutil
import types

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.backends import cuda, to_numpy
from tinygrad_norm.backends.emulator import EmulatorArray
from tinygrad_norm.backends.emulator.module import Kernel
from tinygrad_norm.backends.graph import Graph, current_graph, outside_of_capture
from tinygrad_norm.nn import functional as F

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")


def plain(value):
    """The same with NumPy's own arrays on the same memory, which nothing records."""
    if isinstance(value, EmulatorArray):
        return value.view(np.ndarray)
    return type(value)(map(plain, value)) if type(value) in (tuple, list) else value


class Tape:
    """What is done to arrays between `begin` and `end`, and what they held before."""

    def __init__(self):
        self.on, self.operations, self.before = False, [], []

    def writes(self, target):
        if self.on and isinstance(target, np.ndarray):
            self.before.append((plain(target), plain(target).copy()))

    def made(self, result, operation):
        """Note that `operation()` returns what `result` holds."""
        if self.on and isinstance(result, EmulatorArray):
            memory = plain(result)
            self.operations.append(lambda: memory.__setitem__(..., plain(operation())))
        return result

    def begin_capture(self):
        self.on = True

    def end_capture(self):
        self.on = False
        for memory, values in reversed(self.before):
            memory[...] = values
        return types.SimpleNamespace(launch=lambda stream: self.replay())

    def replay(self):
        with np.errstate(all="ignore"):
            for operation in self.operations:
                operation()


@pytest.fixture
def tape(monkeypatch):
    """A fake CuPy that captures what is done to the emulator's arrays."""
    tape = Tape()

    def on_ufunc(self, ufunc, method, *inputs, out=None, **options):
        for target in out or (inputs[:1] if method == "at" else ()):
            tape.writes(target)
        inputs, target = plain(inputs), plain(out)

        def operation():
            return getattr(ufunc, method)(*inputs, **({} if target is None else {"out": target}), **options)

        result = operation()
        if out is not None:
            if tape.on:
                tape.operations.append(operation)
            return out[0]
        return tape.made(np.asarray(result).view(EmulatorArray), operation)

    def on_function(self, function, kinds, args, options):
        targets = [options.get("out"), args[0] if function is np.copyto else None]
        for target in targets:
            tape.writes(target)
        given, named = plain(args), {name: plain(value) for name, value in options.items()}
        result = function(*given, **named)
        if any(target is not None for target in targets):
            if tape.on:
                tape.operations.append(lambda: function(*given, **named))
            return options.get("out")
        if not isinstance(result, np.ndarray | np.generic):
            return result
        result = np.asarray(result).view(EmulatorArray)
        if np.may_share_memory(result, plain(args[0])):
            return result
        return tape.made(result, lambda: function(*given, **named))

    def method(name):
        original = getattr(np.ndarray, name)

        def recorded(self, *args, **options):
            source, args = plain(self), plain(args)
            result = np.asarray(original(source, *args, **options)).view(EmulatorArray)
            if np.may_share_memory(result, source):
                return original(self, *args, **options)
            return tape.made(result, lambda: original(source, *args, **options))

        monkeypatch.setattr(EmulatorArray, name, recorded)

    for name in ("astype", "copy", "reshape", "__getitem__", "ravel", "take", "dot"):
        method(name)

    def on_write(name):
        original = getattr(np.ndarray, name)

        def recorded(self, *args):
            tape.writes(self)
            target, args = plain(self), plain(args)
            original(target, *args)
            if tape.on:
                tape.operations.append(lambda: original(target, *args))

        monkeypatch.setattr(EmulatorArray, name, recorded)

    for name in ("__setitem__", "fill"):
        on_write(name)
    launch = Kernel.__call__

    def on_launch(self, grid, block, args, *, shared_mem=0):
        for value in args:
            tape.writes(value)
        launch(self, grid, block, args, shared_mem=shared_mem)
        if tape.on:
            tape.operations.append(lambda: launch(self, grid, block, args, shared_mem=shared_mem))

    monkeypatch.setattr(EmulatorArray, "__array_ufunc__", on_ufunc)
    monkeypatch.setattr(EmulatorArray, "__array_function__", on_function)
    monkeypatch.setattr(Kernel, "__call__", on_launch)
    nothing = contextlib.nullcontext
    stream = types.SimpleNamespace(record=lambda: None, wait_event=lambda event: None)

    class Stream(contextlib.nullcontext):
        def __init__(self, non_blocking):
            super().__init__()
            self.begin_capture, self.end_capture = tape.begin_capture, tape.end_capture
            self.record, self.wait_event, self.synchronize = stream.record, stream.wait_event, lambda: None

    fake = types.SimpleNamespace(
        Stream=Stream,
        MemoryPool=lambda: types.SimpleNamespace(malloc=None),
        Device=lambda: types.SimpleNamespace(synchronize=lambda: None),
        using_allocator=lambda malloc: nothing(),
        get_current_stream=lambda: stream,
    )
    monkeypatch.setattr(cuda, "load_cupy", lambda: types.SimpleNamespace(cuda=fake))
    return tape


OPTIMIZERS = {
    "sgd": lambda p: tn.optim.SGD(p, 0.1),
    "momentum": lambda p: tn.optim.SGD(p, 0.1, momentum=0.9, dampening=0.1, weight_decay=0.01),
    "adam": lambda p: tn.optim.Adam(p, 0.01),
    "adamw": lambda p: tn.optim.AdamW(p, 0.01, amsgrad=True),
}
STEPS, WARM_UP = 6, 2


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(STEPS, 8, 5)).astype("float32"), rng.integers(0, 3, (STEPS, 8))


class Training:
    """A model, its optimizer, and the buffers that a step works on."""

    def __init__(self, optimizer):
        tn.manual_seed(0)
        layers = nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 7), nn.LayerNorm(7)
        self.model = nn.Sequential(*layers, nn.Linear(7, 3))
        self.model.to(tn.zeros(1).device)
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.schedule = tn.optim.lr_scheduler.StepLR(self.optimizer, 1, 0.7)
        images, labels = data()
        self.x, self.t, self.cost = tn.Tensor(images[0]), tn.Tensor(labels[0]), tn.zeros(())

    def feed(self, k):
        self.x.copy_(tn.Tensor(data()[0][k]))
        self.t.copy_(tn.Tensor(data()[1][k]))

    def step(self):
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(self.x), self.t)
        loss.backward()
        self.optimizer.step()
        self.cost.copy_(loss.detach())

    def result(self):
        return [to_numpy(value.array).copy() for value in self.model.state_dict().values()]


def one_by_one(optimizer):
    training, costs = Training(optimizer), []
    for k in range(-WARM_UP, STEPS):
        training.feed(max(k, 0))
        training.step()
        if k >= 0:
            training.schedule.step()
            costs.append(training.cost.item())
    return training, costs


def captured(optimizer):
    training, costs = Training(optimizer), []
    graph = Graph(training.step, warm_up=WARM_UP)
    for k in range(STEPS):
        training.feed(k)
        graph()
        training.schedule.step()
        costs.append(training.cost.item())
    return training, costs, graph


def check(optimizer, tolerance):
    expected, costs = one_by_one(optimizer)
    found, captured_costs, _ = captured(optimizer)
    np.testing.assert_allclose(captured_costs, costs, rtol=tolerance)
    for a, b in zip(found.result(), expected.result(), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    state, other = found.optimizer.state, expected.optimizer.state
    counts = [[int(entry["step"]) for entry in s.values() if "step" in entry] for s in (state, other)]
    assert counts[0] == counts[1]


@needs_compiler
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_captured_training_step_trains_as_plain_steps_do(tape, optimizer):
    with tn.use_backend("emulator"):
        check(optimizer, 1e-6)
    assert tape.operations


@pytest.mark.cuda  # not run on a GPU so far: there was none where this was written
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_captured_training_step_trains_as_plain_steps_do_on_a_gpu(optimizer):
    with tn.use_backend("cupy"):
        check(optimizer, 1e-5)


@needs_compiler
def test_replays_move_the_same_buffers(tape):
    with tn.use_backend("emulator"):
        training = Training("adam")
        graph = Graph(training.step, warm_up=1)
        parameters = list(training.model.parameters())
        arrays, before = [p.array for p in parameters], training.result()
        graph()
        assert all(p.array is a for p, a in zip(parameters, arrays, strict=True))
        assert all((a != b).any() for a, b in zip(training.result()[:2], before[:2], strict=True))


@needs_compiler
def test_a_graph_whose_optimizer_was_loaded_anew_is_refused(tape):
    with tn.use_backend("emulator"):
        training = Training("adam")
        graph = Graph(training.step, warm_up=1)
        training.optimizer.load_state_dict(training.optimizer.state_dict())
        with pytest.raises(RuntimeError, match="make a new Graph"):
            graph()


@needs_compiler
@pytest.mark.parametrize(
    "options", [{}, {"label_smoothing": 0.1}, {"reduction": "sum", "label_smoothing": 0.1}]
)
def test_a_class_that_does_not_exist_makes_the_loss_of_a_graph_nan(tape, options):
    losses = []
    with tn.use_backend("emulator"):
        x, t = tn.Tensor(np.ones((3, 4), np.float32)), tn.Tensor([0, 9, -100])
        Graph(lambda: losses.append(F.cross_entropy(x, t, **options)), warm_up=1)
        t.copy_(tn.Tensor([0, 3, -100]))
        Graph(lambda: losses.append(F.cross_entropy(x, t, **options)), warm_up=1)
        expected = F.cross_entropy(x, t, **options).item()
    assert np.isnan(losses[0].item())
    assert losses[2].item() == pytest.approx(expected, rel=1e-6)
    assert current_graph() is None


def test_a_transfer_is_refused_while_it_would_be_captured(tape):
    copy = outside_of_capture(np.copy)
    graph = Graph(lambda: None)
    assert graph.capturing is False

    def step():
        if current_graph().capturing:
            copy(np.ones(3))

    with pytest.raises(RuntimeError, match="copied between the CPU and the GPU"):
        Graph(step)
    np.testing.assert_array_equal(copy(np.ones(3)), 1)
