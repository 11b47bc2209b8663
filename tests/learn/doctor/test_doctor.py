"""What the doctor examines, what it says where no known mistake fits, and its warnings."""

import re

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Function
from tinygrad_norm.learn import diagnose
from tinygrad_norm.learn.derivation import paths_of
from tinygrad_norm.learn.doctor.diagnosis import diagnose_op
from tinygrad_norm.learn.doctor.poolsteps import LINES
from tinygrad_norm.learn.smallinputs import _differentiable, _size
from tinygrad_norm.registry import REGISTRY


def forward(x, w, b):
    c = x - x.mean(-1, keepdims=True)
    r = 1 / np.sqrt((c * c).mean(-1, keepdims=True) + 1e-5)
    x_hat = c * r
    return w * x_hat + b, (x_hat, r, w)


def mean(a):
    return a.mean(-1, keepdims=True)


def dx_of(g, x_hat, r):
    return r * (g - mean(g) - x_hat * mean(g * x_hat))


def backward(dy, cache):
    x_hat, r, w = cache
    return dx_of(w * dy, x_hat, r), (dy * x_hat).sum(0), dy.sum(0)


def with_dx(dx):
    """A pair whose dx is a function of dy, g, x̂ and r; the rest is right."""

    def wrong(dy, cache):
        x_hat, r, w = cache
        return dx(dy, w * dy, x_hat, r), (dy * x_hat).sum(0), dy.sum(0)

    return forward, wrong


class LayerNorm(Function):
    def forward(self, x, weight, bias):
        y, cache = forward(x, weight, bias)
        self.saved = cache
        return y

    def backward(self, dy):
        return backward(dy, self.saved)


class Forgotten(LayerNorm):
    def backward(self, dy):
        x_hat, r, _ = self.saved
        return dx_of(dy, x_hat, r), (dy * x_hat).sum(0), dy.sum(0)


class Evaluation(Function):
    def forward(self, x, running_mean, running_var, weight, bias):
        r = 1 / np.sqrt(running_var + 1e-5)
        x_hat = (x - running_mean) * r
        self.saved = x_hat, r, weight
        return weight * x_hat + bias

    def backward(self, dy):
        x_hat, r, w = self.saved
        return r * w * dy, None, None, (dy * x_hat).sum(0), dy.sum(0)


class TrainedInEvaluation(Evaluation):
    def backward(self, dy):
        x_hat, r, w = self.saved
        g = w * dy
        dx = r * (g - g.mean(0) - x_hat * (g * x_hat).mean(0))
        return dx, None, None, (dy * x_hat).sum(0), dy.sum(0)


class ThroughStatistics(Evaluation):
    def backward(self, dy):
        _, r, w = self.saved
        dx, _, _, dw, db = super().backward(dy)
        return dx, (-r * w * dy).sum(0), None, dw, db


# -- what is examined


@pytest.mark.parametrize(
    "function", [(forward, backward), LayerNorm, nn.LayerNorm(5)], ids=["pair", "Function", "module"]
)
def test_pairs_functions_and_modules(function):
    found = diagnose(function)
    assert found.passed
    assert found.like == "layer_norm"
    assert "the backward is right" in str(found)


def test_a_pair_may_take_the_arguments_again():
    found = diagnose((lambda x: np.exp(x), lambda dy, x: dy * np.exp(x)), np.ones((2, 2)) * 0.3)
    assert found.passed
    wrong = diagnose((lambda x: np.exp(x), lambda dy, x: dy), np.ones((2, 2)) * 0.3)
    assert not wrong.passed


def test_a_function_of_tensors():
    x = tn.tensor([[1.0, 2.0, 4.0]], dtype=tn.float64, requires_grad=True)
    found = diagnose(lambda x: nn.functional.softmax(x, dim=-1), x)
    assert (found.passed, found.like) == (True, "softmax")


def test_the_verdict_has_line_formulas_and_first_wrong_entry():
    text = str(diagnose(Forgotten))
    assert text.splitlines()[0] == "Forgotten (computes layer_norm): the backward is wrong"
    assert "dx: the weight is forgotten\n  line    g\n  yours   dy\n  right   w·dy\n" in text
    place = re.search(r"first wrong entry: dx\[(\d), (\d)\] is (\S+), right is (\S+) ", text)
    assert float(place[3]) != float(place[4])


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(np.ones(5))
        self.bias = nn.Parameter(np.zeros(5))

    def forward(self, x):
        return Forgotten.apply(x, self.weight, self.bias)


def test_a_module_with_a_wrong_function():
    (finding,) = diagnose(Layer()).findings  # with weights that are not all 1
    assert (finding.gradients, finding.what) == (("dx",), "the weight is forgotten")


def test_modules_are_not_changed():
    layer = nn.BatchNorm1d(5)
    diagnose(layer)
    assert (layer.running_mean.array == 0).all()
    assert (layer.weight.array == 1).all()
    assert layer.weight.dtype == tn.float32


def test_evaluation():
    assert diagnose(Evaluation).passed
    found = diagnose(TrainedInEvaluation)
    assert (found.passed, found.like) == (False, "batch_norm")
    assert "training's backward in evaluation" in str(found)
    found = diagnose(ThroughStatistics)
    assert not found.passed
    assert "drunning_mean: backward gives a gradient to running statistics, or" in str(found)


def test_two_mistakes_are_both_named():
    wrong = with_dx(lambda dy, g, x_hat, r: r * (dy - dy.sum(-1, keepdims=True) - x_hat * mean(dy * x_hat)))
    (finding,) = diagnose(wrong).findings
    assert finding.what == "Σ g stands where mean(g) belongs; and the weight is forgotten"


# -- where no known mistake fits


def test_factors_of_paths_are_measured():
    wrong = with_dx(lambda dy, g, x_hat, r: r * (1.5 * g - mean(g) - 0.25 * x_hat * mean(g * x_hat)))
    text = str(diagnose(wrong))
    assert "the straight path is 1.5 times what it should be" in text
    assert "the path through the variance is 0.25 times what it should be" in text


@pytest.mark.parametrize(
    ("extra", "direction"),
    [
        (lambda dy, g, x_hat: 0.1 * mean(dy) + 0 * g, "1 (a constant per pool"),
        (lambda dy, g, x_hat: 0.1 * x_hat * mean(dy), "x̂ (as the path through the variance is)"),
        (lambda dy, g, x_hat: 0.1 * g, "g"),
        (lambda dy, g, x_hat: 0.1 * g * x_hat, "g·x̂"),
    ],
    ids=["1", "x̂", "g", "g·x̂"],
)
def test_a_residual_is_named_by_its_direction(extra, direction):
    wrong = with_dx(lambda dy, g, x_hat, r: dx_of(g, x_hat, r) + extra(dy, g, x_hat))
    assert f"yours minus right is a multiple of {direction}" in str(diagnose(wrong))


def test_a_leak_is_proved_by_its_zeros_and_no_factor_is_said():
    wrong = with_dx(lambda dy, g, x_hat, r: dx_of(g, x_hat, r) + 0.1 * dy.sum())
    text = str(diagnose(wrong))
    assert "gradients leak across samples: y[0, 0] does not depend on x[1, 0]" in text
    assert "times" not in text
    assert "×" not in text


def test_a_weight_outside_is_never_called_transposed():
    wrong = with_dx(lambda dy, g, x_hat, r: (g / dy) * 1.01 * dx_of(dy, x_hat, r))
    assert "transpose" not in str(diagnose(wrong))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda dy, cache: 1 / 0, "raised ZeroDivisionError"),
        (lambda dy, cache: dy[:, :2], "returned a gradient of shape (4, 2) for x, whose shape is (4, 5)"),
        (lambda dy, cache: dy * np.nan, "is NaN or infinite"),
        (lambda dy, cache: [dy] * 4, "it returned 4 gradients for 3 inputs"),
        (lambda dy, cache: {"x": dy}, "return the gradients as a tuple"),
        (lambda dy, cache, more, and_more: dy, "missing a required argument"),
        (lambda dy, cache: (dy, np.random.default_rng().normal(size=5), dy.sum(0)), "differed between two"),
    ],
    ids=["raises", "shape", "nan", "too many", "dict", "arguments", "random"],
)
def test_a_backward_that_gives_no_gradient(wrong, words):
    found = diagnose((forward, wrong))
    assert (found.passed, found.failed) == (False, True)
    assert words in str(found)
    assert "nondet_tol" not in str(found)


def test_a_missing_gradient_does_not_pass():
    found = diagnose((forward, lambda dy, cache: backward(dy, cache)[0]))
    assert not found.passed
    assert {finding.gradients for finding in found.findings} == {("dw",), ("db",)}


# -- errors


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (3, TypeError, "a Function class, a pair of functions"),
        (nn.LayerNorm, TypeError, r"pass a module, such as LayerNorm\("),
        ((lambda x: 1 / 0, backward), ValueError, "raised ZeroDivisionError"),
        ((lambda x: x * np.nan, backward), ValueError, "is NaN or infinite"),
        ((lambda x: x > 0, backward), ValueError, "return floating-point numbers"),
    ],
    ids=["number", "class", "raises", "nan", "integers"],
)
def test_what_cannot_be_examined(function, error, words):
    with pytest.raises(error, match=words):
        diagnose(function)


def test_an_unknown_like_names_the_closest():
    with pytest.raises(ValueError, match=r"'layer_nrm' \(did you mean 'layer_norm'"):
        diagnose(LayerNorm, like="layer_nrm")


# -- warnings


def test_inputs_that_hide_mistakes():
    x = np.random.default_rng(0).normal(size=(4, 5))
    text = str(diagnose(Forgotten, (x, np.ones(5), np.zeros(5))))
    assert "the backward is right" in text
    assert "all weights are 1" in text
    assert "all biases are 0" in text
    found = diagnose(LayerNorm, (x[:, :2], np.array([1.5, 0.5]), np.zeros(2)))
    assert "pools of 2 hide almost everything" in str(found)


def test_what_a_constant_dy_hides_is_seen():
    def centered(x):
        return x - mean(x)

    found = diagnose(
        (centered, lambda dy, x: 0 * dy), like="layer_norm"
    )  # right if dy is the same everywhere
    assert not found.passed


def test_a_forward_that_differs_from_the_op():
    def outside(x, w, b):
        c = x - mean(x)
        r = 1 / (np.sqrt(mean(c * c)) + 1e-3)
        return w * c * r + b, (c, r, w)

    def right(dy, cache):
        c, r, w = cache
        g, std = w * dy, np.sqrt(mean(c * c))
        dx = r * (g - mean(g)) - c * r**2 / std * mean(g * c)
        return dx, (dy * c * r).sum(0), dy.sum(0)

    def wrong(dy, cache):
        c, r, w = cache
        return dx_of(w * dy, c * r, r), (dy * c * r).sum(0), dy.sum(0)

    found = diagnose((outside, right), like="layer_norm")
    assert found.passed
    assert "forward adds eps outside the root" in found.warnings[0]
    assert "∂r/∂v is that of an eps inside the root" in str(diagnose((outside, wrong)))
    other = diagnose(LayerNorm, like="softmax")
    assert "forward does not compute softmax for these inputs: it computes layer_norm" in str(other)


# -- never wrong


def mutated(rng):
    """A dx with random factors on its terms, or with random terms dropped."""
    a, b, c = rng.choice([0.0, 1.0, rng.uniform(0.5, 2.0)], 3)
    if rng.random() < 0.3 or a == b == c == 1:
        d = 1 + rng.choice([1e-5, -1e-4, 0.1])
        return lambda dy, g, x_hat, r: d * dx_of(g, x_hat, r)
    return lambda dy, g, x_hat, r: r * (a * g - b * mean(g) - c * x_hat * mean(g * x_hat))


def test_mutations_never_pass():
    for seed in range(2):
        assert not diagnose(with_dx(mutated(np.random.default_rng(seed)))).passed, seed


def smallest_right(names):
    for name in names:
        op = REGISTRY[name]
        cases = [case for case in op.cases if _size(case) and any(map(_differentiable, case.inputs))]
        for case in sorted(cases, key=_size)[:1]:
            found = diagnose_op(op, case)
            assert found.passed, f"{name}, case {case}\n{found}"


def test_right_backwards_pass():
    smallest_right(["batch_norm", "group_norm", "softmax", "attention", "weight_norm", "cat", "lstm"])


@pytest.mark.slow
def test_right_backwards_of_every_registered_op_pass():
    smallest_right(REGISTRY)


def test_the_lines_are_those_of_the_derivation():
    paths = paths_of("tinygrad_norm.normalization.sample.layernorm", "layer_norm")
    assert {line: paths[line].replace("_i", "") for line in paths} == {line: LINES[line] for line in paths}


def test_at_a_kink_every_slope_is_right():
    x = np.array([[0.0, 1.0, -2.0]])
    found = diagnose(nn.ReLU(), (x,))
    assert found.passed
    assert any("has a kink" in text for text in found.warnings)
    tied = np.array([[1.0, 3.0, 3.0]])
    assert diagnose(
        (lambda x: x.max(1), lambda dy, x: dy[:, None] * (x == x.max(1, keepdims=True))), (tied,)
    ).passed
    wrong = diagnose((lambda x: np.maximum(x, 0), lambda dy, x: 2 * dy * (x > 0)), (x,))
    assert not wrong.passed


def test_a_gradient_missing_for_a_second_output_names_it():
    class Both(Function):
        """y = x², z = x³ · dx = 2·x·dy + 3·x²·dz"""

        def forward(self, x):
            self.saved = (x,)
            return x * x, x * x * x

        def backward(self, dy, dz):
            return 2 * self.saved[0] * dy

    (finding,) = diagnose(Both, (np.array([1.0, 2.0, -1.5]),)).findings
    assert finding.gradients == ("dx through output 1",)


def test_the_first_wrong_entry_is_told_for_small_differences():
    backward = lambda dy, x: 2 * dy * x * (1 + 3e-7)  # noqa: E731
    found = diagnose((lambda x: x * x, backward), (np.array([1.0, 2.0, -1.5]),))
    assert re.search(r"dx\[1\] is -3\.922\d{8,}, right is -3\.922\d{8,} ", str(found))


def test_gradients_in_each_others_place_are_exchanged():
    def exchanged(dy, cache):
        dx, dw, db = backward(dy, cache)
        return dx, db, dw

    text = str(diagnose((forward, exchanged)))
    assert "dw, db: they are exchanged: return the gradients in the order of forward's arguments" in text
    assert text.count("first wrong entry") == 1


def test_a_forgotten_return_is_told():
    found = diagnose((lambda x: x * x, lambda dy, x: None))
    assert found.failed
    assert "it returned None: is `return` missing?" in str(found)


def test_one_factor_of_all_paths_is_told_once():
    (finding,) = diagnose(with_dx(lambda dy, g, x_hat, r: 3.7 * dx_of(g, x_hat, r))).findings
    assert finding.what == "it is 3.7 times what it should be"


def test_a_constant_input_is_warned_of():
    inputs = np.ones((2, 3)), np.array([1.0, 2.0, 3.0]), np.array([0.5, 1.0, 2.0])
    assert any(
        "all entries of x are the same" in text for text in diagnose((forward, backward), inputs).warnings
    )


def test_like_is_doubted_only_if_forward_computes_something_else():
    pair = (lambda x: 1 / (1 + np.exp(-x)), lambda dy, x: dy)
    assert diagnose(pair, like="sigmoid").warnings == ()
    assert "forward does not compute exp" in diagnose(pair, like="exp").warnings[0]
