"""gradcheck finds wrong gradients: every planted mistake must be found in the right place.

The right backward of each must pass, so that no check is too strict.
"""

import numpy as np
import pytest
from planted_backwards import (
    PLANTED,
    EpsForgotten,
    LayerNorm,
    OneLessInTheMean,
    RstdForgotten,
    SignFlipped,
    VariancePathAdded,
    VariancePathDropped,
    Zeros,
)

from tinygrad_norm import Tensor, grad
from tinygrad_norm.gradient_check.check import gradcheck
from tinygrad_norm.gradient_check.error import GradcheckError


def inputs(shapes):
    rng = np.random.default_rng(0)
    return tuple(Tensor(rng.normal(size=shape), requires_grad=True) for shape in shapes)


planted = pytest.mark.parametrize("planted", [pytest.param(p, id=p.mistake.__name__) for p in PLANTED])


@pytest.mark.parametrize(("right", "shapes"), dict.fromkeys((p.right, p.shapes) for p in PLANTED))
def test_the_right_backward_passes(right, shapes):
    assert gradcheck(right.apply, inputs(shapes))
    assert gradcheck(right.apply, inputs(shapes), fast_mode=True)


@planted
def test_the_mistake_is_found_and_its_input_named(planted):
    with pytest.raises(GradcheckError) as caught:
        gradcheck(planted.mistake.apply, inputs(planted.shapes))
    message = str(caught.value)
    assert f"input {planted.input}" in message.splitlines()[0]
    assert f"output {planted.output}" in message.splitlines()[0]
    assert planted.words in message


@planted
def test_the_fast_mode_finds_it_too(planted):
    with pytest.raises(GradcheckError, match=f"output {planted.output}.*input {planted.input}"):
        gradcheck(planted.mistake.apply, inputs(planted.shapes), fast_mode=True)


BLIND_TO = [
    VariancePathDropped,
    Zeros,
    SignFlipped,
    VariancePathAdded,
    OneLessInTheMean,
    RstdForgotten,
    EpsForgotten,
]


@pytest.mark.parametrize("mistake", BLIND_TO)
def test_the_loss_y_sum_would_miss_it(mistake):
    (x,) = inputs(((4, 8),))
    weight, bias = Tensor(np.ones(8)), Tensor(np.zeros(8))

    def gradient(function, dy):
        return grad(function.apply(x, weight, bias), x, dy)[0].array

    ones, dy = np.ones((4, 8)), np.random.default_rng(1).normal(size=(4, 8))
    np.testing.assert_allclose(gradient(mistake, ones), gradient(LayerNorm, ones), rtol=0, atol=1e-12)
    assert abs(gradient(mistake, dy) - gradient(LayerNorm, dy)).max() > 1e-6
