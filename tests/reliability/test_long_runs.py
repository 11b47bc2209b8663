"""Thousands of training steps keep no memory: no tensor, no node of a graph, no byte more than before.

By hand: `python3 -m pytest -n 0 -m "" tests/reliability/test_long_runs.py --times 20000`.
"""

import ctypes
import gc
import time
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from loop_runs import needs_numba

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.autograd import Tensor
from tinygrad_norm.autograd.memory import watched
from tinygrad_norm.autograd.node import Node
from tinygrad_norm.learn.watching import watch
from tinygrad_norm.nn import functional as F

STEPS = 240
OBJECTS, BYTES = 40, 16_384  # what the interpreter's own caches may take
RESIDENT = 4 * 2**20  # and the system's allocator: at most 0.5 MB was seen
BLOCK = 300_000  # bytes that a planted leak keeps in each step
WIDTH, CLASSES = 8, 3


class Interrupted(Exception):
    pass


class LastStep(nn.Module):
    """A recurrent layer and its output at the last step."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.head = layer, nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


class Mean(nn.Module):
    """An encoder layer, and the mean of its outputs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, batch_first=True)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        return self.head(self.layer(x).mean(1))


def mlp():
    hidden = nn.Linear(WIDTH, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.LayerNorm(16)
    return nn.Sequential(*hidden, nn.Linear(16, CLASSES))


def cnn():
    first = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
    second = nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*first, *second, nn.Linear(16, CLASSES))


MODELS = {
    "mlp": (mlp, (6, WIDTH), lambda p: optim.Adam(p, 1e-3)),
    "cnn": (cnn, (2, 1, 8, 8), lambda p: optim.SGD(p, 1e-3, momentum=0.9)),
    "rnn": (
        lambda: LastStep(nn.RNN(WIDTH, WIDTH, batch_first=True)),
        (3, 4, WIDTH),
        lambda p: optim.AdamW(p, 1e-3, amsgrad=True),
    ),
    "lstm": (
        lambda: LastStep(nn.LSTM(WIDTH, WIDTH, batch_first=True)),
        (3, 4, WIDTH),
        lambda p: optim.SGD(p, 1e-3),
    ),
    "transformer": (Mean, (3, 4, WIDTH), lambda p: optim.AdamW(p, 1e-3)),
}


class Training:
    """A model and what happens to it: each step is one of `EVENTS`, by its number."""

    def __init__(self, name):
        build, shape, optimizer = MODELS[name]
        self.model = build()
        self.model.to(tn.zeros(1).device)
        self.optimizer = optimizer(self.model.parameters())
        self.schedule = optim.lr_scheduler.StepLR(self.optimizer, 100, 0.99)
        rng = np.random.default_rng(0)
        self.x, self.t = rng.normal(size=shape).astype("float32"), rng.integers(0, CLASSES, shape[0])

    def step(self, number):
        event = EVENTS[number % len(EVENTS)]
        self.optimizer.zero_grad()
        try:
            event(self)
        except Interrupted:
            return
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()

    def loss(self):
        return F.cross_entropy(self.model(Tensor(self.x)), Tensor(self.t))

    def plainly(self):
        self.loss().backward()

    def hooked(self):
        seen = []
        handles = [self.model.register_forward_hook(lambda module, args, y: seen.append(y.shape))]
        handles.append(next(self.model.parameters()).register_hook(lambda dw: dw * 2))
        loss = self.loss()
        loss.register_hook(lambda dy: None)  # this one stays, and goes with its graph
        loss.backward()
        for handle in handles:
            handle.remove()

    def evaluated(self):
        self.model.eval()
        with tn.no_grad():
            self.loss().item()
        self.model.train()
        self.plainly()

    def ended_in_forward(self):
        handle = self.model.head_hook = self.model.register_forward_hook(_interrupt)
        try:
            self.loss().backward()
        finally:
            handle.remove()
            del self.model.head_hook

    def ended_in_backward(self):
        handle = next(self.model.parameters()).register_hook(_interrupt)
        try:
            self.loss().backward()
        finally:
            handle.remove()

    def ended_in_the_middle(self):
        y = self.model(Tensor(self.x))
        y.register_hook(_interrupt)
        F.cross_entropy(y, Tensor(self.t)).backward()

    def never_swept(self):
        self.loss()
        self.plainly()

    def retained(self):
        loss = self.loss()
        loss.backward(retain_graph=True)
        tn.grad(loss, [next(self.model.parameters())], retain_graph=True)

    def watched(self):
        with watch(self.model) as found:
            self.plainly()
            found.step()

    def looked_at(self):
        array = next(self.model.parameters()).detach().numpy()
        self.plainly()
        assert np.isfinite(array).all()
        self.model.load_state_dict(self.model.state_dict())


def _interrupt(*_):
    raise Interrupted


EVENTS = [
    Training.plainly,
    Training.hooked,
    Training.evaluated,
    Training.plainly,
    Training.ended_in_forward,
    Training.ended_in_backward,
    Training.ended_in_the_middle,
    Training.never_swept,
    Training.retained,
    Training.watched,
    Training.looked_at,
    Training.plainly,
]


@dataclass
class Alive:
    """What is there at a moment: tensors, nodes, objects of all types, bytes of Python and of the process."""

    tensors: int
    nodes: int
    objects: int
    bytes: int
    resident: int

    @classmethod
    def now(cls):
        objects = gc.get_objects()
        # isinstance would ask proxies of other packages for their __class__, and one of PyTorch's warns then
        tensors = sum(issubclass(type(one), Tensor) for one in objects)
        nodes = sum(issubclass(type(one), Node) for one in objects)
        count = len(objects)
        del objects
        return cls(tensors, nodes, count, tracemalloc.get_traced_memory()[0], _resident())


def _resident():
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096
    except OSError:  # not on Linux
        return 0


def growth(step, steps, say=None):
    """Run `step(number)` so often; return what the second half of the steps has added, and the cycles left.

    The collector of cycles rests meanwhile: what a step made must go without it, arrays above all.
    """
    half = steps // 2 // len(EVENTS) * len(EVENTS)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        start = time.monotonic()
        for number in range(2 * half):
            if number == half:
                before_collecting = Alive.now()
                gc.collect()
                first = Alive.now()
                kept_by_cycles = before_collecting.tensors - first.tensors
            step(number)
            if number % 600 == 599:  # what an exception's traceback holds are frames in cycles
                gc.collect()
            if say and number % 1800 == 1799:
                to_go = (time.monotonic() - start) / (number + 1) * (2 * half - number - 1)
                say(f"{number + 1} steps, {tracemalloc.get_traced_memory()[0]:,} bytes, {to_go:.0f} s to go")
        last_before = Alive.now()
        gc.collect()
        last = Alive.now()
    finally:
        tracemalloc.stop()
        gc.enable()
    found = {
        "tensors": last.tensors - first.tensors,
        "nodes": last.nodes - first.nodes,
        "objects": last.objects - first.objects,
        "bytes": last.bytes - first.bytes,
        "process": last.resident - first.resident,
    }
    if say:
        say(f"{2 * half} steps: {found}")
    return found, kept_by_cycles + last_before.tensors - last.tensors


def check(step, times, capsys=None, steps=STEPS):
    say = None
    if times and capsys:

        def say(text):
            with capsys.disabled():
                print(text)

    found, cycles = growth(step, times or steps, say)
    assert found["tensors"] == found["nodes"] == 0, found
    assert found["objects"] < OBJECTS, found
    assert found["bytes"] < BYTES, found
    assert not times or found["process"] < RESIDENT, f"the process grew: {found}"
    assert cycles == 0, f"{cycles} tensors wait for the collector of cycles"


@pytest.mark.parametrize(
    "model", [name if name == "mlp" else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)
def test_steps_on_the_cpu_keep_nothing(model, times, capsys):
    with tn.use_loops("off"):
        check(Training(model).step, times, capsys)


@needs_numba
@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_steps_with_compiled_loops_keep_nothing(model, times, capsys):
    with tn.use_loops("compiled"):
        check(Training(model).step, times, capsys)


@pytest.mark.cuda(stand_in="slow")
@pytest.mark.slow
def test_steps_on_cupy_keep_nothing(times, capsys):
    with tn.use_backend("cupy"):
        check(Training("mlp").step, times and times // 20, capsys, 2 * len(EVENTS))


LEAKS = {
    "tensor": lambda kept, training: kept.append(training.loss().detach()),
    "object": lambda kept, training: kept.append(Interrupted()),
    "array": lambda kept, training: kept.append(np.zeros(128)),
    "cycle": lambda kept, training: (cycle := [training.loss()]).append(cycle),
}


@pytest.mark.parametrize(
    "leak", [name if name == "tensor" else pytest.param(name, marks=pytest.mark.slow) for name in LEAKS]
)
def test_a_leak_is_seen(leak):
    training, kept = Training("mlp"), []

    def step(number):
        training.plainly()
        LEAKS[leak](kept, training)

    with pytest.raises(AssertionError):
        check(step, None, steps=96)
    kept.clear()


@pytest.mark.slow
def test_memory_that_python_does_not_count_is_seen():
    if not _resident():
        pytest.skip("Linux says how much memory a process has")
    training, system = Training("mlp"), ctypes.CDLL(None)
    system.mmap.restype = ctypes.c_void_p
    kept = []

    def step(number):
        training.plainly()
        new = system.mmap(None, ctypes.c_size_t(BLOCK), 3, 0x22, -1, ctypes.c_long(0))  # to read and write
        ctypes.memset(new, 1, BLOCK)
        kept.append(new)

    with pytest.raises(AssertionError, match="the process grew"):
        check(step, 96)
    for address in kept:
        system.munmap(ctypes.c_void_p(address), ctypes.c_size_t(BLOCK))


def test_views_that_are_watched_are_forgotten():
    training, before = Training("mlp"), len(watched)
    for _ in range(5):
        training.looked_at()
    assert len(watched) == before
