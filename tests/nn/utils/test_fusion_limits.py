"""What folds gives the same outputs, and what does not fold is said: no pair of layers gives wrong ones."""

import inspect

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn import utils
from tinygrad_norm.nn.utils.parametrizations import weight_norm
from tinygrad_norm.normalization.core.running_stats import RunningNorm

ARGUMENTS = {"num_groups": 2, "ghost_batch_size": 2, "num_classes": 3}
OPTIONS = {"WeighedBatchNorm1d": {"inference_weight": 0.5}, "WeighedBatchNorm2d": {"inference_weight": 0.5}}
LAYERS = {
    "Linear": (lambda: nn.Linear(3, 4), (5, 3)),
    "CosineLinear": (lambda: nn.CosineLinear(3, 4), (5, 3)),
    "Conv1d": (lambda: nn.Conv1d(3, 4, 1), (5, 3, 4)),
    "Conv2d": (lambda: nn.Conv2d(3, 4, 2), (5, 3, 4, 4)),
    "Conv3d": (lambda: nn.Conv3d(3, 4, 1), (5, 3, 2, 2, 2)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(3, 4, 1), (5, 3, 4)),
    "WSConv2d": (lambda: nn.WSConv2d(3, 4, 2), (5, 3, 4, 4)),
    "ScaledWSConv2d": (lambda: nn.ScaledWSConv2d(3, 4, 2), (5, 3, 4, 4)),
    "CosineConv2d": (lambda: nn.CosineConv2d(3, 4, 2), (5, 3, 4, 4)),
}
COMPUTED = {"CosineLinear", "WSConv2d", "ScaledWSConv2d", "CosineConv2d"}
NORMS = sorted(
    name
    for name, found in vars(nn).items()
    if inspect.isclass(found) and issubclass(found, RunningNorm) and not name.startswith("_")
)
UNFOLDED = "Weighed", "Group", "Channel", "SourceTarget", "ABN", "Conditional", "BatchInstance", "Switchable"
FOLDED = {name for name in NORMS if not any(word in name for word in UNFOLDED)}


class Doubled(nn.Linear):
    def forward(self, input):
        return super().forward(input) * 2


def make_norm(name, **options):
    kind = getattr(nn, name)
    taken = inspect.signature(kind).parameters
    options = {k: v for k, v in ARGUMENTS.items() if k in taken} | options
    options |= {"track_running_stats": True} if "track_running_stats" in taken else {}
    norm, rng = kind(4, **options).double().eval(), np.random.default_rng(0)
    norm.running_mean.copy_(rng.normal(size=norm.running_mean.shape))
    norm.running_var.copy_(rng.uniform(0.5, 2, norm.running_var.shape))
    with tn.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(rng.normal(size=parameter.shape))
    return norm


def fuse(layer, norm):
    if isinstance(layer, nn.Linear):
        return utils.fuse_linear_bn_eval(layer, norm)
    return utils.fuse_conv_bn_eval(layer, norm, "Transpose" in type(layer).__name__)


def folds(layer, norm, shape):
    """Return whether the pair folds, and fail if it gives other outputs."""
    try:
        fused = fuse(layer, norm)
    except (TypeError, ValueError):
        return False
    x = tn.tensor(np.random.default_rng(1).normal(size=shape))
    np.testing.assert_allclose(fused(x).numpy(), norm(layer(x)).numpy(), rtol=1e-9, atol=1e-9)
    return True


@pytest.mark.parametrize("name", LAYERS)
def test_every_normalization_folds_into_a_layer_or_is_refused(name):
    make, shape = LAYERS[name]
    layer = make().double().eval()
    folded = set()
    for norm in NORMS:
        on_last = norm == "SequenceBatchNorm" and isinstance(layer, nn.Linear)
        if folds(layer, make_norm(norm, **OPTIONS.get(norm, {})), (2, *shape) if on_last else shape):
            folded.add(norm)
    assert folded <= FOLDED
    assert bool(folded) == (name not in COMPUTED)
    if name == "Conv2d":
        expected = {norm for norm in FOLDED if norm.endswith("2d")} | {"SyncBatchNorm"}
        assert folded == expected


def test_a_sequence_and_a_weight_of_0_fold():
    assert folds(nn.Linear(3, 4).double().eval(), make_norm("SequenceBatchNorm"), (2, 5, 3))
    assert folds(nn.Conv2d(3, 4, 2).double().eval(), make_norm("WeighedBatchNorm2d"), (5, 3, 4, 4))


@pytest.mark.parametrize(
    ("layer", "norm", "error", "match"),
    [
        (nn.Linear(3, 4), nn.PowerNorm(4), TypeError, "batch normalization with running_mean"),
        (nn.Linear(3, 4), nn.LayerNorm(4), TypeError, "got LayerNorm"),
        (nn.Conv2d(3, 4, 2), nn.BatchChannelNorm2d(4, 2), ValueError, "its evaluation is not"),
        (nn.Conv2d(3, 4, 2), nn.BatchGroupNorm2d(4, 4), ValueError, "its evaluation is not"),
        (nn.Conv1d(3, 4, 1), nn.SequenceBatchNorm(4), TypeError, "does not normalize the channels"),
        (Doubled(3, 4), nn.BatchNorm1d(4), TypeError, "Doubled has a forward of its own"),
        (nn.Bilinear(3, 3, 4), nn.BatchNorm1d(4), TypeError, "takes a convolution, got Bilinear"),
    ],
)
def test_the_reason_is_said(layer, norm, error, match):
    with pytest.raises(error, match=match):
        fuse(layer.eval(), norm.eval())


def test_transpose_must_fit_the_convolution():
    """A square weight has the same shape both ways, but its outputs are on another axis."""
    norm = nn.BatchNorm2d(4).eval()
    for layer, transpose in ((nn.Conv2d(4, 4, 2), True), (nn.ConvTranspose2d(4, 4, 2), False)):
        with pytest.raises(ValueError, match=f"needs transpose={not transpose}"):
            utils.fuse_conv_bn_eval(layer.eval(), norm, transpose)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_compute_their_weight_are_neither_projected_nor_initialized(name):
    make, shape = LAYERS[name]
    x = tn.tensor(np.random.default_rng(0).normal(3, 2, (20, *shape[1:])))
    normalized = weight_norm(make(), dim=1 if "Transpose" in name else 0).double()
    if name in COMPUTED:
        with pytest.raises(ValueError, match=f"{name} has a forward of its own"):
            utils.SpectralProjection(nn.Sequential(make()))
        with pytest.raises(ValueError, match=f"{name} has a forward of its own"):
            utils.data_dependent_init_(normalized, x)
        return
    utils.SpectralProjection(make()).project_()
    y = np.moveaxis(utils.data_dependent_init_(normalized, x)(x).numpy(), 1, -1).reshape(-1, 4)
    np.testing.assert_allclose(y.std(0), 1, rtol=1e-9)
