"""Every registered op, on every case: registering an op is enough to have it tested here.

closed form == composed == finite differences, in every dtype and on every backend, as PyTorch, and bad
calls raise. The loss is Σ y·dy with a random dy (gradient_check/registered.py): y.sum() would see nothing.
"""

import warnings

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.backends import to_numpy
from tinygrad_norm.gradient_check.registered import (
    COMPOSED_TOLERANCE,
    NUMERIC_TOLERANCE,
    Allowed,
    cotangent,
    differences,
    draw,
    evaluate,
    forms,
    numeric_error,
    relative_error,
)
from tinygrad_norm.registry import REGISTRY, Op

# On a GPU, most of the time goes into these: 180,000 calls of forward.
NUMERIC_BACKENDS = [
    "numpy",
    pytest.param("cupy", marks=[pytest.mark.cuda(stand_in="first"), pytest.mark.slow]),
]
ENTRIES = 40  # finite differences of larger gradients cost more than all other checks of a case together
OPS = [pytest.param(op, id=op.name) for op in REGISTRY.values()]


def label(op, case, *more):
    words = [op.name, *str(case).replace(", ", ",").split(), *more]
    return "-".join(words).replace("×", "x").replace("–", "None")  # pytest would escape them


def cases(choose=lambda op, case: True):
    chosen = [
        pytest.param(op, case, id=label(op, case))
        for op in REGISTRY.values()
        for case in op.cases
        if choose(op, case)
    ]
    return pytest.mark.parametrize(("op", "case"), chosen)


def cases_and_forms(composed=(), choose=lambda op, case: True):
    """Every chosen case of every op in each of its forms; `composed`: marks of the composed forms."""
    chosen = [
        pytest.param(
            op,
            case,
            form,
            id=label(op, case, name.replace(" ", "_")),
            marks=composed if form is op.composed else (),
        )
        for op in REGISTRY.values()
        for case in op.cases
        if choose(op, case)
        for name, form in forms(op).items()
    ]
    return pytest.mark.parametrize(("op", "case", "form"), chosen)


def test_importing_the_package_registers_everything():
    assert {"matmul", "batch_norm", "layer_norm", "rms_norm", "group_norm", "instance_norm"} <= set(REGISTRY)


@cases(lambda op, case: op.composed is not None)
def test_closed_form_equals_composed(op, case, backend):
    found = differences(evaluate(op, op.function, case), evaluate(op, op.composed, case))
    assert max(found.values()) <= COMPOSED_TOLERANCE, found


def differentiated(case):
    """Return of how many numbers the gradient is: for each, finite differences call forward several times."""
    return sum(x[0].size for x in case.draw() if x is not None and x[1])


def is_large_and_not_the_first(op, case):
    return case is not op.cases[0] and differentiated(case) > ENTRIES


# A composed form is slow here, and is primitives, checked each, that equal the closed form, checked here.
# The first case of an op, and small ones, are checked entry by entry, the others in random directions.
@cases_and_forms(composed=pytest.mark.slow)
@pytest.mark.parametrize("backend", NUMERIC_BACKENDS, indirect=True)
def test_gradients_equal_finite_differences(op, case, form, backend):
    agree_with_finite_differences(op, case, form, Allowed(fast_mode=is_large_and_not_the_first(op, case)))


@pytest.mark.slow
@cases_and_forms(choose=is_large_and_not_the_first)
@pytest.mark.parametrize("backend", NUMERIC_BACKENDS, indirect=True)
def test_every_entry_of_large_gradients_equals_finite_differences(op, case, form, backend):
    agree_with_finite_differences(op, case, form, Allowed())


def agree_with_finite_differences(op, case, form, allowed):
    numeric = numeric_error(op, form, case, allowed)
    if numeric is None:
        assert not evaluate(op, form, case).gradients
        return
    error, message = numeric
    assert not message, message
    assert error <= NUMERIC_TOLERANCE


@cases_and_forms()
def test_float32_stays_float32_and_near_float64(op, case, form):
    single = evaluate(op, form, case, np.float32)
    double = evaluate(op, form, case, np.float64)
    for a, b in zip(single.values, double.values, strict=True):
        asked = case.options.get("dtype", np.float32)
        assert a.dtype == (asked if b.dtype == np.float64 else b.dtype)
    for i, dx in single.gradients.items():
        assert dx.dtype == np.float32
        assert dx.shape == double.gradients[i].shape
    found = differences(single, double)
    assert max(found.values()) <= 1e-2, found


@pytest.mark.cuda
@cases()
def test_backends_agree(op, case):
    here = evaluate(op, op.function, case)
    with tn.use_backend("cupy"):
        there = evaluate(op, op.function, case)
    found = differences(there, here)
    assert max(found.values()) <= COMPOSED_TOLERANCE, found


@cases(Op.is_in_torch)
def test_equals_pytorch(op, case, torch):
    function = op.torch_function(torch)
    inputs = [
        None if drawn is None else torch.tensor(drawn[0], requires_grad=drawn[1]) for drawn in case.draw()
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as those of statistics over nothing
        result = op.call(inputs, case.options, function)
    ys = list(result) if isinstance(result, tuple) else [result]
    reached = [y for y in ys if y.requires_grad]
    dys = [torch.tensor(cotangent(tuple(y.shape), k)) for k, y in enumerate(reached)]
    xs = {i: x for i, x in enumerate(inputs) if x is not None and x.requires_grad}
    dxs = (
        torch.autograd.grad(reached, list(xs.values()), dys, allow_unused=True)
        if reached
        else [None] * len(xs)
    )

    ours = evaluate(op, op.function, case)
    assert len(ours.values) == len(ys)
    for a, b in zip(ours.values, ys, strict=True):
        assert relative_error(a, b.detach().numpy()) <= COMPOSED_TOLERANCE
    for (i, x), dx in zip(xs.items(), dxs, strict=True):
        reference = torch.zeros_like(x) if dx is None else dx
        assert relative_error(ours.gradients[i], reference.numpy()) <= COMPOSED_TOLERANCE, f"input {i}"


@pytest.mark.parametrize("op", OPS)
def test_bad_calls_raise(op):
    for error in op.errors:
        with pytest.raises(error.error) as caught:
            error.call()
        assert type(caught.value) is error.error
        assert error.match in str(caught.value)


@cases()
def test_inputs_are_left_alone(op, case):
    inputs = draw(case)
    before = [None if x is None else to_numpy(x.array).copy() for x in inputs]
    op.call(inputs, case.options)
    for x, array in zip(inputs, before, strict=True):
        assert x is None or np.array_equal(to_numpy(x.array), array)
