"""gradgradcheck: second derivatives against finite differences."""

import dataclasses

import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd import Function, GradcheckError
from tinygrad_norm.gradient_check.gradient_op import gradient_op
from tinygrad_norm.gradient_check.registered import Allowed, check
from tinygrad_norm.nn import functional as F
from tinygrad_norm.ops import recorded
from tinygrad_norm.ops.recorded.recordedarray import RecordedArray
from tinygrad_norm.registry import REGISTRY


def drawn(*shape):
    return tn.randn(*shape, dtype=tn.float64, requires_grad=True)


@pytest.mark.parametrize("fast_mode", [False, True])
def test_a_right_one_passes(fast_mode):
    assert tn.gradgradcheck(
        lambda x, w: F.layer_norm(x, (4,), w), (drawn(3, 4), drawn(4)), fast_mode=fast_mode
    )


def test_grad_outputs_can_be_given():
    dy = drawn(3, 4)
    assert tn.gradgradcheck(tn.tanh, drawn(3, 4), dy)
    assert tn.gradgradcheck(tn.tanh, drawn(3, 4), [dy.detach()])


def test_several_outputs_and_arguments_that_are_no_tensors():
    assert tn.gradgradcheck(lambda x, n, m: (x**n, None, m, (x * x).sum()), (drawn(3), 3, tn.tensor([1, 2])))


class Detached(Function):
    """y = x³, whose backward is right, but as seen by the replay of a fault"""

    def forward(self, x):
        self.saved = (x,)
        return x**3

    def backward(self, dy):
        (x,) = self.saved
        if isinstance(x, RecordedArray):
            x = x.tensor.array  # the slope counts as a constant
        return 3 * x**2 * dy


def test_a_slope_that_counts_as_a_constant_is_found():
    assert tn.gradcheck(Detached.apply, drawn(3))
    with pytest.raises(GradcheckError, match="input 0"):
        tn.gradgradcheck(Detached.apply, drawn(3))
    assert not tn.gradgradcheck(Detached.apply, drawn(3), raise_exception=False)


def test_the_check_of_registered_ops_finds_it_too(monkeypatch):
    def replay(function, options, inputs, dys):
        inputs = [
            x.detach().requires_grad_() if isinstance(x, tn.Tensor) and x.requires_grad else x for x in inputs
        ]
        return recorded.replay(function, options, inputs, dys)

    from tinygrad_norm.autograd import recorded_sweep

    first = REGISTRY["layer_norm"]
    op = gradient_op(dataclasses.replace(first, cases=first.cases[:1]))
    assert not check(op, allowed=Allowed(fast_mode=True)).failures
    monkeypatch.setattr(recorded_sweep, "_replays", [replay])
    assert check(op, allowed=Allowed(fast_mode=True)).failures


def test_errors_in_words():
    with pytest.raises(ValueError, match="needs an output that requires grad"):
        tn.gradgradcheck(lambda x: x.detach(), drawn(3))
    with pytest.raises(ValueError, match="give one for each"):
        tn.gradgradcheck(tn.tanh, drawn(3), drawn(4))
    with pytest.raises(ValueError, match="float64"):
        tn.gradgradcheck(tn.tanh, tn.randn(3, requires_grad=True))
