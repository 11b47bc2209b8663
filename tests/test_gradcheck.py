"""gradcheck itself: what it accepts, what it refuses, and what it says.

That it finds wrong gradients is shown in test_planted_mistakes.py.
"""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import Tensor
from tinygrad_norm.autograd import Function
from tinygrad_norm.autograd.errors import GradcheckError
from tinygrad_norm.autograd.finite_differences import above_rounding, derivative, with_bend
from tinygrad_norm.autograd.gradcheck import gradcheck, jacobians

F = tn.nn.functional


def leaf(*shape, seed=0, scale=1.0):
    return Tensor(np.random.default_rng(seed).normal(size=shape) * scale, requires_grad=True)


def at(value):
    return Tensor(np.array(value, np.float64), requires_grad=True)


def worst(func, *inputs, **options):
    return max(block.worst for block in jacobians(func, inputs, **options))


class WrongSquare(Function):
    """y = scale·x² · dx = factor·dy·scale·x, right for factor = 2"""

    def forward(self, x, *, scale=1.0, factor=3.0):
        self.saved = x, scale, factor
        return scale * x * x

    def backward(self, dy):
        x, scale, factor = self.saved
        return factor * dy * scale * x


# -- finite differences


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda t: np.exp(1 + t), np.exp(1)),
        (lambda t: 1 / (0.05 + t), -400.0),
        (lambda t: np.sqrt(1e-3 + t), 0.5 / np.sqrt(1e-3)),
        (lambda t: np.log(1e-5 + t), 1e5),
        (lambda t: np.sin(20 * (1 + t)), 20 * np.cos(20)),
        (lambda t: np.maximum(2e-4 + t, 0.0), 1.0),
        (lambda t: np.sign(2e-5 + t) + t, 1.0),
        (lambda t: 1e4 + 0 * t, 0.0),
    ],
)
def test_a_derivative_is_right_and_its_error_estimate_honest(f, expected):
    value, error, step, *_ = derivative(lambda t: np.atleast_1d(f(t)), 1e-3)
    assert abs(value - expected) <= 1e-9 * max(abs(expected), 1)
    assert abs(value - expected) <= 10 * error
    assert 0 < step <= 1e-3


def test_every_entry_keeps_its_own_best_step():
    smooth_and_kinked = derivative(lambda t: np.array([np.sin(1 + t), np.maximum(1e-4 + t, 0)]), 1e-3)
    np.testing.assert_allclose(smooth_and_kinked.value, [np.cos(1), 1], rtol=1e-10)
    assert smooth_and_kinked.step[0] > smooth_and_kinked.step[1]


def test_a_function_without_finite_values_has_an_infinite_error():
    assert derivative(lambda t: np.array([np.nan]), 1e-3).error == np.inf


def test_an_infinity_that_does_not_move_has_derivative_0():
    value, error, *_ = derivative(lambda t: np.array([-np.inf, t]), 1e-3)
    np.testing.assert_allclose(value, [0, 1])
    assert np.isfinite(error).all()


def test_what_only_rounds_has_a_floor_above_it_and_what_moves_has_not():
    numbers = np.random.default_rng(0).normal(size=20)

    def f(t):
        moved = np.concatenate([[1 + t], numbers])
        return np.array([(moved - moved.mean()).sum(), np.sin(1 + t), 1e-9 * t, np.sign(t)])

    found = derivative(f, 1e-3)
    rounds, moves, crawls, jumps = range(4)
    looked_at = above_rounding(f, 1e-3, found)
    assert abs(found.value[rounds]) < looked_at.floor[rounds] < 1e-10
    assert abs(looked_at.value[rounds]) <= 10 * looked_at.error[rounds]
    for entry in moves, crawls, jumps:
        assert looked_at.floor[entry] == found.floor[entry] == 0
        assert looked_at.value[entry] == found.value[entry]


@pytest.mark.parametrize("slope", [1e-6, 1.0, 1e6])
def test_a_kink_is_where_the_slope_jumps(slope):
    def f(t):
        return np.array([np.maximum(slope * t, 0), abs(t) + t * t, np.sin(20 + 20 * t), np.maximum(t, 0.1)])

    found = with_bend(f, derivative(f, 1e-3))
    np.testing.assert_allclose(found.bend[:2], [slope, 2], rtol=1e-6)
    assert (abs(found.bend[2:]) < 1e-8).all()


# -- what it accepts


def test_right_gradients_agree_to_1e_9():
    assert worst(lambda a, b: tn.tanh(a @ b) / (1 + tn.exp(a).mean()), leaf(3, 4), leaf(4, 2)) < 1e-9


@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1.0, 1e8])
def test_the_size_of_the_function_does_not_matter(scale):
    right = lambda x: WrongSquare.apply(x, scale=scale, factor=2.0)  # noqa: E731
    slightly_off = lambda x: WrongSquare.apply(x, scale=scale, factor=2.000001)  # noqa: E731
    assert gradcheck(right, leaf(4))
    with pytest.raises(GradcheckError):
        gradcheck(slightly_off, leaf(4))


@pytest.mark.parametrize("scale", [1e-6, 1e3, 1e6])
def test_the_size_of_the_input_does_not_matter(scale):
    assert gradcheck(lambda x: x / (scale + x * x / scale), leaf(5, scale=scale))


def test_a_normalization_far_from_0_is_right():
    """Steps that are powers of two are added to large numbers without rounding."""
    x = Tensor(np.random.default_rng(0).normal(size=(2, 4)) + 1e6, requires_grad=True)
    assert gradcheck(lambda x: tn.nn.functional.layer_norm(x, (4,)), (x,))


class Shifted(Function):
    """y = x + shift · dx = factor·dy, right for factor = 1"""

    def forward(self, x, *, shift, factor):
        self.factor = factor
        return x + shift

    def backward(self, dy):
        return self.factor * dy


@pytest.mark.parametrize("fast_mode", [False, True])
@pytest.mark.parametrize(("shift", "off"), [(1e4, 1e-7), (1e8, 1e-3), (1e10, 0.1), (1e11, 1.0)])
def test_a_large_output_hides_no_more_than_its_rounding(shift, off, fast_mode):
    func = lambda x, factor: Shifted.apply(x, shift=shift, factor=factor)  # noqa: E731
    assert gradcheck(lambda x: func(x, 1.0), leaf(4), fast_mode=fast_mode)
    with pytest.raises(GradcheckError, match="relative error"):
        gradcheck(lambda x: func(x, 1.0 - off), leaf(4), rtol=min(off / 2, 1e-7), fast_mode=fast_mode)


def test_one_huge_output_does_not_hide_a_wrong_small_one():
    def huge_beside_wrong(x):
        return WrongSquare.apply(x, factor=2.0) * 1e12, WrongSquare.apply(x)

    with pytest.raises(GradcheckError, match="output 1"):
        gradcheck(huge_beside_wrong, leaf(3))
    with pytest.raises(GradcheckError, match=r"output 0\[[12]\]"):
        gradcheck(lambda x: WrongSquare.apply(x) + Tensor(np.array([1e12, 0.0, 0.0])), leaf(3))


def test_one_huge_slope_does_not_hide_a_wrong_small_one():
    x = leaf(3)
    start, slopes = Tensor(x.array.copy()), Tensor(np.array([1e12, 0.0, 0.0]))

    def huge_beside_slightly_off(x):
        return WrongSquare.apply(x, factor=2.00001) + slopes * (x - start)

    with pytest.raises(GradcheckError, match=r"output 0\[[12]\]"):
        gradcheck(huge_beside_slightly_off, x)


def test_one_infinite_output_does_not_hide_its_wrong_gradient():
    class Masked(Function):
        """y = -inf at the first entry, x elsewhere · dx = dy, which is wrong at the first"""

        def forward(self, x):
            y = x.copy()
            y[0] = -np.inf
            return y

        def backward(self, dy):
            return dy

    with pytest.raises(GradcheckError, match=r"output 0\[0\] with respect to input 0\[0\]"):
        gradcheck(Masked.apply, leaf(3))


def test_an_input_near_a_kink_or_a_border_is_checked_with_smaller_steps():
    x = Tensor(np.array([1e-4, -3e-4, 2.0]), requires_grad=True)
    assert gradcheck(lambda x: tn.clamp(x, min=0), x)
    assert gradcheck(tn.log, Tensor(np.array([1e-5, 1e-2]), requires_grad=True))
    assert gradcheck(tn.sqrt, Tensor(np.array([1e-6, 1.0]), requires_grad=True))


VACUOUS = [
    lambda x: F.layer_norm(x, (8,)).sum(),
    lambda x: F.layer_norm(x, (8,)).mean(),
    lambda x: F.layer_norm(x, (8,)).sum(-1),
    lambda x: tn.nn.BatchNorm1d(8).double()(x).sum(),
    lambda x: 1e9 * F.layer_norm(x, (8,)).sum(),
    lambda x: F.layer_norm(x + 1e6, (8,)).sum(),
    lambda x: F.layer_norm(x + 1e6, (8,)).sum(),
]


@pytest.mark.parametrize("fast_mode", [False, True])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("func", VACUOUS)
def test_a_loss_that_is_constant_up_to_rounding_is_right(func, seed, fast_mode):
    assert gradcheck(func, leaf(3, 8, seed=seed), fast_mode=fast_mode)


@pytest.mark.parametrize("slope", [1e-4, 1.0, 1e6])
def test_rounding_hides_no_slope(slope):
    def beside_rounding(x):
        return F.layer_norm(x, (8,)).sum() + slope * WrongSquare.apply(x, factor=2.0)[0, 0]

    def slightly_off(x):
        return F.layer_norm(x, (8,)).sum() + slope * WrongSquare.apply(x, factor=2.001)[0, 0]

    assert gradcheck(beside_rounding, leaf(3, 8))
    with pytest.raises(GradcheckError, match=r"input 0\[0, 0\]"):
        gradcheck(slightly_off, leaf(3, 8))


def test_a_gradient_beside_a_loss_that_only_rounds_is_wrong():
    class NotNothing(Function):
        """y = Σ(x - mean(x)) · dx = 1e-9, which is wrong: it is 0"""

        def forward(self, x):
            self.saved = (x.shape,)
            return (x - x.mean()).sum()

        def backward(self, dy):
            return dy * np.full(self.saved[0], 1e-9)

    with pytest.raises(GradcheckError, match="wrong gradient"):
        gradcheck(NotNothing.apply, leaf(3, 8))


def test_outputs_may_be_several_and_of_every_kind():
    def several(x):
        return x * x, None, tn.argmax(x), (x > 0), x.sum(), x.detach()

    blocks = jacobians(several, leaf(4))
    assert [(block.input, block.output, block.analytic.shape) for block in blocks] == [
        (0, 0, (4, 4)),
        (0, 4, (1, 4)),
    ]


def test_an_output_need_not_depend_on_every_input():
    blocks = jacobians(lambda a, b: (a * a, a * b), (leaf(2), leaf(2)))
    (unrelated,) = [block for block in blocks if (block.input, block.output) == (1, 0)]
    assert not unrelated.analytic.any()
    assert max(block.worst for block in blocks) < 1e-9


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


def test_a_constant_infinity_among_the_outputs():
    mask = Tensor(np.array([True, False, False]))
    assert gradcheck(lambda x: tn.masked_fill(x * x, mask, -np.inf), leaf(3))


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


# -- what it refuses


def test_the_fast_mode_needs_few_calls():
    def counted(x):
        counted.calls += 1
        return x * x

    counted.calls = 0
    assert gradcheck(counted, leaf(100), fast_mode=True)
    assert counted.calls <= 2 + 6


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_coarse_inputs_are_refused(dtype):
    coarse = Tensor(np.ones(3, dtype), requires_grad=True)
    with pytest.raises(ValueError, match=r"input 1 .*\.double\(\)"):
        gradcheck(lambda a, b: a * b, (leaf(3), coarse))
    assert gradcheck(lambda a, b: a * b, (leaf(3), Tensor(np.ones(3, dtype))))


def test_coarse_outputs_are_refused():
    with pytest.raises(ValueError, match="output 0 is float32"):
        gradcheck(lambda x: x.float(), leaf(3))


@pytest.mark.parametrize("eps", [0.0, -1e-3, float("nan")])
def test_the_step_must_be_positive(eps):
    with pytest.raises(ValueError, match=r"eps .* must be positive"):
        gradcheck(lambda x: x * x, leaf(3), eps=eps)


def test_some_input_must_require_grad():
    with pytest.raises(ValueError, match="requires grad"):
        gradcheck(lambda x: x * x, Tensor(np.ones(3)))


def test_some_output_must_be_floating_point():
    with pytest.raises(ValueError, match="floating-point output"):
        gradcheck(lambda x: tn.argmax(x), leaf(3))


def test_outputs_must_be_tensors():
    with pytest.raises(TypeError, match="output 1 is of type ndarray"):
        gradcheck(lambda x: (x, x.array), leaf(3))


def test_an_output_cut_from_the_graph_must_not_depend_on_the_input():
    assert gradcheck(lambda x: tn.zeros(3, dtype=tn.float64), leaf(3))
    with pytest.raises(GradcheckError, match="0 everywhere: was the input detached"):
        gradcheck(lambda x: x.detach() * x.detach(), leaf(3))


@pytest.mark.parametrize("fast_mode", [False, True])
def test_random_functions_are_refused(fast_mode):
    rng = np.random.default_rng(0)

    def noisy(x):
        return x * Tensor(rng.normal(size=3))

    with pytest.raises(GradcheckError, match=r"output 0 differed between two calls.*Freeze"):
        gradcheck(noisy, leaf(3), fast_mode=fast_mode)


def test_nondet_tol_allows_some_noise():
    rng = np.random.default_rng(0)

    def noisy(x):
        return x + Tensor(rng.normal(size=3) * 1e-14)

    with pytest.raises(GradcheckError, match="deterministic"):
        gradcheck(noisy, leaf(3))
    assert gradcheck(noisy, leaf(3), nondet_tol=1e-11)


def test_functions_that_change_an_input_are_refused():
    def counting(x, calls):
        calls.array += 1
        return x * x

    with pytest.raises(GradcheckError, match="changed input 1"):
        gradcheck(counting, (leaf(3), Tensor(np.zeros(1))))


def test_a_backward_that_does_not_repeat_itself_is_refused():
    class Consuming(WrongSquare):
        def backward(self, dy):
            (x, *_) = self.saved
            dx = 2 * dy * x
            x *= 0
            return dx

    with pytest.raises(GradcheckError, match=r"input 0 .*differed between two backward passes"):
        gradcheck(lambda x: Consuming.apply(x * 1.0), at([1.5]))


def test_gradients_that_are_not_finite_are_refused():
    class Undefined(WrongSquare):
        def backward(self, dy):
            return dy * np.nan

    with pytest.raises(GradcheckError, match=r"input 0 .* is NaN or infinite"):
        gradcheck(Undefined.apply, leaf(3))


def test_gradients_narrower_than_their_input_are_refused():
    class Narrow(WrongSquare):
        def backward(self, dy):
            return super().backward(dy).astype(np.float32)

    with pytest.raises(GradcheckError, match=r"Narrow\.backward returned a float32 gradient"):
        gradcheck(lambda x: Narrow.apply(x, factor=2.0), leaf(3))


# -- what it says


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


def test_a_kink_is_named_as_such():
    def jump(x):
        return x + tn.sign(x + 1e-12)

    with pytest.raises(GradcheckError, match="finite differences are unsure here"):
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
    found = {block.input for block in jacobians(WrongWeight(), leaf(3, 2))}
    assert found == {0, "scale", "inner.weight", "inner.bias"}


def test_parameters_alone_are_enough_and_frozen_ones_are_left_out():
    module, x = tn.nn.LayerNorm(4).double(), Tensor(np.random.default_rng(0).normal(size=(3, 4)))
    assert {block.input for block in jacobians(module, x)} == {"weight", "bias"}
    module.bias.requires_grad_(False)
    assert {block.input for block in jacobians(module, x)} == {"weight"}
    assert {block.input for block in jacobians(module, (module.weight,))} == {0}


def test_coarse_parameters_are_refused_by_name():
    with pytest.raises(ValueError, match=r"parameter weight requires grad in float32.*\.double\(\) on the"):
        gradcheck(tn.nn.LayerNorm(4), (leaf(3, 4),))


# -- what a backward raises


def square(backward, forward=None):
    def keep(self, x):
        self.saved = (x,)
        return x * x

    return type("Mine", (Function,), {"forward": forward or keep, "backward": backward}).apply


def kept_nothing(self, x):
    return x * x


def kept_no_tuple(self, x):
    self.saved = x
    return x * x


def unpack(self, dy):
    (x,) = self.saved
    return 2 * dy * x


@pytest.mark.parametrize(
    ("func", "cause", "words"),
    [
        (square(lambda self, dy: dy @ self.saved[0]), ValueError, "shape (3, 4), raised ValueError: matmul"),
        (square(unpack, kept_nothing), ValueError, "\n  hint: forward kept nothing in self.saved"),
        (square(unpack, kept_no_tuple), ValueError, "\n  hint: forward set self.saved to a ndarray, not a"),
        (square(lambda self, dy: dy * self.x), AttributeError, "\n  hint: forward did not set self.x"),
        (square(lambda self: 1), TypeError, "takes 1 positional argument but 2 were given"),
    ],
)
def test_what_a_backward_raises_names_the_function_and_keeps_the_cause(func, cause, words):
    with pytest.raises(GradcheckError, match=r"^Mine\.backward, called with dy of ") as caught:
        gradcheck(func, leaf(3, 4))
    assert words in str(caught.value)
    assert type(caught.value.__cause__) is cause
    assert gradcheck(func, leaf(3, 4), raise_exception=False) is False


def test_a_backward_must_leave_dy_as_it_is():
    class Doubling(Function):
        def forward(self, x):
            self.saved = (x,)
            return x * x

        def backward(self, dy):
            dy *= 2
            return dy * self.saved[0]

    with pytest.raises(GradcheckError, match=r"Doubling.backward changed dy \(shape \(4,\)\) in place"):
        gradcheck(Doubling.apply, leaf(4))


def test_a_cause_is_only_named_where_backward_reads_what_is_not_there():
    with pytest.raises(GradcheckError) as caught:
        gradcheck(square(lambda self, dy: dy / None, kept_nothing), leaf(3))
    assert "hint" not in str(caught.value)


@pytest.mark.parametrize(("returned", "kind"), [(1.0, "float"), ([np.ones(3)], "list")])
def test_a_backward_that_returns_no_array(returned, kind):
    with pytest.raises(GradcheckError, match=rf"Mine\.backward returned a {kind} for its input 0.*\(3,\)"):
        gradcheck(square(lambda self, dy: returned), leaf(3))


@pytest.mark.parametrize(
    ("forward", "kind"),
    [
        (lambda self, x: None, "NoneType"),
        (lambda self, x: [x], "list"),
        (lambda self, x: Tensor(x), "Tensor"),
    ],
)
def test_a_forward_that_returns_no_array(forward, kind):
    with pytest.raises(TypeError, match=rf"^Mine\.forward returned a {kind}: return an array"):
        gradcheck(square(unpack, forward), leaf(3))
    with pytest.raises(TypeError, match=rf"^forward returned a {kind}"):
        square(unpack, forward)(Tensor(np.ones(3)))


def test_the_graph_is_as_it_was_afterwards():
    kept = []

    def func(x):
        kept.append(x * x)
        return kept[-1]

    gradcheck(func, leaf(3))
    assert {name for y in kept for name in vars(y.creator)} & {"backward", "run_backward"} == set()
