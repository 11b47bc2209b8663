"""The hints of gradcheck that name another argument: a missing factor, or a swapped gradient."""

import numpy as np
import pytest
from gradients import hint, leaf

import tinygrad_norm as tn
from tinygrad_norm import Tensor
from tinygrad_norm.autograd import Function


def scaled(forward, backward):
    """A function of x and w from two lambdas: y from x and w, and dx and dw from dy, x and w."""

    def keeping(self, x, w):
        self.saved = x, w
        return forward(x, w)

    return type(
        "Mine", (Function,), {"forward": keeping, "backward": lambda self, dy: backward(dy, *self.saved)}
    ).apply


def rms(x):
    return 1 / np.sqrt((x * x).mean(1, keepdims=True))


def rms_dx(g, x):
    return rms(x) * (g - x * rms(x) ** 2 * (g * x).mean(1, keepdims=True))


def rms_dw(dy, x, axes=0):
    return (dy * x * rms(x)).sum(axes)


def channels(w):
    return w[:, None]


MISSING = "is a multiplication by it missing, or a division too many?"
DOUBLED = "is a division by it missing, or a multiplication too many?"


@pytest.mark.parametrize(
    ("func", "shapes", "words"),
    [
        (
            scaled(lambda x, w: w * x * rms(x), lambda dy, x, w: (rms_dx(dy, x), rms_dw(dy, x))),
            ((3, 4), (4,)),
            f"it is 1 / input 1: {MISSING}",
        ),
        (
            scaled(lambda x, w: w * x * rms(x), lambda dy, x, w: (rms_dx(w * w * dy, x), rms_dw(dy, x))),
            ((3, 4), (4,)),
            f"it is input 1: {DOUBLED}",
        ),
        (
            scaled(lambda x, w: channels(w) * x, lambda dy, x, w: (dy, (dy * x).sum((0, 2)))),
            ((2, 3, 4), (3,)),
            f"it is 1 / input 1: {MISSING}",
        ),
        (
            scaled(lambda x, w: x * w, lambda dy, x, w: (dy * w, dy)),
            ((2, 3), (2, 3)),
            f"it is 1 / input 0: {MISSING}",
        ),
        (
            scaled(lambda x, w: x / w, lambda dy, x, w: (dy, -dy * x / w**2)),
            ((5,), (5,)),
            f"it is input 1: {DOUBLED}",
        ),
        (
            scaled(lambda x, w: x**3 + w, lambda dy, x, w: (3 * dy * x, dy)),
            ((5,), (5,)),
            f"it is 1 / input 0: {MISSING}",
        ),
    ],
)
def test_a_factor_that_is_an_argument_is_named(func, shapes, words):
    found = hint(func, *(leaf(*shape, seed=k) for k, shape in enumerate(shapes)))
    assert found.endswith(words)


def test_arguments_that_need_no_gradient_and_parameters_are_known_too():
    forgotten = scaled(lambda x, w: w * x * rms(x), lambda dy, x, w: (rms_dx(dy, x), rms_dw(dy, x)))
    weight = Tensor(np.array([0.5, 2.0, -1.5, 3.0]))
    assert hint(forgotten, leaf(3, 4), weight).endswith(f"it is 1 / input 1: {MISSING}")

    class Norm(tn.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = tn.nn.Parameter(weight.array)

        def forward(self, x):
            return forgotten(x, self.weight)

    assert hint(Norm(), leaf(3, 4)).endswith(f"it is 1 / parameter weight: {MISSING}")


@pytest.mark.parametrize(
    ("weight", "factor"),
    [
        ([0.5, 2.0, -1.5, 3.0], lambda w: w * (1 + 1e-5)),  # near the weight, and not the weight
        ([0.5, 2.0, -1.5, 3.0], lambda w: abs(w)),
        ([1.0, -1.0, 1.0, -1.0], lambda w: w),  # as much 1 / weight as weight
    ],
)
def test_a_factor_that_is_no_argument_is_not_named_after_one(weight, factor):
    func = scaled(lambda x, w: x * rms(x) + 0 * w, lambda dy, x, w: (rms_dx(factor(w) * dy, x), 0 * w))
    found = hint(func, leaf(3, 4), Tensor(np.array(weight)))
    assert "a factor of its own" in found
    assert "input 1" not in found


# -- swapped


def swapped(forward, dx, dw):
    """A function of x and w whose backward gives each the gradient of the other."""
    return scaled(forward, lambda dy, x, w: (dw(dy, x, w), dx(dy, x, w)))


@pytest.mark.parametrize(
    "func",
    [
        swapped(lambda x, w: x * w, lambda dy, x, w: dy * w, lambda dy, x, w: dy * x),
        swapped(lambda x, w: x @ w, lambda dy, x, w: dy @ w.T, lambda dy, x, w: x.T @ dy),
        swapped(lambda x, w: x + 2 * w, lambda dy, x, w: dy, lambda dy, x, w: 2 * dy),
    ],
)
def test_swapped_gradients_are_reported(func):
    swapped = "the gradients of input 1 and input 2 are swapped: each is the other's"
    assert hint(lambda _, x, w: func(x, w), leaf(2), leaf(3, 3), leaf(3, 3, seed=1)) == swapped
    x = leaf(3, 3)
    assert "swapped" not in hint(func, x, leaf(3, 3, seed=1), fast_mode=True)


@pytest.mark.parametrize(
    "func",
    [
        scaled(lambda x, w: x * w, lambda dy, x, w: (dy * x, dy * x)),  # one is right
        scaled(lambda x, w: x * w, lambda dy, x, w: (dy * x, 2 * dy * w)),
        scaled(lambda x, w: x - w, lambda dy, x, w: (-dy, dy)),  # as well the sign
        scaled(lambda x, w: x + w, lambda dy, x, w: (2 * dy, 2 * dy)),
    ],
)
def test_what_is_not_swapped_is_not_called_so(func):
    assert "swapped" not in hint(func, leaf(3, 3), leaf(3, 3, seed=1))


def test_outputs_are_not_mixed_up_where_gradients_are_swapped():
    def two(x, w):
        return 3.0 * x, scaled(lambda x, w: x * w, lambda dy, x, w: (dy * x, dy * w))(x, w)

    assert (
        hint(two, leaf(4), leaf(4, seed=1))
        == "the gradients of input 0 and input 1 are swapped: each is the other's"
    )
