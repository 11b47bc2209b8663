"""What the explorer answers: the numbers of the library, for every normalization; else clear words."""

import json
import math
import re

import numpy
import pytest

from tinygrad_norm.autograd.grad_mode import no_grad
from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.explore.answer import answer, graph, list_of_norms
from tinygrad_norm.explore.question import MOST, read
from tinygrad_norm.learn.explanation import explain_given
from tinygrad_norm.registry import REGISTRY

NORMS = sorted(op.name for op in REGISTRY.values() if op.kind == "normalization")


def array(found):
    return numpy.array(found["values"], dtype=float).reshape(found["shape"])


def test_every_normalization_can_be_picked():
    assert sorted(norm["name"] for norm in list_of_norms()) == NORMS


@pytest.mark.parametrize("name", NORMS)
def test_the_numbers_are_those_of_the_library(name):
    found = json.loads(json.dumps(answer({"op": name, "seed": 3}), allow_nan=False))
    op, given = read({"op": name, "seed": 3})
    expected = explain_given(op, given)
    assert found["correct"]
    assert expected.correct
    for shown, value in zip(found["values"], expected.values, strict=True):
        assert shown["name"] == value.name
        numpy.testing.assert_array_equal(array(shown["array"]), value.array)
    for shown, step in zip(found["steps"], expected.steps, strict=True):
        assert (shown["expression"], shown["formula"]) == (step.expression, step.formula)
        numpy.testing.assert_array_equal(array(shown["incoming"]), step.incoming)
        for seen, flow in zip(shown["flows"], step.flows, strict=True):
            numpy.testing.assert_array_equal(array(seen["outgoing"]), flow.outgoing)
    for shown, gradient in zip(found["gradients"], expected.gradients, strict=True):
        for key in ("total", "tape", "closed_form", "finite_difference"):
            numpy.testing.assert_array_equal(array(shown[key]), getattr(gradient, key))
        parts = [array(path["gradient"]) for path in shown["paths"]]
        numpy.testing.assert_allclose(sum(parts), gradient.tape, atol=1e-12 * abs(gradient.tape).max())
    assert {k for pool in found["pools"] for k in pool} <= set(range(math.prod(found["shape"])))


@pytest.mark.parametrize("name", NORMS)
def test_a_broken_gradient_is_wrong_where_it_says(name):
    found = answer({"op": name})
    right = {gradient["name"]: array(gradient["finite_difference"]) for gradient in found["gradients"]}
    for mistake in found["mistakes"]:
        expected = right[mistake["input"]].reshape(-1)
        error = abs(array(mistake["gradient"]).reshape(-1) - expected)
        scale = abs(expected).max() or 1.0
        wrong = numpy.zeros(expected.size, bool)
        wrong[mistake["wrong"]] = True
        assert wrong.any()
        assert (error[wrong] > 1e-7 * scale).all()
        assert (error[~wrong] < 1e-5 * scale).all()


def test_dropping_the_path_through_the_mean_shifts_a_whole_pool():
    found = answer({"op": "batch_norm"})
    dropped = next(m for m in found["mistakes"] if m["name"] == "the path through m is dropped")
    path = next(p for p in found["gradients"][0]["paths"] if p["name"] == "through m")
    total = array(found["gradients"][0]["total"])
    numpy.testing.assert_allclose(array(dropped["gradient"]), total - array(path["gradient"]), atol=1e-12)
    assert dropped["wrong"] == list(range(48))


def test_options_and_edited_numbers_are_used():
    x = numpy.arange(16.0)
    found = answer(
        {"op": "group_norm", "shape": [1, 4, 2, 2], "x": x.tolist(), "options": {"num_groups": "1"}}
    )
    (y,) = found["results"]
    w, b = (numpy.repeat(array(value["array"]), 4) for value in found["inputs"][1:])
    expected = w * (x - x.mean()) / numpy.sqrt(x.var() + 1e-5) + b
    numpy.testing.assert_allclose(y["array"]["values"], expected, rtol=1e-12)
    assert found["pools"][0] == list(range(16))
    assert found["options"]["num_groups"] == "1"


@pytest.mark.parametrize("name", NORMS)
def test_the_results_are_those_of_the_op(name):
    op, given = read({"op": name})
    with no_grad():
        results = op.call([x if x is None else Tensor(x.array.copy()) for x in given.inputs], given.options)
    results = results if isinstance(results, tuple) else (results,)
    found = answer({"op": name})
    differentiable = [y for y in results if y.is_floating_point()]
    for shown, y in zip(found["results"], differentiable, strict=True):
        numpy.testing.assert_allclose(array(shown["array"]), y.numpy(), rtol=1e-9, atol=1e-12)
    assert len(found["inputs"]) == sum(x is not None for x in given.inputs)


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        pytest.param("layer_norm", "x̂·w + b", id="layer"),
        pytest.param("batch_norm", "x̂·w + b", id="batch_reshaped"),
        pytest.param("weight_norm", "v·(g/n)", id="weight_quotient"),
        pytest.param("positional_norm", "centered/σ", id="positional"),
        pytest.param("logit_norm", "x/(0.04·(length + 1e-07))", id="product_below"),
        pytest.param("evo_norm_b0", "reshape(x̂·w + b)", id="call"),
    ],
)
def test_y_is_told_without_temporary_results(name, expression):
    assert answer({"op": name})["results"][0]["expression"] == expression


@pytest.mark.parametrize("name", NORMS)
def test_no_temporary_result_is_unexplained(name):
    for result in answer({"op": name})["results"]:
        names = re.findall("t[₀-₉]+", result["expression"])
        assert not names or f"{names[-1]}: see the steps" in result["expression"]
        assert len(result["expression"]) < 90


def test_edited_weights_and_dy_are_used():
    found = answer({"op": "batch_norm", "inputs": {"weight": [2.0, 0.0, 1.0, 1.0], "bias": [5.0] * 4}})
    usual = answer({"op": "batch_norm", "inputs": {"weight": [1.0] * 4, "bias": [0.0] * 4}})
    y, plain = array(found["results"][0]["array"]), array(usual["results"][0]["array"])
    numpy.testing.assert_allclose(y[:, 0], 2 * plain[:, 0] + 5, rtol=1e-12)
    numpy.testing.assert_allclose(y[:, 1], 5, rtol=1e-12)
    dx = array(answer({"op": "batch_norm", "dy": [1.0] * 48})["gradients"][0]["total"])
    numpy.testing.assert_allclose(dx, 0, atol=1e-12)


def test_labels_stay_whole_numbers():
    found = answer({"op": "conditional_batch_norm", "inputs": {"labels": [1, 1]}})
    labels = found["inputs"][1]
    assert labels["whole"]
    assert labels["array"]["values"] == [1, 1]


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        pytest.param("batch_norm", ["N", "C", "H·W"], id="batch_norm"),
        pytest.param("instance_norm", ["N", "C", "H·W"], id="instance_norm"),
        pytest.param("rms_norm", ["N", "T", "D"], id="rms_norm"),
        pytest.param("sequence_batch_norm", ["T", "N", "C"], id="sequence"),
        pytest.param("pcen", ["N", "F", "T"], id="pcen"),
        pytest.param("graph_norm", ["N", "D", ""], id="graph"),
        pytest.param("weight_norm", ["out", "in", "k"], id="weight"),
        pytest.param("cosine_linear", ["N", "T", "D"], id="inputs_beside_weights"),
        pytest.param("power_norm", ["N", "H", "W·C"], id="channels_last"),
    ],
)
def test_the_axes_are_those_of_the_derivation(name, axes):
    assert answer({"op": name})["axes"] == axes


def test_channels_take_any_number_of_positions():
    for shape in ([2, 3, 2, 2], [2, 3, 4], [1, 2, 2, 2, 2]):
        assert answer({"op": "instance_norm", "shape": shape})["shape"] == shape


CHANNELS = [
    pytest.param("batch_norm", [2, 3], id="batch_2d"),
    pytest.param("batch_norm", [4, 3], id="batch_2d_tall"),
    pytest.param("batch_norm", [2, 3, 2, 1, 2], id="batch_5d"),
    pytest.param("instance_norm", [2, 3, 4], id="instance_3d"),
    pytest.param("instance_norm", [2, 3, 2, 2], id="instance_4d"),
    pytest.param("group_norm", [2, 4], id="group_2d"),
    pytest.param("group_norm", [2, 4, 2, 3], id="group_4d"),
    pytest.param("ghost_batch_norm", [4, 3], id="ghost_2d"),
    pytest.param("range_batch_norm", [2, 3, 4], id="range_3d"),
    pytest.param("lp_batch_norm", [2, 3, 2, 2], id="lp_4d"),
]


@pytest.mark.parametrize(("name", "shape"), CHANNELS)
def test_weights_come_along_in_every_shape(name, shape):
    found = answer({"op": name, "shape": shape})
    x, w, b = (value["array"] for value in found["inputs"])
    assert [x["shape"], w["shape"], b["shape"]] == [shape, [shape[1]], [shape[1]]]
    assert w["values"] != b["values"]
    assert len(found["gradients"]) == 3
    assert found["correct"]


@pytest.mark.parametrize(
    ("name", "shape", "sizes"),
    [
        pytest.param("layer_norm", [2, 4], [[4], [4]], id="layer_2d"),
        pytest.param("layer_norm", [2, 3, 4], [[4], [4]], id="layer_3d"),
        pytest.param("layer_norm", [2, 4, 2, 3], [[4, 2, 3], [4, 2, 3]], id="layer_4d"),
        pytest.param("rms_norm", [2, 3, 4], [[4]], id="rms_3d"),
        pytest.param("memory_efficient_layer_norm", [2, 3, 4], [[3, 4], [3, 4]], id="efficient_3d"),
        pytest.param("dynamic_tanh", [2, 3, 4], [[1], [4], [4]], id="tanh_3d"),
    ],
)
def test_weights_over_the_last_axes_come_along(name, shape, sizes):
    found = answer({"op": name, "shape": shape})
    assert [value["array"]["shape"] for value in found["inputs"]] == [shape, *sizes]
    assert len(found["gradients"]) == 1 + len(sizes)


@pytest.mark.parametrize("name", ["batch_norm", "layer_norm", "power_norm"])
def test_no_mistake_is_there_twice(name):
    mistakes = answer({"op": name})["mistakes"]
    for k, one in enumerate(mistakes):
        for other in mistakes[:k]:
            assert one["name"] != other["name"] or one["input"] != other["input"]
            same = one["input"] == other["input"]
            scale = abs(array(one["gradient"])).max()
            assert not (same and abs(array(one["gradient"]) - array(other["gradient"])).max() < 1e-6 * scale)


@pytest.mark.parametrize(
    ("question", "words"),
    [
        pytest.param([], "must be a JSON object", id="list"),
        pytest.param({"op": "batchnorm"}, "did you mean 'batch_norm'", id="misspelled"),
        pytest.param({"op": "linear"}, "no normalization is called 'linear'", id="no_norm"),
        pytest.param({"op": 3}, "no normalization is called 3", id="op_number"),
        pytest.param({"op": "batch_norm", "file": "x"}, "no key called 'file'|unknown key|key", id="key"),
        pytest.param({"op": "batch_norm", "seed": -1}, "seed must be an integer", id="seed"),
        pytest.param({"op": "batch_norm", "seed": True}, "seed must be an integer", id="seed_bool"),
        pytest.param({"op": "batch_norm", "shape": [2, 0]}, "sizes of at least 1", id="shape_0"),
        pytest.param({"op": "batch_norm", "shape": "2x3"}, "list of 1 to 5 sizes", id="shape_text"),
        pytest.param({"op": "batch_norm", "shape": [9, 9]}, f"may have {MOST} numbers", id="large"),
        pytest.param({"op": "batch_norm", "shape": [10**9] * 5}, f"may have {MOST} numbers", id="huge"),
        pytest.param({"op": "batch_norm", "x": [1.0]}, "x must have 48 numbers", id="x_size"),
        pytest.param({"op": "batch_norm", "x": ["1"] * 48}, "must be numbers", id="x_text"),
        pytest.param({"op": "batch_norm", "x": [math.nan] * 48}, "between -1000000", id="nan"),
        pytest.param({"op": "batch_norm", "x": [10**400] * 48}, "between -1000000", id="x_huge"),
        pytest.param({"op": "batch_norm", "dy": [1.0]}, "dy must have a number for each", id="dy_size"),
        pytest.param({"op": "batch_norm", "inputs": []}, "object of lists", id="inputs_list"),
        pytest.param({"op": "batch_norm", "inputs": {"w": [1.0] * 4}}, "weight, bias", id="input_name"),
        pytest.param({"op": "batch_norm", "inputs": {"input": [1.0] * 48}}, "weight, bias", id="input_x"),
        pytest.param(
            {"op": "batch_norm", "inputs": {"weight": [1.0]}}, "must have 4 numbers", id="input_size"
        ),
        pytest.param({"op": "batch_norm", "inputs": {"weight": 1.0}}, "list of 1 to", id="input_number"),
        pytest.param(
            {"op": "conditional_batch_norm", "inputs": {"labels": [0.5, 1]}}, "whole numbers", id="label_half"
        ),
        pytest.param(
            {"op": "conditional_batch_norm", "inputs": {"labels": [9, 1]}},
            "cannot take these",
            id="label_large",
        ),
        pytest.param({"op": "gdn", "inputs": {"beta": [-1e5] * 4}}, "not finite|cannot", id="not_finite"),
        pytest.param({"op": "batch_norm", "options": {"epsilon": "1"}}, "epsilon", id="option"),
        pytest.param({"op": "batch_norm", "options": {"eps": 1}}, "object of texts", id="option_number"),
        pytest.param({"op": "batch_norm", "options": {"eps": "1" * 99}}, "40 characters", id="option_long"),
    ],
)
def test_a_question_that_cannot_be_answered_says_why(question, words):
    with pytest.raises(ValueError, match=words):
        answer(question)


def test_the_graph_is_an_svg_or_says_what_to_install():
    found = graph({"op": "rms_norm"})
    assert "<svg" in found["svg"] or "Graphviz" in found["problem"]
