"""Scales of residual branches: their gradients, the first step, Fixup's initial values, bad arguments."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.nn import functional as F


@pytest.mark.parametrize(
    ("make", "shape", "axes"),
    [
        (lambda: nn.LayerScale(3, 0.5), (4, 5, 3), (0, 1)),
        (lambda: nn.LayerScale2d(3, 0.5), (4, 3, 2, 5), (0, 2, 3)),
        (lambda: nn.ScalarMultiplier(0.5), (4, 5), None),
        (lambda: nn.SkipInit(16), (4, 5), None),
        (nn.ReZero, (4, 5), None),
    ],
    ids=["LayerScale", "LayerScale2d", "ScalarMultiplier", "SkipInit", "ReZero"],
)
def test_the_gradients_are_those_of_the_derivation(make, shape, axes):
    rng = np.random.default_rng(0)
    scale = make().double()
    (factor,) = scale.parameters()
    if not isinstance(scale, nn.ReZero):
        factor.array[...] = rng.normal(size=factor.shape)
    f, dz = tn.tensor(rng.normal(size=shape), requires_grad=True), rng.normal(size=shape)
    z = scale(f)
    z.backward(tn.tensor(dz))
    of_channel = factor.numpy() if f.ndim < 4 else factor.numpy()[:, None, None]
    np.testing.assert_array_equal(z.detach().numpy(), of_channel * f.detach().numpy())
    np.testing.assert_array_equal(f.grad.numpy(), of_channel * dz)
    np.testing.assert_allclose(factor.grad.numpy(), (dz * f.detach().numpy()).sum(axes), rtol=1e-12)


def test_the_initial_values():
    assert nn.LayerScale(2).gamma.numpy().tolist() == [np.float32(1e-5)] * 2
    assert nn.ReZero().alpha.item() == nn.SkipInit().alpha.item() == 0
    assert nn.SkipInit(16).alpha.item() == 0.25
    assert nn.ScalarMultiplier().alpha.item() == 1
    assert nn.ScalarBias().bias.item() == 0


def test_at_zero_the_block_is_the_identity_and_its_weights_get_no_gradient_in_the_first_step():
    tn.manual_seed(0)
    branch = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReZero())
    optimizer = optim.SGD(branch.parameters(), 0.1)
    x, target = tn.randn(5, 3), tn.randn(5, 3)
    np.testing.assert_array_equal((x + branch(x)).detach().numpy(), x.numpy())
    found = []
    for _ in range(2):
        optimizer.zero_grad()
        F.mse_loss(x + branch(x), target).backward()
        found.append([float(abs(parameter.grad).max().item()) for parameter in branch.parameters()])
        optimizer.step()
    *of_weights, of_alpha = found[0]
    assert of_weights == [0, 0, 0, 0]
    assert of_alpha > 0
    assert min(found[1]) > 0


def make_branch(layers, dim=4):
    parts = [part for _ in range(layers) for part in (nn.Linear(dim, dim), nn.ReLU())]
    return nn.Sequential(*parts[:-1])


@pytest.mark.parametrize(("layers", "power"), [(1, 0), (2, -1 / 2), (3, -1 / 4), (4, -1 / 6)])
def test_fixup_scales_by_the_number_of_branches(layers, power):
    branches = [make_branch(layers) for _ in range(9)]
    before = [[part.weight.numpy().copy() for part in branch[::2]] for branch in branches]
    head = nn.Linear(4, 2)
    nn.utils.fixup_(branches, head)
    for branch, weights in zip(branches, before, strict=True):
        *scaled, last = branch[::2]
        for layer, weight in zip(scaled, weights, strict=False):
            np.testing.assert_allclose(layer.weight.numpy(), weight * 9**power, rtol=1e-6)
        assert not last.weight.numpy().any()
        assert not any(layer.bias.numpy().any() for layer in (*scaled, last))
    assert not head.weight.numpy().any()
    assert not head.bias.numpy().any()


@pytest.mark.parametrize("layers", [2, 3])
def test_after_fixup_the_first_step_moves_the_output_equally_far_at_any_depth(layers):
    def moved(blocks):
        rng = np.random.default_rng(0)
        tn.manual_seed(0)
        branches = [make_branch(layers, 64).double() for _ in range(blocks)]
        for branch in branches:
            for layer in branch[::2]:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.utils.fixup_(branches)
        x, dy = (tn.tensor(rng.normal(size=(1, 64))) for _ in range(2))

        def forward():
            y = x
            for branch in branches:
                y = y + branch(y)
            return y

        parameters = [parameter for branch in branches for parameter in branch.parameters()]
        weights = [parameter for parameter in parameters if parameter.ndim == 2]
        before = forward()
        before.backward(dy)
        optim.SGD(weights, 1e-6).step()
        return float(np.linalg.norm((forward() - before).detach().numpy()))

    assert moved(64) == pytest.approx(moved(4), rel=0.35)  # without scaling it would be 16 times as far


@pytest.mark.parametrize(
    ("branches", "error", "message"),
    [
        (list, ValueError, "got none"),
        (lambda: [nn.ReLU()], ValueError, "no Linear layer or convolution"),
        (lambda: make_branch(2), TypeError, "takes a list of branches, got one Sequential"),
        (lambda: [F.relu], TypeError, "branch 0 is a function"),
        (lambda: [make_branch(2)] * 2, ValueError, "is in two branches"),
        (lambda: [nn.WSConv2d(2, 2, 3)], ValueError, "computes its weight from others"),
        (
            lambda: [nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))],
            ValueError,
            "leave out weight normalization",
        ),
        (lambda: [nn.MultiheadAttention(4, 2)], ValueError, "has a MultiheadAttention"),
    ],
    ids=["none", "no weights", "one", "function", "twice", "ws", "weight norm", "attention"],
)
def test_fixup_refuses_what_it_cannot_scale(branches, error, message):
    with pytest.raises(error, match=message):
        nn.utils.fixup_(branches())


def test_bad_arguments_raise():
    with pytest.raises(TypeError, match="classifier must be a Linear layer, got Conv2d"):
        nn.utils.fixup_([make_branch(2)], nn.Conv2d(2, 2, 1))
    with pytest.raises(ValueError, match="init_values must be finite"):
        nn.LayerScale(2, np.nan)
    with pytest.raises(ValueError, match=r"LayerScale\(3\) takes \(..., 3\), got shape \(3, 2\)"):
        nn.LayerScale(3)(tn.ones(3, 2))
    with pytest.raises(ValueError, match="4-d input"):
        nn.LayerScale2d(3)(tn.ones(2, 3))
    with pytest.raises(ValueError, match="blocks must be at least 1"):
        nn.SkipInit(0)


@pytest.mark.parametrize("placement", ["post", "pre", nn.DeepNorm(1.5, 0.5)], ids=["post", "pre", "deep"])
def test_a_transformer_layer_scales_what_each_step_adds(placement):
    tn.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        4, 2, 8, 0.0, placement=placement, scale=lambda d: nn.LayerScale(d, 0.0)
    )
    x = tn.randn(5, 2, 4)
    expected = x
    if placement != "pre":  # a norm behind each sum
        for norm in (layer.norm1, layer.norm2):
            expected = norm(getattr(placement, "alpha", 1.0) * expected)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected.detach().numpy(), rtol=1e-6)


def test_a_transformer_layer_refuses_scales_that_do_nothing():
    with pytest.raises(ValueError, match="a norm follows the scale of a branch and undoes it"):
        nn.TransformerEncoderLayer(4, 2, 8, placement="peri", scale=nn.LayerScale)
    with pytest.raises(TypeError, match="scale must make a scale"):
        nn.TransformerEncoderLayer(4, 2, 8, scale=0.1)


@pytest.mark.parametrize("scalar", [nn.ReZero, nn.SkipInit], ids=["ReZero", "SkipInit"])
def test_a_transformer_layer_takes_one_number_as_a_scale_from_a_function(scalar):
    with pytest.raises(TypeError, match=rf"which takes none: pass scale=lambda d: nn\.{scalar.__name__}\(\)"):
        nn.TransformerEncoderLayer(4, 2, 8, scale=scalar)
    layer = nn.TransformerEncoderLayer(4, 2, 8, 0.0, norm_first=True, scale=lambda d: scalar())
    x = tn.randn(5, 2, 4)
    np.testing.assert_array_equal(layer(x).detach().numpy(), x.numpy())
