"""The cost of a recorded step beside its arithmetic: allocations, copies, and arrays that are kept."""

import tracemalloc

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.bench.benchmark_network import mlp
from tinygrad_norm.bench.growth import kept_bytes
from tinygrad_norm.nn import functional as F

ACTIVATION = 64 * 128 * 4  # bytes of one (64, 128) array of float32


@pytest.fixture
def training():
    """The benchmark's network after two steps: model, optimizer, images, labels."""
    rng = np.random.default_rng(0)
    model = mlp(nn)
    optimizer = optim.Adam(model.parameters())
    images, labels = Tensor(rng.random((64, 64), np.float32)), Tensor(rng.integers(0, 10, 64))
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    optimizer.zero_grad()
    return model, optimizer, images, labels


class Traced:
    """Traces allocations: `arrays` counts the large NumPy arrays that are alive; `peak` is since `mark`."""

    def __enter__(self):
        tracemalloc.start()
        self.mark()
        return self

    def __exit__(self, *_):
        tracemalloc.stop()

    def arrays(self):
        numpys = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
        traces = tracemalloc.take_snapshot().filter_traces([numpys]).traces
        return sum(trace.size >= ACTIVATION // 2 for trace in traces)

    def mark(self):
        tracemalloc.reset_peak()
        self.start = tracemalloc.get_traced_memory()[0]

    def peak(self):
        return (tracemalloc.get_traced_memory()[1] - self.start) / ACTIVATION


def test_a_step_allocates_what_it_must(training):
    model, optimizer, images, labels = training
    with Traced() as traced:
        loss = F.cross_entropy(model(images), labels)
        assert traced.arrays() == 6  # of both hidden layers: Linear's, BatchNorm's and ReLU's output
        traced.mark()
        loss.backward()
        # dy, x̂ and three for dx; the gradients of the weights are in the buffer
        assert traced.peak() < 5.5
        del loss
        assert traced.arrays() == 0
        traced.mark()
        optimizer.step()
        assert traced.peak() < 0.5
        assert traced.arrays() == 0


def test_steps_do_not_grow(training):
    model, optimizer, images, labels = training

    def step():
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    step()
    with Traced():
        step()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5):
            step()
        assert tracemalloc.get_traced_memory()[0] - before < 4096


def test_the_weights_gradient_is_made_in_the_optimizers_buffer(training):
    model, optimizer, images, labels = training
    buffer = optimizer._layout[0].buffers[0]
    F.cross_entropy(model(images), labels).backward()
    reference = mlp(nn)
    reference.load_state_dict(model.state_dict())
    F.cross_entropy(reference(images), labels).backward()
    for (name, p), q in zip(model.named_parameters(), reference.parameters(), strict=True):
        assert np.shares_memory(p.grad.array, buffer.gradients), name
        np.testing.assert_array_equal(p.grad.array, q.grad.array)


@pytest.mark.parametrize("times", [2, 3])
def test_a_shared_weight_gets_the_sum_of_its_gradients(times):
    def gradient(optimized):
        layer = nn.Linear(4, 4)
        tn.manual_seed(0)
        layer.reset_parameters()
        if optimized:
            optim.SGD(layer.parameters(), lr=0.1)
        x = Tensor(np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32))
        for _ in range(times):
            x = layer(x)
        (x * x).sum().backward()
        return layer.weight.grad.array

    np.testing.assert_array_equal(gradient(optimized=True), gradient(optimized=False))


def test_a_gradient_that_is_kept_keeps_its_values():
    layer = nn.Linear(3, 2)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    x = Tensor(np.ones((4, 3), np.float32))
    (kept,) = grad(layer(x).sum(), [layer.weight])
    values = kept.array.copy()
    (3 * layer(x).sum()).backward()
    np.testing.assert_array_equal(kept.array, values)
    np.testing.assert_array_equal(layer.weight.grad.array, 3 * values)
    optimizer.step()
    np.testing.assert_array_equal(kept.array, values)


def test_a_reshaped_gradient_is_not_copied_but_never_shared():
    x = Tensor(np.ones((2, 32, 512), np.float32), requires_grad=True)
    F.layer_norm(x, 512).sum().backward()
    assert x.grad.array.base is not None  # the rows (64, 512) that the kernel made, reshaped
    x.grad = None
    dy = np.full((512, 64), 2, np.float32)
    x.reshape(512, 64).backward(dy)
    assert not np.shares_memory(x.grad.array, dy)
    y = Tensor(np.ones((4, 3), np.float32), requires_grad=True)
    z = Tensor(np.ones((12,), np.float32), requires_grad=True)
    (y.reshape(12) + z).backward(np.ones(12, np.float32))
    y.grad.array[...] = 5
    assert (z.grad.array == 1).all()


def test_a_closed_form_keeps_less_than_a_composed_one():
    x = Tensor(np.ones((64, 512), np.float32), requires_grad=True)
    w, b = (Tensor(np.ones(512, np.float32), requires_grad=True) for _ in range(2))
    op = tn.registry.REGISTRY["layer_norm"]
    closed = kept_bytes(op.function(x, (512,), w, b))
    composed = kept_bytes(op.composed(x, (512,), w, b))
    assert closed == 2 * 64 * 4  # mean and rstd: x, weight and bias are there anyway
    assert composed >= 2 * x.array.nbytes
