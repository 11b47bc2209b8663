"""GraphNorm and PairNorm: identities, graphs of any kind, and the mistakes that are easy to make."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F
from tinygrad_norm.normalization.core.segments import index_of, segment_rows, segment_sums
from tinygrad_norm.normalization.graph import graphnorm

RNG = np.random.default_rng(0)
X, DY = RNG.normal(1.0, 2.0, (9, 4)), RNG.normal(size=(9, 4))
BATCH = np.array([1, 0, 1, 1, 0, 3, 0, 1, 0])  # not sorted; graph 2 is empty, graph 3 has one node
W, B, A = RNG.normal(size=4), RNG.normal(size=4), RNG.normal(size=4)


def results(function, *arrays, dy=DY, **options):
    tensors = [None if a is None else tn.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    y = function(*tensors, **options)
    wanted = [t for t in tensors if t is not None and t.requires_grad]
    return [a.numpy() for a in (y, *grad(y, wanted, tn.tensor(dy)))]


def of_nodes(function, *vectors):
    """The same function of the nodes of one graph as an image with one channel per feature, (1, D, n, 1)."""
    x = tn.tensor(X.T[None, :, :, None], requires_grad=True)
    vectors = [tn.tensor(v, requires_grad=True) for v in vectors]
    y = function(x, *vectors)
    found = [y, *grad(y, [x, *vectors], tn.tensor(DY.T[None, :, :, None]))]
    return [a.numpy()[0, :, :, 0].T if a.ndim == 4 else a.numpy() for a in found]


def test_with_all_of_the_mean_it_is_instance_norm_over_the_nodes():
    found = results(lambda x, w, b: F.graph_norm(x, None, w, b), X, W, B)
    expected = of_nodes(lambda x, w, b: F.instance_norm(x, weight=w, bias=b), W, B)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, 1e-10, 1e-12)


def test_without_the_mean_it_is_rms_norm_over_the_nodes():
    y, dx, da = results(lambda x, a: F.graph_norm(x, mean_scale=a), X, np.zeros(4))
    x = tn.tensor(np.ascontiguousarray(X.T), requires_grad=True)
    expected = F.rms_norm(x, (9,), eps=1e-5)
    np.testing.assert_allclose(y, expected.numpy().T, 1e-12)
    (dx_rows,) = grad(expected, x, tn.tensor(np.ascontiguousarray(DY.T)))
    np.testing.assert_allclose(dx, dx_rows.numpy().T, 1e-10, 1e-12)
    assert abs(da).min() > 1e-3  # it would learn to subtract


@pytest.mark.parametrize("function", [F.graph_norm, F.pair_norm], ids=["graph", "pair"])
def test_a_batch_is_its_graphs_one_by_one(function):
    y, dx = results(lambda x, batch: function(x, batch, batch_size=5), X, BATCH)
    for graph in (0, 1, 3):
        own = graph == BATCH
        expected = results(function, X[own], dy=DY[own])
        np.testing.assert_allclose(y[own], expected[0], 1e-12, 1e-14)
        np.testing.assert_allclose(dx[own], expected[1], 1e-10, 1e-12)
    np.testing.assert_array_equal(y[5], np.zeros(4))  # a node alone is its mean
    np.testing.assert_array_equal(dx[5], np.zeros(4))


@pytest.mark.parametrize("individually", [False, True])
def test_pair_norm_keeps_the_distances(individually):
    y = F.pair_norm(tn.tensor(X), scale=3.0, scale_individually=individually, eps=0.0).numpy()
    np.testing.assert_allclose((y**2).sum(1).mean(), 9)
    if individually:
        np.testing.assert_allclose((y**2).sum(1), 9)
    else:
        distances = ((y[:, None] - y) ** 2).sum(2).mean()
        np.testing.assert_allclose(distances, 2 * 9)
        np.testing.assert_allclose(y.mean(0), 0, atol=1e-14)


def test_nodes_in_the_middle_stay_there():
    for eps in (0.0, 1e-5):
        y, dx = results(F.pair_norm, np.ones((3, 2)), dy=DY[:3, :2], scale_individually=True, eps=eps)
        np.testing.assert_array_equal(y, np.zeros((3, 2)))
        assert np.isfinite(dx).all()


def test_the_size_of_a_batch_may_be_left_to_the_largest_graph():
    for function in (F.graph_norm, F.pair_norm):
        known = function(tn.tensor(X), tn.tensor(BATCH), batch_size=4).numpy()
        np.testing.assert_array_equal(function(tn.tensor(X), tn.tensor(BATCH)).numpy(), known)
        assert function(tn.zeros(0, 2), tn.zeros(0, dtype=int)).shape == (0, 2)


def test_layers_have_the_names_of_torch_geometric():
    layer = nn.GraphNorm(4)
    parameters = {name: p.numpy().tolist() for name, p in layer.named_parameters()}
    assert parameters == {"weight": [1.0] * 4, "bias": [0.0] * 4, "mean_scale": [1.0] * 4}
    x, batch = tn.tensor(X.astype("float32")), tn.tensor(BATCH)
    np.testing.assert_array_equal(layer(x, batch).numpy(), F.graph_norm(x, batch).numpy())
    pair = nn.PairNorm(2.0, True)
    expected = F.pair_norm(x, batch, None, 2.0, True).numpy()
    np.testing.assert_array_equal(pair(x, batch, batch_size=4).numpy(), expected)
    assert repr(pair) == "PairNorm(scale=2.0, scale_individually=True, eps=1e-05)"


@pytest.mark.parametrize("scale", [2.0**-400, 2.0**400], ids=["small", "large"])
def test_without_eps_scaled_nodes_have_the_same_result(scale):
    """r³ is beyond the range of float64."""
    batch = BATCH % 2  # no graph of one node
    found, expected = (
        results(lambda x, b, w, a: F.graph_norm(x, b, w, None, a, eps=0.0), x, batch, W, A)
        for x in (X * scale, X)
    )
    found[1] *= scale
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, 1e-12)


def test_views_and_half_types():
    wide = RNG.normal(size=(9, 8))
    y = F.graph_norm(tn.tensor(wide)[:, ::2], tn.tensor(BATCH.astype("int32")))
    copied = F.graph_norm(tn.tensor(wide[:, ::2].copy()), tn.tensor(BATCH))
    np.testing.assert_array_equal(y.numpy(), copied.numpy())
    half = F.graph_norm(tn.tensor((300 * X).astype("float16")), tn.tensor(BATCH))
    assert half.dtype == "float16"
    np.testing.assert_allclose(half.numpy(), F.graph_norm(tn.tensor(X), tn.tensor(BATCH)).numpy(), 1e-2, 5e-3)


def only_of_mean_g(dy, x, weight, mean_scale, mean, rstd, index):
    """dx = r·(g - α·mean(g) - x̂·mean(g·x̂)): InstanceNorm's core with α on one of its terms."""
    shift, n = mean_scale * mean, 9
    sum_dy, sum_dy_o = segment_sums(dy, x, shift, index)
    of_o = weight * rstd**3 * sum_dy_o / n
    return segment_rows(x, shift, -of_o, mean_scale * sum_dy / n, index, dy, weight * rstd), None, None, None


def test_alpha_on_the_mean_of_g_only_is_wrong(monkeypatch):
    _, right, *_ = results(lambda x, w, a: F.graph_norm(x, None, w, None, a), X, W, A)
    _, composed, *_ = results(lambda x, w, a: graphnorm.graph_norm_composed(x, None, w, None, a), X, W, A)
    x = X.astype(float)
    index = index_of(None, x)
    _, mean, rstd = graphnorm.graph_norm_forward(x, W, None, A, index, 1, 1e-5)
    wrong = only_of_mean_g(DY, x, W, A, mean, rstd, index)[0]
    error = [np.linalg.norm(dx - composed) / np.linalg.norm(composed) for dx in (right, wrong)]
    assert error[0] < 1e-9
    assert error[1] > 0.01
    same = only_of_mean_g(DY, x, W, np.ones(4), X.mean(0)[None], (X.var(0) + 1e-5)[None] ** -0.5, index)[0]
    np.testing.assert_allclose(same, results(F.graph_norm, X, None, W)[1], 1e-9)  # for α = 1 nothing shows


def test_another_number_of_features_names_the_layer():
    layer = nn.GraphNorm(4)
    with pytest.raises(ValueError, match=r"GraphNorm was made for 4 channels, but x of shape \(3, 5\) has 5"):
        layer(tn.ones(3, 5))
    with pytest.raises(ValueError, match=r"takes nodes \(N, D\), got shape \(3, 4, 2\)"):
        layer(tn.ones(3, 4, 2))
    with pytest.raises(IndexError, match="takes graphs from 0 to 1, got 2"):
        layer(tn.ones(3, 4), tn.tensor([0, 2, 1]), 2)
