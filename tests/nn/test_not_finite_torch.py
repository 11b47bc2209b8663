"""NaN and infinity in blocks and losses, as in PyTorch: values and gradients, in float64.

The composed forms are no judge here: they multiply by 0 what a mask, a length or a branch leaves out, and
0·∞ is NaN.
"""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.gradient_check.registered import cotangent
from tinygrad_norm.registry import REGISTRY

torch = pytest.importorskip("torch")
OPS = (
    "local_response_norm",
    "scaled_dot_product_attention",
    "conv1d",
    "conv_transpose1d",
    "conv_transpose2d",
    "huber_loss",
    "smooth_l1_loss",
    "nll_loss",
    "cross_entropy",
    "relu",
    "leaky_relu",
    "logsigmoid",
)


def is_excepted(name, options, value, which):
    """Where PyTorch hides a NaN, makes one more, or takes other arguments."""
    return (
        (name == "scaled_dot_product_attention" and np.isnan(value) and which == 0)  # its kernel: y = 0
        or (name == "smooth_l1_loss" and options.get("beta") == 0)  # sign(NaN) = 0
        or (name == "local_response_norm" and options.get("beta", 1) < 0)  # divides by 1/∞
        # A weight that is not finite meets the zeros of padding, which PyTorch's kernels skip.
        or (name.startswith("conv") and which == 1)
    )


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", OPS)
def test_a_number_that_is_not_finite_has_the_results_of_pytorch(name, value):
    op, compared = REGISTRY[name], 0
    for case in op.cases:
        drawn = case.draw()
        floats = [i for i, one in enumerate(drawn) if one and one[0].dtype.kind == "f" and one[0].size]
        for which in floats:
            if is_excepted(name, case.options, value, which) or (name == "huber_loss" and len(floats) > 2):
                continue
            values = [one and one[0].copy() for one in drawn]
            values[which].flat[values[which].size // 2] = value
            given = list(zip(values, drawn, strict=True))
            ours = [None if v is None else Tensor(v, requires_grad=one[1]) for v, one in given]
            theirs = [None if v is None else torch.tensor(v, requires_grad=one[1]) for v, one in given]
            with np.errstate(invalid="ignore"):
                y = op.call(ours, dict(case.options))
            expected = getattr(torch.nn.functional, name)(*theirs, **case.options)
            dy = cotangent(y.shape, 0)
            y.backward(dy)
            expected.backward(torch.tensor(dy))
            pairs = [(y, expected.detach())]
            leaves = [pair for pair in zip(ours, theirs, strict=True) if pair[1] is not None]
            pairs += [(a.grad, b.grad) for a, b in leaves if b.grad is not None]
            for a, b in pairs:
                np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-6, 1e-9, err_msg=f"{case}, in {which}")
                compared += 1
    assert compared


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_behind_the_length_of_a_sequence_reaches_nothing(kind, value):
    """Not even if the length is 0, which PyTorch refuses."""
    results = []
    for filler in (0.0, value):
        tn.manual_seed(0)
        layer = getattr(nn, kind)(2, 3)
        x = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
        x[2:, 1] = x[:, 2] = filler
        x = tn.tensor(x, requires_grad=True)
        y, _ = layer(x, lengths=[4, 2, 0])
        y.sum().backward()
        results.append([y.numpy(), x.grad.numpy(), *(p.grad.numpy() for p in layer.parameters())])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
