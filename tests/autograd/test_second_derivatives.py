"""Second derivatives: with create_graph, a gradient is a tensor like any other.

The closed form's gradient of its gradient must be that of the composed form, and that of finite differences;
its first gradient has the same bits as without create_graph. Every registered op is tested here.
"""

import dataclasses
import gc
import weakref

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Function
from tinygrad_norm.gradient_check.gradient_op import gradient_op
from tinygrad_norm.gradient_check.registered import (
    SECOND,
    Allowed,
    check,
    cotangent,
    differences,
    draw,
    evaluate,
)
from tinygrad_norm.nn import functional as F
from tinygrad_norm.registry import REGISTRY

OPS = [pytest.param(op, id=op.name) for op in REGISTRY.values()]


def quick_and_slow(first):
    """Every case of every op; all but the `first` of each op are slow."""
    return pytest.mark.parametrize(
        ("op", "index"),
        [
            pytest.param(op, i, id=f"{op.name}-{i}", marks=pytest.mark.slow if i >= first else ())
            for op in REGISTRY.values()
            for i in range(len(op.cases))
        ],
    )


def one_case(op, index):
    """The op with only one of its cases; the test is skipped if that has no gradient."""
    given = gradient_op(dataclasses.replace(op, cases=(op.cases[index],)))
    if not given.cases:
        pytest.skip("no gradient")
    return given, given.cases[0]


@quick_and_slow(first=1)
def test_second_derivatives_of_closed_and_composed_form_agree(op, index):
    if op.composed is None:
        pytest.skip("a primitive")
    gradient, case = one_case(op, index)
    closed, composed = (evaluate(gradient, form, case) for form in (gradient.function, gradient.composed))
    for what, error in differences(closed, composed).items():
        assert error <= SECOND.composed, what


@pytest.mark.slow
@pytest.mark.parametrize("op", OPS)
def test_second_derivatives_agree_with_finite_differences(op):
    verdict = check(gradient_op(op), allowed=SECOND)
    assert not verdict.failures, verdict.failures[0].text


@quick_and_slow(first=1)
def test_a_first_derivative_has_the_same_bits_with_create_graph(op, index):
    case = op.cases[index]
    inputs = draw(case)
    result = op.call(inputs, case.options)
    ys = [y for y in (result if isinstance(result, tuple) else (result,)) if y.requires_grad]
    if not ys:
        pytest.skip("no gradient")
    xs = [x for x in inputs if x is not None and x.requires_grad]
    dys = [cotangent(y.shape, k) for k, y in enumerate(ys)]
    plain = tn.grad(ys, xs, dys, retain_graph=True, allow_unused=True)
    with_graph = tn.grad(ys, xs, dys, create_graph=True, allow_unused=True)
    for a, b in zip(plain, with_graph, strict=True):
        assert (a is None) == (b is None)
        assert a is None or np.array_equal(a.numpy(), b.numpy(), equal_nan=True)


@pytest.mark.parametrize("name", ["tanh", "prod", "layer_norm", "batch_norm", "softmax", "conv2d", "lstm"])
def test_third_derivatives(name):
    op = REGISTRY[name]
    second = gradient_op(gradient_op(dataclasses.replace(op, cases=(op.cases[0],))))
    verdict = check(second, allowed=Allowed(fast_mode=True)) if name in ("tanh", "layer_norm") else None
    assert verdict is None or not verdict.failures, verdict.failures[0].text
    if op.composed is not None:
        closed, composed = (
            evaluate(second, form, second.cases[0]) for form in (second.function, second.composed)
        )
        assert max(differences(closed, composed).values()) <= SECOND.composed


# -- of networks, as PyTorch


NORMALIZATIONS = {
    "BatchNorm1d": lambda nn: nn.BatchNorm1d(5),
    "LayerNorm": lambda nn: nn.LayerNorm(5),
    "RMSNorm": lambda nn: nn.RMSNorm(5, eps=1e-5),
    "GroupNorm": lambda nn: nn.GroupNorm(5, 5),
    "InstanceNorm1d": lambda nn: nn.Sequential(nn.Unflatten(1, (1, 5)), nn.InstanceNorm1d(1), nn.Flatten()),
    "LocalResponseNorm": lambda nn: nn.Sequential(
        nn.Unflatten(1, (5, 1)), nn.LocalResponseNorm(3), nn.Flatten()
    ),
}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", [name for name in NORMALIZATIONS if name != "GroupNorm"])
def test_hessians_of_networks_are_those_of_pytorch(torch, name, training):
    rng = np.random.default_rng(0)
    ours = network(nn, name).double().train(training)
    theirs = network(torch.nn, name).double().train(training)
    with torch.no_grad():
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            q[...] = torch.tensor(p.numpy().copy())
    x, dy = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    v = [rng.normal(size=p.shape) for p in ours.parameters()]

    loss = (ours(tn.tensor(x)) * tn.tensor(dy)).tanh().sum()
    dws = tn.grad(loss, list(ours.parameters()), create_graph=True)
    hv = tn.grad(dws, list(ours.parameters()), [tn.tensor(part) for part in v])

    loss = (theirs(torch.tensor(x)) * torch.tensor(dy)).tanh().sum()
    dws = torch.autograd.grad(loss, list(theirs.parameters()), create_graph=True)
    expected = torch.autograd.grad(dws, list(theirs.parameters()), [torch.tensor(part) for part in v])
    for a, b in zip(hv, expected, strict=True):
        scale = max(float(b.abs().max()), 1e-3)
        assert abs(a.numpy() - b.numpy()).max() <= 1e-9 * scale


def network(nn, name):
    return nn.Sequential(nn.Linear(3, 5), NORMALIZATIONS[name](nn), nn.Tanh(), nn.Linear(5, 2))


def test_a_gradient_penalty_trains():
    tn.manual_seed(0)
    critic = nn.Sequential(nn.Linear(2, 8), nn.LayerNorm(8), nn.SiLU(), nn.Linear(8, 1))
    optimizer = tn.optim.Adam(critic.parameters(), lr=1e-2)
    x = tn.randn(32, 2, requires_grad=True)

    def penalty():
        (dx,) = tn.grad(critic(x).sum(), x, create_graph=True)
        return ((dx.norm(dim=1) - 1) ** 2).mean()

    first = penalty().item()
    for _ in range(60):
        optimizer.zero_grad()
        penalty().backward()
        optimizer.step()
    assert penalty().item() < 0.1 * first


# -- running statistics, hooks, and .grad


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(3),
        nn.GhostBatchNorm1d(3, 2),
        nn.InstanceNorm1d(3, track_running_stats=True),
        nn.PowerNorm(3),
    ],
    ids=["batch", "ghost", "instance", "power"],
)
def test_the_second_pass_does_not_touch_running_statistics(layer):
    layer = layer.double().train()
    x = tn.randn(4, 3, 5, dtype=tn.float64, requires_grad=True)
    if isinstance(layer, nn.PowerNorm):
        x = tn.randn(4, 3, dtype=tn.float64, requires_grad=True)
    (dx,) = tn.grad((layer(x) ** 3).sum(), x, create_graph=True)
    before = {name: buffer.numpy().copy() for name, buffer in layer.named_buffers()}
    (dx**2).sum().backward()
    for name, buffer in layer.named_buffers():
        assert np.array_equal(buffer.numpy(), before[name]), name


def test_backward_with_create_graph_leaves_gradients_with_a_graph():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    (x**3).sum().backward(create_graph=True)
    assert x.grad.requires_grad
    (x**3).sum().backward(create_graph=True)  # adds to it, with its graph
    (dx,) = tn.grad(x.grad.sum(), x)
    assert np.allclose(dx.numpy(), 2 * 6 * x.numpy())


def test_hooks_see_gradients_with_a_graph_and_may_replace_them():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    y.register_hook(lambda dy: dy * x)  # now dL/dy depends on x
    (dx,) = tn.grad(y.sum(), x, create_graph=True)
    assert np.allclose(dx.numpy(), 2 * x.numpy() ** 2)
    (second,) = tn.grad(dx.sum(), x)
    assert np.allclose(second.numpy(), 4 * x.numpy())


def test_a_hook_of_another_shape_raises():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    x.register_hook(lambda dx: dx.sum())
    with pytest.raises(RuntimeError, match="a hook returned shape"):
        (x * x).sum().backward(create_graph=True)


def test_hooks_off_the_path_are_not_called():
    x, z = (tn.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    y = z * 2
    for tensor in (y, z):
        tensor.register_hook(lambda dx: pytest.fail("off the path"))
    tn.grad((x * y).sum(), x, create_graph=True)


def test_grad_outputs_are_checked_and_cast():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"gradient has shape \(3,\)"):
        tn.grad(x * x, x, tn.ones(3), create_graph=True)
    dy = tn.tensor([1.0, 3.0], dtype=tn.float64, requires_grad=True)
    (dx,) = tn.grad(x * x, x, dy, create_graph=True)
    assert dx.dtype == tn.float32
    (ddy,) = tn.grad(dx.sum(), dy)
    assert ddy.dtype == tn.float64
    assert np.allclose(ddy.numpy(), 2 * x.numpy())


def test_hooks_of_leaves_run_after_accumulation():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    seen = []
    x.register_post_accumulate_grad_hook(lambda leaf: seen.append(leaf.grad.requires_grad))
    (x**3).sum().backward(create_graph=True)
    assert seen == [True]


def test_retained_gradients_have_a_graph():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y.retain_grad()
    (y**3).sum().backward(create_graph=True)
    (dx,) = tn.grad(y.grad.sum(), x)
    assert np.allclose(dx.numpy(), 6 * y.numpy() * 2)


def test_an_input_used_twice_and_one_that_depends_on_another():
    x = tn.tensor([0.5, 1.5], dtype=tn.float64, requires_grad=True)

    def f(x):
        y = x * x
        return (y * x + F.softmax(y, -1) * y).sum()

    assert tn.gradgradcheck(f, x)


# -- the graph is kept and freed as in PyTorch


def test_create_graph_retains_the_graph_unless_told_otherwise():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    y = (x**3).sum()
    y.backward(create_graph=True)
    y.backward()
    y = (x**3).sum()
    tn.grad(y, x, create_graph=True, retain_graph=False)
    with pytest.raises(RuntimeError, match="a second time"):
        y.backward()


def test_a_gradient_can_be_differentiated_after_its_graph_was_freed():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    (dx,) = tn.grad((x**3).sum(), x, create_graph=True, retain_graph=False)
    (second,) = tn.grad(dx.sum(), x)
    assert np.allclose(second.numpy(), 6 * x.numpy())


def test_a_double_backward_through_a_freed_graph_raises():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    (dx,) = tn.grad((x**3).sum(), x, create_graph=True)
    dx.sum().backward()
    with pytest.raises(RuntimeError, match="a second time"):
        dx.sum().backward()


def test_writes_after_the_first_derivative_raise():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    y = x * 1
    (dx,) = tn.grad((y * y * y).sum(), x, create_graph=True)
    with tn.no_grad():
        y.mul_(2)
    with pytest.raises(RuntimeError, match="changed in place"):
        dx.sum().backward()


def test_without_create_graph_a_gradient_has_no_graph():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    (dx,) = tn.grad((x**3).sum(), x)
    assert not dx.requires_grad
    with pytest.raises(RuntimeError, match="does not require grad"):
        dx.sum().backward()


def test_create_graph_records_within_no_grad():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    y = (x**3).sum()
    with tn.no_grad():
        (dx,) = tn.grad(y, x, create_graph=True)
    assert dx.requires_grad


def test_the_graph_of_a_gradient_is_freed_with_it():
    x = tn.randn(4, 8, requires_grad=True)
    (dx,) = tn.grad(F.layer_norm(x, (8,)).tanh().sum(), x, create_graph=True)
    node = weakref.ref(dx.creator)
    del dx
    gc.collect()
    assert node() is None


@pytest.mark.parametrize("flag", ["create_graph", "retain_graph"])
def test_flags_must_be_bools(flag):
    x = tn.tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match=f"{flag} must be True or False"):
        (x * x).sum().backward(**{flag: "False"})


def test_a_gradient_does_not_keep_what_the_call_saved():
    class Saves(Function):
        """y = x² · dx = 2·x·dy"""

        def forward(self, x):
            self.saved = x, np.ones(1000)
            kept.append(weakref.ref(self.saved[1]))
            return x * x

        def backward(self, dy):
            return 2 * self.saved[0] * dy

    kept = []
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    (dx,) = tn.grad(Saves.apply(x), x, tn.ones(2), create_graph=True)
    gc.collect()
    assert kept[0]() is None
    (second,) = tn.grad(dx.sum(), x)
    assert np.array_equal(second.numpy(), [2, 2])
