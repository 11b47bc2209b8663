"""The memory that a training step takes, array by array: one hidden copy more, and a number here is wrong.

tracemalloc knows the peak of memory, but forgets what came and went below it. So its peak is read and
reset at every line of Python that the step runs, and what each line took is added up.
"""

import functools
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from loop_runs import needs_numba

from tinygrad_norm import nn, optim
from tinygrad_norm.autograd import Tensor, accumulation, function
from tinygrad_norm.backends.cpu import silence
from tinygrad_norm.backends.cpu.loop_mode import use_loops
from tinygrad_norm.nn import functional as F

N, D, K, CLASSES = 64, 64, 128, 16
UNIT = N * CLASSES * 4  # bytes of the smallest array of two axes; all others are multiples of it
HIDDEN = N * K * 4 // UNIT


class Allocations:
    """Adds up in `units` what the lines within allocate; objects of Python are less than half a unit."""

    units = 0

    def __enter__(self):
        self.previous = sys.gettrace()
        tracemalloc.start()
        self._mark()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self.previous)
        tracemalloc.stop()

    def _trace(self, *_):
        self.units += round((tracemalloc.get_traced_memory()[1] - self.before) / UNIT)
        self._mark()
        return self._trace

    def _mark(self):
        tracemalloc.reset_peak()
        self.before = tracemalloc.get_traced_memory()[0]


@pytest.fixture
def measured(monkeypatch):
    """A function that calls another some times and returns what the last call allocates.

    It does so where NumPy's own buffers are small: in a thread, as each has contexts of its own.
    """
    before = silence._silent.run(np.setbufsize, 16)
    small = functools.partial(silence._settings.set, silence._silent[silence._settings])
    for module in (silence, function, accumulation):
        monkeypatch.setattr(module, "enter_silence", small)

    def measure(call):
        found = []

        def run():
            np.setbufsize(16)
            for _ in range(4):  # the first calls fill caches, and Python 3.12 prepares the code it traces
                with Allocations() as allocations:
                    call()
            found.append(allocations.units)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return found[0]

    yield measure
    silence._silent.run(np.setbufsize, before)


@pytest.fixture
def step():
    """A training step of an MLP with an optimizer made from its parameters."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Linear(D, K),
        nn.BatchNorm1d(K),
        nn.ReLU(),
        nn.Linear(K, K),
        nn.BatchNorm1d(K),
        nn.ReLU(),
        nn.Linear(K, CLASSES),
    )
    images, labels = Tensor(rng.random((N, D), np.float32)), Tensor(rng.integers(0, CLASSES, N))

    def make(optimizer):
        optimizer = optimizer(model.parameters())

        def step():
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()

        return step

    return make


# BatchNorm: x - m, its square, w·r·(x - m) and y; backward x - m, x̂, dy·x̂, and three at once for dx
FORWARD = 2 * (1 + 4 + 1) * HIDDEN + 2  # two of Linear, BatchNorm and ReLU; logits and their p
BACKWARD = 1 + 2 * (1 + 2 + 6) * HIDDEN  # dlogits; two of Linear's dx, ReLU (dx, mask), BatchNorm
# With loops y and dx of every layer; logits, p and dlogits; vectors in the loops of BatchNorm
WITH_LOOPS = 2 * 2 * 3 * HIDDEN + 3 + 2 * (1 + 2)
OPTIMIZERS = {
    "SGD": lambda parameters: optim.SGD(parameters, lr=0.01),
    "SGD with all": lambda parameters: optim.SGD(
        parameters, lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.01
    ),
    "Adam": optim.Adam,
    "Adam with all": lambda parameters: optim.Adam(parameters, weight_decay=0.01, amsgrad=True),
    "AdamW": optim.AdamW,
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_step_allocates_these_arrays_and_no_others(measured, step, optimizer):
    """The gradients of weights are made in the optimizer's buffer, whose update works in place."""
    with use_loops("off"):
        assert measured(step(optimizer)) == FORWARD + BACKWARD


@needs_numba
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_with_loops_a_step_allocates_only_results(measured, step, optimizer):
    with use_loops("compiled"):
        assert measured(step(optimizer)) == WITH_LOOPS


@pytest.mark.parametrize("passing", [True, False])
def test_a_copy_that_comes_and_goes_is_seen(measured, passing):
    x = np.ones((N, K), np.float32)

    def call():
        (x.copy() if passing else x).argmax()
        (x.copy() if passing else x).argmin()

    assert measured(call) == (2 * HIDDEN if passing else 0)
