"""autograd.functional: PyTorch's results and shapes, and errors in words."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd import functional
from tinygrad_norm.nn import functional as F

X, Y = (np.random.default_rng(i).normal(size=shape) for i, shape in enumerate([(2, 3), (3,)]))


def one_to_one(x):
    return (x**3).sum(1)


def two_to_two(x, y):
    return (x @ y, (x * y).exp())


def number(x, y):
    return (x * y).tanh().sum() * y.sum()


def cube(x):
    return (x**3).sum()


def in_numpy(value):
    if isinstance(value, tuple):
        return [in_numpy(part) for part in value]
    return value.detach().numpy()


def same(ours, theirs):
    if isinstance(ours, list):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
    else:
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)


FUNCTIONS = [
    ("jacobian", one_to_one, (X,), None),
    ("jacobian", two_to_two, (X, Y), None),
    ("jacobian", cube, (X,), None),
    ("hessian", cube, (X,), None),
    ("hessian", number, (X, Y), None),
    ("vjp", one_to_one, (X,), (X[:, 0],)),
    ("vjp", two_to_two, (X, Y), (X[:, 0], X)),
    ("vjp", cube, (X,), None),
    ("jvp", one_to_one, (X,), (2 * X,)),
    ("jvp", two_to_two, (X, Y), (2 * X, 3 * Y)),
    ("hvp", cube, (X,), (2 * X,)),
    ("hvp", number, (X, Y), (2 * X, 3 * Y)),
    ("vhp", number, (X, Y), (2 * X, 3 * Y)),
]


@pytest.mark.parametrize(
    ("name", "function", "inputs", "v"),
    [pytest.param(*case, id=f"{case[0]}-{case[1].__name__}") for case in FUNCTIONS],
)
@pytest.mark.parametrize("create_graph", [False, True])
def test_results_are_those_of_pytorch(torch, name, function, inputs, v, create_graph):
    import torch.autograd.functional

    def call(module, make):
        given = tuple(map(make, inputs)) if len(inputs) > 1 else make(inputs[0])
        vectors = () if v is None else (tuple(map(make, v)) if len(v) > 1 else make(v[0]),)
        return getattr(module, name)(function, given, *vectors, create_graph=create_graph)

    ours = call(functional, lambda a: tn.tensor(a, requires_grad=True))
    theirs = call(torch.autograd.functional, lambda a: torch.tensor(a, requires_grad=True))
    same(in_numpy(ours), in_numpy(theirs))


def flat(value):
    return [part for v in value for part in flat(v)] if isinstance(value, tuple) else [value]


@pytest.mark.parametrize(
    ("name", "v"),
    [("jacobian", ()), ("hessian", ()), ("vjp", ()), ("jvp", (X,)), ("hvp", (X,)), ("vhp", (X,))],
)
def test_results_have_a_graph_only_if_it_is_asked_for(name, v):
    x = tn.tensor(X, requires_grad=True)
    vectors = [tn.tensor(part) for part in v]
    without = getattr(functional, name)(cube, x, *vectors)
    assert not any(part.requires_grad for part in flat(without))
    with_graph = flat(getattr(functional, name)(cube, x, *vectors, create_graph=True))[-1]
    (dx,) = tn.grad(with_graph.sum(), x)
    assert np.isfinite(dx.numpy()).all()


def test_the_gradient_of_a_hessian_is_the_third_derivative():
    x = tn.tensor(X, requires_grad=True)
    (dx,) = tn.grad(functional.hessian(cube, x, create_graph=True).sum(), x)
    np.testing.assert_allclose(dx.numpy(), 6.0, rtol=1e-12)


def test_an_output_that_does_not_depend_on_an_input_has_derivative_0():
    y = functional.jacobian(lambda x, z: x * 2, (tn.tensor(X), tn.tensor(Y)))
    assert y[1].shape == (2, 3, 3)
    assert not y[1].numpy().any()
    assert not functional.hessian(lambda x: x.sum(), tn.tensor(X)).numpy().any()


@pytest.mark.parametrize("name", ["jacobian", "hessian", "hvp", "vhp"])
def test_strict_raises_instead(name):
    def first(x, z):
        return (x * 2).sum()

    v = ((tn.tensor(X), tn.tensor(Y)),) if name in ("hvp", "vhp") else ()
    with pytest.raises(RuntimeError, match="strict=True"):
        getattr(functional, name)(first, (tn.tensor(X), tn.tensor(Y)), *v, strict=True)


def test_of_nothing_and_of_numbers():
    assert functional.jacobian(lambda x: x[:0], tn.tensor(Y)).shape == (0, 3)
    assert functional.jacobian(lambda x: x.sum(), tn.tensor(Y)).shape == (3,)
    assert functional.hessian(lambda x: x**3, tn.tensor(2.0)).item() == 12.0


@pytest.mark.parametrize("name", ["jacobian", "hessian", "vjp"])
def test_under_no_grad_results_are_the_same(name):
    x = tn.tensor(X)
    expected = flat(getattr(functional, name)(cube, x))
    with tn.no_grad():
        found = flat(getattr(functional, name)(cube, x))
    for a, b in zip(found, expected, strict=True):
        assert np.array_equal(a.numpy(), b.numpy())


def test_inputs_stay_as_they_are():
    x = tn.tensor(X, requires_grad=True)
    functional.hessian(cube, x)
    assert x.grad is None
    assert np.array_equal(x.numpy(), X)


def test_hessian_of_a_normalization_is_that_of_its_composed_form():
    from tinygrad_norm.normalization.sample.layernorm import layer_norm_composed

    w = tn.tensor(Y)
    closed, composed = (
        functional.hessian(lambda x, form=form: (form(x, (3,), w) ** 3).sum(), tn.tensor(X)).numpy()
        for form in (F.layer_norm, layer_norm_composed)
    )
    np.testing.assert_allclose(closed, composed, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: functional.jacobian(cube, X), TypeError, "inputs must be a Tensor or a tuple"),
        (lambda: functional.jacobian(lambda x: 1.0, tn.tensor(X)), TypeError, "outputs of func"),
        (lambda: functional.jacobian(cube, tn.tensor(X), vectorize=True), ValueError, "one strategy"),
        (lambda: functional.hessian(one_to_one, tn.tensor(X)), ValueError, "one tensor of one element"),
        (lambda: functional.hvp(two_to_two, (tn.tensor(X), tn.tensor(Y))), ValueError, "one tensor"),
        (lambda: functional.vjp(one_to_one, tn.tensor(X)), ValueError, "v is needed unless"),
        (lambda: functional.jvp(cube, tn.tensor(X), tn.tensor(Y)), ValueError, r"shapes \[\(3,\)\]"),
        (lambda: functional.vjp(cube, tn.tensor(X), create_graph="no"), TypeError, "create_graph must be"),
        (lambda: functional.vjp(cube, ()), TypeError, "tuple"),
        (lambda: functional.hessian(cube, tn.tensor([1, 2])), TypeError, "floating-point tensors"),
    ],
    ids=["array", "number", "vectorize", "hessian", "hvp", "no v", "shape of v", "flag", "empty", "integers"],
)
def test_errors_in_words(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_it_is_found_under_pytorchs_names():
    import tinygrad_norm.autograd.functional as module
    from tinygrad_norm.autograd.functional import hvp, jacobian

    assert module.hvp is hvp
    assert tn.autograd.functional.jacobian is jacobian
