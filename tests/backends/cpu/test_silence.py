"""Where NumPy warns and where it does not: never in a Function, always as the user says in a hook."""

import contextvars
import threading

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd import Function
from tinygrad_norm.backends.cpu.silence import silent

LARGE = np.float32(3e38)


def overflows():
    return LARGE * np.ones(1, np.float32) * 10


class Overflowing(Function):
    def forward(self, x):
        overflows()
        return x * LARGE

    def backward(self, dy):
        overflows()
        return dy * LARGE


def large():
    return tn.tensor([1e38], requires_grad=True)


@pytest.fixture
def raising():
    with np.errstate(all="raise"):
        yield
        with pytest.raises(FloatingPointError):  # the user's settings are back
            overflows()


def test_a_forward_and_a_backward_do_not_warn(raising):
    x = large()
    y = Overflowing.apply(x)
    y.backward(tn.tensor([10.0]))
    assert y.item() == x.grad.item() == float("inf")


def test_a_forward_within_a_forward_does_not_warn(raising):
    class Outer(Function):
        def forward(self, x):
            inner = Overflowing.apply(tn.tensor(x))
            overflows()
            return inner.array

    assert Outer.apply(large()).item() == float("inf")


def test_gradients_are_added_up_without_a_warning(raising):
    x = large()
    for _ in range(2):
        (x * 3 + x * 3).backward(tn.tensor([1e38]))
    assert x.grad.item() == float("inf")


@pytest.mark.parametrize("leaf", [True, False])
def test_a_hook_has_the_settings_of_the_user(leaf):
    x = large()
    y = x * 1
    seen = []

    def hook(_):
        seen.append(np.geterr()["over"])
        tn.tensor([1.0], requires_grad=True).exp().backward()  # a sweep within a sweep
        seen.append(np.geterr()["over"])

    (x if leaf else y).register_hook(hook)
    with np.errstate(over="print"):
        Overflowing.apply(y).backward()
    assert seen == ["print", "print"]


def test_a_hook_that_raises_leaves_the_settings_as_they_were(raising):
    def hook(_):
        raise KeyError("mine")

    x = large()
    x.register_hook(hook)
    with pytest.raises(KeyError):
        (x * 1).backward()


def test_a_forward_that_raises_leaves_the_settings_as_they_were(raising):
    class Failing(Function):
        def forward(self, x):
            raise KeyError("mine")

    with pytest.raises(KeyError):
        Failing.apply(large())


def test_a_function_reads_the_context_variables_of_its_caller():
    answer = contextvars.ContextVar("answer", default=0)

    class Asking(Function):
        def forward(self, x):
            return x * answer.get()

        def backward(self, dy):
            return dy * answer.get()

    answer.set(42)
    x = tn.tensor([1.0], requires_grad=True)
    y = Asking.apply(x)
    y.backward()
    assert y.item() == x.grad.item() == 42


def test_threads_do_not_warn_either():
    results = []

    def work():
        with np.errstate(all="raise"):
            for _ in range(100):
                results.append(Overflowing.apply(large()).item())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [float("inf")] * 400


@pytest.mark.parametrize(
    "call",
    [
        lambda: tn.tensor([1.0]) < 1e300,
        lambda: tn.tensor([1e300], dtype=tn.float32),
        lambda: tn.tensor([float("nan")]).astype(tn.int32),
        lambda: tn.isclose(tn.tensor([float("inf")]), tn.tensor([float("inf")])),
        lambda: tn.linspace(0, 1e300, 3),
        lambda: tn.full((2,), 1e300),
        lambda: tn.exp(1e300),
    ],
)
def test_what_runs_outside_of_a_function_does_not_warn(call, raising):
    call()


def test_silences_can_be_nested(raising):
    with silent():
        with silent():
            overflows()
        overflows()
