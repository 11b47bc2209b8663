"""ScaleNorm and FixNorm: what the registry cannot say of them."""

import shutil
from contextlib import contextmanager

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.autograd import grad
from tinygrad_norm.backends import to_numpy
from tinygrad_norm.backends.cpu.loop_mode import use_loops
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.utils.parametrize import register_parametrization, remove_parametrizations

RNG = np.random.default_rng(0)
X, DY = RNG.normal(1.0, 3.0, (6, 5)), RNG.normal(size=(6, 5))


def results(x, dy, g=1.5, eps=1e-5):
    x, g = tn.tensor(x, requires_grad=True), tn.tensor(np.full(1, g, x.dtype), requires_grad=True)
    y = F.scale_norm(x, g, eps)
    return [to_numpy(a.array) for a in (y, *grad(y, [x, g], tn.tensor(dy.astype(x.dtype))))]


RUNGS = ["off", "python", "emulator"]


@contextmanager
def rung(name):
    """The NumPy body, the loop, or the kernels on the emulator."""
    if name == "emulator" and shutil.which("g++") is None:
        pytest.skip("the emulator needs g++: apt install g++")
    with tn.use_backend("emulator") if name == "emulator" else use_loops(name):
        yield


def test_every_result_has_the_length_g_which_starts_at_the_root_of_dim():
    layer = nn.ScaleNorm(5)
    assert [(name, p.shape) for name, p in layer.named_parameters()] == [("g", (1,))]
    y = layer(tn.tensor(X.astype("float32"))).numpy()
    np.testing.assert_allclose(np.linalg.norm(y, axis=-1), 5**0.5, 1e-6)
    np.testing.assert_allclose(y, F.rms_norm(tn.tensor(X), (5,), eps=0.0).numpy(), 1e-5)


def test_the_gradient_lies_across_x():
    y, dx, dg = results(X, DY)
    np.testing.assert_allclose((dx * X).sum(-1), 0, atol=1e-12)
    np.testing.assert_allclose(dg, [(DY * y / 1.5).sum()], 1e-12)


@pytest.mark.parametrize(("make", "further"), [(optim.SGD, 64), (optim.Adam, 8)])
def test_a_factor_of_root_d_before_g_learns_faster(make, further):
    """y = √D·g'·u with g' = 1 begins with the same y; then its length moves D (SGD) or √D times as far."""
    x, dy = (tn.tensor(RNG.normal(size=(3, 64)).astype("float32")) for _ in range(2))
    moved = []
    for start, factor in ((8.0, 1.0), (1.0, 8.0)):
        g = nn.Parameter(np.full(1, start, np.float32))
        optimizer = make([g], lr=1e-3)
        y = F.scale_norm(x, g * factor)
        np.testing.assert_allclose(np.linalg.norm(y.numpy(), axis=-1), 8, 1e-5)
        y.backward(dy)
        optimizer.step()
        moved.append(factor * (g.item() - start))
    assert moved[1] / moved[0] == pytest.approx(further, rel=1e-2)


@pytest.mark.parametrize("name", RUNGS)
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-6, 1e4, 1e30])
@pytest.mark.parametrize("eps", [0.0, 1e-5])
def test_extremes_are_as_in_float64(scale, eps, name):
    """Also with rows of ordinary size beside them, and a row of zeros."""
    x = X.astype("float32")
    x[:3] *= np.float32(scale)
    x[4] = 0
    expected = results(x.astype("float64"), DY, eps=eps)
    with rung(name):
        found = results(x, DY, eps=eps)
    for a, b in zip(found, expected, strict=True):
        assert np.isfinite(a).all()
        assert (abs(a - b) <= 1e-5 * abs(b).max(-1, keepdims=True)).all()
    assert not found[0][4].any()


@pytest.mark.parametrize("name", RUNGS)
def test_a_nan_stays_in_its_vector(name):
    x = X.copy()
    x[1, 2] = np.nan
    with rung(name):
        y, dx, dg = results(x, DY)
    for a in (y, dx):
        np.testing.assert_array_equal(np.isnan(a), np.arange(6)[:, None] == np.full(5, 1))
    assert np.isnan(dg).all()


def test_with_g_at_zero_it_can_still_learn():
    y, dx, dg = results(X, DY, g=0.0)
    assert not y.any()
    assert not dx.any()
    np.testing.assert_allclose(dg, [(DY * X / np.linalg.norm(X, axis=-1, keepdims=True)).sum()], 1e-12)


def test_fix_norm_gives_all_words_one_length_while_they_learn():
    tn.manual_seed(0)
    embedding = nn.Embedding(7, 4, padding_idx=0)
    register_parametrization(embedding, "weight", nn.FixNorm(4))
    optimizer = optim.Adam(embedding.parameters(), 0.1)
    for _ in range(5):
        optimizer.zero_grad()
        F.mse_loss(embedding(tn.tensor([[0, 1, 2], [3, 4, 1]])), tn.ones(2, 3, 4)).backward()
        optimizer.step()
    lengths = np.linalg.norm(embedding.weight.numpy(), axis=-1)
    g = embedding.parametrizations["weight"][0].g.item()
    np.testing.assert_allclose(lengths, [0] + [g] * 6, 1e-6)
    assert g != 2
    assert sorted(embedding.state_dict()) == [
        "parametrizations.weight.0.g",
        "parametrizations.weight.original",
    ]
    remove_parametrizations(embedding, "weight")
    np.testing.assert_allclose(np.linalg.norm(embedding.weight.numpy(), axis=-1), lengths, 1e-6)


def test_fix_norm_leaves_only_the_angle_to_the_logits():
    tn.manual_seed(0)
    output = nn.Linear(4, 7, bias=False)
    register_parametrization(output, "weight", nn.FixNorm(4))
    x = RNG.normal(size=(3, 4)).astype("float32")
    before = output(tn.tensor(x)).numpy()
    with tn.no_grad():
        output.parametrizations["weight"].original.mul_(tn.tensor(np.arange(1, 8, dtype="float32")[:, None]))
    np.testing.assert_allclose(output(tn.tensor(x)).numpy(), before, 1e-5)
