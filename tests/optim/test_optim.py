"""The optimizers by themselves: which parameters they update and skip, edge cases, errors."""

import math

import numpy
import pytest

from tinygrad_norm import optim
from tinygrad_norm.autograd.grad_mode import is_grad_enabled, no_grad
from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.module import Module, Parameter
from tinygrad_norm.normalization import BatchNorm2d, LayerNorm

OPTIMIZERS = [
    pytest.param(lambda params, **options: optim.SGD(params, 0.05, **options), id="SGD"),
    pytest.param(
        lambda params, **options: optim.SGD(params, 0.02, 0.9, nesterov=True, **options), id="Nesterov"
    ),
    pytest.param(lambda params, **options: optim.Adam(params, 0.05, **options), id="Adam"),
    pytest.param(lambda params, **options: optim.Adam(params, 0.05, amsgrad=True, **options), id="AMSGrad"),
    pytest.param(lambda params, **options: optim.AdamW(params, 0.05, weight_decay=0, **options), id="AdamW"),
    pytest.param(lambda params, **options: optim.Adadelta(params, 3.0, **options), id="Adadelta"),
    pytest.param(lambda params, **options: optim.Adamax(params, 0.05, **options), id="Adamax"),
    pytest.param(lambda params, **options: optim.NAdam(params, 0.05, **options), id="NAdam"),
    pytest.param(lambda params, **options: optim.RAdam(params, 0.05, **options), id="RAdam"),
    pytest.param(lambda params, **options: optim.ASGD(params, 0.1, lambd=0, **options), id="ASGD"),
    pytest.param(
        lambda params, **options: optim.Rprop(params, 0.05, step_sizes=(0, 50), **options), id="Rprop"
    ),
]


def parameters(*shapes, dtype=numpy.float32):
    rng = numpy.random.default_rng(0)
    return [Parameter(rng.normal(size=shape).astype(dtype)) for shape in shapes or [(3, 2), (2,)]]


def give_gradients(params, seed=1):
    rng = numpy.random.default_rng(seed)
    for p in params:
        p.grad = Tensor(numpy.asarray(rng.normal(size=p.shape), p.dtype))


def quadratic(target):
    """L = Σ s·(x - target)²: its minimum is known, and its curvatures s differ by a factor of ten."""
    scale = Tensor(numpy.linspace(0.2, 2.0, target.size).reshape(target.shape))
    return lambda x: (scale * (x - Tensor(target)) ** 2).sum()


@pytest.mark.parametrize(
    "backend", ["numpy", pytest.param("cupy", marks=pytest.mark.cuda(stand_in="slow"))], indirect=True
)
@pytest.mark.parametrize("make", OPTIMIZERS)
def test_finds_the_minimum_of_a_quadratic(make, backend):
    target = numpy.random.default_rng(3).normal(size=(3, 4))
    x = Parameter(numpy.zeros((3, 4)))
    loss, optimizer = quadratic(target), make([x])
    for _ in range(1500):
        optimizer.zero_grad()
        loss(x).backward()
        optimizer.step()
    assert numpy.abs(x.numpy() - target).max() < 1e-6


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_maximize_climbs(make):
    target = numpy.array([1.0, -2.0])
    x = Parameter(numpy.zeros(2))
    loss, optimizer = quadratic(target), make([x], maximize=True)
    for _ in range(1500):
        optimizer.zero_grad()
        (-loss(x)).backward()
        optimizer.step()
    assert numpy.abs(x.numpy() - target).max() < 1e-6


def test_one_step_by_hand():
    x = Parameter(numpy.array([1.0, -2.0]))
    x.grad = Tensor(numpy.array([0.5, 0.25]))
    optim.SGD([x], lr=0.1, weight_decay=0.5).step()
    numpy.testing.assert_allclose(x.array, [1.0 - 0.1 * (0.5 + 0.5), -2.0 - 0.1 * (0.25 - 1.0)], rtol=1e-15)
    y = Parameter(numpy.array([1.0, -2.0]))
    y.grad = Tensor(numpy.array([0.5, -0.001]))
    optim.Adam([y], lr=0.1, eps=0).step()
    numpy.testing.assert_allclose(y.array, [0.9, -1.9], rtol=1e-12)  # the first step is lr·sign(g)


def test_adam_does_not_feel_the_gradients_scale():
    results = []
    for scale in (1.0, 1e4):
        (x,) = parameters((5,), dtype=numpy.float64)
        optimizer = optim.Adam([x], eps=0)
        for seed in range(10):
            give_gradients([x], seed)
            x.grad = Tensor(x.grad.array * scale)
            optimizer.step()
        results.append(x.array)
    numpy.testing.assert_allclose(results[0], results[1], rtol=1e-12)


def test_a_step_by_hand_of_those_that_look_at_signs_and_averages():
    x = Parameter(numpy.array([1.0, -2.0]))
    optimizer = optim.Rprop([x], lr=0.1)
    for g, expected in (([5.0, -0.1], [0.9, -1.9]), ([1.0, 3.0], [0.78, -1.9]), ([1.0, 3.0], [0.636, -1.95])):
        x.grad = Tensor(numpy.array(g))
        optimizer.step()
        numpy.testing.assert_allclose(x.array, expected, rtol=1e-12)
    y = Parameter(numpy.array([0.0]))
    optimizer = optim.ASGD([y], lr=1.0, lambd=0, t0=1)
    for average in (1.0, 2.0, 3.0, 3.5, 4.0):  # θ is 1, 2, 3, 4, 5; from the third on it is averaged
        y.grad = Tensor(numpy.array([-1.0]))
        optimizer.step()
        assert optimizer.state[y]["ax"].item() == average


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: optim.Adadelta(p, rho=1.5), "rho must be at most 1"),
        (lambda p: optim.Adamax(p, betas=(0.9, 1.0)), "betas must be below 1"),
        (lambda p: optim.NAdam(p, momentum_decay=-1), "momentum_decay must be a finite number of at least 0"),
        (lambda p: optim.RAdam(p, betas=0.9), "betas must be two numbers"),
        (lambda p: optim.ASGD(p, lambd=math.nan), "lambd must be a finite number"),
        (lambda p: optim.ASGD([{"params": p, "decay_target": 1.0}]), "ASGD has no decay_target"),
        (lambda p: optim.Rprop(p, etas=(1.2, 0.5)), "etas must be below and above 1"),
        (lambda p: optim.Rprop(p, step_sizes=(2.0, 1.0)), "step_sizes must be the smallest and the largest"),
        (lambda p: optim.Rprop(p, step_sizes=2.0), "step_sizes must be two numbers"),
    ],
    ids=["rho", "betas", "momentum_decay", "one beta", "lambd", "target", "etas", "step_sizes", "one size"],
)
def test_options_out_of_range_are_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make(parameters())


# -- parameters that are skipped


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_no_gradient_no_change(make):
    p, q = parameters()
    optimizer = make([p, q])
    give_gradients([p])
    before = q.array.copy()
    optimizer.param_groups[0]["weight_decay"] = 0.5
    optimizer.step()
    numpy.testing.assert_array_equal(q.array, before)
    assert q not in optimizer.state


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_frozen_parameter_is_left_alone_even_with_a_gradient(make):
    p, q = parameters()
    optimizer = make([p, q])
    give_gradients([p, q])
    q.requires_grad_(False)
    before = p.array.copy(), q.array.copy()
    optimizer.step()
    assert not numpy.array_equal(p.array, before[0])
    numpy.testing.assert_array_equal(q.array, before[1])


def test_a_parameter_frozen_from_the_start_stays_where_it_is():
    p, q = parameters()
    q.requires_grad_(False)
    array = q.array
    optimizer = optim.Adam([p, q])
    give_gradients([p])
    optimizer.step()
    assert q.array is array


def test_unfrozen_it_is_trained_and_the_others_keep_their_state():
    p, q = parameters(dtype=numpy.float64)
    reference, _ = parameters(dtype=numpy.float64)
    q.requires_grad_(False)
    optimizer, single = optim.Adam([p, q]), optim.Adam([reference])
    for step in range(6):
        if step == 3:
            q.requires_grad_()
        give_gradients([p, q], step)
        give_gradients([reference], step)
        optimizer.step()
        single.step()
    numpy.testing.assert_array_equal(p.array, reference.array)
    assert optimizer.state[p]["step"].item() == 6
    assert optimizer.state[q]["step"].item() == 3


def test_a_tensor_without_requires_grad_may_be_in_a_group_and_is_left_alone():
    p, _ = parameters()
    constant = Tensor(numpy.ones(3, numpy.float32))
    optimizer = optim.SGD([p, constant], lr=1.0, weight_decay=0.1)
    give_gradients([p])
    optimizer.step()
    numpy.testing.assert_array_equal(constant.array, numpy.ones(3))


def test_what_a_group_is_to_carry_besides_can_be_written_later():
    optimizer = optim.SGD(parameters())
    optimizer.param_groups[0]["name"] = "all"
    assert optimizer.state_dict()["param_groups"][0]["name"] == "all"


def test_a_group_may_have_a_name():
    p, q = parameters()
    optimizer = optim.SGD([{"params": [p], "name": "body"}])
    optimizer.add_param_group({"params": [q], "name": "head", "lr": 0.5})
    assert [group["name"] for group in optimizer.param_groups] == ["body", "head"]
    other = optim.SGD([{"params": [p]}, {"params": [q]}])
    other.load_state_dict(optimizer.state_dict())
    assert [(group["name"], group["lr"]) for group in other.param_groups] == [("body", 1e-3), ("head", 0.5)]
    assert "name=head" in repr(other)


def test_a_group_may_have_what_a_schedule_writes_into_one():
    optimizer = optim.Adam(parameters())
    optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 10)
    assert optim.Adam(optimizer.param_groups).param_groups == optimizer.param_groups


# -- extreme numbers


def test_eps_zero_and_a_gradient_that_is_always_zero_give_no_nan():
    x = Parameter(numpy.ones(3, numpy.float32))
    optimizer = optim.Adam([x], eps=0)
    for _ in range(3):
        x.grad = Tensor(numpy.array([0.0, 1.0, 0.0], numpy.float32))
        optimizer.step()
    numpy.testing.assert_allclose(x.array, [1.0, 0.997, 1.0], rtol=1e-6)


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_huge_and_infinite_gradients_raise_no_warning(make):
    (x,) = parameters((4,))
    optimizer = make([x])
    for value in (1e30, numpy.inf, numpy.nan):
        x.grad = Tensor(numpy.array([value, -value, 1.0, 0.0], numpy.float32))
        optimizer.step()
    assert numpy.isfinite(x.array[2:]).all()


def test_adam_stays_finite_when_the_square_overflows():
    x = Parameter(numpy.ones(2, numpy.float32))
    optimizer = optim.Adam([x])
    for _ in range(3):
        x.grad = Tensor(numpy.array([1e30, -1e30], numpy.float32))
        optimizer.step()
    assert numpy.isfinite(x.array).all()


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_half_precision_computes_in_single(make):
    wide = parameters((50,), dtype=numpy.float16)[0].array.astype(numpy.float32)
    x, reference = Parameter(wide.astype(numpy.float16)), Parameter(wide.copy())
    optimizer, single = make([x]), make([reference])
    for seed in range(20):
        dx = (numpy.random.default_rng(seed).normal(size=50) * 1e-4).astype(numpy.float16)  # its square is 0
        x.grad, reference.grad = Tensor(dx), Tensor(dx.astype(numpy.float32))
        optimizer.step()
        single.step()
    assert x.dtype == numpy.float16
    numpy.testing.assert_allclose(x.array, reference.array, atol=20 * 2**-11, rtol=2e-2)
    assert all(m.dtype == numpy.float32 for m in optimizer.state.get(x, {}).values() if m.ndim)


def test_zero_gradient_half_steps_are_not_lost_in_the_moments():
    x = Parameter(numpy.zeros(1, numpy.float16))
    optimizer = optim.Adam([x], lr=0.1)
    x.grad = Tensor(numpy.array([1e-4], numpy.float16))
    optimizer.step()
    numpy.testing.assert_allclose(x.array, [-0.1], rtol=1e-3)


# -- stepping


def test_the_closure_records_gradients_and_its_loss_is_returned():
    (x,) = parameters((2,))
    optimizer = optim.SGD([x], lr=0.1)
    seen = []

    def closure():
        seen.append(is_grad_enabled())
        optimizer.zero_grad()
        loss = (x * x).sum()
        loss.backward()
        return loss

    before = x.array.copy()
    with no_grad():
        loss = optimizer.step(closure)
    assert seen == [True]
    assert loss.item() == pytest.approx(float((before**2).sum()))
    numpy.testing.assert_allclose(x.array, before * 0.8, rtol=1e-6)


def test_zero_grad_forgets_or_fills():
    p, q = parameters()
    optimizer = optim.SGD([p, q])
    give_gradients([p])
    optimizer.zero_grad(set_to_none=False)
    assert not p.grad.array.any()
    assert q.grad is None
    optimizer.zero_grad()
    assert p.grad is None


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_step_between_forward_and_backward_is_detected(make):
    w, v = parameters((2, 2), (2, 2))
    optimizer = make([w, v])
    y = ((w * v) * 2).sum()
    give_gradients([w])
    optimizer.step()
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_a_step_that_leaves_a_parameter_alone_is_no_change():
    w, v = parameters((2, 2), (2, 2))
    optimizer = optim.SGD([w, v])
    y = (v * v).sum()
    give_gradients([w])
    optimizer.step()
    y.backward()
    numpy.testing.assert_allclose(v.grad.array, 2 * v.array, rtol=1e-6)


def test_a_parameter_given_twice_counts_once():
    x, reference = parameters((3,), (3,))
    reference.copy_(x.detach())
    optimizer, single = optim.SGD([x, x], lr=0.1), optim.SGD([reference], lr=0.1)
    assert len(optimizer.param_groups[0]["params"]) == 1
    give_gradients([x])
    give_gradients([reference])
    optimizer.step()
    single.step()
    numpy.testing.assert_array_equal(x.array, reference.array)


def test_an_added_group_is_trained_with_its_options():
    p, q = parameters(dtype=numpy.float64)
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    give_gradients([p])
    optimizer.step()
    optimizer.add_param_group({"params": q, "lr": 1.0})
    buffer, before = optimizer.state[p]["momentum_buffer"].array.copy(), q.array.copy()
    give_gradients([q])
    dx = q.grad.array.copy()
    p.grad = None
    optimizer.step()
    numpy.testing.assert_allclose(q.array, before - dx, rtol=1e-15)
    numpy.testing.assert_array_equal(optimizer.state[p]["momentum_buffer"].array, buffer)


def test_a_parameter_appended_to_a_group_by_hand_is_trained():
    p, q = parameters()
    optimizer = optim.SGD([p], lr=0.1)
    optimizer.param_groups[0]["params"].append(q)
    before = q.array.copy()
    give_gradients([q])
    optimizer.step()
    assert not numpy.array_equal(q.array, before)


def test_repr_shows_groups_and_options():
    text = repr(optim.SGD(parameters(), lr=0.5))
    assert "SGD(" in text
    assert "2 parameters, lr=0.5, momentum=0" in text


# -- which parameters decay


class Net(Module):
    def __init__(self):
        super().__init__()
        rng = numpy.random.default_rng(0)
        self.weight = Parameter(rng.normal(size=(4, 3)))
        self.bias = Parameter(rng.normal(size=4))
        self.filter = Parameter(rng.normal(size=(4, 3, 2, 2)))
        self.image_norm, self.norm, self.row_norm = BatchNorm2d(4), LayerNorm((3, 4)), LayerNorm(4)
        self.tied, self.tied_norm = self.weight, self.norm.weight


def test_split_decay_spares_norms_and_biases():
    net = Net()
    decayed, undecayed = optim.split_decay(net, 0.1)
    assert [id(p) for p in decayed["params"]] == [id(net.weight), id(net.filter)]
    assert decayed["weight_decay"] == 0.1
    assert undecayed["weight_decay"] == 0
    everything = [*decayed["params"], *undecayed["params"]]
    assert sorted(map(id, everything)) == sorted(map(id, net.parameters()))


def test_split_decay_pulls_norms_toward_1_and_their_biases_toward_0():
    net = Net()
    names = {id(p): name for name, p in net.named_parameters()}
    groups = optim.split_decay(net, 0.1, norm_decay=0.5)
    assert [[names[id(p)] for p in group["params"]] for group in groups] == [
        ["weight", "filter"],
        ["bias"],
        ["tied_norm", "image_norm.weight", "row_norm.weight"],
        ["image_norm.bias", "norm.bias", "row_norm.bias"],
    ]
    with no_grad():
        for p in net.parameters():
            p.fill_(3.0)
    optimizer = optim.AdamW(groups, lr=0.1)
    for p in net.parameters():
        p.grad = Tensor(numpy.zeros(p.shape, p.dtype))
    optimizer.step()
    found = [float(group["params"][0].array.flat[0]) for group in optimizer.param_groups]
    numpy.testing.assert_allclose(found, [3 * 0.99, 3, 1 + 2 * 0.95, 3 * 0.95], 1e-6)


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW])
def test_a_decay_target_moves_the_zero_of_the_decay_and_nothing_else(make):
    options = {"lr": 0.05, "weight_decay": 0.3}
    start, gradients = numpy.array([0.5, 2.0, -3.0]), numpy.random.default_rng(0).normal(size=(5, 3))
    runs = []
    for target, offset in ((1.5, 0.0), (0.0, 1.5)):
        p = Parameter(start - offset)
        optimizer = make([{"params": [p], "decay_target": target}], **options)
        for g in gradients:
            p.grad = Tensor(g.copy())
            optimizer.step()
        runs.append(p.array + offset)
        loaded = make([{"params": [Parameter(start)]}], **options)
        loaded.load_state_dict(optimizer.state_dict())
        assert loaded.param_groups[0]["decay_target"] == target
    numpy.testing.assert_allclose(*runs, rtol=1e-13)


def test_split_decay_decays_only_matrices():
    net = Net()
    before = {name: p.array.copy() for name, p in net.named_parameters()}
    optimizer = optim.AdamW(optim.split_decay(net, 0.1), lr=0.1)
    for p in net.parameters():
        p.grad = Tensor(numpy.zeros(p.shape, p.dtype))
    optimizer.step()
    for name, p in net.named_parameters():
        factor = 0.99 if name in ("weight", "filter") else 1
        numpy.testing.assert_allclose(p.array, before[name] * factor, rtol=1e-7, err_msg=name)


# -- errors


def computed():
    return parameters()[0] * 2


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: optim.SGD(parameters()[0]), TypeError, "one Parameter.*a list"),
        (
            lambda: optim.SGD([{"params": parameters(), "decay_target": math.inf}]),
            ValueError,
            "decay_target must be a finite number, got inf",
        ),
        (lambda: optim.SGD(Net()), TypeError, r"pass \.parameters\(\)"),
        (lambda: optim.SGD(3), TypeError, "iterable"),
        (lambda: optim.SGD({"params": parameters()}), TypeError, "a dict"),
        (lambda: optim.SGD([]), ValueError, "no parameters"),
        (lambda: optim.SGD(iter([])), ValueError, "no parameters"),
        (lambda: optim.SGD([numpy.ones(3)]), TypeError, "entry 0 is a ndarray"),
        (lambda: optim.SGD(Net().named_parameters()), TypeError, "not named_parameters"),
        (lambda: optim.SGD([computed()]), ValueError, "only leaves"),
        (lambda: optim.SGD([{"lr": 0.1}]), ValueError, '"params"'),
        (lambda: optim.SGD([{"params": set(parameters())}]), TypeError, "a set"),
        (lambda: optim.SGD([{"params": parameters()}, parameters()[0]]), TypeError, "must be a dict"),
        (lambda: optim.SGD(parameters(), lr=-0.1), ValueError, "lr.*-0.1"),
        (lambda: optim.SGD(parameters(), lr=float("nan")), ValueError, "lr.*nan"),
        (lambda: optim.SGD(parameters(), lr="0.1"), TypeError, "lr must be a number"),
        (lambda: optim.SGD(parameters(), momentum=-1), ValueError, "momentum"),
        (lambda: optim.SGD(parameters(), weight_decay=-1), ValueError, "weight_decay"),
        (lambda: optim.SGD(parameters(), nesterov=True), ValueError, "momentum above 0"),
        (
            lambda: optim.SGD(parameters(), momentum=0.9, dampening=0.1, nesterov=True),
            ValueError,
            "dampening=0.1",
        ),
        (lambda: optim.SGD([{"params": parameters(), "lr": -1}]), ValueError, "lr"),
        (
            lambda: optim.SGD([{"params": parameters(), "weigth_decay": 0}]),
            ValueError,
            r"unknown option of a parameter group 'weigth_decay': .*did you mean 'weight_decay'\?",
        ),
        (lambda: optim.SGD([{"params": parameters(), "betas": (0.9, 0.99)}]), ValueError, "'betas'"),
        (lambda: optim.SGD([Tensor(numpy.arange(3))]), TypeError, "entry 0 .* has dtype int64"),
        (lambda: optim.SGD(parameters(), dampening="a"), TypeError, "dampening must be a number, got 'a'"),
        (lambda: optim.Adam(parameters(), eps=-1), ValueError, "eps"),
        (lambda: optim.Adam(parameters(), betas=(0.9, 1.0)), ValueError, "below 1"),
        (lambda: optim.Adam(parameters(), betas=(-0.1, 0.9)), ValueError, r"betas\[0\]"),
        (lambda: optim.Adam(parameters(), betas=0.9), TypeError, "two numbers"),
        (lambda: optim.AdamW(parameters(), weight_decay=-1), ValueError, "weight_decay"),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_raises_for_a_parameter_in_two_groups_and_stays_usable():
    p, q = parameters()
    optimizer = optim.SGD([p], lr=0.1)
    with pytest.raises(ValueError, match="more than one group"):
        optimizer.add_param_group({"params": [q, p]})
    assert len(optimizer.param_groups) == 1
    give_gradients([p])
    optimizer.step()


def test_raises_for_distinct_parameters_that_share_memory():
    array = numpy.zeros((4, 4), numpy.float32)
    p, q, r = Parameter(array), Parameter(array[1:]), parameters()[0]
    with pytest.raises(ValueError, match="share memory"):
        optim.SGD([p, q])
    optimizer = optim.SGD([p, r])
    s = parameters((3, 2))[0]
    s.data = r.data
    with pytest.raises(ValueError, match="share memory"):
        optimizer.add_param_group({"params": [s]})
    assert len(optimizer.param_groups) == 1


def test_raises_for_the_gradient_of_a_former_shape():
    p, _ = parameters()
    optimizer = optim.SGD([p])
    p.grad = Tensor(numpy.ones((3, 2), numpy.float32))
    p.array = numpy.ones(2, numpy.float32)
    with pytest.raises(ValueError, match=r"shape \(2,\) has a grad of shape \(3, 2\)"):
        optimizer.step()
