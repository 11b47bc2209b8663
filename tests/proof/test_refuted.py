"""Wrong backwards are refuted, however small the mistake; right ones never are."""

import numpy as np
import pytest
from planted_backwards import LAYER, PLANTED, BroadcastForgotten, LayerNorm, SwappedGradients

from tinygrad_norm import Tensor, gradcheck
from tinygrad_norm.autograd import Function
from tinygrad_norm.gradient_check.registered import draw
from tinygrad_norm.normalization.sample.layernorm import layer_norm_composed
from tinygrad_norm.proof.identity import Recorded
from tinygrad_norm.proof.proving import NOT_ALGEBRAIC, NOT_TESTED, PROVED, REFUTED, prove_op
from tinygrad_norm.registry import REGISTRY, Case, Op, fixed

TINY = 10**13
"""A coefficient is wrong by one part in so many."""


def proof_of(function, shapes, composed=None, **options):
    op = Op("planted", function, composed, (Case(shapes, options),))
    return prove_op(op, points=1)


@pytest.mark.parametrize(("right", "shapes"), dict.fromkeys((p.right, p.shapes) for p in PLANTED))
def test_a_right_backward_is_proved(right, shapes):
    assert proof_of(right.apply, shapes).verdict == PROVED


def planted_mistakes():
    return [pytest.param(p, id=p.mistake.__name__) for p in PLANTED if p.mistake is not BroadcastForgotten]


@pytest.mark.parametrize("planted", planted_mistakes())
def test_a_planted_mistake_is_refuted(planted):
    proof = proof_of(planted.mistake.apply, planted.shapes)
    assert proof.verdict == REFUTED
    first = 0 if planted.mistake is SwappedGradients else planted.input
    assert proof.refutation.difference.what == f"gradient of input {first}"


def test_a_gradient_of_a_wrong_shape_is_refuted():
    proof = proof_of(BroadcastForgotten.apply, ((3, 4), (4,)))
    assert proof.verdict == REFUTED
    assert "gradient of shape (3, 4) for input 1, whose shape is (4,)" in proof.skipped[-1].reason


# -- too small for finite differences


class SlightlyOff(LayerNorm):
    def dx(self, g, x_hat, rstd):
        return super().dx(g, x_hat, rstd) * (1 + 1e-13)


class EpsInTheSlope(LayerNorm):
    """∂r/∂v is -r³/2, of v + eps; here v stands in its place, for eps = 1e-13."""

    eps = 1e-13

    def dx(self, g, x_hat, rstd):
        var = 1 / rstd**2 - self.eps
        slope = rstd**2 * var  # 1 but for eps
        return rstd * (g - g.mean(-1, keepdims=True) - x_hat * (g * x_hat).mean(-1, keepdims=True) * slope)


@pytest.mark.parametrize("mistake", [SlightlyOff, EpsInTheSlope])
def test_what_passes_every_gradient_check_is_refuted(mistake):
    inputs = draw(Case(LAYER))
    assert gradcheck(mistake.apply, inputs, atol=0, rtol=1e-9)
    assert proof_of(mistake.apply, LAYER).verdict == REFUTED


# -- the forward is another one than the composed form says


class EpsInside(LayerNorm):
    def forward(self, x, weight, bias):
        centered = x - x.mean(-1, keepdims=True)
        rstd = 1 / (np.sqrt((centered * centered).mean(-1, keepdims=True)) + self.eps)
        return weight * centered * rstd + bias


class Unbiased(LayerNorm):
    def forward(self, x, weight, bias):
        centered, n = x - x.mean(-1, keepdims=True), x.shape[-1]
        rstd = 1 / np.sqrt((centered * centered).sum(-1, keepdims=True) / (n - 1) + self.eps)
        self.saved = x, centered * rstd, rstd, weight
        return weight * centered * rstd + bias


def composed(x, weight, bias):
    return layer_norm_composed(x, x.shape[-1:], weight, bias)


def test_the_composed_form_is_that_of_the_right_forward():
    assert proof_of(LayerNorm.apply, LAYER, composed).verdict == PROVED


@pytest.mark.parametrize("mistake", [EpsInside, Unbiased])
def test_another_forward_is_refuted(mistake, monkeypatch):
    monkeypatch.setattr(mistake, "backward", lambda self, dy: (dy, dy.sum(0), dy.sum(0)))
    proof = proof_of(mistake.apply, LAYER, composed)
    assert proof.verdict == REFUTED
    assert proof.refutation.difference.what == "output 0"


# -- registered ops

ALGEBRAIC = sorted(name for name, op in REGISTRY.items() if op.kind in ("normalization", "block", "loss"))


def functions_of(op, case):
    """The Functions whose backward an op calls."""
    waiting, found = list(Recorded(op, case).outputs), set()
    while waiting:
        node = waiting.pop().creator
        if node is not None and node not in found:
            found.add(node)
            waiting += [x for x in node.inputs if hasattr(x, "creator")]
    return {type(node) for node in found if isinstance(node, Function)}


def smallest_case(op):
    cases = [case for case in op.cases if all(x is None or x[0].size for x in case.draw())]
    return min(cases, key=lambda case: sum(x[0].size for x in case.draw() if x is not None))


@pytest.mark.parametrize("name", ALGEBRAIC)
def test_a_gradient_wrong_by_1e_13_is_refuted(name, monkeypatch):
    op = REGISTRY[name]

    def planted(right):
        def backward(self, *dys):
            dxs = right(self, *dys)
            dxs = dxs if type(dxs) is tuple else (dxs,)
            return tuple(None if dx is None else dx + dx / TINY for dx in dxs)

        return backward

    function = max(functions_of(op, op.cases[0]), key=lambda f: f.__name__)
    monkeypatch.setattr(function, "backward", planted(function.backward))
    verdict = prove_op(op, points=1).verdict
    if verdict in (NOT_ALGEBRAIC, NOT_TESTED):
        pytest.skip("not algebraic")
    assert verdict == REFUTED


SEEDS = 200


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["layer_norm", "batch_norm", "group_norm", "rms_norm", "weight_norm", "conv2d"]
)
def test_a_right_backward_is_refuted_for_no_seed(name):
    op = REGISTRY[name]
    one = Op(op.name, op.function, op.composed, (smallest_case(op),), op.inputs)
    assert {prove_op(one, points=1, seed=seed).verdict for seed in range(SEEDS)} == {PROVED}


# -- floats that nobody can read


class OfGivenNumbers(Function):
    """x²·√(2/π)·e⁻², with the factors as floats."""

    off = 0.0

    def forward(self, x):
        self.x = x
        return x * x * 0.7978845608028654 * 0.1353352832366127

    def backward(self, dy):
        return dy * self.x * (2 * 0.7978845608028654) * 0.1353352832366127 * (1 + self.off)


class OfOneGivenNumber(OfGivenNumbers):
    def forward(self, x):
        self.x = x
        return x * x * 0.7978845608028654

    def backward(self, dy):
        return dy * self.x * (2 * 0.7978845608028654) * (1 + self.off)


@pytest.mark.parametrize(
    ("right", "mistake"),
    [
        pytest.param(OfOneGivenNumber, 1e-13, id="one"),
        pytest.param(OfGivenNumbers, 1e-10, id="two"),
    ],
)
def test_a_mistake_beside_given_numbers_is_refuted(right, mistake):
    off = type("Off", (right,), {"off": mistake})
    assert proof_of(right.apply, ((4,),)).verdict == PROVED
    assert proof_of(off.apply, ((4,),)).verdict == REFUTED


class TwiceHalf(Function):
    def forward(self, x):
        return x * 123456.789012342  # a decimal of 15 digits, which is not read; its half is

    def backward(self, dy):
        return dy * 61728.394506171 + dy * 61728.394506171


def test_a_number_and_its_half_that_is_read_are_no_mistake():
    assert proof_of(TwiceHalf.apply, ((4,),)).verdict != REFUTED


@pytest.mark.parametrize("entry", [0.00100000000000085, 1 / 4096 * (1 + 3e-12)])
def test_an_entry_of_a_constant_next_to_a_fraction_is_another_number(entry):
    def scaled(x, scale=entry):
        return x * Tensor(np.array([scale] * 4))

    fraction = round(entry * 4096000) / 4096000
    op = Op("scaled", scaled, lambda x: scaled(x, fraction), (Case(((4,),)),))
    assert prove_op(op, points=1).verdict == NOT_TESTED  # it may be rounding


# -- constants that look like inputs


class Product(Function):
    def forward(self, x, weight):
        self.saved = x, weight
        return x * weight

    def backward(self, dy):
        x, weight = self.saved
        return dy * weight, dy * x


class TableProduct(Product):
    """x·weight·table with the table as a constant of the body."""

    table = 1.0

    def forward(self, x, weight):
        return super().forward(x, weight) * self.table

    def backward(self, dy):
        return super().backward(dy * self.table)


@pytest.mark.parametrize("table", [[1.0, 1.0, 1.0], [0.5, 0.25, 2.0]], ids=["ones", "fractions"])
def test_a_constant_that_equals_an_input_is_a_constant(table):
    closed = type("Right", (TableProduct,), {"table": np.array(table)})
    inputs = tuple(fixed(np.array(x), differentiable=True) for x in ([0.3, 0.7, -0.2], table))
    case = Case(inputs)
    op = Op("table", closed.apply, lambda x, w: Product.apply(x, w) * Tensor(np.array(table)), (case,))
    assert prove_op(op, points=1).verdict == PROVED


@pytest.mark.parametrize(("which", "verdict"), [(0, PROVED), (1, REFUTED)], ids=["right", "wrong"])
def test_equal_inputs_are_told_apart_where_they_are_copied(which, verdict):
    def times_a_copy(x, weight, which=0):
        return Product.apply(x, weight) * Tensor((x, weight)[which].array.copy())

    equal = tuple(fixed(np.array([0.5, 0.25]), differentiable=True) for _ in range(2))
    op = Op("copied", lambda x, w: times_a_copy(x, w, which), times_a_copy, (Case(equal),))
    assert prove_op(op, points=1).verdict == verdict
