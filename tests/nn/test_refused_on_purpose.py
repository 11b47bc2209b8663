"""What docs/pytorch.md lists as an error here that PyTorch accepts: both are true, and the error is clear."""

import math

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn


def ones(library, *shape):
    return library.ones(*shape).long()


REFUSED = {
    "normalize p=0": (lambda t, F: F.normalize(t.ones(2, 2), p=0), "p must be above 0"),
    "normalize p=-1": (lambda t, F: F.normalize(t.ones(2, 2), p=-1.0), "p must be above 0"),
    "normalize p=-inf": (lambda t, F: F.normalize(t.ones(2, 2), p=-math.inf), "p must be above 0"),
    "normalize eps": (lambda t, F: F.normalize(t.ones(2, 2), eps=-1.0), "eps must be a number of at least 0"),
    "layer_norm eps": (lambda t, F: F.layer_norm(t.ones(2, 2), (2,), eps=-1.0), "eps must be"),
    "LayerNorm eps": (lambda t, F: t.nn.LayerNorm(2, eps=-1.0), "eps must be"),
    "group_norm eps": (lambda t, F: F.group_norm(t.ones(2, 2), 1, eps=-0.5), "eps must be"),
    "rms_norm eps": (lambda t, F: F.rms_norm(t.ones(2, 2), (2,), eps=-0.5), "eps must be"),
    "momentum": (lambda t, F: t.nn.BatchNorm1d(2, momentum=2.0), "momentum is the weight of the new value"),
    "linear": (lambda t, F: F.linear(ones(t, 1, 2), ones(t, 1, 2)), "floating-point tensor, got int64"),
    "conv1d": (lambda t, F: F.conv1d(ones(t, 1, 1, 3), ones(t, 1, 1, 2)), "floating-point tensor, got int64"),
    "conv2d": (lambda t, F: F.conv2d(ones(t, 1, 1, 3, 3), ones(t, 1, 1, 2, 2)), "floating-point tensor"),
    "avg_pool2d": (lambda t, F: F.avg_pool2d(ones(t, 1, 1, 4, 4), 2), "floating-point tensor, got int64"),
    "max_pool2d": (lambda t, F: F.max_pool2d(ones(t, 1, 1, 4, 4), 2), "floating-point tensor, got int64"),
    "bias (1, 1)": (lambda t, F: F.linear(t.ones(2, 3), t.ones(4, 3), t.ones(1, 1)), r"expected \(4,\)"),
    "bias (1,)": (lambda t, F: F.linear(t.ones(2, 3), t.ones(4, 3), t.ones(1)), r"expected \(4,\)"),
    "bias (N, K)": (lambda t, F: F.linear(t.ones(2, 3), t.ones(4, 3), t.ones(2, 4)), r"expected \(4,\)"),
    "bias of one row": (lambda t, F: F.linear(t.ones(3), t.ones(4, 3), t.ones(1, 4)), r"expected \(4,\)"),
    "weight (1, C)": (
        lambda t, F: F.batch_norm(t.ones(2, 3), None, None, t.ones(1, 3), training=True),
        r"weight has shape \(1, 3\), expected \(3,\)",
    ),
    "only padding": (
        lambda t, F: F.max_pool1d(t.ones(1, 1, 2), 2, stride=2, padding=1, dilation=3),
        "a window would contain only padding",
    ),
    "output size 0": (lambda t, F: F.adaptive_avg_pool1d(t.ones(1, 1, 4), 0), "output_size must be at least"),
    "kl_div": (lambda t, F: F.kl_div(t.zeros(2), t.tensor([-1.0, 1.0]), reduction="sum"), "got -1.0"),
    "nuclear": (lambda t, F: t.norm(t.ones(2, 2), "nuc"), "p must be a number, inf, -inf or"),
    "lr": (lambda t, F: t.optim.SGD([t.nn.Parameter(t.ones(2))], lr=t.tensor(0.1)), "lr must be a number"),
    "p": (lambda t, F: F.dropout(t.ones(2), t.tensor(0.5)), "p must be a number"),
    "bool": (lambda t, F: t.nn.Linear(2, 3, bias=1), "bias must be True or False, got 1"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("call", "match"), REFUSED.values(), ids=REFUSED.keys())
def test_an_error_here_and_none_in_pytorch(call, match, torch):
    call(torch, torch.nn.functional)
    with pytest.raises((ValueError, TypeError), match=match):
        call(tn, nn.functional)


@pytest.mark.parametrize("shape", [(2, 3), (2, 5, 3), (0, 3)])
def test_linear_takes_a_bias_of_one_row(shape, torch):
    rng = np.random.default_rng(0)
    values = [rng.normal(size=s) for s in (shape, (4, 3), (1, 4))]
    ours = [tn.tensor(v, requires_grad=True) for v in values]
    theirs = [torch.tensor(v, requires_grad=True) for v in values]
    mine, reference = nn.functional.linear(*ours), torch.nn.functional.linear(*theirs)
    np.testing.assert_allclose(mine.numpy(), reference.detach().numpy(), rtol=1e-12)
    (mine * mine).sum().backward()
    (reference * reference).sum().backward()
    for x, y in zip(ours, theirs, strict=True):
        assert x.grad.shape == x.shape == tuple(y.grad.shape)
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-12)
    if 0 not in shape:
        assert tn.gradcheck(nn.functional.linear, ours)


def test_a_layer_trains_a_bias_of_one_row():
    layer = nn.Linear(3, 4)
    layer.bias = nn.Parameter(tn.zeros(1, 4))
    optimizer = tn.optim.SGD(layer.parameters(), lr=1.0)
    layer(tn.ones(2, 3)).sum().backward()
    optimizer.step()
    assert layer.bias.tolist() == [[-2, -2, -2, -2]]
