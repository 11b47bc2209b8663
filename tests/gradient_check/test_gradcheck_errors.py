"""Errors of gradcheck: arguments that it cannot check, and a backward that fails while it runs."""

import numpy as np
import pytest
from gradients import WrongSquare, at, leaf

import tinygrad_norm as tn
from tinygrad_norm import Tensor
from tinygrad_norm.autograd import Function
from tinygrad_norm.gradient_check.check import gradcheck
from tinygrad_norm.gradient_check.error import GradcheckError

# -- arguments


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_coarse_inputs_raise(dtype):
    coarse = Tensor(np.ones(3, dtype), requires_grad=True)
    with pytest.raises(ValueError, match=r"input 1 .*\.double\(\)"):
        gradcheck(lambda a, b: a * b, (leaf(3), coarse))
    assert gradcheck(lambda a, b: a * b, (leaf(3), Tensor(np.ones(3, dtype))))


def test_coarse_parameters_raise_by_name():
    with pytest.raises(ValueError, match=r"parameter weight requires grad in float32.*\.double\(\) on the"):
        gradcheck(tn.nn.LayerNorm(4), (leaf(3, 4),))


def test_coarse_outputs_raise():
    with pytest.raises(ValueError, match="output 0 is float32"):
        gradcheck(lambda x: x.float(), leaf(3))


@pytest.mark.parametrize("eps", [0.0, -1e-3, float("nan")])
def test_the_step_must_be_positive(eps):
    with pytest.raises(ValueError, match=r"eps .* must be positive"):
        gradcheck(lambda x: x * x, leaf(3), eps=eps)


def test_a_function_is_checked_through_its_apply():
    with pytest.raises(TypeError, match=r"pass WrongSquare\.apply, not WrongSquare"):
        gradcheck(WrongSquare, leaf(3))


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
def test_random_functions_raise(fast_mode):
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


def test_functions_that_change_an_input_raise():
    def counting(x, calls):
        calls.array += 1
        return x * x

    with pytest.raises(GradcheckError, match="changed input 1"):
        gradcheck(counting, (leaf(3), Tensor(np.zeros(1))))


def test_a_backward_that_does_not_repeat_itself_raises():
    class Consuming(WrongSquare):
        def backward(self, dy):
            (x, *_) = self.saved
            dx = 2 * dy * x
            x *= 0
            return dx

    with pytest.raises(GradcheckError, match=r"input 0 .*differed between two backward passes"):
        gradcheck(lambda x: Consuming.apply(x * 1.0), at([1.5]))


def test_gradients_that_are_not_finite_raise():
    class Undefined(WrongSquare):
        def backward(self, dy):
            return dy * np.nan

    with pytest.raises(GradcheckError, match=r"input 0 .* is NaN or infinite"):
        gradcheck(Undefined.apply, leaf(3))


def test_gradients_narrower_than_their_input_raise():
    class Narrow(WrongSquare):
        def backward(self, dy):
            return super().backward(dy).astype(np.float32)

    with pytest.raises(GradcheckError, match=r"Narrow\.backward returned a float32 gradient"):
        gradcheck(lambda x: Narrow.apply(x, factor=2.0), leaf(3))


# -- a backward that raises


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
def test_an_error_in_backward_names_the_function_and_keeps_the_cause(func, cause, words):
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


def test_a_cause_is_named_only_if_backward_reads_what_is_missing():
    with pytest.raises(GradcheckError) as caught:
        gradcheck(square(lambda self, dy: dy / None, kept_nothing), leaf(3))
    assert "hint" not in str(caught.value)


@pytest.mark.parametrize(("returned", "kind"), [(1.0, "float"), ([np.ones(3)], "list")])
def test_a_backward_that_does_not_return_an_array(returned, kind):
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
def test_a_forward_that_does_not_return_an_array(forward, kind):
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
