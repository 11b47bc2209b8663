"""What the registry does not cover of losses: modules, edge cases, ignored targets, extremes, half types."""

import functools
import warnings

import numpy as np
import pytest

from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.gradient_check.check import gradcheck
from tinygrad_norm.nn import functional as F


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def classes(high, *shape, seed=2):
    return np.random.default_rng(seed).integers(0, high, shape)


def ours(function, x, *others, **options):
    x = Tensor(x, requires_grad=True)
    y = function(x, *(None if t is None else Tensor(t) for t in others), **options)
    return y.array, grad(y, x, np.ones(y.shape))[0].array


def theirs(torch, name, x, *others, **options):
    x = torch.tensor(x, requires_grad=True)
    y = getattr(torch.nn.functional, name)(
        x, *(None if t is None else torch.tensor(t) for t in others), **options
    )
    return y.detach().numpy(), torch.autograd.grad(y.sum(), x)[0].numpy()


def assert_same(a, b, rtol=1e-12, atol=1e-14):
    for mine, reference in zip(a, b, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=rtol, atol=atol)


# -- cross entropy and negative log-likelihood: targets are classes

BY_CLASS = pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])


@BY_CLASS
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(6, 4), (4,), (3, 4, 5), (2, 4, 3, 1), (3, 4, 1)], ids=str)
@pytest.mark.parametrize("ignore_index", [-100, 2])
def test_every_option_of_class_targets_as_pytorch(name, reduction, weighted, shape, ignore_index, torch):
    x, t = normal(*shape), classes(4, *(shape[:1] + shape[2:] if len(shape) > 1 else ()))
    t = np.where(t == 1, ignore_index, t) if t.ndim else t
    weight = np.array([0.5, 1.0, 2.0, 0.0]) if weighted else None
    options = {"reduction": reduction, "ignore_index": ignore_index}
    if weighted and t.size == 1:
        t = np.zeros_like(t)
    assert_same(ours(getattr(F, name), x, t, weight, **options), theirs(torch, name, x, t, weight, **options))


@pytest.mark.parametrize("smoothing", [0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 5)], ids=str)
def test_label_smoothing_as_pytorch(smoothing, weighted, reduction, shape, torch):
    x, t = normal(*shape), classes(4, *shape[:1], *shape[2:])
    t[0] = -100
    weight = np.array([0.5, 1.0, 2.0, 3.0]) if weighted else None
    options = {"reduction": reduction, "label_smoothing": smoothing}
    assert_same(
        ours(F.cross_entropy, x, t, weight, **options),
        theirs(torch, "cross_entropy", x, t, weight, **options),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("shape", [(6, 4), (4,), (3, 4, 5)], ids=str)
def test_probabilities_as_targets_get_a_gradient_too(smoothing, weighted, reduction, shape, torch):
    x, q = normal(*shape), normal(*shape, seed=1) ** 2
    weight = np.array([0.5, 1.0, 2.0, 3.0]) if weighted else None
    options = {"reduction": reduction, "label_smoothing": smoothing}
    a, b = (Tensor(v, requires_grad=True) for v in (x, q))
    c, d = (torch.tensor(v, requires_grad=True) for v in (x, q))
    y = F.cross_entropy(a, b, None if weight is None else Tensor(weight), **options)
    z = torch.nn.functional.cross_entropy(c, d, None if weight is None else torch.tensor(weight), **options)
    np.testing.assert_allclose(y.array, z.detach().numpy(), rtol=1e-12)
    dy = normal(*y.shape, seed=3)
    for mine, reference in zip(
        grad(y, [a, b], dy), torch.autograd.grad(z, [c, d], torch.tensor(dy)), strict=True
    ):
        np.testing.assert_allclose(mine.array, reference.numpy(), rtol=1e-11, atol=1e-14)


@BY_CLASS
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [0, 5], ids=["empty batch", "all ignored"])
def test_the_mean_of_nothing_is_0_with_gradient_0(name, n, weighted):
    weight = np.ones(4) if weighted else None
    y, dx = ours(getattr(F, name), normal(n, 4), np.full(n, -100), weight)
    assert y == 0
    assert dx.shape == (n, 4)
    assert not dx.any()


def test_smoothing_of_nothing_is_0_too():
    for n, t in ((0, -100), (3, -100)):
        y, dx = ours(F.cross_entropy, normal(n, 4), np.full(n, t), label_smoothing=0.1)
        assert y == 0
        assert not dx.any()


def test_no_weight_on_the_classes_that_occur_gives_0():
    y, dx = ours(F.cross_entropy, normal(3, 2), np.zeros(3, int), np.array([0.0, 1.0]))
    assert y == 0
    assert not dx.any()


@BY_CLASS
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.uint64])
def test_targets_of_any_integer_type(name, dtype):
    x, t = normal(5, 4), classes(4, 5)
    assert_same(ours(getattr(F, name), x, t.astype(dtype)), ours(getattr(F, name), x, t))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("probabilities", [False, True])
def test_weights_and_targets_do_not_promote_the_loss(smoothing, probabilities):
    x = normal(5, 4).astype(np.float32)
    t = abs(normal(5, 4, seed=1)) if probabilities else classes(4, 5)
    y, dx = ours(F.cross_entropy, x, t, np.arange(1.0, 5.0), label_smoothing=smoothing)
    assert y.dtype == dx.dtype == np.float32


@BY_CLASS
def test_any_memory_layout(name, torch):
    x, t = normal(3, 5, 4).transpose(2, 1, 0), classes(5, 8, 3)[::2]
    for case in ((x, t), (normal(4, 6).T, classes(4, 6))):
        contiguous = [np.ascontiguousarray(part) for part in case]
        assert_same(ours(getattr(F, name), *case), theirs(torch, name, *contiguous))


def test_a_target_that_is_changed_later_does_not_change_the_gradient():
    x, t = Tensor(normal(4, 3), requires_grad=True), Tensor(classes(3, 4))
    expected = ours(F.cross_entropy, x.array, t.array.copy())[1]
    y = F.cross_entropy(x, t)
    t.array[...] = 0
    np.testing.assert_array_equal(grad(y, x)[0].array, expected)


@pytest.mark.parametrize("scale", [1e3, 1e30, 1e300], ids="{:g}".format)
def test_logits_of_any_size(scale, torch):
    x, t = normal(5, 4) * scale, classes(4, 5)
    assert_same(ours(F.cross_entropy, x, t), theirs(torch, "cross_entropy", x, t))


def test_a_class_masked_with_minus_infinity_costs_nothing(torch):
    x, t = normal(4, 3), np.array([0, 1, 1, -100])
    x[:, 2] = -np.inf
    assert_same(ours(F.cross_entropy, x, t), theirs(torch, "cross_entropy", x, t))
    q = np.array([[0.5, 0.5, 0.0]] * 4)
    y, dx = ours(F.cross_entropy, x, q)
    assert np.isfinite(y)
    np.testing.assert_allclose(dx[:, :2], theirs(torch, "cross_entropy", x[:, :2], q[:, :2])[1], rtol=1e-12)


def test_an_ignored_sample_may_be_anything():
    x, t = normal(3, 4), np.array([1, -100, 2])
    x[1] = -np.inf, 0, 0, 0
    y, dx = ours(F.cross_entropy, x, t)
    expected = ours(F.cross_entropy, x[[0, 2]], t[[0, 2]])
    assert_same((y, dx[[0, 2]]), expected)
    assert not dx[1].any()


def test_a_sure_and_right_prediction_has_a_small_positive_loss():
    x = np.array([[12.0, 0.0, 0.0]], np.float32)
    y, _ = ours(F.cross_entropy, x, np.array([0]))
    np.testing.assert_allclose(y, 2 * np.exp(-12), rtol=2e-2)


def test_cross_entropy_is_nll_of_log_softmax():
    x, t, w = normal(6, 4, 2), classes(4, 6, 2), np.array([1.0, 2.0, 3.0, 4.0])
    assert_same(
        ours(F.cross_entropy, x, t, w), ours(lambda a, *b: F.nll_loss(F.log_softmax(a, 1), *b), x, t, w)
    )


@BY_CLASS
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_half_precision_is_summed_in_float32(name, reduction):
    x, t = (normal(4096, 3) * 3 - 4).astype(np.float16), classes(3, 4096)
    y, dx = ours(getattr(F, name), x, t, reduction=reduction)
    z, dz = ours(getattr(F, name), x.astype(np.float64), t, reduction=reduction)
    assert y.dtype == dx.dtype == np.float16
    np.testing.assert_allclose(y, z, rtol=2e-3, atol=1e-6)
    np.testing.assert_allclose(dx, dz, rtol=2e-3, atol=1e-3 / 4096 if reduction == "mean" else 1e-3)


# -- pairs of tensors

PAIRS = {
    "mse_loss": {},
    "l1_loss": {},
    "smooth_l1_loss": {"beta": 0.5},
    "huber_loss": {"delta": 0.7},
    "binary_cross_entropy": {},
    "binary_cross_entropy_with_logits": {},
    "kl_div": {},
}
pairs = pytest.mark.parametrize(("name", "options"), PAIRS.items(), ids=PAIRS.keys())
PROBABILITIES = ("binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div")


def pair(name, *shape):
    x, t = normal(*shape), normal(*shape, seed=1)
    logistic = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    return logistic(x) if name == "binary_cross_entropy" else x, logistic(t) if name in PROBABILITIES else t


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_weights_of_single_losses_as_pytorch(name, reduction, torch):
    x, t, weight = normal(3, 4), normal(3, 4, seed=1), np.random.default_rng(2).uniform(0, 2, (3, 4))
    y = ours(getattr(F, name), x, t, reduction=reduction, weight=Tensor(weight))
    assert_same(y, theirs(torch, name, x, t, reduction=reduction, weight=torch.tensor(weight)))


def test_no_weight_at_all_gives_0():
    for value in ours(F.mse_loss, normal(3), normal(3), weight=Tensor(np.zeros(3))):
        assert not value.any()


@pairs
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_every_reduction_of_pairs_as_pytorch(name, options, reduction, torch):
    x, t = pair(name, 3, 4)
    a, b = (Tensor(v, requires_grad=True) for v in (x, t))
    c, d = (torch.tensor(v, requires_grad=True) for v in (x, t))
    y = getattr(F, name)(a, b, reduction=reduction, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns about the mean of kl_div
        z = getattr(torch.nn.functional, name)(c, d, reduction=reduction, **options)
    np.testing.assert_allclose(y.array, z.detach().numpy(), rtol=1e-12)
    dy = normal(*y.shape, seed=3)
    for mine, reference in zip(
        grad(y, [a, b], dy), torch.autograd.grad(z, [c, d], torch.tensor(dy)), strict=True
    ):
        np.testing.assert_allclose(mine.array, reference.numpy(), rtol=1e-11, atol=1e-14)


@pairs
def test_the_mean_over_no_entries_is_0(name, options):
    y, dx = ours(getattr(F, name), np.zeros((0, 3)), np.zeros((0, 3)), **options)
    assert y == 0
    assert dx.shape == (0, 3)


@pairs
def test_half_types_of_pairs(name, options):
    x, t = (v.astype(np.float16) for v in pair(name, 3, 4))
    y, dx = ours(getattr(F, name), x, t, **options)
    z, dz = ours(getattr(F, name), x.astype(np.float64), t.astype(np.float64), **options)
    assert y.dtype == dx.dtype == np.float16
    np.testing.assert_allclose(y, z, rtol=2e-3)
    np.testing.assert_allclose(dx, dz, rtol=2e-3, atol=1e-4)


@pairs
def test_a_gradient_is_computed_only_where_one_is_wanted(name, options):
    x, t = pair(name, 3, 4)
    target = Tensor(t, requires_grad=True)
    y = getattr(F, name)(Tensor(x), target, **options)
    both = [Tensor(v, requires_grad=True) for v in (x, t)]
    expected = grad(getattr(F, name)(*both, **options), both)[1]
    np.testing.assert_array_equal(grad(y, target)[0].array, expected.array)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
def test_errors_of_any_size(name, torch):
    x = np.array([1e-300, 1e-8, 0.3, 1.0, 3.0, 1e8, 1e150, -1e-8, -0.3, -1.0, -1e150])
    zeros = np.zeros_like(x)
    assert_same(
        ours(getattr(F, name), x, zeros, reduction="none"), theirs(torch, name, x, zeros, reduction="none")
    )
    y, dx = ours(getattr(F, name), np.array([1e308]), np.array([-1e308]), reduction="sum")
    assert y > 1e308
    assert not np.isnan(dx).any()


def test_huber_of_a_huge_error_does_not_overflow():
    y, dx = ours(F.huber_loss, np.array([1e300]), np.zeros(1), delta=2.0)
    np.testing.assert_allclose(y, 2e300)
    assert dx.tolist() == [2.0]


def test_a_column_against_a_row_raises():
    """PyTorch broadcasts: it compares every prediction with every target, and learns the mean."""
    with pytest.raises(ValueError, match="one shape"):
        F.mse_loss(Tensor(np.ones((4, 1))), Tensor(np.ones(4)))


def test_binary_cross_entropy_at_0_and_1_as_pytorch(torch):
    x, t = np.array([0.0, 0.0, 1.0, 1.0, 0.3]), np.array([0.0, 1.0, 0.0, 1.0, 0.5])
    assert_same(
        ours(F.binary_cross_entropy, x, t, reduction="none"),
        theirs(torch, "binary_cross_entropy", x, t, reduction="none"),
        rtol=1e-8,  # its bound of 1e-12 is a float32
    )


def test_binary_cross_entropy_raises_for_nan():
    with pytest.raises(ValueError, match="between 0 and 1"):
        F.binary_cross_entropy(Tensor(np.array([np.nan])), Tensor(np.array([0.0])))


def test_logits_of_any_size_have_an_exact_binary_cross_entropy(torch):
    x = np.array([1e-9, 0.5, 20.0, 40.0, 800.0, 1e300])
    x = np.concatenate([x, -x])
    for t in (np.zeros_like(x), np.ones_like(x), np.full_like(x, 0.25)):
        y, dx = ours(F.binary_cross_entropy_with_logits, x, t, reduction="none")
        z, dz = theirs(torch, "binary_cross_entropy_with_logits", x, t, reduction="none")
        np.testing.assert_allclose(y, z, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(dx, dz, rtol=1e-12, atol=1e-14)
    y, _ = ours(F.binary_cross_entropy_with_logits, np.array([-40.0]), np.zeros(1))
    np.testing.assert_allclose(y, np.exp(-40), rtol=1e-12)


def test_binary_cross_entropy_of_logits_is_that_of_the_sigmoid():
    x, t = pair("binary_cross_entropy_with_logits", 4, 3)
    assert_same(
        ours(F.binary_cross_entropy_with_logits, x, t),
        ours(lambda a, b: F.binary_cross_entropy(F.sigmoid(a), b), x, t),
    )


def test_kl_div_of_equal_distributions_is_0_and_of_others_positive():
    p = F.softmax(Tensor(normal(4, 6)), 1)
    q = F.softmax(Tensor(normal(4, 6, seed=1)), 1)
    assert abs(F.kl_div(p.log(), p, reduction="batchmean").item()) < 1e-15
    assert F.kl_div(q.log(), p, reduction="batchmean").item() > 0.1
    same = F.kl_div(q.log(), p.log(), reduction="batchmean", log_target=True)
    np.testing.assert_allclose(same.item(), F.kl_div(q.log(), p, reduction="batchmean").item(), rtol=1e-12)


def test_kl_div_where_the_target_is_0():
    x = np.array([[-1.0, -np.inf, -0.5]])
    y, dx = ours(F.kl_div, x, np.array([[0.5, 0.0, 0.5]]), reduction="sum")
    assert np.isfinite(y)
    assert dx.tolist() == [[-0.5, 0.0, -0.5]]


# -- cosine similarity


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e19, 1e160], ids="{:g}".format)
def test_cosine_similarity_of_any_length(scale):
    a, b = normal(4, 5), normal(4, 5, seed=1)
    x = Tensor(a * scale, requires_grad=True)
    y = F.cosine_similarity(x, Tensor(b))
    np.testing.assert_allclose(y.array, F.cosine_similarity(Tensor(a), Tensor(b)).array, rtol=1e-12)
    dx = grad(y, x, np.ones(4))[0].array
    assert np.isfinite(dx).all()
    np.testing.assert_allclose((dx * a).sum(1), 0, atol=1e-12 / scale)


def test_cosine_similarity_of_zeros_is_0_with_a_finite_gradient(torch):
    a, b = np.zeros((2, 3)), normal(2, 3)
    assert_same(ours(F.cosine_similarity, a, b), theirs(torch, "cosine_similarity", a, b))


def test_cosine_similarity_below_eps_has_the_gradient_of_its_value():
    """PyTorch keeps the gradient of the length there, although the value no longer depends on the length."""
    x, y = Tensor(normal(3, 4), requires_grad=True), Tensor(normal(3, 4, seed=1), requires_grad=True)
    assert gradcheck(lambda a, b: F.cosine_similarity(a, b, eps=10.0), (x, y))


# -- layers

LAYERS = {
    "CrossEntropyLoss": {"ignore_index": 1, "label_smoothing": 0.1, "reduction": "sum"},
    "NLLLoss": {"ignore_index": 1, "reduction": "none"},
    "MSELoss": {"reduction": "sum"},
    "L1Loss": {"reduction": "none"},
    "SmoothL1Loss": {"beta": 0.3},
    "HuberLoss": {"delta": 0.3},
    "BCELoss": {"reduction": "sum"},
    "BCEWithLogitsLoss": {"reduction": "none"},
    "KLDivLoss": {"reduction": "batchmean", "log_target": True},
    "CosineSimilarity": {"dim": 0, "eps": 1e-6},
}


@pytest.mark.parametrize(("name", "options"), LAYERS.items(), ids=LAYERS.keys())
def test_layers_compute_what_pytorchs_do(name, options, torch):
    x, t = pair("binary_cross_entropy" if name == "BCELoss" else "mse_loss", 4, 3)
    t = classes(3, 4) if name in ("CrossEntropyLoss", "NLLLoss") else abs(t) % 1
    y = getattr(nn, name)(**options)(Tensor(x), Tensor(t))
    z = getattr(torch.nn, name)(**options)(torch.tensor(x), torch.tensor(t))
    np.testing.assert_allclose(y.array, z.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "buffers"),
    [
        ("CrossEntropyLoss", ("weight",)),
        ("NLLLoss", ("weight",)),
        ("BCELoss", ("weight",)),
        ("BCEWithLogitsLoss", ("weight", "pos_weight")),
    ],
)
def test_weights_are_buffers_under_pytorchs_names(name, buffers, torch):
    w = np.array([1.0, 2.0, 3.0])
    layer = getattr(nn, name)(**{b: Tensor(w) for b in buffers})
    reference = getattr(torch.nn, name)(**{b: torch.tensor(w) for b in buffers})
    assert list(layer.state_dict()) == list(reference.state_dict()) == list(buffers)
    x, t = pair("binary_cross_entropy", 4, 3)
    t = t if name.startswith("BCE") else classes(3, 4)
    expected = reference(torch.tensor(x), torch.tensor(t)).numpy()
    np.testing.assert_allclose(layer(Tensor(x), Tensor(t)).array, expected, rtol=1e-12)


def test_cross_entropy_trains_like_pytorchs(torch):
    """20 steps of gradient descent on logits, all options on: the same numbers."""
    x, t, w = normal(8, 5), classes(5, 8), np.array([1.0, 0.5, 2.0, 1.0, 0.1])
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    mine = functools.partial(F.cross_entropy, label_smoothing=0.1)
    reference = functools.partial(torch.nn.functional.cross_entropy, label_smoothing=0.1)
    for _ in range(20):
        dx = grad(mine(a, Tensor(t), Tensor(w)), a)[0]
        a.data -= 0.5 * dx.array
        db = torch.autograd.grad(reference(b, torch.tensor(t), torch.tensor(w)), b)[0]
        b.data -= 0.5 * db
    np.testing.assert_allclose(a.array, b.detach().numpy(), rtol=1e-12)
