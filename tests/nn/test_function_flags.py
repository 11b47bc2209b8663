"""Flags of functions and methods take bools, also NumPy's: the text "False" would count as true."""

import inspect

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.data import DataLoader
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn import utils

X = tn.tensor(np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4))
VECTOR = tn.zeros(3), tn.ones(3)


def weighted():
    """A layer with a gradient."""
    layer = nn.Linear(4, 2)
    layer(X).sum().backward()
    return layer


def backward(**flags):
    tn.ones(3, requires_grad=True).sum().backward(**flags)


def grad(**flags):
    x = tn.ones(3, requires_grad=True)
    tn.autograd.grad(x.sum(), x, **flags)


def attention(**flags):
    return nn.MultiheadAttention(4, 2)(X, X, X, attn_mask=tn.zeros(2, 2), **flags)


def load(**flags):
    layer = nn.Linear(4, 2)
    return layer.load_state_dict(layer.state_dict(), **flags)


CALLS = {
    "tensor": (lambda **flags: tn.tensor([1.0], **flags), "requires_grad"),
    "Tensor": (lambda **flags: tn.Tensor([1.0], **flags), "requires_grad"),
    "zeros": (lambda **flags: tn.zeros(2, **flags), "requires_grad"),
    "full": (lambda **flags: tn.full(2, 1.0, **flags), "requires_grad"),
    "randn": (lambda **flags: tn.randn(2, **flags), "requires_grad"),
    "ones_like": (lambda **flags: tn.ones_like(X, **flags), "requires_grad"),
    "new_zeros": (lambda **flags: X.new_zeros(2, **flags), "requires_grad"),
    "Parameter": (lambda **flags: nn.Parameter(tn.zeros(2), **flags), "requires_grad"),
    "requires_grad_": (lambda **flags: tn.zeros(2).requires_grad_(**flags), "requires_grad"),
    "Module.requires_grad_": (lambda **flags: nn.Linear(2, 2).requires_grad_(**flags), "requires_grad"),
    "backward": (backward, "retain_graph"),
    "grad": (grad, "retain_graph", "allow_unused"),
    "load_state_dict": (load, "strict"),
    "register_buffer": (lambda **flags: nn.Module().register_buffer("b", X, **flags), "persistent"),
    "Module.zero_grad": (lambda **flags: weighted().zero_grad(**flags), "set_to_none"),
    "Optimizer.zero_grad": (
        lambda **flags: optim.SGD(weighted().parameters(), 0.1).zero_grad(**flags),
        "set_to_none",
    ),
    "var": (lambda **flags: tn.var(X, 1, **flags), "keepdim", "unbiased"),
    "std": (lambda **flags: tn.std(X, 1, **flags), "keepdim", "unbiased"),
    "var_mean": (lambda **flags: tn.var_mean(X, 1, **flags), "keepdim", "unbiased"),
    "quantile": (lambda **flags: tn.quantile(X, 0.5, 1, **flags), "keepdim"),
    "nanquantile": (lambda **flags: tn.nanquantile(X, 0.5, 1, **flags), "keepdim"),
    "kthvalue": (lambda **flags: tn.kthvalue(X, 2, 1, **flags), "keepdim"),
    "dropout": (lambda **flags: F.dropout(X, **flags), "training"),
    "batch_norm": (lambda **flags: F.batch_norm(X, *VECTOR, **flags), "training"),
    "instance_norm": (lambda **flags: F.instance_norm(X, *VECTOR, **flags), "use_input_stats"),
    "avg_pool1d": (lambda **flags: F.avg_pool1d(X, 2, **flags), "ceil_mode", "count_include_pad"),
    "max_pool1d": (lambda **flags: F.max_pool1d(X, 2, **flags), "ceil_mode", "return_indices"),
    "adaptive_max_pool1d": (lambda **flags: F.adaptive_max_pool1d(X, 2, **flags), "return_indices"),
    "kl_div": (lambda **flags: F.kl_div(X, X.abs(), **flags), "log_target"),
    "scaled_dot_product_attention": (
        lambda **flags: F.scaled_dot_product_attention(X, X, X, **flags),
        "is_causal",
        "enable_gqa",
    ),
    "MultiheadAttention": (attention, "need_weights", "average_attn_weights", "is_causal"),
    "TransformerEncoder": (
        lambda **flags: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2), 1)(
            X, mask=tn.zeros(2, 2), **flags
        ),
        "is_causal",
    ),
    "get_total_norm": (lambda **flags: utils.get_total_norm([X], **flags), "error_if_nonfinite"),
    "clip_grad_norm_": (
        lambda **flags: utils.clip_grad_norm_(weighted().parameters(), 1.0, **flags),
        "error_if_nonfinite",
    ),
    "DataLoader": (lambda **flags: list(DataLoader((X,), 2, **flags)), "shuffle", "drop_last"),
}
REDUCTIONS = [
    name
    for name, function in sorted(vars(tn).items())
    if inspect.isfunction(function) and "keepdim" in inspect.signature(function).parameters
]
CALLS |= {
    name: (lambda name=name, **flags: getattr(tn, name)(X, dim=1, **flags), "keepdim")
    for name in REDUCTIONS
    if name not in CALLS
}
CASES = [
    pytest.param(call, flag, id=f"{name}-{flag}") for name, (call, *flags) in CALLS.items() for flag in flags
]


def test_the_reductions_are_found():
    assert {"sum", "mean", "prod", "max", "argmin", "any", "norm", "logsumexp"} <= set(REDUCTIONS)


@pytest.mark.parametrize(("call", "flag"), CASES)
@pytest.mark.parametrize("value", ["False", 0, 1])
def test_flags_are_bools(call, flag, value):
    with pytest.raises(TypeError, match=f"{flag} must be True or False, got {value!r}"):
        call(**{flag: value})


@pytest.mark.parametrize(("call", "flag"), CASES)
@pytest.mark.parametrize("value", [False, True])
def test_bools_of_numpy_are_bools(call, flag, value):
    if flag == "enable_gqa" and value:
        pytest.skip("needs inputs with heads")
    call(**{flag: value})
    call(**{flag: np.bool_(value)})


def test_bools_of_numpy_mean_the_same():
    biased = tn.var(X, 1, unbiased=False).numpy()
    np.testing.assert_array_equal(tn.var(X, 1, unbiased=np.False_).numpy(), biased)
    assert tn.var(X, np.False_).item() == tn.var(X, False).item() != tn.var(X).item()
    assert tn.sum(X, 1, np.True_).shape == (2, 1, 4)
    assert tn.zeros(2, requires_grad=np.True_).requires_grad is True
    assert nn.Dropout().train(np.False_).training is False
