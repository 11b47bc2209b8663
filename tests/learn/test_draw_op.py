"""draw_op: the picture of a registered op, composed form beside closed form."""

import inspect
import re
from collections import defaultdict
from graphlib import TopologicalSorter

import pytest

from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.learn.array_summary import summarize
from tinygrad_norm.learn.draw_op import draw_op
from tinygrad_norm.learn.given import choose, names_of_arguments
from tinygrad_norm.registry import REGISTRY

EDGE = re.compile(r"^\t+(\w+) -> (\w+)(?: \[(?!style=invis).*\])?$", re.MULTILINE)
NODE = re.compile(r"^\t+(\w+) \[label=(.*)\]$", re.MULTILINE)


def nodes(drawing):
    return dict(NODE.findall(re.sub("(?:&#160;| )+", " ", drawing.dot)))


def tensor_nodes(drawing):
    return {key: label for key, label in nodes(drawing).items() if "data:" in label}


def dx_of(op, form):
    """The gradient of the first input on the first case, for the dy of the picture."""
    given = choose(op, case=op.cases[0])
    y = op.call(given.inputs, given.options, form)
    ys = [y] if isinstance(y, Tensor) else [y for y in y if y.requires_grad]
    return grad(ys, [given.inputs[0]], given.dys(ys))[0].numpy()


def shown(array):
    return re.sub(" +", " ", summarize(array)[0])


def draw(name, *forms, **options):
    return draw_op(REGISTRY[name], None, forms or ("composed", "closed"), **options)


@pytest.mark.parametrize(
    ("op", "parameters"),
    [
        ("layer_norm", ["w", "b"]),
        ("gru", ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]),
        ("filter_response_norm", ["w", "b", "τ"]),
        ("weight_norm", ["v", "g"]),
        ("adaptive_group_norm", []),
        ("mse_loss", []),
        ("lstm", [f"weights[{i}]" for i in range(4)]),
        ("multihead_attention", [f"parameters[{i}]" for i in range(4)]),
    ],
)
def test_the_weights_of_an_op_are_parameters_also_those_in_a_list(op, parameters):
    registered = REGISTRY[op]
    labels = tensor_nodes(draw_op(registered, registered.cases[0], ["closed"])).values()
    marked = [re.search(r"<B>([^<]+)</B>", label)[1] for label in labels if ">parameter<" in label]
    assert sorted(marked) == sorted(parameters)


def test_registered_parameters_are_inputs_of_the_op():
    for op in REGISTRY.values():
        names = names_of_arguments(op, max(len(case.inputs) for case in op.cases))
        assert set(op.parameters) <= {name.partition("[")[0] for name in names}, op.name


def test_a_layer_with_a_parameter_has_an_op_that_is_registered_with_one():
    """What a function of a normalization calls weight, bias or gain, a module would train."""
    for op in REGISTRY.values():
        if op.kind == "normalization":
            arguments = inspect.signature(op.function).parameters.values()
            tensors = {argument.name for argument in arguments if "Tensor" in str(argument.annotation)}
            assert tensors & {"weight", "bias", "gain", "g", "tau", "alpha"} <= set(op.parameters), op.name


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_registered_op_can_be_drawn(name):
    op = REGISTRY[name]
    forms = ("composed", "closed") if op.composed else ("closed",)
    drawing = draw_op(op, op.cases[0], forms)
    assert drawing.dot.count("subgraph cluster_") == len(forms)
    assert "not kept" not in drawing.dot
    assert ("not computed" in drawing.dot) <= ("not computed" in draw_op(op, op.cases[0], forms[-1:]).dot)


def gradients(drawing, panel):
    found = {}
    for key, label in nodes(drawing).items():
        name = re.search(r"<B>(\w+)</B>", label)
        if key.startswith(f"p{panel}_t") and name and name[1] in ("x", "w", "b"):
            found[name[1]] = label[label.index("grad:") :]
    return found


def test_composed_stands_beside_closed_form_with_the_same_gradients():
    op = REGISTRY["layer_norm"]
    drawing = draw_op(op, op.cases[0], ("composed", "closed"))
    assert "<B>composed: 9 functions</B>" in drawing.dot
    assert "<B>closed form: 1 function</B>" in drawing.dot
    assert gradients(drawing, 0) == gradients(drawing, 1)
    assert set(gradients(drawing, 0)) == {"x", "w", "b"}
    assert shown(dx_of(op, op.composed)) in gradients(drawing, 1)["x"]


def test_dy_is_not_the_input():
    op = REGISTRY["layer_norm"]
    labels = nodes(draw_op(op, op.cases[0], ("closed",)))
    data = re.search("data: ([^<]*)<", labels["p0_t0"])[1]
    dy = re.search("grad: ([^<]*)<", labels["p0_t3"])[1]
    assert data != dy


def test_before_backward_an_op_has_no_gradients():
    op = REGISTRY["layer_norm"]
    dot = draw_op(op, op.cases[0], ("closed",), backward=False).dot
    assert dot.count("grad: not computed") == 4
    assert "before backward" in dot


# -- what the small picture of layer_norm shows


@pytest.fixture(scope="module")
def layer_norm():
    return draw("layer_norm")


def test_values_have_the_names_of_the_derivation(layer_norm):
    titles = [re.search(r"<B>([^<]+)</B>", label)[1] for label in tensor_nodes(layer_norm).values()]
    assert titles == ["x", "m", "centered", "t₁", "v", "t₂", "r", "y = x̂", "x", "y"]


def test_a_box_shows_formula_and_derivative_in_these_names(layer_norm):
    for line in (
        "centered = x - m",
        "dx = dcentered, dm = -dcentered",
        "r = t₂^-0.5",
        "dt₂ = dr·(-0.5)·t₂^-1.5",
    ):
        assert f"<BR/>{line}</FONT>" in layer_norm.dot


def test_the_numbers_are_those_of_the_readme(layer_norm):
    text = layer_norm.dot.replace("&#160;", " ")
    assert "data: 1.000   2.000   3.000  6.000" in text
    assert "grad: 0.248  -0.210  -0.134  0.095" in text
    for arrow, part in (
        ("p0_t0_p0_f0", "-0.134  -0.134  -0.134  -0.134"),
        ("p0_t0_p0_f1", "0.382  -0.076  0  0.229"),
    ):
        assert f">{part}<" in text[text.index(arrow) :].partition("\n")[0]


def test_the_closed_form_shows_the_paths_and_their_sum(layer_norm):
    notes = dict(NODE.findall(layer_norm.dot))["p1_notes"].replace("&#160;", " ")
    rows = [line.split() for line in re.sub("<[^>]*>", "\n", notes).splitlines()]
    assert ["straight", "r·g_i", "0.535", "0", "0", "0"] in rows
    assert ["through", "m", "-r·mean(g)", *["-0.134"] * 4] in rows
    assert ["through", "r", "-r·x̂_i·mean(g·x̂)", "-0.153", "-0.076", "0", "0.229"] in rows
    assert ["sum", "dx", "0.248", "-0.210", "-0.134", "0.095"] in rows
    assert "dx = r·(g - mean(g) - x̂·mean(g·x̂))" in notes


def test_x_dy_and_shape_are_drawn():
    text = re.sub("(?:&#160;| )+", " ", draw("rms_norm", "closed", x=[1, 2, 2], dy=[0, 1, 0]).dot)
    assert "data: 1.000 2.000 2.000" in text
    assert "grad: 0 1.000 0" in text
    assert "(2, 4) float64" in draw("layer_norm", "closed", shape=(2, 4), seed=1).dot
    assert (
        draw("layer_norm", "closed", shape=(2, 4), seed=1).dot != draw("layer_norm", shape=(2, 4), seed=2).dot
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": [1, 2], "shape": (2,)}, "x or shape"),
        ({"x": [1, 2], "dy": [1, 2, 3]}, "a number for each of y, 2"),
        ({"shape": (100, 100)}, "400"),
    ],
)
def test_wrong_numbers_raise(options, message):
    with pytest.raises(ValueError, match=message):
        draw("layer_norm", **options)
    with pytest.raises(ValueError, match="a case has an x of its own"):
        draw_op(REGISTRY["layer_norm"], REGISTRY["layer_norm"].cases[0], x=[1, 2])


# -- large ones are folded


@pytest.mark.parametrize("name", ["transformer_decoder_layer", "lstm", "batch_norm_lstm", "conv_transpose3d"])
def test_a_block_is_folded_until_it_can_be_read(name):
    drawing = draw(name, "composed")
    assert len(nodes(drawing)) <= 51  # and the box of the paths
    assert drawing.omitted == 0
    assert re.search(r"\d+ functions", drawing.dot)
    before = defaultdict(set)
    for tail, head in EDGE.findall(drawing.dot):
        before[head].add(tail)
    assert len(list(TopologicalSorter(before).static_order())) <= len(nodes(drawing))  # raises in a circle


def test_a_folded_box_has_the_name_of_the_function_and_the_gradient_of_all_its_uses():
    dot = draw("transformer_encoder_layer", "composed").dot
    assert "<B>multihead_attention</B>" in dot
    assert "41 functions: Split, Transpose" in dot.replace("&#160;", " ")
    assert "parameters[0]" in dot
    assert "data: 0.050" not in dot  # the parameters are in the box


def test_a_graph_with_too_many_nodes_is_cut_off_with_a_note():
    drawing = draw("conv_transpose3d", "composed", max_nodes=10)
    assert drawing.omitted == 89
    assert "89 earlier functions are not drawn" in drawing.dot
    assert len(tensor_nodes(drawing)) < 10


def test_the_gradients_of_a_folded_picture_are_those_of_autograd():
    op = REGISTRY["multihead_attention"]
    drawing = draw_op(op, op.cases[0], ("composed",))
    assert "<B>attention</B>" in drawing.dot
    assert shown(dx_of(op, op.composed)) in " ".join(tensor_nodes(drawing).values())
