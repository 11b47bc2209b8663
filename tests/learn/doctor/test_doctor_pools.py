"""The doctor names the mistakes planted in backwards of normalizations, and passes none of them."""

from dataclasses import dataclass

import numpy as np
import pytest

from tinygrad_norm.learn import diagnose

SOURCE = """
def forward(x, w, b):
    c = x - M * mean(x)
    r = (mean(c * c) + eps) ** -0.5
    return w * (c * r) + b

def backward(dy, x, w, b):
    m = M * mean(x)
    c = x - m
    v = mean(c * c)
    r = (v + eps) ** -0.5
    xh = (x - m) * r
    g = w * dy
    straight = r * g
    through_m = -M * r * mean(g)
    through_r = -r * xh * mean(g * xh)
    dx = straight + through_m + through_r
    return dx, per_weight(dy * xh), per_weight(dy)
"""


@dataclass(frozen=True)
class Norm:
    """A normalization: the shape of x, the axes of a pool of `view`, the axis of the weight."""

    op: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    weight: tuple[int, ...]
    view: tuple[int, ...] = ()
    centered: bool = True
    leaking: tuple[int, ...] = ()  # axes of a pool that is too large

    @property
    def size(self):
        return int(np.prod([(self.view or self.shape)[k] for k in self.axes]))


EVALUATION = """
def forward(x, running_mean, running_var, w, b):
    return w * (x - running_mean) * (running_var + 1e-5) ** -0.5 + b

def backward(dy, x, running_mean, running_var, w, b):
    c = x - running_mean
    v = running_var
    r = (v + 1e-5) ** -0.5
    xh = c * r
    g = w * dy
    mean = lambda a: a.mean(0)
    dx = r * g
    return dx, None, None, (dy * xh).sum(0), dy.sum(0)
"""
TRAINING = "r * (g - mean(g) - xh * mean(g * xh))"
OF_EVALUATION = [
    ([("dx = r * g", f"dx = {TRAINING}")], "training's backward in evaluation, where m and r are constants"),
    (
        [("c = x - running_mean", "c = x - x.mean(0)"), ("v = running_var", "v = (c * c).mean(0)")],
        "the statistics of the batch in evaluation, where the running ones belong",
    ),
    (
        [
            ("c = x - running_mean", "c = x - x.mean(0)"),
            ("v = running_var", "v = (c * c).mean(0)"),
            ("dx = r * g", f"dx = {TRAINING}"),
        ],
        "training's backward in evaluation, with the statistics of the batch",
    ),
    ([("g = w * dy", "g = dy")], "the weight is forgotten"),
    ([("g = w * dy", "g = w * w * dy")], "the weight is applied twice"),
    ([("g = w * dy", "g = dy / w")], "the weight is a divisor instead of a factor"),
    ([("dx = r * g", "dx = -r * g")], "the sign is wrong"),
    ([("dx = r * g", "dx = g")], "r is forgotten"),
    ([("dx = r * g", "dx = r * r * g")], "r is applied twice"),
    ([("dx = r * g", "dx = g / r")], "it is divided by r instead of multiplied"),
    ([("(v + 1e-5) ** -0.5", "v ** -0.5")], "eps is forgotten in backward"),
    ([("(v + 1e-5) ** -0.5", "1 / (v ** 0.5 + 1e-5)")], "backward adds eps outside the root"),
    ([("(v + 1e-5) ** -0.5", "(v + 2e-5) ** -0.5")], "backward adds eps twice"),
    ([("None, None", "-(r * g).sum(0), None")], "a gradient to running statistics"),
    ([("(dy * xh).sum(0)", "dy.sum(0)")], "the weight's gradient lacks x̂"),
    ([("(dy * xh).sum(0)", "(dy * x).sum(0)")], "the weight's gradient has x where x̂ belongs"),
    ([("(dy * xh).sum(0)", "(dy * c).sum(0)")], "the weight's gradient has x - m where x̂ belongs"),
    ([("(dy * xh).sum(0)", "(g * xh).sum(0)")], "the weight is a factor of the weight's gradient"),
    ([("(dy * xh).sum(0)", "(dy * xh).mean(0)")], "the weight's gradient is a mean"),
    ([("dy.sum(0)", "dy.mean(0)")], "the bias's gradient is a mean"),
    ([("dy.sum(0)", "-dy.sum(0)")], "the sign of the bias's gradient is wrong"),
    ([("dy.sum(0)", "g.sum(0)")], "the weight is a factor of the bias's gradient"),
    ([("dy.sum(0)", "dy")], "it is not summed over the axes"),
    ([("g = w * dy", "g = dy"), ("dx = r * g", "dx = g")], "the weight is forgotten; and r is forgotten"),
]
NORMS = {
    "batch": Norm("batch_norm", (5, 3), (0,), (1, 3), leaking=(0, 1)),
    "batch of images": Norm("batch_norm", (3, 2, 2, 2), (0, 2, 3), (1, 2, 1, 1), leaking=(0, 1, 2, 3)),
    "layer": Norm("layer_norm", (3, 5), (1,), (5,), leaking=(0, 1)),
    "layer over two axes": Norm("layer_norm", (4, 2, 3), (1, 2), (2, 3), leaking=(0, 1, 2)),
    "rms": Norm("rms_norm", (3, 5), (1,), (5,), centered=False, leaking=(0, 1)),
    "group": Norm("group_norm", (2, 4, 3), (2, 3), (4, 1), (2, 2, 2, 3), leaking=(1, 2, 3)),
    "one group": Norm("group_norm", (3, 3, 2), (1, 2), (3, 1), leaking=(0, 1, 2)),
    "instance": Norm("instance_norm", (3, 2, 4), (2,), (2, 1), leaking=(1, 2)),
}


def pair(norm, *changes):
    """Forward and backward, with some text of backward replaced."""
    head, tail = SOURCE.split("def backward")
    for old, new in changes:
        assert old in tail, old
        tail = tail.replace(old, new, 1)

    def mean(a, axes=norm.axes):
        cube = a.reshape(norm.view or norm.shape)
        return np.broadcast_to(cube.mean(axes, keepdims=True), cube.shape).reshape(norm.shape)

    def per_weight(a):
        padded = (1,) * (len(norm.shape) - len(norm.weight)) + norm.weight
        axes = tuple(k for k, n in enumerate(padded) if n == 1)
        return a.sum(axes, keepdims=True).reshape(norm.weight)

    names = {
        "mean": mean,
        "per_weight": per_weight,
        "eps": 1e-5,
        "M": float(norm.centered),
        "n": norm.size,
        "total": lambda a: norm.size * mean(a),
        "count": np.prod(norm.shape) // np.prod(norm.weight),
        "leaking": norm.leaking,
    }
    exec(head + "def backward" + tail, names)
    return names["forward"], names["backward"]


def inputs(norm, seed):
    rng = np.random.default_rng(seed)
    w = rng.uniform(0.5, 2.0, norm.weight) * np.where(rng.random(norm.weight) < 0.3, -1.0, 1.0)
    return 1.5 * rng.normal(size=norm.shape) + 0.5, w, rng.normal(size=norm.weight)


MEAN, WEIGHT = {"mean"}, {"weight"}  # where a mistake applies: a mean is subtracted, w differs in a pool
G_MEAN, GX_MEAN = "r * mean(g)", "xh * mean(g * xh)"
PLANTED = [
    ([(" + through_m", "")], "the path through the mean is dropped", MEAN),
    ([(" + through_r", "")], "the path through the variance is dropped", MEAN),
    ([(" + through_m + through_r", "")], "the paths through the mean and the variance are dropped", MEAN),
    ([(G_MEAN, "r * total(g)")], "Σ g stands where mean(g) belongs", MEAN),
    ([(GX_MEAN, "xh * total(g * xh)")], "Σ g·x̂ stands where mean(g·x̂) belongs", set()),
    ([(G_MEAN, "r * total(g)"), (GX_MEAN, "xh * total(g * xh)")], "sums stand where means belong", MEAN),
    ([(G_MEAN, "r * total(g) / (n - 1)")], "n - 1 stands where n belongs, in the mean of g", MEAN),
    ([(GX_MEAN, "xh * total(g * xh) / (n - 1)")], "n - 1 stands where n belongs, in the mean of g·x̂", set()),
    ([(G_MEAN, "r * total(g) / (n - 1)"), (GX_MEAN, "xh * total(g * xh) / (n - 1)")], "in both means", MEAN),
    ([("(v + eps) ** -0.5", "1 / (v ** 0.5 + eps)")], "backward adds eps outside the root", set()),
    ([("(v + eps) ** -0.5", "v ** -0.5")], "eps is forgotten in backward", set()),
    ([("-r * xh * mean(g * xh)", "-r * c * mean(g * c)")], "r stands where r³ belongs", set()),
    ([("-r * xh * mean(g * xh)", "-r ** 2 * c * mean(g * c)")], "r² stands where r³ belongs", set()),
    ([("-r * xh * mean(g * xh)", "-r ** 3 * xh * mean(g * xh)")], "r⁵ stands where r³ belongs", set()),
    ([("through_m = -M", "through_m = M")], "the sign of the path through the mean is wrong", MEAN),
    ([("through_r = -r", "through_r = r")], "the sign of the path through the", set()),
    (
        [("dx = straight + through_m + through_r", "dx = -straight - through_m - through_r")],
        "the sign is wrong",
        set(),
    ),
    ([("g = w * dy", "g = dy")], "the weight is forgotten", set()),
    ([("g = w * dy", "g = w * w * dy")], "the weight is applied twice", WEIGHT),
    ([("g = w * dy", "g = dy"), ("return dx", "return w * dx")], "the weight is applied at the end", WEIGHT),
    ([(GX_MEAN, "xh * mean(dy * xh)")], "the weight is forgotten in the mean of g·x̂", set()),
    ([("straight = r * g", "straight = r * dy")], "the weight is forgotten in the straight path", set()),
    ([("straight = r * g", "straight = g")], "r is forgotten in the straight path", set()),
    (
        [("straight = r * g", "straight = r ** 3 * g")],
        "r³ stands where r belongs in the straight path",
        set(),
    ),
    (
        [("dx = straight + through_m + through_r", "dx = r * r * (straight + through_m + through_r)")],
        "r³ stands where r belongs",
        set(),
    ),
    (
        [("dx = straight + through_m + through_r", "dx = (straight + through_m + through_r) / r")],
        "r is forgotten",
        set(),
    ),
    ([(GX_MEAN, "x * mean(g * xh)")], "x stands where x̂ belongs", MEAN),
    ([(G_MEAN, "r * mean(g, leaking)"), (GX_MEAN, "xh * mean(g * xh, leaking)")], "statistics leak", MEAN),
    ([(GX_MEAN, "xh * mean(g * xh, leaking)")], "statistics leak", set()),
    ([("per_weight(dy * xh)", "per_weight(dy)")], "the weight's gradient lacks x̂", set()),
    ([("per_weight(dy * xh)", "per_weight(dy * x)")], "has x where x̂ belongs", set()),
    ([("per_weight(dy * xh)", "per_weight(dy * xh) / count")], "the weight's gradient is a mean", set()),
    ([("per_weight(dy)", "per_weight(dy) / count")], "the bias's gradient is a mean", set()),
    ([("per_weight(dy)", "per_weight(g)")], "the weight is a factor of the bias's gradient", set()),
    ([("per_weight(dy)", "dy")], "is not summed", set()),
    ([("per_weight(dy)", "-per_weight(dy)")], "the sign of the bias's gradient is wrong", set()),
]


def applies(norm, where):
    varies = norm.op not in ("batch_norm", "instance_norm")
    return (norm.centered or where is not MEAN) and (varies or where is not WEIGHT)


CASES = [
    pytest.param(norm, changes, words, id=f"{name}-{words}")
    for name, norm in NORMS.items()
    for changes, words, where in PLANTED
    if applies(norm, where)
]


def check(norm, changes, words, seed):
    found = diagnose(pair(norm, *changes), inputs(norm, seed))
    assert not found.passed
    text = str(found)
    told = [finding.what for finding in found.findings]
    named = [what for finding in found.findings for what in (finding.what, *finding.others)]
    assert any(words in what for what in told), f"{words} is not in\n{text}"
    assert len(told) == 1, text
    return named


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("seed", range(5))
def test_a_right_backward_passes(name, seed):
    found = diagnose(pair(NORMS[name]), inputs(NORMS[name], seed))
    assert found.passed
    assert found.like == NORMS[name].op
    assert found.findings == found.warnings == ()


@pytest.mark.parametrize(
    ("norm", "changes", "words"), [case for case in CASES if case.values[0] is NORMS["layer"]]
)
def test_a_planted_mistake_is_named(norm, changes, words):
    check(norm, changes, words, 0)


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "changes", "words"), CASES)
def test_planted_mistakes_are_named_at_five_seeds(norm, changes, words, measured_once):
    for seed in range(5):
        check(norm, changes, words, seed)


def test_means_over_too_few_axes_are_named():
    few = [(G_MEAN, "r * mean(g, (2, 3))"), (GX_MEAN, "xh * mean(g * xh, (2, 3))")]
    check(NORMS["batch of images"], few, "too few axes", 0)


@pytest.mark.parametrize(
    ("added", "direction"),
    [
        ("mean(dy)", "1 (a constant per pool"),
        ("xh * mean(dy)", "x̂"),
        ("g * xh", "g·x̂"),
        ("(w * xh + b) * mean(dy)", "y"),
    ],
    ids=["1", "x̂", "g·x̂", "y"],
)
def test_what_no_mistake_explains_is_projected_on_directions(added, direction):
    norm = NORMS["layer"]
    text = str(diagnose(pair(norm, ("return dx", f"return dx + 0.3 * {added}")), inputs(norm, 0)))
    assert f"yours minus right is a multiple of {direction}" in text


@pytest.mark.parametrize(
    ("eps", "scale", "hidden"), [(1e-5, 1.0, False), (1e-8, 1.0, True), (1e-5, 1e3, True)]
)
def test_an_eps_that_cannot_be_seen_is_told(eps, scale, hidden):
    x = scale * np.random.default_rng(0).normal(size=(3, 5))

    def forward(x):
        c = x - x.mean(1, keepdims=True)
        return c * ((c * c).mean(1, keepdims=True) + eps) ** -0.5

    def backward(dy, x):
        c = x - x.mean(1, keepdims=True)
        r = ((c * c).mean(1, keepdims=True) + eps) ** -0.5
        return r * (dy - dy.mean(1, keepdims=True) - c * r * (dy * c * r).mean(1, keepdims=True))

    found = diagnose((forward, backward), (x,))
    assert found.passed
    assert any("too small beside the variance" in text for text in found.warnings) == hidden


def verdict_without(words, norm, changes):
    text = str(diagnose(pair(norm, *changes), inputs(norm, 0)))
    assert "the backward is wrong" in text
    for word in words:
        assert word not in text, text
    return text


EACH = [pytest.param(name, marks=() if name == "rms" else pytest.mark.slow) for name in NORMS]


@pytest.mark.parametrize("name", EACH)
def test_a_leak_is_never_called_a_factor(name):
    leaking = [("return dx", "return 2 * dx + 0.1 * dy.sum()")]
    text = verdict_without(["times", "×", "factor", "transpose"], NORMS[name], leaking)
    assert "leak" in text or "connects entries that forward does not" in text


@pytest.mark.parametrize("name", [name for name in EACH if applies(NORMS[name.values[0]], WEIGHT)])
def test_a_weight_outside_is_never_called_transposed(name):
    outside = [("g = w * dy", "g = dy"), ("return dx", "return w * dx")]
    assert "at the end" in verdict_without(["transpose"], NORMS[name], outside)
    more = [("g = w * dy", "g = dy"), ("return dx", "return w * (dx + 0.01 * xh * mean(g))")]
    verdict_without(["transpose"], NORMS[name], more)


PAIRS = [
    ([(G_MEAN, "r * total(g)"), ("g = w * dy", "g = dy")], ("Σ g stands", "weight is forgotten"), MEAN),
    (
        [(GX_MEAN, "xh * total(g * xh)"), ("g = w * dy", "g = dy")],
        ("Σ g·x̂ stands", "weight is forgotten"),
        set(),
    ),
    ([(" + through_m", ""), ("g = w * dy", "g = dy")], ("the mean is dropped", "weight is forgotten"), MEAN),
    ([(" + through_r", ""), ("g = w * dy", "g = dy")], ("is dropped", "weight is forgotten"), set()),
    (
        [("through_m = -M", "through_m = M"), (GX_MEAN, "xh * total(g * xh) / (n - 1)")],
        ("the sign of the path through the mean", "n - 1 stands where n belongs, in the mean of g·x̂"),
        MEAN,
    ),
    (
        [("(v + eps) ** -0.5", "v ** -0.5"), ("g = w * dy", "g = dy")],
        ("eps is forgotten", "weight is forgotten"),
        set(),
    ),
    ([(" + through_m", ""), ("per_weight(dy * xh)", "per_weight(dy)")], ("mean is dropped", "lacks x̂"), MEAN),
    (
        [("through_r = -r", "through_r = r"), ("per_weight(dy)", "per_weight(dy) / count")],
        ("the sign of the path through the", "the bias's gradient is a mean"),
        set(),
    ),
]
PAIR_CASES = [
    pytest.param(NORMS[name], changes, words, id=f"{name}-{' and '.join(words)}")
    for name in ("batch", "layer", "rms", "group", "instance")
    for changes, words, where in PAIRS
    if applies(NORMS[name], where)
]


def check_pair(norm, changes, words, seeds):
    for seed in seeds:
        found = diagnose(pair(norm, *changes), inputs(norm, seed))
        assert not found.passed
        told = [(finding.what, *finding.others) for finding in found.findings]
        for word in words:
            assert any(word in what for whats in told for what in whats), str(found)


@pytest.mark.parametrize(
    ("norm", "changes", "words"), [case for case in PAIR_CASES if case.id.startswith("layer-")]
)
def test_two_planted_mistakes_are_named(norm, changes, words):
    check_pair(norm, changes, words, [0])


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "changes", "words"), PAIR_CASES)
def test_two_planted_mistakes_are_named_at_five_seeds(norm, changes, words, measured_once):
    check_pair(norm, changes, words, range(5))


def check_evaluation(changes, words, seeds):
    for seed in seeds:
        head, tail = EVALUATION.split("def backward")
        for old, new in changes:
            assert old in tail, old
            tail = tail.replace(old, new, 1)
        names = {"np": np}
        exec(head + "def backward" + tail, names)
        rng = np.random.default_rng(seed)
        w = rng.uniform(0.5, 2.0, 3) * np.array([1.0, -1.0, 1.0])
        given = rng.normal(size=(5, 3)), rng.normal(size=3), rng.uniform(0.5, 2.0, 3), w, rng.normal(size=3)
        found = diagnose((names["forward"], names["backward"]), given)
        assert found.like == "batch_norm"
        assert found.passed == (not changes)
        told = [what for finding in found.findings for what in (finding.what, *finding.others)]
        assert not changes or any(words in what for what in told), str(found)


evaluation = pytest.mark.parametrize(
    ("changes", "words"), [pytest.param(*case, id=case[1]) for case in [([], "right"), *OF_EVALUATION]]
)


@evaluation
def test_a_mistake_in_evaluation_is_named(changes, words):
    check_evaluation(changes, words, [0])


@pytest.mark.slow
@evaluation
def test_mistakes_in_evaluation_are_named_at_five_seeds(changes, words, measured_once):
    check_evaluation(changes, words, range(5))
