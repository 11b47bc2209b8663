"""Padding layers, Upsample, PixelShuffle and containers of parameters: as in PyTorch, with clear errors."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn import functional as F

X = {n: np.random.default_rng(n).normal(size=(2, 3, 5, 6, 7)[: n + 2]) for n in (1, 2, 3)}
LAYERS = {
    f"{kind}Pad{n}d-{'one' if one else 'each'}": (f"{kind}Pad{n}d", n, one)
    for kind in ("Constant", "Zero", "Reflection", "Replication", "Circular")
    for n in (1, 2, 3)
    for one in (True, False)
}


@pytest.mark.parametrize("case", LAYERS)
def test_padding_layers_are_pytorchs(case, torch):
    name, n, one = LAYERS[case]
    padding = 2 if one else (1, 2, 0, 1, 2, 0)[: 2 * n]
    more = (1.5,) if name.startswith("Constant") else ()
    x, found = X[n], []
    for m in (tn, torch):
        layer = getattr(m.nn, name)(padding, *more)
        found.append([layer(m.tensor(x)).numpy(), layer(m.tensor(x[0])).numpy(), repr(layer)])
    for mine, other in zip(found[0][:2], found[1][:2], strict=True):
        np.testing.assert_array_equal(mine, other)
    assert found[0][2] == found[1][2]


def test_padding_layers_say_what_they_take():
    with pytest.raises(ValueError, match="ZeroPad2d takes one padding, or 4"):
        nn.ZeroPad2d((1, 2))
    with pytest.raises(TypeError, match="padding must be"):
        nn.ReflectionPad1d(1.5)
    with pytest.raises(TypeError, match="value must be a number"):
        nn.ConstantPad1d(1, "0")
    with pytest.raises(ValueError, match="with 3 or 4 axes, got shape"):
        nn.CircularPad2d(1)(tn.ones(2, 3))
    with pytest.raises(ValueError, match="it can add at most 2"):
        nn.ReflectionPad1d(3)(tn.ones(1, 3))


SIZES = {
    "nearest": (2, {"scale_factor": 2}),
    "nearest, smaller": (2, {"size": (3, 2)}),
    "nearest, by 1.7": (1, {"scale_factor": 1.7}),
    "nearest of 3 axes": (3, {"scale_factor": (2, 1, 0.5)}),
    "bilinear": (2, {"scale_factor": 2, "mode": "bilinear", "align_corners": False}),
    "bilinear corners": (2, {"size": 9, "mode": "bilinear", "align_corners": True}),
    "linear": (1, {"scale_factor": 2.3, "mode": "linear", "align_corners": False}),
    "recomputed": (1, {"scale_factor": 2.3, "mode": "linear", "recompute_scale_factor": True}),
    "trilinear": (3, {"size": (2, 9, 4), "mode": "trilinear"}),
}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_upsample_is_pytorchs(name, dtype, torch):
    n, options = SIZES[name]
    results, gradients = [], []
    for m in (tn, torch):
        x = m.tensor(X[n].astype(dtype), requires_grad=True)
        y = m.nn.Upsample(**options)(x)
        y.backward(m.tensor(np.random.default_rng(0).normal(size=tuple(y.shape)).astype(dtype)))
        results.append(y.detach().numpy())
        gradients.append(x.grad.numpy())
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    np.testing.assert_allclose(*results, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(*gradients, rtol=tolerance, atol=tolerance)


def test_more_of_interpolation_is_refused():
    for options, match in (
        ({}, "either size or scale_factor"),
        ({"size": 2, "scale_factor": 2}, "either size or scale_factor"),
        ({"size": 2, "mode": "bicubic"}, "'bicubic'"),
    ):
        with pytest.raises(ValueError, match=match):
            nn.Upsample(**options)
    with pytest.raises(ValueError, match="antialias"):
        F.interpolate(tn.ones(1, 1, 2), 3, antialias=True)
    with pytest.raises(ValueError, match="recompute_scale_factor has no meaning"):
        F.interpolate(tn.ones(1, 1, 2), 3, recompute_scale_factor=True)
    with pytest.raises(ValueError, match="nothing to interpolate"):
        F.interpolate(tn.ones(1, 1, 0), 3)


def test_pixel_shuffle_and_back():
    x = tn.tensor(np.random.default_rng(0).normal(size=(2, 8, 3, 4)))
    y = nn.PixelShuffle(2)(x)
    assert y.shape == (2, 2, 6, 8)
    assert tn.equal(nn.PixelUnshuffle(2)(y), x)
    with pytest.raises(TypeError, match="upscale_factor must be an int"):
        nn.PixelShuffle(2.0)


class Weighted(nn.Module):
    def __init__(self, m):
        super().__init__()
        self.list = m.nn.ParameterList([m.ones(2), m.zeros(3)])
        self.named = m.nn.ParameterDict({"a": m.ones(1)})


def test_containers_of_parameters_have_the_state_of_pytorch(torch):
    ours = Weighted(tn)
    ours.list.append(nn.Parameter(tn.ones(1)))
    ours.list += [tn.ones(4)]
    ours.named["b"] = tn.ones(2)
    ours.named.update({"c": tn.ones(3)})
    names = ["list.0", "list.1", "list.2", "list.3", "named.a", "named.b", "named.c"]
    assert sorted(ours.state_dict()) == names
    theirs = torch.nn.ParameterList([torch.ones(2), torch.zeros(3)])
    assert list(theirs.state_dict()) == list(Weighted(tn).list.state_dict())
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in ours.parameters())
    assert len(ours.list) == 4
    assert ours.list[-1].shape == (4,)
    assert [p.shape for p in ours.list[1:3]] == [(3,), (1,)]
    ours.list[0] = tn.zeros(2)
    assert ours.list[0].tolist() == [0, 0]
    assert ours.list[0] in ours.list
    assert ("a" in ours.named, list(ours.named), len(ours.named)) == (True, ["a", "b", "c"], 3)
    assert ours.named.pop("b").shape == (2,)
    assert list(ours.named.keys()) == ["a", "c"]
    assert ours.named.get("b") is None
    assert ours.named.setdefault("a", tn.zeros(5)) is ours.named["a"]
    assert ours.named.setdefault("d", tn.zeros(5)).shape == (5,)
    copied = ours.named.copy()
    assert type(copied) is nn.ParameterDict
    assert copied["a"] is ours.named["a"]
    copied.clear()
    assert (len(copied), len(ours.named)) == (0, 3)
    assert [p.shape for p in ours.named.values()] == [p.shape for _, p in ours.named.items()]


def test_containers_of_parameters_hold_tensors():
    with pytest.raises(TypeError, match="holds tensors, got int"):
        nn.ParameterList([1])
    with pytest.raises(TypeError, match="takes a list of tensors, got Tensor"):
        nn.ParameterList(tn.ones(2))
    with pytest.raises(TypeError, match="holds tensors, got str"):
        nn.ParameterDict({"a": "b"})
    with pytest.raises(IndexError, match="index 1 is out of range for ParameterList of 1"):
        nn.ParameterList([tn.ones(1)])[1]


def test_draws_follow_the_seed_and_the_probabilities():
    tn.manual_seed(0)
    p = tn.tensor([0.0, 0.25, 1.0])
    drawn = tn.stack([tn.bernoulli(p) for _ in range(2000)])
    assert drawn.dtype == p.dtype
    np.testing.assert_allclose(drawn.mean(0).numpy(), p.numpy(), atol=0.03)
    rows = tn.tensor([[1.0, 3.0, 0.0], [0.0, 0.0, 2.0]])
    found = tn.multinomial(rows, 4000, replacement=True)
    assert (found.shape, found.dtype) == ((2, 4000), tn.int64)
    np.testing.assert_allclose((found[0] == 1).float().mean().item(), 0.75, atol=0.03)
    assert (found[1] == 2).all()
    assert sorted(tn.multinomial(tn.tensor([1.0, 2.0, 3.0]), 3).tolist()) == [0, 1, 2]
    tn.manual_seed(1)
    first = tn.multinomial(rows[0], 2).tolist(), tn.bernoulli(p).tolist()
    tn.manual_seed(1)
    assert (tn.multinomial(rows[0], 2).tolist(), tn.bernoulli(p).tolist()) == first


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: tn.bernoulli(tn.tensor([1.5])), ValueError, "from 0 to 1"),
        (lambda: tn.bernoulli(tn.tensor([1])), TypeError, "floating-point"),
        (lambda: tn.multinomial(tn.tensor([-1.0, 2.0]), 1), ValueError, "at least 0"),
        (lambda: tn.multinomial(tn.zeros(2), 1), ValueError, "one above 0"),
        (lambda: tn.multinomial(tn.tensor([1.0, 0.0]), 2), ValueError, "replacement=True"),
        (lambda: tn.multinomial(tn.ones(2), 0), ValueError, "num_samples must be at least 1"),
        (lambda: tn.multinomial(tn.ones(1, 1, 1), 1), ValueError, r"takes \(D,\) or"),
    ],
    ids=["above", "ints", "negative", "zeros", "few", "none", "axes"],
)
def test_draws_refuse_what_are_no_probabilities(call, error, match):
    with pytest.raises(error, match=match):
        call()
