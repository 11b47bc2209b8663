"""The hints of gradcheck: a mistake is named if every entry agrees with it, and only then."""

import numpy as np
import pytest
from gradients import hint, leaf

import tinygrad_norm as tn
from tinygrad_norm import Tensor
from tinygrad_norm.autograd import Function
from tinygrad_norm.gradient_check.check import gradcheck, jacobians
from tinygrad_norm.gradient_check.error import GradcheckError

F = tn.nn.functional


def function(forward, backward):
    """A function of x from two lambdas: y from x, and dx from dy, x and y."""

    def keeping(self, x):
        y = forward(x)
        self.saved = x, y
        return y

    return type(
        "Mine", (Function,), {"forward": keeping, "backward": lambda self, dy: backward(dy, *self.saved)}
    )


def norm(axes, *, view=None, centred=True, unbiased=0, mean=1.0, variance=1.0, straight=1.0):
    """A normalization over `axes` of x (seen in the shape `view`), its backward's paths times factors."""

    class Norm(Function):
        def forward(self, x):
            seen = x.reshape(view or x.shape)
            n = np.prod([seen.shape[k] for k in axes])
            c = seen - seen.mean(axes, keepdims=True) if centred else seen
            r = 1 / np.sqrt((c * c).sum(axes, keepdims=True) / (n - unbiased) + 1e-5)
            self.saved = c * r, r, n
            return (c * r).reshape(x.shape)

        def backward(self, dy):
            x_hat, r, n = self.saved
            g = dy.reshape(x_hat.shape)
            through_mean = g.mean(axes, keepdims=True) if centred else 0.0
            through_variance = x_hat * (g * x_hat).sum(axes, keepdims=True) / n
            return (r * (straight * g - mean * through_mean - variance * through_variance)).reshape(dy.shape)

    return Norm.apply


def weighted(func):
    """The loss Σ y·dy, for a random dy."""
    return lambda x: (func(x) * Tensor(np.random.default_rng(9).normal(size=x.shape))).sum()


NORMS = {
    "layer": ((4, 8), {"axes": (1,)}, "along axis 1"),
    "layer, two axes": ((3, 4, 2), {"axes": (1, 2)}, "along axes 1, 2"),
    "one vector": ((7,), {"axes": (0,)}, "along axis 0"),
    "batch": ((6, 3), {"axes": (0,)}, "along axis 0"),
    "batch of one channel": ((6, 1), {"axes": (0,)}, "along axis 0"),
    "batch, images": ((2, 3, 2, 2), {"axes": (0, 2, 3)}, "along axes 0, 2, 3"),
    "instance": ((2, 3, 5), {"axes": (2,)}, "along axis 2"),
    "group": ((2, 4, 3), {"axes": (2, 3), "view": (2, 2, 2, 3)}, "along axes 1 (in 2 groups), 2"),
}
norms = pytest.mark.parametrize(("shape", "options", "along"), NORMS.values(), ids=NORMS)


def norms_and(**mistakes):
    """Each normalization with each mistake; the quick suite has all of them with "layer" and with "group"."""
    return pytest.mark.parametrize(
        ("shape", "options", "along", "mistake", "path", "share"),
        [
            pytest.param(
                *NORMS[norm],
                *values,
                id=f"{norm}-{name}",
                marks=() if norm in ("layer", "group") or name.endswith("missing") else pytest.mark.slow,
            )
            for norm in NORMS
            for name, values in mistakes.items()
        ],
    )


@norms
def test_right_normalizations_pass(shape, options, along):
    assert gradcheck(norm(**options), leaf(*shape))
    assert gradcheck(weighted(norm(**options)), leaf(*shape))


@norms_and(
    mean_missing=({"mean": 0.0}, "mean", "is missing"),
    mean_of_wrong_sign=({"mean": -1.0}, "mean", "has the wrong sign"),
    mean_too_large=({"mean": 2.5}, "mean", "is 2.5 × what it should be"),
    variance_missing=({"variance": 0.0}, "variance", "is missing"),
    variance_of_wrong_sign=({"variance": -1.0}, "variance", "has the wrong sign"),
    variance_too_small=({"variance": 0.3}, "variance", "is 0.3 × what it should be"),
)
def test_a_wrong_path_is_named_and_how_much_of_it_there_is(shape, options, along, mistake, path, share):
    wrong = norm(**options, **mistake)
    assert hint(wrong, leaf(*shape)).startswith(f"the path through the {path} {share}: {along}, analytic - ")
    unknown = f"the path through the {path} is missing or wrong: {along}, "
    assert hint(weighted(wrong), leaf(*shape)).startswith(unknown)


@norms
def test_both_paths_may_be_wrong(shape, options, along):
    found = hint(norm(**options, mean=0.0, variance=-1.0), leaf(*shape))
    both = "the path through the mean is missing, the path through the variance has the wrong sign"
    assert found.startswith(f"{both}: {along}, ")


def test_n_and_n_less_1_are_distinguished():
    found = hint(norm((1,), unbiased=1), leaf(4, 8))
    assert found.startswith(
        "the path through the variance is 0.875 × what it should be ((n - 1)/n for n = 8)"
    )
    assert "(n/(n - 1) for n = 8)" in hint(norm((1,), variance=8 / 7), leaf(4, 8))
    assert "mean is 8 × what it should be (n for n = 8)" in hint(norm((1,), mean=8.0), leaf(4, 8))


@pytest.mark.parametrize("loss", [lambda func: func, weighted])
def test_without_a_mean_the_path_is_that_through_the_mean_square(loss):
    wrong = loss(norm((1,), centred=False, variance=0.0))
    assert hint(wrong, leaf(4, 8)).startswith("the path through the mean square (the norm) is missing")
    assert gradcheck(loss(norm((1,), centred=False)), leaf(4, 8))


@pytest.mark.parametrize(("axes", "along"), [((1,), "along axis 1"), ((0, 1), "along axes 0, 1")])
def test_a_path_through_a_mean_that_is_not_subtracted(axes, along):
    def mean_too(dy, x, y):
        r, n = 1 / np.sqrt((x * x).mean(axes, keepdims=True)), np.prod([x.shape[k] for k in axes])
        return r * (dy - dy.mean(axes, keepdims=True) - y * (dy * y).sum(axes, keepdims=True) / n)

    wrong = function(lambda x: x / np.sqrt((x * x).mean(axes, keepdims=True)), mean_too).apply
    words = f"analytic - numeric is the same number at every entry {along}: does backward have a path"
    assert hint(wrong, leaf(3, 4)).startswith(words)
    assert hint(weighted(wrong), leaf(3, 4)).startswith(words)


def test_the_missing_path_through_a_sum_looks_the_same_and_is_named_beside_it():
    def share(x):
        return x / x.sum(1, keepdims=True)

    forgotten = function(share, lambda dy, x, y: dy / x.sum(1, keepdims=True)).apply
    positive = Tensor(np.random.default_rng(0).uniform(1.0, 2.0, (3, 4)), requires_grad=True)
    assert "or does it miss the path through a sum?" in hint(forgotten, positive)


def test_a_constant_difference_is_no_path_through_a_mean_where_nothing_is_normalized():
    added = function(lambda x: x * x, lambda dy, x, y: 2 * dy * x + dy.mean(1, keepdims=True))
    assert hint(added.apply, leaf(3, 4)) == ""
    assert hint(weighted(added.apply), leaf(3, 4)) == ""


def test_the_paths_are_seen_through_what_comes_after():
    wrong = norm((1,), mean=0.0)
    assert "the path through the mean is missing: " in hint(lambda x: F.relu(wrong(x)), leaf(4, 8))
    assert "the path through the mean is missing: " in hint(lambda x: 3.0 * wrong(x), leaf(4, 8))


@pytest.mark.parametrize(
    "wrong",
    [
        norm((1,), straight=2.0),
        norm((1,), straight=2.0, mean=0.0),
        lambda x: norm((1,), mean=0.0)(x @ Tensor(np.random.default_rng(1).normal(size=(8, 8)))),
        function(np.tanh, lambda dy, x, y: dy * (1 - y)).apply,
        function(lambda x: x * x, lambda dy, x, y: dy * (2 * x + 1)).apply,
        function(lambda x: np.asarray(x.sum()), lambda dy, x, y: dy * (1 + x)).apply,
        function(lambda x: x / abs(x).sum(1, keepdims=True), lambda dy, x, y: dy).apply,
    ],
)
@pytest.mark.parametrize("shape", [(4, 8)])
def test_what_is_not_measured_is_not_named(wrong, shape):
    assert hint(wrong, leaf(*shape)) == ""


def softmax(x):
    powers = np.exp(x)
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("forward", "backward"),
    [(softmax, lambda dy, x, y: dy * y), (lambda x: np.log(softmax(x)), lambda dy, x, y: dy)],
)
def test_the_missing_sum_of_a_softmax_is_no_path_through_a_mean(forward, backward):
    assert hint(function(forward, backward).apply, leaf(4, 5)) == ""
    assert hint(weighted(function(forward, backward).apply), leaf(4, 5)) == ""


def test_two_entries_are_too_few_to_tell_paths_apart():
    for mistake in ({"mean": 0.0}, {"variance": 0.0}, {"variance": 2.0}):
        assert "path" not in hint(norm((1,), **mistake), leaf(4, 2))
        assert "factor of its own" not in hint(norm((1,), **mistake), leaf(4, 2))


# -- factors


def test_a_factor_of_every_row_is_recognized_as_the_statistic_it_is():
    forward = norm((1,))

    def divided(x, power):
        x_hat, r = (x - x.mean(1, keepdims=True)), 1 / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        return x_hat * r, r**power

    def wrong(power):
        def backward(dy, x, y):
            r = divided(x, 1)[1]
            dx = r * (dy - dy.mean(1, keepdims=True) - y * (dy * y).mean(1, keepdims=True))
            return dx * divided(x, power)[1]

        return function(lambda x: divided(x, 1)[0], backward).apply

    assert gradcheck(forward, leaf(4, 8))
    missing, doubled = hint(wrong(-1), leaf(4, 8)), hint(wrong(1), leaf(4, 8))
    assert "the standard deviation of x along axis 1 (within 0.1 %); is a division by it missing?" in missing
    assert "1 / the standard deviation of x along axis 1 (within 0.1 %)" in doubled


def test_a_factor_is_named_after_the_length_of_an_axis_but_not_after_2_or_3():
    def averaged(x):
        return np.asarray(x.mean())

    forgotten = function(averaged, lambda dy, x, y: dy * np.ones_like(x))
    assert hint(forgotten.apply, leaf(4, 5)).endswith("too few, such as n for n = 20?")
    halved = function(lambda x: x * x, lambda dy, x, y: dy * x)
    assert hint(halved.apply, leaf(2, 2)).endswith("0.5 × the numeric one: a factor too many or too few?")


# -- dy


@pytest.mark.parametrize("fast_mode", [False, True])
@pytest.mark.parametrize("shape", [(3, 4), ()])
@pytest.mark.parametrize(
    ("backward", "words"),
    [
        (lambda dy, x, y: 2 * x, "the same whatever dy is"),
        (lambda dy, x, y: 2 * dy * dy * x, "with the square of dy"),
        (lambda dy, x, y: 2 * abs(dy) * x, "by its absolute value"),
        (lambda dy, x, y: 2 * np.maximum(dy, 0) * x, "once, as a factor"),
    ],
)
def test_a_backward_must_be_linear_in_dy(backward, words, shape, fast_mode):
    assert words in hint(function(lambda x: x * x, backward).apply, leaf(*shape), fast_mode=fast_mode)


def test_what_only_rounds_is_linear():
    for seed in range(3):
        for func in (lambda x: F.layer_norm(x, (8,)).sum(-1), lambda x: (x - x.mean()).sum()):
            assert gradcheck(func, leaf(3, 8, seed=seed))


def test_the_message_about_dy_names_the_input_and_both_numbers():
    with pytest.raises(GradcheckError) as caught:
        gradcheck(function(lambda x: x * x, lambda dy, x, y: 2 * dy * dy * x).apply, leaf(1))
    first, analytic, added, *_ = str(caught.value).splitlines()
    assert first == (
        "wrong gradient of output 0 with respect to input 0[0] (shapes (1,) and (1,)): "
        "backward is not linear in dy"
    )
    assert float(analytic.split()[1]) * float(added.split()[2]) < 0


# -- places


ONLY_THE_DIAGONAL = "only the diagonal is right, all other entries are 0: "


@pytest.mark.parametrize(
    ("forward", "backward"),
    [
        (softmax, lambda dy, x, y: dy * y * (1 - y)),
        (lambda x: np.log(softmax(x)), lambda dy, x, y: dy * (1 - np.exp(y))),
        (lambda x: x.cumsum(1), lambda dy, x, y: dy),
    ],
)
def test_only_the_diagonal(forward, backward):
    assert hint(function(forward, backward).apply, leaf(3, 4)).startswith(ONLY_THE_DIAGONAL)
    assert ONLY_THE_DIAGONAL not in hint(function(forward, backward).apply, leaf(3, 4), fast_mode=True)


@pytest.mark.parametrize(
    ("forward", "backward"),
    [
        (softmax, lambda dy, x, y: dy * y * (1 - 0.99999 * y)),  # not right on it
        (np.tanh, lambda dy, x, y: dy * (1 - y)),  # all there is
        (lambda x: x.cumsum(1), lambda dy, x, y: dy + np.roll(dy, -1, 1)),
        (lambda x: x.cumsum(1)[:, ::-1].T, lambda dy, x, y: dy.T),  # places that say nothing
    ],
)
def test_not_only_the_diagonal(forward, backward):
    assert ONLY_THE_DIAGONAL not in hint(function(forward, backward).apply, leaf(3, 4))


def test_one_row_instead_of_the_sum_over_a_stretched_axis():
    class Add(Function):
        """y = x + b · dx = dy, db = Σ dy, of which only row 2 is taken"""

        def forward(self, x, b):
            return x + b

        def backward(self, dy):
            return dy, dy[2]

    found = hint(Add.apply, leaf(3, 4), leaf(4))
    assert found.startswith("the analytic gradient is right at index 2 of the output's axis 0")


@pytest.mark.parametrize(
    ("dx", "words"),
    [
        (lambda dy: np.ones((3, 4)), r"\(3, 4\) for .*input 0, whose shape is \(4,\): .* here \(0,\)"),
        (lambda dy: np.ones((2, 4, 4)), r"here \(0, 1\)"),
        (lambda dy: np.ones(5), r"whose shape is \(4,\)$"),
    ],
)
def test_a_gradient_of_a_stretched_shape_says_what_to_sum(dx, words):
    with pytest.raises(GradcheckError, match=words):
        gradcheck(function(lambda x: x * 2, lambda dy, x, y: dx(dy)).apply, leaf(4))


@pytest.mark.parametrize(
    ("shape", "forward", "backward", "words"),
    [
        (
            (3, 1),
            lambda x: x * np.ones(4),
            lambda dy: dy.sum(1),
            "lost: sum or average over them with keepdims",
        ),
        ((1, 4), lambda x: x * np.ones((3, 1)), lambda dy: dy.sum(0), "lost: "),
        ((1,), lambda x: x * np.ones(4), lambda dy: dy.sum(), "lost: "),
        ((4,), lambda x: x * np.ones((3, 1)), lambda dy: dy.sum(0, keepdims=True), "without keepdims"),
        ((4,), lambda x: x[:, None], lambda dy: dy, "without keepdims"),
        ((3, 4), lambda x: x * 2, lambda dy: dy.sum(), "is it summed over all axes"),
        ((3, 4), lambda x: x.sum(), lambda dy: dy, "broadcast it, as in dy * np.ones"),
    ],
)
def test_lost_and_left_axes_of_a_gradient(shape, forward, backward, words):
    with pytest.raises(GradcheckError) as caught:
        gradcheck(function(forward, lambda dy, x, y: backward(dy)).apply, leaf(*shape))
    place, found = str(caught.value).split("\n  hint: ")
    assert place.startswith("Mine.backward returned a gradient of shape (")
    assert place.endswith(f" for its input 0, whose shape is {shape}")
    assert words in found


@pytest.mark.parametrize("got", [(4, 1), (3,), (3, 4), (1, 3)])
def test_axes_are_not_called_lost_where_others_differ(got):
    with pytest.raises(GradcheckError, match=r"whose shape is \(1, 4\)") as caught:
        gradcheck(function(lambda x: x * 2, lambda dy, x, y: np.ones(got)).apply, leaf(1, 4))
    assert "hint" not in str(caught.value)


def test_a_gradient_of_the_shape_turned_round():
    with pytest.raises(GradcheckError, match="is it transposed"):
        gradcheck(function(lambda x: x * 2, lambda dy, x, y: dy.T).apply, leaf(3, 4))


def test_transposed():
    assert "over the last two axes" in hint(
        function(lambda x: x * 2, lambda dy, x, y: 2 * dy.T).apply, leaf(3, 3)
    )
    folded = function(lambda x: x.reshape(3, 3), lambda dy, x, y: dy.T.reshape(9))
    assert "for a dy transposed" in hint(folded.apply, leaf(9))
    running = function(lambda x: x.cumsum(1), lambda dy, x, y: dy.cumsum(1))
    assert "Jacobian is the transpose" in hint(running.apply, leaf(3, 4))


def test_a_gradient_whose_square_overflows_is_still_reported():
    steep = function(lambda x: 1e200 * x, lambda dy, x, y: 2e200 * dy)
    with pytest.raises(GradcheckError, match=r"relative error  0\.5"):
        gradcheck(steep.apply, leaf(2, 3))


# -- kinks


KINKED = np.array([[0.0, 1.0, -1.0], [2.0, 0.0, 3.0]])


@pytest.mark.parametrize("fast_mode", [False, True])
def test_at_the_kink_of_relu_nothing_else_is_blamed(fast_mode):
    for func in (F.relu, lambda x: F.relu(x).sum(), lambda x: 1e6 * F.relu(x)):
        found = hint(func, Tensor(KINKED, requires_grad=True), fast_mode=fast_mode)
        assert found.startswith("func has a kink at this input")
    assert "slope is 0 on one side and 1 on the other" in hint(
        F.relu, Tensor(np.zeros(1), requires_grad=True)
    )


def test_beside_a_kink_the_reported_entry_is_the_wrong_one():
    flipped = function(lambda x: np.maximum(x, 0), lambda dy, x, y: -dy * (x > 0)).apply
    with pytest.raises(GradcheckError) as caught:
        gradcheck(flipped, Tensor(KINKED, requires_grad=True))
    assert "analytic        -1" in str(caught.value)
    assert "a kink at 2 of the wrong entries, not at this one" in str(caught.value)
    assert hint(flipped, leaf(2, 3)) == "the sign is flipped"


def test_no_kink_is_seen_where_there_is_none():
    curved = function(lambda x: np.sin(20 * x), lambda dy, x, y: 20.00002 * dy * np.cos(20 * x))
    assert "kink" not in hint(curved.apply, leaf(6))
    (pair,) = jacobians(curved.apply, leaf(6))
    assert not pair.kinked[pair.wrong(0.0, 1e-7)].any()
