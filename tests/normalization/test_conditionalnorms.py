"""Conditional batch and instance normalization, FiLM and SPADE: an affine for each class, sample or pixel."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.autograd.function import Function
from tinygrad_norm.gradient_check import gradcheck
from tinygrad_norm.nn import functional as F

LABELS = np.array([2, 0, 2, 2])
RNG = np.random.default_rng(0)
X, DY = RNG.normal(1.0, 2.0, (2, 4, 3, 2, 3))
W, B = RNG.normal(size=(2, 5, 3))


def drawn():
    return [tn.tensor(a, requires_grad=True) for a in (X, W, B)]


def batch(x, w, b, labels=LABELS):
    return F.conditional_batch_norm(x, tn.tensor(labels), None, None, w, b, training=True)


def instance(x, w, b, labels=LABELS):
    return F.conditional_instance_norm(x, tn.tensor(labels), w, b)


def by_hand(x, axes, labels=LABELS):
    x_hat = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    return x_hat, W[labels][:, :, None, None] * x_hat + B[labels][:, :, None, None]


@pytest.mark.parametrize(
    ("norm", "axes"), [(batch, (0, 2, 3)), (instance, (2, 3))], ids=["batch", "instance"]
)
def test_each_sample_has_the_affine_of_its_class_and_tables_add_up_their_samples(norm, axes):
    x, w, b = drawn()
    y = norm(x, w, b)
    x_hat, expected = by_hand(X, axes)
    np.testing.assert_allclose(y.numpy(), expected, 1e-10, 1e-12)
    _, dw, db = grad(y, [x, w, b], tn.tensor(DY))
    for k in range(5):
        of_class = k == LABELS
        np.testing.assert_allclose(dw.numpy()[k], (DY * x_hat)[of_class].sum((0, 2, 3)), 1e-9, 1e-12)
        np.testing.assert_allclose(db.numpy()[k], DY[of_class].sum((0, 2, 3)), 1e-9, 1e-12)
    assert not dw.numpy()[[1, 3, 4]].any()


def test_one_class_is_the_normalization_itself():
    x, w, b = drawn()
    same = np.zeros(4, int)
    np.testing.assert_allclose(
        batch(x, w, b, same).numpy(), F.batch_norm(x, None, None, w[0], b[0], True).numpy(), 1e-12, 1e-13
    )
    np.testing.assert_allclose(
        instance(x, w, b, same).numpy(), F.instance_norm(x, weight=w[0], bias=b[0]).numpy(), 1e-12, 1e-13
    )


# -- mistakes, planted and found


def conditional(backward):
    """Conditional batch normalization with another backward, which gets dy, x̂, rstd and the labels."""

    class Planted(Function):
        def forward(self, x, w, b):
            x_hat, _ = by_hand(x, (0, 2, 3))
            self.saved = x_hat, (x.var((0, 2, 3), keepdims=True) + 1e-5) ** -0.5, w
            return w[LABELS][:, :, None, None] * x_hat + b[LABELS][:, :, None, None]

        def backward(self, dy):
            return backward(dy, *self.saved)

    return Planted


def right(dy, x_hat, r, w):
    g = w[LABELS][:, :, None, None] * dy
    means = (z.mean((0, 2, 3), keepdims=True) for z in (g, g * x_hat))
    dw, db = np.zeros_like(w), np.zeros_like(w)
    np.add.at(dw, LABELS, (dy * x_hat).sum((2, 3)))
    np.add.at(db, LABELS, dy.sum((2, 3)))
    return r * (g - next(means) - x_hat * next(means)), dw, db


def weight_out_of_the_sums(dy, x_hat, r, w):
    mean_dy, mean_dy_x_hat = (z.mean((0, 2, 3), keepdims=True) for z in (dy, dy * x_hat))
    dx = r * w[LABELS][:, :, None, None] * (dy - mean_dy - x_hat * mean_dy_x_hat)
    return dx, *right(dy, x_hat, r, w)[1:]


def repeated_labels_overwrite(dy, x_hat, r, w):
    dw = np.zeros_like(w)
    dw[LABELS] += (dy * x_hat).sum((2, 3))
    return right(dy, x_hat, r, w)[0], dw, right(dy, x_hat, r, w)[2]


def test_the_formulas_of_the_docstring_are_right_and_those_of_the_op():
    assert gradcheck(conditional(right).apply, drawn())
    x, w, b = drawn()
    for ours, derived in zip(
        grad(batch(x, w, b), [x, w, b], tn.tensor(DY)),
        grad(conditional(right).apply(x, w, b), [x, w, b], tn.tensor(DY)),
        strict=True,
    ):
        np.testing.assert_allclose(ours.numpy(), derived.numpy(), 1e-9, 1e-12)


@pytest.mark.parametrize(("mistake", "which"), [(weight_out_of_the_sums, 0), (repeated_labels_overwrite, 1)])
def test_a_planted_mistake_is_found(mistake, which):
    assert not gradcheck(conditional(mistake).apply, drawn(), raise_exception=False)
    inputs = drawn()
    wrong, correct = (
        grad(conditional(f).apply(*inputs), inputs, tn.tensor(DY))[which].numpy() for f in (mistake, right)
    )
    assert abs(wrong - correct).max() > 0.1 * abs(correct).max()


# -- the layers


def test_the_layer_keeps_the_statistics_of_batch_norm_and_evaluates_with_them():
    layer, plain = nn.ConditionalBatchNorm2d(3, 5), nn.BatchNorm2d(3, affine=False)
    assert {name: p.shape for name, p in layer.named_parameters()} == {"weight": (5, 3), "bias": (5, 3)}
    with tn.no_grad():
        layer.weight.copy_(tn.tensor(W))
        layer.bias.copy_(tn.tensor(B))
    x, labels = tn.tensor(X.astype("float32")), tn.tensor(LABELS)
    for mode in (True, False):
        layer.train(mode)
        plain.train(mode)
        y, x_hat = layer(x, labels).numpy(), plain(x).numpy()
        np.testing.assert_allclose(y, _affine(x_hat), 1e-5, 1e-5)
    for name, value in plain.named_buffers():
        np.testing.assert_array_equal(dict(layer.named_buffers())[name].numpy(), value.numpy())
    assert "3, 5, eps=1e-05, momentum=0.1" in repr(layer)


def _affine(x_hat):
    return W[LABELS][:, :, None, None] * x_hat + B[LABELS][:, :, None, None]


def test_the_instance_layer_and_its_errors():
    layer = nn.ConditionalInstanceNorm2d(3, 5)
    x = tn.tensor(X.astype("float32"))
    np.testing.assert_allclose(
        layer(x, tn.tensor(LABELS)).numpy(), nn.InstanceNorm2d(3)(x).numpy(), 1e-6, 1e-6
    )
    with pytest.raises(IndexError, match="0 to 4"):
        layer(x, tn.tensor([0, 1, 2, 5]))
    with pytest.raises(TypeError, match="integers"):
        layer(x, tn.tensor([0.0, 1.0, 2.0, 3.0]))


def test_half_inputs_take_tables_in_float32():
    x = tn.tensor(X.astype("float16"))
    y = F.conditional_instance_norm(x, tn.tensor(LABELS), *(tn.tensor(a.astype("float32")) for a in (W, B)))
    assert y.dtype == np.float16
    np.testing.assert_allclose(y.numpy(), by_hand(X, (2, 3))[1], 2e-2, 2e-2)


# -- FiLM and SPADE


def test_film_is_the_identity_without_a_condition_and_an_affine_with_one():
    film, c = nn.FiLM(2, 3), tn.randn(4, 2)
    x = tn.tensor(X.astype("float32"))
    scale, shift = (a.numpy()[:, :, None, None] for a in film.linear(c).chunk(2, 1))
    np.testing.assert_allclose(film(x, c).numpy(), (1 + scale) * x.numpy() + shift, 1e-6, 1e-6)
    with tn.no_grad():
        film.linear.weight.zero_()
        film.linear.bias.zero_()
    np.testing.assert_array_equal(film(x, c).numpy(), x.numpy())
    with pytest.raises(ValueError, match=r"one condition per sample, of shape \(4, 2\)"):
        film(x, tn.randn(4, 3))


def test_instance_norm_of_a_constant_label_map_is_exactly_0():
    """SPADE's motive: a label map must not go through a normalization."""
    label_map = F.one_hot(tn.tensor(LABELS), 5).float()[:, :, None, None].expand(-1, -1, 4, 4)
    assert not nn.InstanceNorm2d(5)(label_map).numpy().any()


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_spade_is_the_affine_of_each_pixel_from_a_resized_map(norm):
    torch = pytest.importorskip("torch")
    layer = nn.SPADE(3, 2, 8, norm)
    x, seg = tn.tensor(X.astype("float32")), tn.randn(4, 2, 5, 4)
    y = layer(x, seg).numpy()
    t = {name: torch.tensor(p.numpy()) for name, p in layer.named_parameters()}
    f = torch.nn.functional
    actv = f.relu(
        f.conv2d(
            f.interpolate(torch.tensor(seg.numpy()), size=(2, 3), mode="nearest"),
            t["mlp_shared.0.weight"],
            t["mlp_shared.0.bias"],
            padding=1,
        )
    )
    gamma = f.conv2d(actv, t["mlp_gamma.weight"], t["mlp_gamma.bias"], padding=1)
    beta = f.conv2d(actv, t["mlp_beta.weight"], t["mlp_beta.bias"], padding=1)
    x_hat = by_hand(X, (2, 3) if norm == "instance" else (0, 2, 3))[0]
    np.testing.assert_allclose(y, x_hat * (1 + gamma.numpy()) + beta.numpy(), 1e-4, 1e-5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nn.SPADE(3, 2, norm="layer"), "'instance' or 'batch', got 'layer'"),
        (lambda: nn.SPADE(3, 2)(tn.randn(4, 3, 2, 2), tn.randn(4, 1, 2, 2)), "2 channels"),
        (lambda: nn.SPADE(3, 2)(tn.randn(4, 3, 2, 2), tn.randn(1, 2, 2, 2)), "one label map for each sample"),
        (lambda: nn.FiLM(2, 0), "num_channels"),
    ],
    ids=["norm", "channels", "samples", "no channels"],
)
def test_what_does_not_fit_raises(call, words):
    with pytest.raises(ValueError, match=words):
        call()
