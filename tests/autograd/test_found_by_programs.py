"""Faults that random programs found, tests/reliability/test_random_programs.py."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.nn import functional as F


def leaf(*values):
    return tn.tensor(np.array(values), requires_grad=True)


@pytest.mark.parametrize("name", ["relu", "hardtanh", "gelu", "silu", "elu", "softplus", "mish", "sigmoid"])
def test_an_activation_of_one_number_takes_numpys_scalar_as_gradient(name):
    x = tn.tensor(np.array(0.5), requires_grad=True)
    y = getattr(F, name)(x) if name != "sigmoid" else tn.sigmoid(x)
    (y * y).backward()  # its dy·y is a numpy.float64
    other = leaf(0.5)
    z = getattr(F, name)(other) if name != "sigmoid" else tn.sigmoid(other)
    (z * z).sum().backward()
    assert x.grad.item() == other.grad.tolist()[0]


# -- autograd.grad runs only what lies between outputs and inputs


def test_grad_leaves_retained_gradients_elsewhere_alone(torch):
    for m in (tn, torch):
        x, z = m.tensor(np.ones(2), requires_grad=True), m.tensor(np.ones(2), requires_grad=True)
        y = x * 2
        y.retain_grad()
        m.autograd.grad((y * z).sum(), [z], retain_graph=True)
        assert y.grad is None
        m.autograd.grad((y * z).sum(), [x], retain_graph=True)
        assert y.grad.tolist() == [1, 1]


def test_grad_with_an_unused_input_raises_and_changes_nothing(torch):
    for m in (tn, torch):
        x, unused = m.tensor(np.ones(2), requires_grad=True), m.tensor(np.ones(2), requires_grad=True)
        y = x * 2
        y.retain_grad()
        with pytest.raises(RuntimeError, match=r"[Nn]ot.*used|have been used"):
            m.autograd.grad(y.sum(), [unused], retain_graph=True)
        assert y.grad is None


def test_grad_calls_no_hooks_elsewhere(torch):
    for m in (tn, torch):
        heard = []
        x, z = m.tensor(np.ones(2), requires_grad=True), m.tensor(np.ones(2), requires_grad=True)
        y = x * 2
        x.register_hook(lambda dx, heard=heard: heard.append("x"))
        y.register_hook(lambda dx, heard=heard: heard.append("y"))
        z.register_hook(lambda dx, heard=heard: heard.append("z"))
        loss = (y * z).sum()
        m.autograd.grad(loss, [z], retain_graph=True)
        assert heard == ["z"]
        m.autograd.grad(loss, [y], retain_graph=True)
        assert heard == ["z", "y"]


def test_grad_needs_no_values_from_elsewhere(torch):
    for m in (tn, torch):
        x, z = m.tensor(np.ones(2), requires_grad=True), m.tensor(np.ones(2), requires_grad=True)
        y = x * x
        loss = (y * 3 + z).sum()
        with m.no_grad():
            x.mul_(2)
        assert m.autograd.grad(loss, [z], retain_graph=True)[0].tolist() == [1, 1]
        with pytest.raises(RuntimeError, match=r"in place|inplace"):
            loss.backward()


def test_grad_through_a_freed_graph_still_raises(torch):
    for m in (tn, torch):
        x = m.tensor(np.ones(2), requires_grad=True)
        loss = (x * x).sum()
        loss.backward()
        with pytest.raises(RuntimeError, match="second time"):
            m.autograd.grad(loss, [x])


def test_a_gradient_that_is_read_only_is_not_kept_as_it_is():
    x = tn.tensor(np.array(2.0), requires_grad=True)
    for _ in range(2):
        tn.cumsum(x, dim=0).exp().backward()
    assert x.grad.item() == pytest.approx(2 * np.exp(2))


@pytest.mark.parametrize("name", ["addmm", "addmv", "baddbmm"])
def test_what_counts_0_times_has_the_gradient_0_and_hides_nan(name, torch):
    shapes = {"addmm": ((2, 4), (2, 3), (3, 4)), "addmv": ((2,), (2, 3), (3,))}
    for m in (tn, torch):
        x, a, b = (m.tensor(np.ones(s)) for s in shapes.get(name, ((2, 2, 4), (2, 2, 3), (2, 3, 4))))
        x[...] = np.nan
        x.requires_grad = True
        y = getattr(m, name)(x, a, b, beta=0)
        assert y.requires_grad
        assert (y == 3).all()
        y.sum().backward()
        assert (x.grad == 0).all()
        ones, a = m.ones_like(y.detach()), (a / 0 * 0).requires_grad_()
        product = getattr(m, name)(ones, a, b, alpha=0)
        assert product.requires_grad
        assert name == "baddbmm" or (product == 1).all()
        product.sum().backward()
        assert (a.grad == 0).all()


def test_a_reshape_that_copies_shares_no_memory(torch):
    for m in (tn, torch):
        x = m.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
        y = x * 1
        copy, view = y.T.flatten(), y.flatten()
        z = y * y
        with m.no_grad():
            copy.mul_(2)
        z.sum().backward(retain_graph=True)
        assert x.grad.tolist() == [[0, 2, 4], [6, 8, 10]]
        with m.no_grad():
            view.mul_(2)
        with pytest.raises(RuntimeError, match=r"in place|inplace"):
            z.sum().backward()


NOT_NEEDED = {"copysign": 0, "cross": 1, "hypot": 0, "logaddexp": 2}
"""The place of an array, of the inputs and the result, that the gradient of input 1 does not need."""


@pytest.mark.parametrize("name", NOT_NEEDED)
def test_what_the_gradient_does_not_need_may_be_written_to(name, torch):
    found = []
    for m in (tn, torch):
        a, b = m.tensor(np.arange(1.0, 4.0)), m.tensor(np.array([0.5, -1, 2]), requires_grad=True)
        y = getattr(m, name)(a, b, **({"dim": 0} if name == "cross" else {}))
        with m.no_grad():
            (a, b, y)[NOT_NEEDED[name]].mul_(5)
        (y * m.tensor(np.array([1.0, 2, 3]))).sum().backward()
        found.append(b.grad.numpy())
    np.testing.assert_allclose(*found, rtol=1e-15)


def test_copysign_needs_no_sign_in_backward(torch):
    for m in (tn, torch):
        x, sign = m.tensor(np.array([1.0, -2, 0]), requires_grad=True), m.tensor(np.array([-1.0, -1, -1]))
        y = m.copysign(x, sign)
        sign.mul_(-1)
        y.sum().backward()
        assert x.grad.tolist() == [-1, 1, 0]


def test_a_retained_gradient_shares_no_memory_with_what_grad_returns(torch):
    for m in (tn, torch):
        x = m.tensor(np.ones(3), requires_grad=True)
        y = x * 2
        z = y + 0
        y.retain_grad()
        z.retain_grad()
        (dy,) = m.autograd.grad((z * z).sum(), [y], retain_graph=True)
        dy += 5
        assert y.grad.tolist() == [4, 4, 4]
        z.grad.mul_(7)
        assert y.grad.tolist() == [4, 4, 4]
