"""Positions: the table, the axes it is added along, the learned weight, and errors."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad

L, N, D = 5, 2, 6

KINDS = {
    "sinusoidal": lambda **options: nn.SinusoidalPositions(D, **options),
    "learned": lambda **options: nn.LearnedPositions(8, D, **options),
}
kinds = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("features", [1, 2, 5, 6])
def test_sinusoids_are_those_of_the_paper(features):
    P = nn.SinusoidalPositions(features)(tn.zeros(L, features, dtype=tn.float64)).numpy()
    for position in range(L):
        for j in range(features):
            angle = position / 10000 ** ((j - j % 2) / features)
            assert P[position, j] == pytest.approx(np.cos(angle) if j % 2 else np.sin(angle), abs=1e-15)


def test_a_shift_is_one_rotation_for_all_positions():
    P = nn.SinusoidalPositions(D)(tn.zeros(40, D, dtype=tn.float64)).numpy()
    for shift in (1, 7):
        shifted, *_ = np.linalg.lstsq(P[:-shift], P[shift:], rcond=None)
        np.testing.assert_allclose(P[:-shift] @ shifted, P[shift:], atol=1e-10)
        np.testing.assert_allclose(shifted @ shifted.T, np.eye(D), atol=1e-10)


@kinds
def test_both_orders_of_axes_and_one_sample_agree(make):
    module, first = make().double(), make(batch_first=True).double()
    first.load_state_dict(module.state_dict())
    x = Tensor(normal(L, N, D))
    y = module(x).numpy()
    np.testing.assert_array_equal(first(x.transpose(0, 1)).numpy().swapaxes(0, 1), y)
    for n in range(N):
        np.testing.assert_array_equal(module(x[:, n]).numpy(), y[:, n])
        np.testing.assert_array_equal(first(x[:, n]).numpy(), y[:, n])
    np.testing.assert_allclose((y - x.numpy())[:, 0], (y - x.numpy())[:, 1], atol=1e-15)


@kinds
def test_the_gradient_passes_through(make):
    module = make(batch_first=True).double()
    x, dy = Tensor(normal(N, L, D), requires_grad=True), normal(N, L, D, seed=1)
    dx, *dweight = grad(module(x), [x, *module.parameters()], dy)
    np.testing.assert_array_equal(dx.numpy(), dy)
    for d in dweight:
        np.testing.assert_allclose(d.numpy()[:L], dy.sum(0), rtol=1e-12)
        assert not d.numpy()[L:].any()


@kinds
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_dtype_stays(make, dtype):
    module = make().to(dtype)
    assert module(Tensor(normal(L, N, D).astype(dtype))).dtype == dtype


def test_a_table_that_is_shared_cannot_be_written_to():
    module = nn.SinusoidalPositions(D)
    x = tn.zeros(L, D, dtype=tn.float64)
    expected = module(x).numpy().copy()
    module(x).data[...] = 7
    np.testing.assert_array_equal(module(x).numpy(), expected)


def test_only_learned_positions_have_a_state():
    assert not nn.SinusoidalPositions(D).state_dict()
    state = nn.LearnedPositions(300, D).state_dict()
    assert {name: value.shape for name, value in state.items()} == {"weight": (300, D)}
    np.testing.assert_allclose(state["weight"].numpy().std(), 1.0, rtol=0.1)


@kinds
def test_errors(make):
    with pytest.raises(ValueError, match=r"\(L, N, D\).*embedding_dim = 6.*\(5, 2, 4\)"):
        make()(tn.ones(L, N, 4))
    with pytest.raises(ValueError, match=r"got shape \(6,\)"):
        make()(tn.ones(D))
    with pytest.raises(TypeError, match="floating-point"):
        make()(tn.ones(L, N, D).long())


def test_a_sequence_may_not_be_longer_than_the_table():
    with pytest.raises(ValueError, match="max_length = 8"):
        nn.LearnedPositions(8, D)(tn.ones(9, N, D))
    for make in (
        lambda: nn.SinusoidalPositions(0),
        lambda: nn.LearnedPositions(8, 0),
        lambda: nn.LearnedPositions(0, D),
    ):
        with pytest.raises(ValueError, match="at least 1"):
            make()
