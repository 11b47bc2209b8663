"""gradcheck itself: the arguments it accepts, and its messages.

test_planted_mistakes.py shows that it finds wrong gradients, test_gradcheck_precision.py how small an error
it finds, test_gradcheck_errors.py what it raises.
"""

import numpy as np
import pytest
from gradients import WrongSquare, at, leaf

import tinygrad_norm as tn
from tinygrad_norm import Tensor
from tinygrad_norm.autograd import Function
from tinygrad_norm.gradient_check.check import gradcheck, jacobians
from tinygrad_norm.gradient_check.error import GradcheckError

# -- arguments


def test_outputs_may_be_several_and_of_every_kind():
    def several(x):
        return x * x, None, tn.argmax(x), (x > 0), x.sum(), x.detach()

    pairs = jacobians(several, leaf(4))
    assert [(pair.input, pair.output, pair.analytic.shape) for pair in pairs] == [
        (0, 0, (4, 4)),
        (0, 4, (1, 4)),
    ]


def test_an_output_need_not_depend_on_every_input():
    pairs = jacobians(lambda a, b: (a * a, a * b), (leaf(2), leaf(2)))
    (unrelated,) = [pair for pair in pairs if (pair.input, pair.output) == (1, 0)]
    assert not unrelated.analytic.any()
    assert max(pair.worst for pair in pairs) < 1e-9


def test_inputs_that_need_no_gradient_are_passed_through():
    mask, index = Tensor(np.array([True, False, True])), Tensor(np.array([2, 0]))
    seen = []

    def func(x, mask, index, power, nothing):
        seen.append((mask, index, power, nothing))
        return tn.where(mask, x**power, 0.0)[index]

    assert gradcheck(func, (leaf(3), mask, index, 3, None))
    assert seen[0] == (mask, index, 3, None)


def test_a_function_may_use_its_inputs_behind_its_arguments():
    weight = leaf(3, 2)
    assert gradcheck(lambda x, _: x @ weight, (leaf(2, 3), weight))


def test_one_tensor_may_be_given_twice():
    x = leaf(3)
    assert gradcheck(lambda a, b: a * b, (x, x))


@pytest.mark.parametrize("fast_mode", [False, True])
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1)])
def test_scalars_and_empty_tensors(shape, fast_mode):
    assert gradcheck(lambda x: x * x, leaf(*shape), fast_mode=fast_mode)
    assert gradcheck(lambda x: (x * x).sum(), leaf(*shape), fast_mode=fast_mode)


@pytest.mark.parametrize("fast_mode", [False, True])
def test_a_constant_infinity_among_the_outputs(fast_mode):
    mask = Tensor(np.array([True, False, False]))

    def masked(x, factor=2.0):
        return tn.masked_fill(WrongSquare.apply(x, factor=factor), mask, -np.inf)

    assert gradcheck(masked, leaf(3), fast_mode=fast_mode)
    assert not gradcheck(lambda x: masked(x, 2.001), leaf(3), fast_mode=fast_mode, raise_exception=False)


def test_it_works_inside_no_grad():
    with tn.no_grad():
        assert gradcheck(lambda x: x * x, leaf(3))


def test_it_runs_on_every_backend(backend):
    assert gradcheck(lambda a, b: tn.tanh(a @ b), (leaf(2, 3), leaf(3, 2)))


def test_the_inputs_stay_as_they_were():
    x = leaf(3)
    array, before = x.array, x.array.copy()
    gradcheck(lambda x: x * x, x)

    def breaks_once_moved(x):
        if not np.array_equal(x.array, before):
            raise KeyError("moved")
        return x * x

    with pytest.raises(KeyError):
        gradcheck(breaks_once_moved, x)
    assert x.array is array
    np.testing.assert_array_equal(array, before)
    assert x.grad is None


def test_the_fast_mode_needs_few_calls():
    def counted(x):
        counted.calls += 1
        return x * x

    counted.calls = 0
    assert gradcheck(counted, leaf(100), fast_mode=True)
    assert counted.calls <= 2 + 6


# -- modules


def test_the_parameters_of_a_module_are_checked_under_their_names():
    class WrongWeight(tn.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = tn.nn.Parameter(np.array([1.0, 2.0]))
            self.inner = tn.nn.Linear(2, 2).double()

        def forward(self, x):
            return WrongSquare.apply(self.scale) * self.inner(x)

    with pytest.raises(GradcheckError) as caught:
        gradcheck(WrongWeight(), (leaf(3, 2),))
    assert "with respect to parameter scale[" in str(caught.value).splitlines()[0]
    found = {pair.input for pair in jacobians(WrongWeight(), leaf(3, 2))}
    assert found == {0, "scale", "inner.weight", "inner.bias"}


def test_parameters_alone_are_enough_and_frozen_ones_are_left_out():
    module, x = tn.nn.LayerNorm(4).double(), Tensor(np.random.default_rng(0).normal(size=(3, 4)))
    assert {pair.input for pair in jacobians(module, x)} == {"weight", "bias"}
    module.bias.requires_grad_(False)
    assert {pair.input for pair in jacobians(module, x)} == {"weight"}
    assert {pair.input for pair in jacobians(module, (module.weight,))} == {0}


# -- messages


def test_the_message_names_the_place_the_values_and_the_step():
    with pytest.raises(GradcheckError) as caught:
        gradcheck(lambda a, b: a + WrongSquare.apply(b), (leaf(2), at([0.0, 2.0])))
    lines = str(caught.value).splitlines()
    assert lines[0] == "wrong gradient of output 0[1] with respect to input 1[1] (shapes (2,) and (2,))"
    assert lines[1].split() == ["analytic", "6"]
    assert float(lines[2].split()[1]) == pytest.approx(4, rel=1e-9)
    assert "estimated error" in lines[2]
    assert "step 2.0e-03" in lines[2]
    assert lines[3].split()[:3] == ["relative", "error", "0.333"]
    words = "wrong entries 1 of 4 (1 of the 1 that are not 0), all at this entry of the input"
    assert lines[4].split() == words.split()


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ([[1, 1, 1], [2, 2, 2]], ", all at this entry of the output"),
        ([[1, 2, 1], [1, 2, 1]], ", all at this entry of the input"),
        ([[2, 1, 1], [1, 2, 1]], ""),
    ],
    ids=["output", "input", "neither"],
)
def test_wrong_entries_that_share_an_output_or_an_input(wrong, place):
    matrix = np.arange(1.0, 7.0).reshape(2, 3)

    class Product(Function):
        def forward(self, x):
            return matrix @ x

        def backward(self, dy):
            return dy @ (matrix * wrong)

    with pytest.raises(GradcheckError) as caught:
        gradcheck(Product.apply, leaf(3))
    (line,) = [line for line in str(caught.value).splitlines() if "wrong entries" in line]
    assert line.split(" of 6")[1] == place


def test_where_an_input_or_an_output_has_one_entry_that_is_not_said():
    for func in (lambda x: WrongSquare.apply(x) * Tensor(np.ones(3)), lambda x: WrongSquare.apply(x)):
        with pytest.raises(GradcheckError, match=r"wrong entries   (3 of 3|1 of 1)(\n|$)"):
            gradcheck(func, leaf(1))


def test_every_wrong_pair_of_output_and_input_is_named():
    with pytest.raises(GradcheckError) as caught:
        gradcheck(lambda a, b: (a * b, WrongSquare.apply(a + b)), (leaf(2), leaf(2)))
    assert str(caught.value).endswith("wrong in all: output 1 / input 0, output 1 / input 1")


def test_a_kink_is_named_as_such():
    def jump(x):
        return x + tn.sign(x + 1e-12)

    with pytest.raises(GradcheckError, match="finite differences are inaccurate here"):
        gradcheck(jump, at([0.0]))


def test_a_function_without_finite_neighbours_is_named_as_such():
    def spike(x):
        return x if x.item() == 1.0 else x * np.nan

    with pytest.raises(GradcheckError, match="NaN or infinite around this input"):
        gradcheck(spike, at(1.0))


def test_raise_exception_false_returns_false():
    assert gradcheck(WrongSquare.apply, leaf(3), raise_exception=False) is False
    with pytest.raises(ValueError, match="requires grad"):
        gradcheck(lambda x: x, Tensor(np.ones(3)), raise_exception=False)


def test_tolerances_mean_what_they_say():
    def off(x):
        return WrongSquare.apply(x, factor=2.02)  # analytic 4.04, numeric 4

    assert gradcheck(off, at([2.0]), rtol=0.0101)
    assert not gradcheck(off, at([2.0]), rtol=0.0098, raise_exception=False)
    assert gradcheck(off, at([2.0]), atol=0.0401)
    assert not gradcheck(off, at([2.0]), atol=0.0399, raise_exception=False)


def test_it_is_a_name_of_the_package():
    assert tn.gradcheck is gradcheck
    assert tn.autograd.GradcheckError is GradcheckError
