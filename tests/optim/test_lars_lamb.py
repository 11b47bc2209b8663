"""LARS and LAMB: how long their steps are, gradient centralization before them, limits."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.backends import asarray, to_numpy
from tinygrad_norm.module import Parameter


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def parameters(*shapes):
    return [Parameter(normal(*shape, seed=i)) for i, shape in enumerate(shapes)]


def relative_steps(params, make, scale=1.0):
    """Return ‖Δw‖/‖w‖ of each parameter in one step."""
    before = [q.array.copy() for q in params]
    for i, q in enumerate(params):
        q.grad = Tensor(scale * normal(*q.shape, seed=10 + i))
    make(params).step()
    return [np.linalg.norm(q.array - w) / np.linalg.norm(w) for q, w in zip(params, before, strict=True)]


@pytest.mark.parametrize(
    "make",
    [
        lambda params: optim.LARS(params, 1.0, momentum=0.9, weight_decay=0.1, trust_clip=True),
        lambda params: optim.LAMB(params, 0.1),
        lambda params: optim.Muon(params, 0.1),
    ],
    ids=["LARS", "LAMB", "Muon"],
)
@pytest.mark.parametrize(
    "backend", [pytest.param("cupy", marks=pytest.mark.cuda(stand_in="slow"))], indirect=True
)
def test_steps_on_the_gpu_are_those_on_the_cpu(make, backend):
    results = []
    for where in (backend, "numpy"):
        with tn.use_backend(where):
            params = [Parameter(asarray(normal(3, 4))), Parameter(asarray(normal(5, 3, seed=1)))]
            optimizer = make(params)
            for seed in range(3):
                for q in params:
                    q.grad = Tensor(asarray(normal(*q.shape, seed=seed)))
                optimizer.step()
            results.append([to_numpy(q.array) for q in params])
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_step_of_lars_is_eta_lr_of_the_parameter_whatever_the_gradient(scale):
    def make(params):
        return optim.LARS(params, 2.0, trust_coeff=0.01, eps=0, always_adapt=True)

    np.testing.assert_allclose(relative_steps(parameters((3, 4), (5,)), make, scale), 0.02, rtol=1e-12)


def test_a_step_of_lamb_is_lr_of_the_parameter():
    found = relative_steps(parameters((3, 4), (5,)), lambda params: optim.LAMB(params, 0.1, weight_decay=0.3))
    np.testing.assert_allclose(found, 0.1, rtol=1e-12)


def test_parameters_that_do_not_decay_take_the_plain_step():
    shapes = (3, 4), (5,)
    for make, plain in (
        (optim.LARS, lambda params: optim.SGD(params, 1.0)),
        (
            lambda params: optim.LAMB(params, weight_decay=0, max_grad_norm=None, eps=1e-8),
            lambda params: optim.Adam(params, 1e-3),
        ),
    ):
        np.testing.assert_allclose(
            relative_steps(parameters(*shapes), make), relative_steps(parameters(*shapes), plain), rtol=1e-12
        )


def test_the_gradients_of_all_groups_are_clipped_together():
    params = parameters((3, 4), (5,))
    optimizer = optim.LAMB([{"params": [q]} for q in params], max_grad_norm=0.5)
    for q in params:
        q.grad = Tensor(normal(*q.shape))
    total = np.sqrt(sum((q.grad.numpy() ** 2).sum() for q in params))
    optimizer.step()
    for q in params:
        np.testing.assert_allclose(
            optimizer.state[q]["exp_avg"].numpy(), 0.1 * q.grad.numpy() * 0.5 / total, rtol=1e-12
        )


@pytest.mark.parametrize("make", [optim.LARS, optim.LAMB])
def test_zeros_move_by_the_plain_step_and_empty_tensors_stay(make):
    zero, empty = Parameter(np.zeros((2, 3), np.float32)), Parameter(np.zeros((0, 3), np.float32))
    optimizer = make([zero, empty], 0.1, weight_decay=0.1)
    zero.grad, empty.grad = Tensor(np.ones((2, 3), np.float32)), Tensor(np.ones((0, 3), np.float32))
    optimizer.step()
    assert np.isfinite(zero.array).all()
    assert (zero.array < 0).all()
    zero.grad = Tensor(np.zeros((2, 3), np.float32))
    optimizer.step()
    assert np.isfinite(zero.array).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda params: optim.LARS(params, 1.0, momentum=0.9, always_adapt=True),
        lambda params: optim.LAMB(params, weight_decay=0, always_adapt=True),
        lambda params: optim.SGD(params, 0.1, momentum=0.9),
    ],
    ids=["LARS", "LAMB", "SGD"],
)
def test_with_centralized_gradients_the_sum_of_each_filter_stays(make):
    """But for LAMB, which divides each element by another number."""
    conv = nn.Conv2d(2, 3, 3, bias=False).double()
    optimizer = make(conv.parameters())
    before = conv.weight.numpy().sum((1, 2, 3))
    for seed in range(5):
        conv.weight.grad = Tensor(normal(*conv.weight.shape, seed=seed))
        nn.utils.centralize_grad_(conv.parameters())
        optimizer.step()
    moved = abs(conv.weight.numpy().sum((1, 2, 3)) - before).max()
    assert moved > 1e-4 if isinstance(optimizer, optim.LAMB) else moved < 1e-13


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nesterov": True}, "nesterov needs momentum above 0"),
        ({"trust_coeff": -1}, "trust_coeff must be a finite number"),
        ({"eps": -1}, "eps must be a finite number"),
    ],
    ids=["nesterov", "trust_coeff", "eps"],
)
def test_bad_arguments_of_lars_raise(options, message):
    with pytest.raises(ValueError, match=message):
        optim.LARS(parameters((2, 2)), **options)


def test_bad_arguments_of_lamb_raise():
    with pytest.raises(ValueError, match="max_grad_norm must be positive, or None"):
        optim.LAMB(parameters((2, 2)), max_grad_norm=0)
    with pytest.raises(ValueError, match="betas must be below 1"):
        optim.LAMB(parameters((2, 2)), betas=(0.9, 1.0))
    for make in (optim.LARS, optim.LAMB):
        with pytest.raises(ValueError, match="decay_target=1"):
            make([{"params": parameters((2, 2)), "decay_target": 1}])


def test_the_limit_of_all_gradients_is_one_for_all_groups():
    first, second, third = parameters((2, 2), (2, 2), (2, 2))
    with pytest.raises(ValueError, match=r"the same in all groups, got \[0.1, 1.0\]"):
        optim.LAMB([{"params": [first], "max_grad_norm": 0.1}, {"params": [second]}])
    optimizer = optim.LAMB([first, second])
    with pytest.raises(ValueError, match=r"the same in all groups, got \[1.0, None\]"):
        optimizer.add_param_group({"params": [third], "max_grad_norm": None})
    assert len(optimizer.param_groups) == 1
    first.grad = Tensor(np.ones((2, 2)))
    optimizer.step()
    optimizer.add_param_group({"params": [third]})
    optimizer.param_groups[1]["max_grad_norm"] = 2.0
    before = first.numpy().copy()
    with pytest.raises(ValueError, match="the same in all groups"):
        optimizer.step()
    np.testing.assert_array_equal(first.numpy(), before)
