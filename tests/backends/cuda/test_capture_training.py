"""A whole training step as a graph: the same parameters as the same steps one by one.

Without a GPU, a fake CuPy captures the operations on the emulator's arrays, whose memory is reused as soon
as it is free.
"""

import shutil

import fake_cupy
import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.backends import to_numpy
from tinygrad_norm.backends.cuda.capture import Graph, current_graph, outside_of_capture
from tinygrad_norm.nn import functional as F

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")


@pytest.fixture
def tape(monkeypatch):
    """A fake CuPy that captures the operations on the emulator's arrays."""
    return fake_cupy.install(monkeypatch)


OPTIMIZERS = {
    "sgd": lambda p: tn.optim.SGD(p, 0.1),
    "momentum": lambda p: tn.optim.SGD(p, 0.1, momentum=0.9, dampening=0.1, weight_decay=0.01),
    "adam": lambda p: tn.optim.Adam(p, 0.01),
    "adamw": lambda p: tn.optim.AdamW(p, 0.01, amsgrad=True),
    "rmsprop": lambda p: tn.optim.RMSprop(p, 0.01, eps=0.1, momentum=0.9, centered=True),
    "adagrad": lambda p: tn.optim.Adagrad(p, 0.1, lr_decay=0.3, eps=0.1),
    "adadelta": lambda p: tn.optim.Adadelta(p),
    "adamax": lambda p: tn.optim.Adamax(p, 0.01, eps=0.1),
    "rprop": lambda p: tn.optim.Rprop(p),
    "lars": lambda p: tn.optim.LARS(p, momentum=0.9, weight_decay=0.1, trust_coeff=0.05, trust_clip=True),
    "lamb": lambda p: tn.optim.LAMB(p, 0.01, eps=0.1),
    "muon": lambda p: tn.optim.MuonWithAuxAdam(
        [{"params": [q], "use_muon": q.ndim == 2} for q in p], 0.01, adam_eps=0.1
    ),
    "groups": lambda p: tn.optim.Adam([{"params": next(p)}, {"params": list(p), "lr": 0.02}], 0.01),
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


@needs_compiler
@pytest.mark.parametrize("name", ["NAdam", "RAdam", "ASGD"])
def test_optimizers_that_compute_on_the_cpu_cannot_be_captured(tape, name):
    with tn.use_backend("emulator"):
        weight = nn.Parameter(tn.ones(3))
        optimizer = getattr(tn.optim, name)([weight])

        def step():
            (weight * weight).sum().backward()
            optimizer.step()

        with pytest.raises(RuntimeError, match=f"{name} computes its rates on the CPU in every step"):
            Graph(step)()


@pytest.mark.cuda  # not run on a GPU so far
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
def test_a_graph_whose_optimizer_loaded_a_state_raises(tape):
    with tn.use_backend("emulator"):
        training = Training("adam")
        graph = Graph(training.step, warm_up=1)
        training.optimizer.load_state_dict(training.optimizer.state_dict())
        with pytest.raises(RuntimeError, match="make a new Graph"):
            graph()


@needs_compiler
def test_a_graph_whose_gradients_moved_raises(tape):
    with tn.use_backend("emulator"):
        training = Training("adam")
        graph = Graph(training.step, warm_up=1)
        kept = [p.grad for p in training.model.parameters()]
        training.step()
        with pytest.raises(RuntimeError, match=r"gradient kept over a step.*make a new Graph"):
            graph()
    assert all(grad is not p.grad for grad, p in zip(kept, training.model.parameters(), strict=True))


@needs_compiler
def test_a_parameter_that_is_new_in_the_capture_raises(tape):
    with tn.use_backend("emulator"):
        a, b = nn.Parameter(np.ones(3, np.float32)), nn.Parameter(np.ones(3, np.float32))
        optimizer = tn.optim.Adam([a, b])

        def step():
            (a.sum() + b.sum() if current_graph().capturing else a.sum()).backward()
            optimizer.step()

        with pytest.raises(
            RuntimeError, match=r"captured.*did not need in the run before: let the step warm up"
        ):
            Graph(step)


@needs_compiler
def test_replays_and_what_is_done_between_them_share_no_memory(tape):
    """Arrays of all sizes, made and written between replays, keep their values; so does the training."""
    expected, costs = [], []
    with tn.use_backend("emulator"):
        _, expected = one_by_one("adam")
        training = Training("adam")
        graph = Graph(training.step, warm_up=WARM_UP)
        for k in range(STEPS):
            others = [tn.full((8, 2**size), float(size)) for size in range(8) for _ in range(4)]
            training.feed(k)
            graph()
            costs.append(training.cost.item())
            training.schedule.step()
            assert all((to_numpy(x.array) == x.shape[1].bit_length() - 1).all() for x in others)
    np.testing.assert_allclose(costs, expected, rtol=1e-6)


@needs_compiler
def test_a_graph_keeps_what_its_step_works_on(tape):
    values = np.arange(6, dtype=np.float32)
    with tn.use_backend("emulator"):
        x, y = tn.Tensor(values), tn.zeros(6)

        def make():
            scale = tn.Tensor(np.exp(values))
            return Graph(lambda: y.copy_(x * scale))

        graph = make()
        others = [tn.full((6,), 7.0) for _ in range(50)]
        x.copy_(tn.Tensor(values[::-1].copy()))
        graph()
        np.testing.assert_allclose(to_numpy(y.array), values[::-1] * np.exp(values), rtol=1e-6)
        assert all((to_numpy(other.array) == 7).all() for other in others)


@needs_compiler
def test_what_a_step_leaves_behind_is_read_after_every_replay(tape):
    with tn.use_backend("emulator"):
        weight, x, left = nn.Parameter(np.ones(4)), tn.Tensor(np.arange(4.0)), {}

        def step():
            weight.grad = None
            left["y"] = ((weight * x).relu() * 3).sum()
            left["y"].backward()

        graph = Graph(step)
        for k in range(3):
            values = np.arange(4.0) + k
            x.copy_(tn.Tensor(values))
            graph()
            assert left["y"].item() == 3 * values.sum()
            np.testing.assert_array_equal(to_numpy(weight.grad.array), 3 * values * (values > 0))


@needs_compiler
def test_random_numbers_of_the_cpu_raise_in_a_capture(tape):
    with tn.use_backend("emulator"), pytest.raises(RuntimeError, match="copied between the CPU and the GPU"):
        Graph(lambda: tn.rand(4))


@needs_compiler
def test_a_transfer_raises_during_a_capture(tape):
    copy = outside_of_capture(np.copy)
    graph = Graph(lambda: None)
    assert graph.capturing is False

    def step():
        if current_graph().capturing:
            copy(np.ones(3))

    with pytest.raises(RuntimeError, match="copied between the CPU and the GPU"):
        Graph(step)
    np.testing.assert_array_equal(copy(np.ones(3)), 1)
