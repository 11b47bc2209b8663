"""What the explorer answers: the numbers of the library, for every normalization; else clear words."""

import json
import math

import numpy
import pytest

from tinygrad_norm.explore.answer import answer, graph, list_of_norms
from tinygrad_norm.explore.question import MOST, read
from tinygrad_norm.learn.explanation import explain
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
    expected = explain(op, given.inputs[0].array, seed=3, **given.options)
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
    y = next(value for value in (*found["outputs"], *found["values"]) if value["name"] in ("y", "x̂"))
    expected = (x - x.mean()) / numpy.sqrt(x.var() + 1e-5)
    numpy.testing.assert_allclose(y["array"]["values"], expected, rtol=1e-12)
    assert found["pools"][0] == list(range(16))
    assert found["options"]["num_groups"] == "1"


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
