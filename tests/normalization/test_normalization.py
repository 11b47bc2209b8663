"""What the registry cannot say of the normalizations: modules, running statistics, invariances, extremes."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.nn import functional as F
from tinygrad_norm.registry import REGISTRY

NORMS = {
    "BatchNorm1d": (lambda: nn.BatchNorm1d(6), (8, 6)),
    "BatchNorm1d (N, C, L)": (lambda: nn.BatchNorm1d(6), (4, 6, 5)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(6), (4, 6, 3, 2)),
    "BatchNorm3d": (lambda: nn.BatchNorm3d(6), (2, 6, 2, 3, 2)),
    "LayerNorm": (lambda: nn.LayerNorm(6), (4, 6)),
    "LayerNorm (C, H, W)": (lambda: nn.LayerNorm((6, 3, 2)), (4, 6, 3, 2)),
    "RMSNorm": (lambda: nn.RMSNorm(6, eps=1e-5), (4, 6)),
    "GroupNorm": (lambda: nn.GroupNorm(3, 6), (4, 6, 3, 2)),
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(6, affine=True), (4, 6, 5)),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(6, affine=True), (4, 6, 3, 2)),
    "InstanceNorm3d": (lambda: nn.InstanceNorm3d(6, affine=True), (2, 6, 2, 3, 2)),
}
norms = pytest.mark.parametrize(("make", "shape"), NORMS.values(), ids=NORMS.keys())


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def forward_backward(module, x, dy):
    x = Tensor(x, requires_grad=True)
    y = module(x)
    return y, *grad(y, [x, *module.parameters()], dy)


@norms
def test_module_keeps_shape_and_dtype_and_trains_its_parameters(make, shape):
    module = make()
    y, dx, *dparameters = forward_backward(module, normal(*shape, dtype=np.float32), np.ones(shape))
    assert y.shape == dx.shape == shape
    assert {t.dtype for t in (y, dx, *dparameters)} == {np.dtype(np.float32)}
    assert [d.shape for d in dparameters] == [p.shape for p in module.parameters()]


@norms
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e18, 1e25, 1e37], ids="scale {:g}".format)
def test_any_scale_of_float32_gives_finite_right_results(make, shape, scale):
    """Beyond 1e19 the square of a float32 overflows; the result must not."""
    x, dy = (normal(*shape) * scale).astype(np.float32), normal(*shape, seed=1)
    right = forward_backward(make().double(), x.astype(np.float64), dy)
    for ours, expected in zip(forward_backward(make(), x, dy), right, strict=True):
        size = np.abs(expected.array).max()
        np.testing.assert_allclose(ours.array, expected.array, rtol=2e-4, atol=1e-4 * size)


@norms
def test_constant_pools_give_finite_results(make, shape):
    for value in (0.0, 3.0, 1e30):
        x = np.full(shape, value, np.float32)
        y, *gradients = forward_backward(make(), x, normal(*shape))
        assert all(np.isfinite(t.array).all() for t in (y, *gradients)), value


@norms
def test_a_constant_pool_with_eps_0_gives_0_not_nan(make, shape):
    module = make().double()
    module.eps = 0.0
    y, *gradients = forward_backward(module, np.zeros(shape), normal(*shape))
    assert not y.array.any()
    assert all(np.isfinite(t.array).all() for t in gradients)


@norms
def test_a_large_mean_does_not_spoil_the_variance(make, shape):
    """E[x²] - E[x]² would lose every digit here."""
    x = normal(*shape)
    shifted = make().double()(Tensor(x + 1e7))
    if "RMSNorm" in repr(make()):
        pytest.skip("RMSNorm does not center")
    np.testing.assert_allclose(shifted.array, make().double()(Tensor(x)).array, atol=1e-6)


@norms
def test_half_precision_accumulates_in_float32(make, shape):
    x, dy = normal(*shape) * 100 + 300, normal(*shape, seed=1)
    low, high = make().half(), make().double()
    x = x.astype(np.float16)
    y, dx, *_ = forward_backward(low, x, dy)
    y64, dx64, *_ = forward_backward(high, x.astype(np.float64), dy)
    assert y.dtype == dx.dtype == np.float16
    np.testing.assert_allclose(y.array, y64.array, atol=4e-3)
    np.testing.assert_allclose(dx.array, dx64.array, atol=2e-2 * np.abs(dx64.array).max())


@norms
def test_y_sum_is_a_vacuous_loss(make, shape):
    """Without affine, moving x cannot change Σy: dx = 0 passes such a check, a random dy does not."""
    module = make().double()
    if "RMSNorm" in repr(module):
        pytest.skip("RMSNorm does not center, so Σy does depend on x")
    _, dx, *_ = forward_backward(module, normal(*shape), np.ones(shape))
    assert np.abs(dx.array).max() < 1e-12
    _, dx, *_ = forward_backward(module, normal(*shape), normal(*shape, seed=1))
    assert np.abs(dx.array).max() > 1e-2


@norms
def test_dx_is_orthogonal_to_the_directions_that_cannot_change_y(make, shape):
    module = make().double()
    module.eps = 0.0
    x = normal(*shape)
    _, dx, *_ = forward_backward(module, x, normal(*shape, seed=1))
    assert abs((dx.array * x).sum()) < 1e-10  # scaling x
    if "RMSNorm" not in repr(module):
        assert abs(dx.array.sum()) < 1e-10  # shifting x


@norms
def test_module_equals_pytorch_through_training_and_evaluation(make, shape, torch):
    ours = make().double()
    theirs = getattr(torch.nn, type(ours).__name__)
    arguments = {
        "LayerNorm": lambda: theirs(ours.normalized_shape),
        "RMSNorm": lambda: theirs(ours.normalized_shape, eps=1e-5),
        "GroupNorm": lambda: theirs(3, 6),
    }.get(type(ours).__name__, lambda: theirs(6, affine=True))
    theirs = arguments().double()
    assert [(k, tuple(v.shape)) for k, v in theirs.state_dict().items()] == [
        (k, v.shape) for k, v in ours.state_dict().items()
    ]
    with torch.no_grad():
        for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
            values = normal(*q.shape, seed=7)
            p.copy_(torch.from_numpy(values))
            q.copy_(values)
    for step in range(5):
        if step == 3:
            ours.eval()
            theirs.eval()
        x, dy = normal(*shape, seed=step), normal(*shape, seed=step + 10)
        y, *gradients = forward_backward(ours, x, dy)
        tx = torch.from_numpy(x).requires_grad_()
        ty = theirs(tx)
        expected = torch.autograd.grad(ty, [tx, *theirs.parameters()], torch.from_numpy(dy))
        np.testing.assert_allclose(y.array, ty.detach().numpy(), rtol=1e-10, atol=1e-12)
        for ours_dx, theirs_dx in zip(gradients, expected, strict=True):
            np.testing.assert_allclose(ours_dx.array, theirs_dx.numpy(), rtol=1e-9, atol=1e-11)
        for (name, a), b in zip(ours.named_buffers(), theirs.buffers(), strict=True):
            np.testing.assert_allclose(a.array, b.numpy(), rtol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    "options", [{"momentum": None}, {"momentum": 0.3}, {"track_running_stats": False}, {"affine": False}]
)
@pytest.mark.parametrize("name", ["BatchNorm1d", "InstanceNorm1d"])
def test_options_of_the_running_norms_equal_pytorch(name, options, torch):
    if name == "InstanceNorm1d":
        if "momentum" in options and options["momentum"] is None:
            pytest.skip("PyTorch's InstanceNorm reads momentum=None as 0; ours averages, as documented")
        options = {"track_running_stats": True} | options
    ours, theirs = getattr(nn, name)(4, **options).double(), getattr(torch.nn, name)(4, **options).double()
    for step in range(4):
        if step == 3:
            ours.eval()
            theirs.eval()
        x = normal(3, 4, 5, seed=step) + step
        np.testing.assert_allclose(
            ours(Tensor(x)).array, theirs(torch.from_numpy(x)).detach().numpy(), rtol=1e-10, atol=1e-12
        )
    for (key, a), b in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        np.testing.assert_allclose(a.array, b.numpy(), rtol=1e-12, err_msg=key)


def test_momentum_weighs_the_new_value_and_the_running_variance_is_unbiased():
    module = nn.BatchNorm1d(1, momentum=0.25).double()
    module(Tensor(np.array([[1.0], [3.0]])))
    np.testing.assert_allclose(module.running_mean.array, [0.25 * 2.0])
    np.testing.assert_allclose(module.running_var.array, [0.75 * 1.0 + 0.25 * 2.0])
    assert module.num_batches_tracked.item() == 1
    assert module.num_batches_tracked.dtype == np.int64
    assert module.num_batches_tracked.shape == ()


def test_momentum_none_is_the_mean_over_all_batches():
    module = nn.BatchNorm1d(3, momentum=None).double()
    batches = [normal(10, 3, seed=i) for i in range(4)]
    for x in batches:
        module(Tensor(x))
    np.testing.assert_allclose(module.running_mean.array, np.mean([x.mean(0) for x in batches], 0))
    np.testing.assert_allclose(module.running_var.array, np.mean([x.var(0, ddof=1) for x in batches], 0))


def test_evaluation_changes_no_buffer_and_allows_a_batch_of_one():
    module = nn.BatchNorm1d(3).eval()
    before = {k: v.numpy().copy() for k, v in module.state_dict().items()}
    module(Tensor(normal(1, 3, dtype=np.float32)))
    for key, value in module.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])


def test_without_running_statistics_evaluation_uses_the_batch():
    module = nn.BatchNorm1d(3, track_running_stats=False).double()
    x = Tensor(normal(8, 3))
    np.testing.assert_array_equal(module.train()(x).array, module.eval()(x).array)
    assert "running_mean" not in module.state_dict()


def test_reset_running_stats():
    module = nn.BatchNorm1d(3)
    module(Tensor(normal(8, 3, dtype=np.float32)))
    module.reset_running_stats()
    assert module.running_mean.tolist() == [0, 0, 0]
    assert module.running_var.tolist() == [1, 1, 1]
    assert module.num_batches_tracked.item() == 0


def test_a_bias_right_before_batch_norm_has_gradient_0():
    x, dy = Tensor(normal(8, 3)), normal(8, 3, seed=1)
    bias = Tensor(normal(3, seed=2), requires_grad=True)
    module = nn.BatchNorm1d(3).double()
    (db,) = grad(module(x + bias), [bias], dy)
    assert np.abs(db.array).max() < 1e-14
    (db,) = grad(module.eval()(x + bias), [bias], dy)
    assert np.abs(db.array).max() > 1e-2  # in evaluation the statistics do not follow the bias


def test_weight_std_and_bias_mean_restore_the_identity():
    x = Tensor(normal(8, 3) * 4 + 2)
    module = nn.BatchNorm1d(3).double()
    module.weight.copy_(np.sqrt(x.array.var(0) + module.eps))
    module.bias.copy_(x.array.mean(0))
    np.testing.assert_allclose(module(x).array, x.array, rtol=1e-12)


def test_group_norm_with_one_group_pools_like_layer_norm_and_with_c_groups_like_instance_norm():
    x = Tensor(normal(4, 6, 3, 2))
    np.testing.assert_allclose(F.group_norm(x, 1).array, F.layer_norm(x, (6, 3, 2)).array, rtol=1e-12)
    np.testing.assert_allclose(F.group_norm(x, 6).array, F.instance_norm(x).array, rtol=1e-12)


def test_rms_norm_is_sqrt_d_times_l2_normalization():
    x = normal(4, 9)
    expected = 3 * x / np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(F.rms_norm(Tensor(x), (9,), eps=0.0).array, expected, rtol=1e-13)


def test_rms_norm_default_eps_is_the_machine_epsilon_of_the_dtype():
    x = np.full((1, 4), 1e-4)
    for dtype in (np.float32, np.float64):
        expected = x / np.sqrt(1e-8 + np.finfo(dtype).eps)
        np.testing.assert_allclose(F.rms_norm(Tensor(x.astype(dtype)), (4,)).array, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "without", "with_batch"),
    [
        (lambda: nn.InstanceNorm1d(3), (3, 5), (1, 3, 5)),
        (lambda: nn.InstanceNorm2d(3), (3, 4, 5), (1, 3, 4, 5)),
    ],
)
def test_instance_norm_takes_a_single_sample_without_its_batch_axis(make, without, with_batch):
    x = normal(*without)
    np.testing.assert_array_equal(
        make()(Tensor(x)).array, make()(Tensor(x.reshape(with_batch))).array.reshape(without)
    )


def test_batch_norm_without_bias():
    module = nn.BatchNorm1d(3, bias=False)
    assert [name for name, _ in module.named_parameters()] == ["weight"]
    assert module(Tensor(normal(4, 3, dtype=np.float32))).shape == (4, 3)


def test_non_contiguous_input_gives_the_same():
    x = normal(6, 4, 5)
    turned = np.ascontiguousarray(x.transpose(2, 1, 0)).transpose(2, 1, 0)
    for f in (lambda t: F.layer_norm(t, (5,)), lambda t: F.group_norm(t, 2), F.instance_norm):
        np.testing.assert_allclose(f(Tensor(turned)).array, f(Tensor(x)).array, rtol=1e-12)


def test_frozen_parameters_get_no_gradient():
    module = nn.LayerNorm(4)
    module.weight.requires_grad_(False)
    module(tn.ones(2, 4)).sum().backward()
    assert module.weight.grad is None
    assert module.bias.grad is not None


def test_group_norm_with_a_bias_only():
    """Apart from the registered cases, because PyTorch's own backward fails here."""
    from tinygrad_norm.normalization.sample.groupnorm import group_norm_composed

    x, bias, dy = Tensor(normal(2, 6, 3), True), Tensor(normal(6), True), normal(2, 6, 3, seed=1)
    closed = grad(F.group_norm(x, 3, None, bias), [x, bias], dy)
    composed = grad(group_norm_composed(x, 3, None, bias), [x, bias], dy)
    for a, b in zip(closed, composed, strict=True):
        np.testing.assert_allclose(a.array, b.array, rtol=1e-11)


@pytest.mark.parametrize(
    ("shape", "num_groups"),
    [((1, 2), 2), ((1, 2, 1), 2), ((1, 1), 1), ((2, 2), 2), ((1, 2, 3), 2), ((0, 2), 2)],
)
def test_group_norm_takes_groups_of_one_value_as_pytorch_does(shape, num_groups):
    """Not of one sample alone, whose result would be zeros whatever it is."""
    torch = pytest.importorskip("torch")
    x = normal(*shape)
    try:
        expected = torch.nn.functional.group_norm(torch.tensor(x), num_groups).numpy()
    except ValueError:
        for call in (lambda t: F.group_norm(t, num_groups), nn.GroupNorm(num_groups, shape[1]).double()):
            with pytest.raises(
                ValueError, match="group_norm in training needs more than one value per group"
            ):
                call(Tensor(x))
    else:
        np.testing.assert_allclose(F.group_norm(Tensor(x), num_groups).array, expected, atol=1e-12)


def test_instance_norm_of_an_empty_batch():
    """Apart from the registered cases, because PyTorch refuses it; BatchNorm, GroupNorm it allows."""
    y, dx, dweight, dbias = forward_backward(
        nn.InstanceNorm1d(3, affine=True, track_running_stats=True).double(),
        np.ones((0, 3, 4)),
        np.ones((0, 3, 4)),
    )
    assert y.shape == dx.shape == (0, 3, 4)
    assert not dweight.array.any()
    assert not dbias.array.any()


@pytest.mark.parametrize("name", ["BatchNorm1d", "InstanceNorm1d"])
def test_running_statistics_that_move_on_do_not_reach_a_pending_backward(name):
    """Evaluation keeps its own copy of them: its gradient is that of its forward."""
    module = getattr(nn, name)(3, affine=True, track_running_stats=True).double().eval()
    x, dy = Tensor(normal(4, 3, 5)), normal(4, 3, 5, seed=1)
    (expected,) = grad(module(x), [module.weight], dy)
    y = module(x)
    module.train()(x + 5)
    (dweight,) = grad(y, [module.weight], dy)
    np.testing.assert_array_equal(dweight.array, expected.array)


def test_eps_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="eps"):
        F.layer_norm(tn.ones(2, 3), (3,), eps=float("nan"))


@pytest.mark.parametrize(
    ("name", "vectors"),
    [("layer_norm", "weight"), ("rms_norm", "weight"), ("group_norm", "bias"), ("batch_norm", "running_var")],
)
def test_vectors_of_another_dtype_are_refused(name, vectors):
    """Beside float32 a float64 statistic made the result float64."""
    x = Tensor(normal(4, 6, dtype=np.float32))
    options = {"layer_norm": {"normalized_shape": 6}, "rms_norm": {"normalized_shape": 6}}
    given = {**options.get(name, {}), **({"num_groups": 2} if name == "group_norm" else {})}
    if name == "batch_norm":
        given["running_mean"] = Tensor(np.zeros(6, np.float32))
    with pytest.raises(TypeError, match=f"{vectors} has dtype float64 beside an input of float32"):
        getattr(F, name)(x, **given, **{vectors: Tensor(np.ones(6))})


def test_half_types_may_have_vectors_of_float32():
    x, w = Tensor(normal(4, 6).astype(np.float16)), Tensor(np.ones(6, np.float32), requires_grad=True)
    y = F.layer_norm(x, 6, w)
    y.backward(np.ones((4, 6)))
    assert (y.dtype, w.grad.dtype) == (np.float16, np.float32)


@pytest.mark.parametrize("eps", ["x", None, -1.0, float("nan")])
def test_an_eps_that_is_no_number_of_at_least_0_is_named(eps):
    with pytest.raises((TypeError, ValueError), match="eps"):
        nn.LayerNorm(3, eps=eps)(Tensor(normal(2, 3, dtype=np.float32)))


def test_a_tensor_of_another_library_is_called_by_its_full_name(torch):
    for function in (lambda x: F.layer_norm(x, 3), nn.Linear(3, 3)):
        with pytest.raises(TypeError, match=r"takes a Tensor, got torch\.Tensor: wrap it"):
            function(torch.ones(2, 3))
        with pytest.raises(TypeError, match=r"got numpy\.ndarray: wrap it"):
            function(np.ones((2, 3)))
        with pytest.raises(TypeError, match="got list: wrap it"):
            function([1.0])


@pytest.mark.parametrize("shape", [(3, 0), (3, 0, 4), (0, 0)])
def test_batch_norm_of_no_channels(shape, torch):
    """Apart from the registered cases, as there is nothing to be differentiated."""
    y = F.batch_norm(tn.zeros(*shape), tn.zeros(0), tn.ones(0), training=True)
    assert y.shape == torch.nn.functional.batch_norm(torch.zeros(shape), None, None, training=True).shape


@pytest.mark.parametrize(
    ("layer", "shape", "match"),
    [
        (
            nn.InstanceNorm1d(3),
            (2, 5),
            r"x of shape \(2, 5\) has 2 on axis 0: with 2 axes it is a single sample",
        ),
        (nn.InstanceNorm2d(3), (2, 5, 5), r"x of shape \(2, 5, 5\) has 2 on axis 0: with 3 axes"),
        (nn.InstanceNorm1d(3), (2, 5, 7), r"x of shape \(2, 5, 7\) has 5 on axis 1$"),
    ],
)
def test_instance_norm_names_the_shape_that_was_passed(layer, shape, match):
    with pytest.raises(ValueError, match=match):
        layer(tn.ones(*shape))


MAKERS = {
    "BatchNorm1d": lambda **options: nn.BatchNorm1d(3, **options),
    "InstanceNorm2d": lambda **options: nn.InstanceNorm2d(3, **options),
    "PowerNorm": lambda **options: nn.PowerNorm(3, **options),
    "SyncBatchNorm": lambda **options: nn.SyncBatchNorm(3, **options),
    "LayerNorm": lambda **options: nn.LayerNorm(3, **options),
    "RMSNorm": lambda **options: nn.RMSNorm(3, **options),
    "GroupNorm": lambda **options: nn.GroupNorm(1, 3, **options),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_a_constructor_refuses_a_bad_eps(make):
    for eps in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="eps must be a number of at least 0, got"):
            make(eps=eps)
    with pytest.raises(ValueError, match="eps must be finite, got inf"):
        make(eps=float("inf"))
    with pytest.raises(TypeError, match="eps must be a number, got 'a'"):
        make(eps="a")


def test_a_momentum_that_is_no_number_is_named():
    with pytest.raises(TypeError, match="momentum must be a number, got 'a'"):
        F.batch_norm(tn.ones(2, 3), tn.zeros(3), tn.ones(3), training=True, momentum="a")
    with pytest.raises(TypeError, match="momentum must be a number, got 'a'"):
        F.instance_norm(tn.ones(2, 3, 4), tn.zeros(3), tn.ones(3), momentum="a")


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm", "add_layer_norm", "add_rms_norm"])
def test_the_composed_form_takes_an_int_as_its_twin_does(name):
    op, x = REGISTRY[name], tn.tensor(np.arange(12.0).reshape(3, 4))
    inputs = (x, x) if name.startswith("add") else (x,)
    y, z = op.function(*inputs, 4), op.composed(*inputs, 4)
    for a, b in zip(*(out if isinstance(out, tuple) else (out,) for out in (y, z)), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


@pytest.mark.parametrize("normalize", [F.rms_norm, lambda x, shape: F.add_rms_norm(x, 0 * x, shape)[0]])
def test_without_eps_rms_norm_of_halves_takes_the_epsilon_of_float32(normalize):
    """They are computed in float32; float16's own epsilon is 1000 times the mean square of such numbers."""
    x = tn.tensor([[1e-3, 2e-3, -1e-3]])
    np.testing.assert_allclose(normalize(x.half(), (3,)).numpy(), F.rms_norm(x, (3,)).numpy(), 2e-3)
    np.testing.assert_allclose(nn.RMSNorm(3).half()(x.half()).numpy(), F.rms_norm(x, (3,)).numpy(), 2e-3)


@pytest.mark.parametrize("value", [1e20, 1e30, 3e38])
def test_a_constant_huge_row_has_the_gradient_of_variance_0(value):
    """rstd is 1/√eps, as for any constant row: dx = (dy - mean(dy))/√eps."""
    x = Tensor(np.full((1, 3), value, np.float32), requires_grad=True)
    y = F.layer_norm(x, (3,))
    y.backward(np.array([[1, 2, 3]], np.float32))
    np.testing.assert_array_equal(y.numpy(), [[0, 0, 0]])
    np.testing.assert_allclose(x.grad.numpy(), np.array([[-1, 0, 1]]) / np.sqrt(1e-5), rtol=1e-6)
