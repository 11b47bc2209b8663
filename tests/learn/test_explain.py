"""explain: its steps, its paths and its numbers, for every registered op."""

import numpy
import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd.function import Function
from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.gradient_check.registered import relative_error
from tinygrad_norm.learn.derivation import paths_of, symbols_of
from tinygrad_norm.learn.tracing import traced
from tinygrad_norm.registry import REGISTRY, Case, Op

X, DY = [1, 2, 3, 6], [1, 0, 0, 0]

# Their many steps take seconds.
LONG = {
    *("batch_norm_lstm", "layer_norm_lstm", "lstm", "gru", "qk_norm_attention", "multihead_attention"),
    *("transformer_encoder_layer", "transformer_decoder_layer", "ngpt_block"),
    *("conv3d", "conv_transpose2d", "conv_transpose3d", "cosine_conv2d"),
}


def paths(found, k=0):
    return {path.name: path.gradient for path in found.gradients[k].paths}


def test_the_three_paths_of_the_readme():
    found = tn.learn.explain("layer_norm", X, DY)
    wanted = {
        "straight": [0.5345, 0, 0, 0],
        "through m": [-0.1336] * 4,
        "through r": [-0.1527, -0.0764, 0, 0.2291],
    }
    assert list(paths(found)) == list(wanted)
    for name, numbers in wanted.items():
        numpy.testing.assert_allclose(paths(found)[name], [numbers], atol=5e-5)
    assert [path.formula for path in found.gradients[0].paths] == ["r·g_i", "-r·mean(g)", "-r·x̂_i·mean(g·x̂)"]
    assert found.closed_formula.startswith("dx = r·(g - mean(g) - x̂·mean(g·x̂))")
    assert found.correct


def test_the_paths_are_those_of_the_formulas():
    rng = numpy.random.default_rng(3)
    x, dy = rng.normal(size=(2, 5)), rng.normal(size=(2, 5))
    found = tn.learn.explain("layer_norm", x, dy)
    m, v = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    r = (v + 1e-5) ** -0.5
    x_hat = (x - m) * r
    wanted = {
        "straight": r * dy,
        "through m": -r * dy.mean(1, keepdims=True) + 0 * x,
        "through r": -r * x_hat * (dy * x_hat).mean(1, keepdims=True),
    }
    for name, numbers in wanted.items():
        numpy.testing.assert_allclose(paths(found)[name], numbers, rtol=1e-12)
    for name, numbers in {"m": m, "v": v, "r": r, "x̂": x_hat, "y": x_hat, "dy": dy}.items():
        numpy.testing.assert_allclose(found[name], numbers, rtol=1e-12)


@pytest.mark.parametrize("name", ["layer_norm", "batch_norm", "group_norm", "instance_norm"])
def test_norms_of_moments_have_the_same_names_and_paths(name):
    found = tn.learn.explain(name)
    assert found["x"].ravel().tolist() == X
    assert found["dy"].ravel().tolist() == DY
    assert found["m"].item() == 3
    assert found["v"].item() == 3.5
    assert {"r", "x̂"} <= {value.name for value in found.values}
    assert list(paths(found)) == ["straight", "through m", "through r"]
    numpy.testing.assert_allclose(paths(found)["through m"].ravel(), [-0.1336] * 4, atol=5e-5)


@pytest.mark.parametrize(
    ("name", "statistic"),
    [
        ("rms_norm", "r"),
        ("lp_norm", "l"),
        ("normalize", "n"),
        ("scale_norm", "n"),
        ("weight_norm", "n"),
        ("spectral_norm", "σ"),
        ("softmax", "Σe"),
        ("log_softmax", "Σe"),
        ("global_response_norm", "N"),
    ],
)
def test_other_ops_have_their_own_paths(name, statistic):
    found = tn.learn.explain(name)
    assert list(paths(found)) == ["straight", f"through {statistic}"]
    assert all(path.formula for path in found.gradients[0].paths)


def test_paths_come_from_the_core_that_an_op_is_built_on():
    assert list(paths(tn.learn.explain("filter_response_norm"))) == ["straight", "through r"]
    assert list(paths(tn.learn.explain("add_layer_norm"))) == ["straight", "through m", "through r"]


def test_the_formulas_of_dx_stand_at_dx_only():
    dv, dg = tn.learn.explain("weight_norm", [3, 4]).gradients
    assert all(path.formula for path in dv.paths)
    assert not any(path.formula for path in dg.paths)


def test_a_file_of_several_ops_has_a_formula_for_each():
    formulas = {
        name: [path.formula for path in tn.learn.explain(name).gradients[0].paths]
        for name in ("softmax", "log_softmax", "softmin")
    }
    assert formulas["softmax"] == ["y_k·dy_k", "-y_k·Σ_i dy_i·y_i"]
    assert formulas["log_softmax"] == ["dy_k", "-exp(y_k)·Σ_i dy_i"]
    assert formulas["softmin"] == ["-y_k·dy_k", "y_k·Σ_i dy_i·y_i"]


def test_what_is_long_is_printed_in_short_and_has_all_numbers_in_its_text():
    found = tn.learn.explain("lstm")
    assert len(str(found).splitlines()) < 300 < len(found.text().splitlines())
    assert str(tn.learn.explain("layer_norm")) == tn.learn.explain("layer_norm").text()


def test_a_notebook_shows_the_tables(tmp_path):
    found = tn.learn.explain("lp_batch_norm")
    assert list(paths(found)) == ["straight", "through m", "through r"]
    assert "<table>" in found._repr_html_()
    assert found.save(tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_evaluation_has_no_path_through_constants():
    found = tn.learn.explain("batch_norm", numpy.ones((2, 3)), training=False)
    assert all(not name.startswith("through m") for name in paths(found))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in REGISTRY]
)
def test_every_op_is_explained(name):
    found = tn.learn.explain(name)
    assert found.correct
    for gradient in found.gradients:
        assert relative_error(gradient.total, gradient.tape) <= 1e-12
        assert relative_error(gradient.closed_form, gradient.tape) <= 1e-9
    text = str(found)
    assert max(map(len, text.splitlines())) <= 106  # marks above letters take no column
    assert "Forward" in text


def test_a_step_has_its_formula_and_its_numbers():
    found = tn.learn.explain("layer_norm", X, DY)
    step = found.steps[-1]
    assert (step.name, step.expression) == ("x̂", "centered·r")
    assert step.derivative == "dcentered = dx̂·r, dr = dx̂·centered"
    assert [flow.name for flow in step.flows] == ["centered", "r"]
    r = found["r"].item()
    numpy.testing.assert_allclose(step.flows[0].local, [[r] * 4])
    numpy.testing.assert_allclose(step.flows[1].local, [[-2, -1, 0, 3]])
    numpy.testing.assert_allclose(step.flows[1].outgoing, [[-2]])
    assert all(flow.correct for flow in step.flows)


def test_what_a_step_sends_out_is_what_the_step_before_receives():
    found = tn.learn.explain("rms_norm", shape=(2, 3), seed=1)
    received = {step.name: step.incoming for step in found.steps}
    sent = {}
    for step in found.steps:
        for flow in step.flows:
            sent[flow.name] = sent.get(flow.name, 0) + flow.outgoing
    for name, incoming in received.items():
        if name in sent:
            numpy.testing.assert_allclose(sent[name], incoming, rtol=1e-12)
    numpy.testing.assert_allclose(sent["x"], found.gradients[0].tape, rtol=1e-12)


class _WrongSquare(Function):
    """y = x² · dx = dy·x"""

    def forward(self, x):
        self.saved = (x,)
        return x * x

    def backward(self, dy):
        return dy * self.saved[0]


def test_a_wrong_step_and_a_wrong_closed_form_are_marked():
    right = Op("square_of", lambda x: x * x, lambda x: _WrongSquare.apply(x), (Case(((3,),)),))
    found = tn.learn.explain(right)
    assert not found.correct
    assert [flow.correct for flow in found.steps[0].flows] == [False]
    wrong = Op("square_of", lambda x: _WrongSquare.apply(x), lambda x: x * x, (Case(((3,),)),))
    found = tn.learn.explain(wrong)
    assert not found.gradients[0].correct
    assert "✗" in str(found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tn.learn.explain("layer_nrom"), "did you mean 'layer_norm'"),
        (lambda: tn.learn.explain("layer_norm", X, [1, 2]), "a number for each of y, 4"),
        (lambda: tn.learn.explain("layer_norm", [1.0, float("nan")]), "must be finite"),
        (lambda: tn.learn.explain("layer_norm", [[1, 2], [3]]), "rows of equal length"),
        (lambda: tn.learn.explain("layer_norm", "abc"), "must be numbers"),
        (lambda: tn.learn.explain("layer_norm", []), "1 to 400, got 0"),
        (lambda: tn.learn.explain("layer_norm", shape=(100, 100)), "x may have 400"),
        (lambda: tn.learn.explain("layer_norm", shape=(2, 0)), "at least 1"),
        (lambda: tn.learn.explain("layer_norm", X, shape=(4,)), "not both"),
        (lambda: tn.learn.explain("batch_norm", shape=(1, 3)), "more than one value"),
        (lambda: tn.learn.explain("embedding", [1, 2]), "no gradient for its first input"),
        (lambda: tn.learn.explain("layer_norm", shape=(1, 2, 1, 1, 1, 2)), "registered cases"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_tracing_leaves_no_trace():
    before = Function.__dict__["apply"]
    with pytest.raises(ZeroDivisionError), traced():
        1 / 0  # noqa: B018
    assert Function.__dict__["apply"] is before
    with traced() as trace:
        y = Tensor(numpy.ones(2), requires_grad=True) * 2
    assert [call.outputs for call in trace.calls] == [(y,)]


def test_a_derivation_is_read_from_its_docstring():
    module = "tinygrad_norm.normalization.sample.layernorm"
    assert symbols_of(module) == {"mean": "m", "rstd": "r", "x_hat": "x̂", "weight": "w", "bias": "b"}
    assert paths_of(module, "layer_norm") == {
        "straight": "r·g_i",
        "through m": "-r·mean(g)",
        "through r": "-r·x̂_i·mean(g·x̂)",
    }


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tn.learn.explain(tn.nn.LayerNorm(4)), "takes the name of a registered op"),
        (lambda: tn.learn.explain("layer_norm", shape=4), "shape must be a sequence of sizes"),
        (lambda: tn.learn.explain("layer_norm", shape=(2, 4), seed="a"), "seed must be an int"),
    ],
)
def test_what_is_of_another_type_is_named(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_the_prompt_shows_a_line_and_print_the_tables():
    found = tn.learn.explain("layer_norm", X, DY)
    assert repr(found) == "<explanation of layer_norm: print shows it>"
    assert "through r" in str(found)


def test_at_a_kink_several_gradients_are_right():
    found = tn.learn.explain("relu", [-1.0, 0.0, 2.0], [1.0, 1.0, 1.0])
    assert found.correct
    assert "✗:" in str(found)  # in the legend
    assert str(found).count("✗") == 1
    assert "marks a kink of forward" in str(found)
    assert "Everything agrees" in str(tn.learn.explain("relu", [-1.0, 1.0, 2.0], [1.0, 1.0, 1.0]))


def test_a_random_dy_is_called_random():
    assert [dy.expression for dy in tn.learn.explain("softmax").dys] == ["random"]
    assert [dy.expression for dy in tn.learn.explain("layer_norm", X, DY).dys] == ["given"]
