"""A primitive's backward uses only operations that a Tensor has too: run on Tensors, it is recorded.

Second derivatives will need that; no code uses them yet. `dxs_as_tensors` runs a backward as they would: dy
is a Tensor, and each saved array is replaced by the Tensor it belongs to. Then dx is a function of x and of
dy, and its gradient with respect to both must agree with finite differences.
"""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd import Function, GradcheckError
from tinygrad_norm.backends import namespace
from tinygrad_norm.gradient_check import gradcheck
from tinygrad_norm.gradient_check.registered import cotangent, draw, relative_error
from tinygrad_norm.ops.arithmetic import Mul
from tinygrad_norm.ops.casting import Cast
from tinygrad_norm.ops.elementwise import Exp
from tinygrad_norm.ops.indexing import Scatter
from tinygrad_norm.ops.joining import Roll
from tinygrad_norm.ops.reduction import Sum
from tinygrad_norm.registry import REGISTRY

WITHOUT_A_GRAPH = {
    "RoundedDiv": "its gradient is 0, whatever dy is",
    "Sign": "its gradient is 0, whatever dy is",
}

ROUNDING = 1e-13  # a Tensor's cumsum adds in another order

UNCALLED = [  # by any case: Functions that only backwards call, and a cast to the dtype of x
    (Cast, {"dtype": np.float64}, (3, 4)),
    (Scatter, {"shape": (3, 4), "key": (slice(1, 3), 2)}, (2,)),
    (Scatter, {"shape": (3, 4), "key": (np.array([2, 0, 2]),)}, (3, 4)),
    (Scatter, {"shape": (2, 3), "key": (np.array([[True, False, True], [False, True, True]]),)}, (4,)),
]

PRIMITIVES = [
    pytest.param(op, case, id=f"{op.name}-{i}")
    for op in REGISTRY.values()
    if op.kind == "primitive"
    for i, case in enumerate(op.cases)
]


def calls_of(op, case):
    """Every call of a Function, with a gradient, that the op makes: (function, inputs, options)."""
    calls = []
    apply = Function.apply.__func__

    def recording(cls, *inputs, **options):
        if any(isinstance(x, tn.Tensor) and x.requires_grad for x in inputs):
            calls.append((cls, inputs, options))
        return apply(cls, *inputs, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Function, "apply", classmethod(recording))
        op.call(draw(case), case.options)
    return calls


def run(function, inputs, options):
    """Return the outputs of a call and its node."""
    ys = function.apply(*inputs, **options)
    ys = ys if isinstance(ys, tuple) else (ys,)
    return ys, next(y.creator for y in ys if y.creator is not None)


def gradients(node, ys, dys):
    """Return the gradients from backward for `dys`, one for each output that has a gradient."""
    dys = iter(dys)
    dxs = node.backward(*[next(dys) if y.requires_grad else None for y in ys])
    dxs = dxs if isinstance(dxs, tuple) else (dxs,)
    return tuple(dx for dx, needed in zip(dxs, node.needs, strict=True) if needed and dx is not None)


def dxs_as_tensors(function, inputs, options, dys):
    ys, _ = run(function, inputs, options)
    again, node = run(function, inputs, options)  # a second node: the first must keep its saved arrays
    tensors = [x for x in inputs if isinstance(x, tn.Tensor)]
    node.saved = tuple(tensor_of(part, (*tensors, *again), (*tensors, *ys)) for part in node.saved)
    return gradients(node, ys, dys)


def tensor_of(saved, owners, tensors):
    """Return the tensor in the place of the owner that holds `saved`; `saved` if it has no floats."""
    if not isinstance(saved, np.ndarray | np.floating) or saved.dtype.kind != "f":
        return saved
    scalar = isinstance(saved, np.floating)  # NumPy's result of 0-d arrays
    for owner, x in zip(owners, tensors, strict=True):
        if owner.array is saved or (scalar and np.array_equal(owner.array, saved, equal_nan=True)):
            return x
    raise AssertionError(f"saved an array of shape {saved.shape} that is neither an input nor an output")


def check(function, inputs, options):
    """Check the backward of one call: on Tensors as on arrays, and its own gradient."""
    inputs = [
        tn.tensor(x.array, requires_grad=x.requires_grad) if isinstance(x, tn.Tensor) else x for x in inputs
    ]
    ys, node = run(function, inputs, options)
    dys = [cotangent(y.shape, k) for k, y in enumerate(ys) if y.requires_grad]
    expected = gradients(node, ys, dys)

    leaves = [tn.tensor(dy, requires_grad=True) for dy in dys]
    dxs = dxs_as_tensors(function, inputs, options, leaves)
    for dx, array in zip(dxs, expected, strict=True):
        assert isinstance(dx, tn.Tensor), f"a {type(dx).__name__}"
        assert relative_error(dx.numpy(), array) <= ROUNDING
        assert dx.requires_grad == (function.__name__ not in WITHOUT_A_GRAPH), "not recorded"
    if not any(dx.requires_grad for dx in dxs):
        return

    def dxs_of(*moving):
        return dxs_as_tensors(function, moving[: len(inputs)], options, moving[len(inputs) :])

    assert gradcheck(dxs_of, (*inputs, *leaves))


@pytest.mark.parametrize(("op", "case"), PRIMITIVES)
def test_a_backward_on_tensors_has_a_gradient_itself(op, case):
    for call in calls_of(op, case):
        check(*call)


@pytest.mark.parametrize(("function", "options", "shape"), UNCALLED)
def test_a_primitive_that_no_case_calls_has_a_gradient_too(function, options, shape):
    check(function, [tn.randn(shape, dtype=tn.float64, requires_grad=True)], options)


def test_no_primitive_is_left_out():
    seen = {function for op, case in (p.values for p in PRIMITIVES) for function, _, _ in calls_of(op, case)}
    assert seen | {function for function, _, _ in UNCALLED} == set(primitives(Function))


def primitives(function):
    for subclass in function.__subclasses__():
        if subclass.__module__.startswith("tinygrad_norm.ops."):
            yield subclass
        yield from primitives(subclass)


# -- mistakes that a first derivative does not show


class RollsTheArray(Roll):
    def backward(self, dy):
        shifts, axes = self.saved
        return np.roll(getattr(dy, "array", dy), [-shift for shift in shifts], axes)


class WritesIntoZeros(Sum):
    def backward(self, dy):
        (shape,) = self.saved
        dx = tn.zeros(shape, dtype=dy.dtype) if isinstance(dy, tn.Tensor) else np.zeros(shape)
        dx[...] = dy
        return dx


class WritesIntoEmpty(Sum):
    def backward(self, dy):
        (shape,) = self.saved
        dx = namespace(dy).empty(shape, dy.dtype)
        dx[...] = dy
        return dx


class ForgetsWhereYComesFrom(Exp):
    def backward(self, dy):
        (y,) = self.saved
        return dy * getattr(y, "array", y)


class ForgetsWhereDyComesFrom(Mul):
    def backward(self, dy):
        return super().backward(dy.detach() if isinstance(dy, tn.Tensor) else dy)


@pytest.mark.parametrize(
    ("function", "options", "inputs", "message"),
    [
        (RollsTheArray, {"shifts": (1,), "axes": (0,)}, 1, "a ndarray"),
        (WritesIntoZeros, {"axes": (0, 1), "keepdim": False}, 1, "not recorded"),
        (
            WritesIntoEmpty,
            {"axes": (0, 1), "keepdim": False},
            1,
            "ops.tensor_namespace' has no",
        ),
        (ForgetsWhereYComesFrom, {}, 1, "output 0 / input 0|with respect to input 0"),
        (ForgetsWhereDyComesFrom, {}, 2, "with respect to input 2"),
    ],
)
def test_a_backward_that_could_not_be_differentiated_is_detected(function, options, inputs, message):
    xs = [tn.randn(2, 3, dtype=tn.float64, requires_grad=True) for _ in range(inputs)]
    errors = (AssertionError, AttributeError, GradcheckError, RuntimeError)
    with pytest.raises(errors, match=message):
        check(function, xs, options)
