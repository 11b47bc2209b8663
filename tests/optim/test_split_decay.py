"""What decays toward what: lengths, slopes and weights that are neutral at 0 do not decay at all."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.nn.utils.parametrizations import spectral_norm, weight_norm

LAYERS = {
    "BatchChannelNorm2d": lambda: nn.BatchChannelNorm2d(4, 2),
    "Derf": lambda: nn.Derf(4),
    "DyISRU": lambda: nn.DyISRU(4),
    "BatchInstanceNorm2d": lambda: nn.BatchInstanceNorm2d(4),
    "EvoNorm2dS0": lambda: nn.EvoNorm2dS0(4, 2),
    "SeeDNorm": lambda: nn.SeeDNorm(4),
    "DynamicTanh": lambda: nn.DynamicTanh(4),
    "FilterResponseNorm2d": lambda: nn.FilterResponseNorm2d(4),
    "FixNorm": lambda: nn.FixNorm(4),
    "GlobalResponseNorm": lambda: nn.GlobalResponseNorm(4),
    "GroupNorm": lambda: nn.GroupNorm(2, 4),
    "LayerNorm": lambda: nn.LayerNorm((3, 4)),
    "PowerNorm": lambda: nn.PowerNorm(4),
    "RMSNorm": lambda: nn.RMSNorm(4),
    "ScaleNorm": lambda: nn.ScaleNorm(4),
    "ScaledWSConv2d": lambda: nn.ScaledWSConv2d(2, 3, 2),
    "spectral_norm": lambda: spectral_norm(nn.Linear(3, 4)),
    "weight_norm": lambda: weight_norm(nn.Linear(3, 4)),
    "weight_norm, one length": lambda: weight_norm(nn.Conv2d(2, 3, 2), dim=None),
}
UNDECAYED = {
    "Derf": {"alpha", "shift"},
    "DyISRU": {"beta"},
    "BatchInstanceNorm2d": {"gate"},
    "EvoNorm2dS0": {"v"},
    "SeeDNorm": {"alpha", "beta"},
    "DynamicTanh": {"alpha"},
    "FixNorm": {"g"},
    "GlobalResponseNorm": {"weight"},
    "ScaleNorm": {"g"},
    "ScaledWSConv2d": {"bias"},
    "spectral_norm": {"bias"},
    "weight_norm": {"bias", "parametrizations.weight.original0"},
    "weight_norm, one length": {"bias", "parametrizations.weight.original0"},
}
DECAYED = {
    "ScaledWSConv2d": {"weight"},
    "spectral_norm": {"parametrizations.weight.original"},
    "weight_norm": {"parametrizations.weight.original1"},
    "weight_norm, one length": {"parametrizations.weight.original1"},
}
TOWARD_1 = {"weight", "gain", "group_weight"}
TOWARD_0 = {"bias", "tau", "group_bias"}


def names(layer, groups):
    of = {id(parameter): name for name, parameter in layer.named_parameters()}
    return [{of[id(parameter)] for parameter in group["params"]} for group in groups]


@pytest.mark.parametrize("name", LAYERS)
def test_every_parameter_decays_toward_its_neutral_value_or_not_at_all(name):
    layer = LAYERS[name]()
    everything = {of for of, _ in layer.named_parameters()}
    decayed, undecayed = DECAYED.get(name, set()), UNDECAYED.get(name, set())
    rest = everything - decayed - undecayed
    found = names(layer, optim.split_decay(layer, 0.1, norm_decay=0.01))
    assert found == [decayed, undecayed, rest & TOWARD_1, rest & TOWARD_0]
    assert rest <= TOWARD_1 | TOWARD_0
    assert names(layer, optim.split_decay(layer, 0.1)) == [decayed, everything - decayed]


@pytest.mark.parametrize("way", ["zero_centered", "input_scaled"])
def test_a_zero_centered_weight_decays_toward_the_target_less_1(way):
    layer = nn.Sequential(nn.RMSNorm(4), nn.RMSNorm(4, **{way: True}))
    groups = optim.split_decay(layer, 0.1, norm_decay=0.01, norm_target=0.5)
    assert names(layer, groups) == [set(), set(), {"0.weight"}, set(), {"1.weight"}]
    assert [group.get("decay_target", 0.0) for group in groups] == [0.0, 0.0, 0.5, 0.0, -0.5]
    assert names(layer, optim.split_decay(layer, 0.1)) == [set(), {"0.weight", "1.weight"}]


def test_decay_keeps_the_scale_of_both_parametrizations_at_1():
    layers = nn.Sequential(nn.RMSNorm(4), nn.RMSNorm(4, zero_centered=True))
    with tn.no_grad():
        for layer, first in zip(layers, (2.0, 1.0), strict=True):
            layer.weight.copy_(tn.full((4,), first))
    optimizer = optim.SGD(optim.split_decay(layers, 0.0, norm_decay=0.5), 1.0)
    for _ in range(20):
        for layer in layers:
            layer.weight.grad = tn.zeros(4)
        optimizer.step()
    plain, centered = (layer.weight.numpy() for layer in layers)
    np.testing.assert_allclose(plain, 1, atol=1e-5)
    np.testing.assert_allclose(centered, 0, atol=1e-5)
