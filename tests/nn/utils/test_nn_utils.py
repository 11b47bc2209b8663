"""Gradient clipping, and fusion of normalizations into weights."""

import numpy as np
import pytest

from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor
from tinygrad_norm.nn import utils

SHAPES = ((4, 3), (3,), (2, 2, 2), ())


def parameters(scale=1.0, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    result = []
    for shape in SHAPES:
        parameter = nn.Parameter(np.asarray(rng.normal(size=shape), dtype))
        parameter.grad = Tensor(np.asarray(rng.normal(size=shape) * scale, dtype))
        result.append(parameter)
    return [*result, nn.Parameter(np.ones(2))]  # the last has no gradient


def torch_parameters(torch, mine):
    result = [torch.nn.Parameter(torch.tensor(p.array)) for p in mine]
    for q, p in zip(result, mine, strict=True):
        q.grad = None if p.grad is None else torch.tensor(p.grad.array)
    return result


def gradients(ps):
    return [None if p.grad is None else np.asarray(getattr(p.grad, "array", p.grad)) for p in ps]


def assert_same(a, b, rtol=1e-12):
    for x, y in zip(a, b, strict=True):
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_allclose(x, y, rtol=rtol)


def test_pytorchs_deep_import_of_clipping():
    from tinygrad_norm.nn.utils.clip_grad import clip_grad_norm_

    assert clip_grad_norm_ is utils.clip_grad_norm_
    assert utils.clip_grad.clip_grad_norm_ is utils.clip_grad_norm_


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 2, 3.5, float("inf")])
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 100.0])
def test_clipping_by_norm_as_pytorch(norm_type, max_norm, torch):
    mine = parameters()
    theirs = torch_parameters(torch, mine)
    total = utils.clip_grad_norm_(mine, max_norm, norm_type)
    reference = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert total.shape == ()
    np.testing.assert_allclose(total.item(), reference.item(), rtol=1e-12)
    assert_same(gradients(mine), gradients(theirs))


def test_the_clipped_gradient_has_the_norm_asked_for_and_the_same_direction():
    ps = parameters(scale=50.0)
    before = np.concatenate([g.ravel() for g in gradients(ps)[:-1]])
    total = utils.clip_grad_norm_((p for p in ps), 1.0)
    after = np.concatenate([g.ravel() for g in gradients(ps)[:-1]])
    np.testing.assert_allclose(total.item(), np.linalg.norm(before), rtol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(after), 1.0, rtol=1e-6)
    np.testing.assert_allclose(after / np.linalg.norm(after), before / np.linalg.norm(before), rtol=1e-12)


@pytest.mark.parametrize("norm_type", [1.5, 2.0])
def test_a_norm_that_would_overflow_does_not(norm_type):
    ps = parameters(scale=1e25, dtype=np.float32)
    expected = np.linalg.norm(
        np.concatenate([g.astype(np.float64).ravel() for g in gradients(ps)[:-1]]), norm_type
    )
    assert utils.clip_grad_norm_(ps, 1.0, norm_type).item() == pytest.approx(expected, rel=1e-5)
    norm = utils.get_total_norm([p.grad for p in ps[:-1]], norm_type)
    assert norm.item() == pytest.approx(1.0, rel=1e-5)


def test_clipping_writes_into_the_gradients_own_memory():
    ps = parameters(scale=100.0)
    arrays = gradients(ps)
    utils.clip_grad_norm_(ps, 1.0)
    utils.clip_grad_value_(ps, 0.1)
    utils.adaptive_clip_grad_(ps)
    assert all(a is b for a, b in zip(arrays, gradients(ps), strict=True))


def test_one_tensor_no_tensor_and_zero_gradients():
    p = parameters()[0]
    norm = np.linalg.norm(p.grad.array)
    assert utils.clip_grad_norm_(p, 1e9).item() == pytest.approx(norm, rel=1e-13)
    assert utils.clip_grad_norm_([], 1.0).item() == 0
    assert utils.get_total_norm([]).item() == 0
    p.grad.zero_()
    assert utils.clip_grad_norm_(p, 1.0).item() == 0
    assert not p.grad.array.any()


def test_a_norm_that_is_not_finite():
    for bad in (np.inf, np.nan):
        p = parameters()[0]
        p.grad.array[0, 0] = bad
        with pytest.raises(RuntimeError, match="first layer whose output is not finite"):
            utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
        assert not np.isfinite(utils.clip_grad_norm_(p, 1.0).item())


SPECIAL = [
    pytest.param(values, id=str(values))
    for values in (
        [[np.inf, 1, 2]],
        [[-np.inf, np.inf], [0.0, 1e30]],
        [[np.nan, 1.0]],
        [[np.inf, 1.0], [np.nan]],
        [[0.0, -0.0]],
        [[3.0], [4.0, 0.0]],
    )
]


@pytest.mark.parametrize("values", SPECIAL)
@pytest.mark.parametrize("norm_type", [0.5, 1.0, 2.0, 3.0, float("inf")])
@pytest.mark.parametrize("max_norm", [0.0, 1.0, 100.0, float("inf")])
def test_infinite_nan_and_zero_gradients_as_pytorch(values, norm_type, max_norm, torch):
    mine = [nn.Parameter(np.zeros(len(v), np.float32)) for v in values]
    for p, v in zip(mine, values, strict=True):
        p.grad = Tensor(np.array(v, np.float32))
    theirs = torch_parameters(torch, mine)
    if not torch.nn.utils.get_total_norm([p.grad for p in theirs], norm_type).isfinite():
        for clip, ps in ((utils.clip_grad_norm_, mine), (torch.nn.utils.clip_grad_norm_, theirs)):
            with pytest.raises(RuntimeError):
                clip(ps, max_norm, norm_type, error_if_nonfinite=True)
    total = utils.clip_grad_norm_(mine, max_norm, norm_type)
    reference = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    np.testing.assert_allclose(total.item(), reference.item(), rtol=1e-6)
    assert_same(gradients(mine), gradients(theirs), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: utils.clip_grad_norm_(nn.Linear(2, 2), 1.0), r"the module Linear: pass its parameters\(\)"),
        (lambda: utils.clip_grad_norm_(nn.Linear(2, 2).named_parameters(), 1.0), "not named_parameters"),
        (lambda: utils.clip_grad_norm_([np.ones(2)], 1.0), "entry 0 is a ndarray"),
        (lambda: utils.clip_grad_norm_(3, 1.0), "got int"),
        (lambda: utils.clip_grad_norm_([], "a"), "max_norm must be a number, got 'a'"),
        (lambda: utils.clip_grad_norm_([], 1.0, "a"), "norm_type must be a number, got 'a'"),
        (lambda: utils.clip_grad_value_(nn.Linear(2, 2), 1.0), "the module Linear"),
        (lambda: utils.clip_grad_value_([], None), "clip_value must be a number"),
        (lambda: utils.adaptive_clip_grad_(nn.Linear(2, 2)), "the module Linear"),
        (lambda: utils.adaptive_clip_grad_([], eps="a"), "eps must be a number"),
    ],
)
def test_what_cannot_be_clipped_is_named(call, match):
    with pytest.raises(TypeError, match=match):
        call()


def test_clipping_by_value_as_pytorch(torch):
    mine = parameters()
    theirs = torch_parameters(torch, mine)
    utils.clip_grad_value_(mine, 0.3)
    torch.nn.utils.clip_grad_value_(theirs, 0.3)
    assert_same(gradients(mine), gradients(theirs))


def test_adaptive_clipping_bounds_every_unit_by_its_own_weights():
    weight = nn.Parameter(np.array([[3.0, 4.0], [0.0, 0.0], [0.6, 0.8]]))
    bias = nn.Parameter(np.array([0.0, 2.0]))
    weight.grad = Tensor(np.array([[30.0, 40.0], [0.3, 0.4], [0.003, 0.004]]))
    bias.grad = Tensor(np.array([3.0, 4.0]))
    utils.adaptive_clip_grad_([weight, bias], clip_factor=0.1, eps=0.01)
    expected = [
        [0.3, 0.4],  # 0.1 of the weights' norm 5
        [0.0006, 0.0008],  # 0.1 of eps
        [0.003, 0.004],  # already smaller
    ]
    np.testing.assert_allclose(weight.grad.array, expected, rtol=1e-12)
    np.testing.assert_allclose(bias.grad.array, [0.12, 0.16], rtol=1e-12)  # a vector is one unit


def test_adaptive_clipping_of_a_convolution_has_one_norm_per_output_channel():
    rng = np.random.default_rng(0)
    weight = nn.Parameter(rng.normal(size=(3, 2, 2, 2)))
    weight.grad = Tensor(rng.normal(size=(3, 2, 2, 2)) * 10)
    utils.adaptive_clip_grad_(weight, clip_factor=0.01)
    ratio = np.linalg.norm(weight.grad.array.reshape(3, -1), axis=1)
    ratio /= np.linalg.norm(weight.array.reshape(3, -1), axis=1)
    np.testing.assert_allclose(ratio, 0.01, rtol=1e-12)


def test_adaptive_clipping_defaults_are_the_papers_and_extremes_stay_finite():
    weight = nn.Parameter(np.array([[0.0], [1e30]], np.float32))
    weight.grad = Tensor(np.array([[1e30], [1e38]], np.float32))
    utils.adaptive_clip_grad_(weight)
    np.testing.assert_allclose(weight.grad.array, [[1e-5], [1e28]], rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: utils.clip_grad_norm_([], -1.0), "max_norm"),
        (lambda: utils.clip_grad_norm_([], 1.0, 0.0), "norm_type"),
        (lambda: utils.clip_grad_value_([], -1.0), "clip_value"),
        (lambda: utils.adaptive_clip_grad_([], 0.0), "clip_factor"),
        (lambda: utils.adaptive_clip_grad_([], 0.01, -1.0), "eps"),
    ],
)
def test_bad_limits_raise(call, match):
    with pytest.raises(ValueError, match=match):
        call()


# -- fusion


def trained_norm(norm, seed=0):
    rng = np.random.default_rng(seed)
    norm.running_mean.copy_(rng.normal(size=norm.running_mean.shape))
    norm.running_var.copy_(rng.uniform(0.5, 2.0, norm.running_var.shape))
    for parameter in norm.parameters():
        parameter.copy_(rng.normal(size=parameter.shape))
    return norm


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_linear_and_batch_norm_become_one_layer(bias, affine):
    linear = nn.Linear(4, 3, bias=bias).double().eval()
    norm = trained_norm(nn.BatchNorm1d(3, affine=affine).double().eval())
    before = linear.weight.array.copy()
    fused = utils.fuse_linear_bn_eval(linear, norm)
    x = Tensor(np.random.default_rng(1).normal(size=(5, 4)))
    np.testing.assert_allclose(fused(x).array, norm(linear(x)).array, rtol=1e-12)
    assert np.array_equal(linear.weight.array, before)
    assert (linear.bias is not None) == bias
    assert list(fused.state_dict()) == ["weight", "bias"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("conv", "norm", "shape"),
    [
        (lambda bias: nn.Conv1d(4, 6, 3, bias=bias), nn.BatchNorm1d, (2, 4, 5)),
        (lambda bias: nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=bias), nn.BatchNorm2d, (2, 4, 5, 5)),
        (lambda bias: nn.Conv3d(4, 6, 2, bias=bias), nn.BatchNorm3d, (2, 4, 3, 3, 3)),
        (lambda bias: nn.ConvTranspose1d(4, 6, 3, bias=bias), nn.BatchNorm1d, (2, 4, 5)),
        (lambda bias: nn.ConvTranspose2d(4, 6, 2, 2, groups=2, bias=bias), nn.BatchNorm2d, (2, 4, 3, 3)),
    ],
    ids=["1d", "2d groups", "3d", "transpose 1d", "transpose 2d groups"],
)
def test_convolution_and_batch_norm_become_one_layer(conv, norm, shape, bias):
    conv, norm = conv(bias).double().eval(), trained_norm(norm(6).double().eval())
    fused = utils.fuse_conv_bn_eval(conv, norm, transpose="Transpose" in type(conv).__name__)
    assert type(fused) is type(conv)
    x = Tensor(np.random.default_rng(1).normal(size=shape))
    np.testing.assert_allclose(fused(x).array, norm(conv(x)).array, rtol=1e-10, atol=1e-12)


def test_fusion_agrees_with_pytorch(torch):
    linear, norm = nn.Linear(4, 3).double().eval(), trained_norm(nn.BatchNorm1d(3).double().eval())
    a, b = torch.nn.Linear(4, 3).double().eval(), torch.nn.BatchNorm1d(3).double().eval()
    for mine, theirs in ((linear, a), (norm, b)):
        theirs.load_state_dict({k: torch.tensor(v.array) for k, v in mine.state_dict().items()})
    fused, reference = (
        utils.fuse_linear_bn_eval(linear, norm),
        torch.nn.utils.fusion.fuse_linear_bn_eval(a, b),
    )
    for name, value in reference.state_dict().items():
        np.testing.assert_allclose(fused.state_dict()[name].array, value.numpy(), rtol=1e-13)


def test_fusion_raises_in_training_without_statistics_and_for_other_sizes():
    linear, norm = nn.Linear(4, 3).eval(), nn.BatchNorm1d(3).eval()
    with pytest.raises(RuntimeError, match=r"call eval\(\)"):
        utils.fuse_linear_bn_eval(nn.Linear(4, 3), norm)
    with pytest.raises(RuntimeError, match=r"call eval\(\)"):
        utils.fuse_linear_bn_eval(linear, nn.BatchNorm1d(3))
    with pytest.raises(RuntimeError, match="track_running_stats"):
        utils.fuse_linear_bn_eval(linear, nn.BatchNorm1d(3, track_running_stats=False).eval())
    with pytest.raises(ValueError, match="3 outputs"):
        utils.fuse_linear_bn_eval(linear, nn.BatchNorm1d(4).eval())
