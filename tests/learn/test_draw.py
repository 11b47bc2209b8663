"""draw: the contents of a picture: nodes, names, what is left out."""

import re
import shutil

import numpy
import pytest
from dot_text import edges, nodes, tensor_nodes, text_of

import tinygrad_norm as tn
from tinygrad_norm.autograd import Function
from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.learn.dot import Panel, build
from tinygrad_norm.learn.subgraph import find_subgraph
from tinygrad_norm.module import Module
from tinygrad_norm.normalization import BatchNorm1d, LayerNorm

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's program dot is not installed")

# -- what stands in the picture


def test_functions_and_tensors_are_nodes_joined_in_the_order_of_computation(example):
    drawing = tn.draw(example[-1])
    names = {key: re.search(r"<B>(\w+)</B>", label) for key, label in nodes(drawing).items()}
    assert {key: match[1] for key, match in names.items() if match} == {"f0": "Mul", "f1": "Add", "f2": "Sum"}
    assert set(tensor_nodes(drawing)) == {"t0", "t1", "t2", "t3", "t4"}
    assert edges(drawing) == [
        ("f0", "t2"),
        ("f1", "t3"),
        ("f2", "t4"),
        ("t0", "f0"),
        ("t1", "f0"),
        ("t2", "f1"),
        ("t3", "f2"),
    ]


def test_a_tensor_shows_shape_dtype_and_values(example):
    labels = tensor_nodes(tn.draw(example[0].double()))
    assert "(1, 3) float32" in labels["t0"]
    assert "data: 1.000 -2.000 4.000" in labels["t0"]
    assert "(1, 3) float64" in labels["t1"]


def test_a_tensor_used_twice_is_one_node_with_two_edges():
    x = tn.tensor([3.0], requires_grad=True)
    drawing = tn.draw(x * x)
    assert len(tensor_nodes(drawing)) == 2
    assert edges(drawing) == [("f0", "t1"), ("t0", "f0"), ("t0", "f0")]


def test_inputs_are_labelled_with_the_names_of_the_formula(example):
    x, *_ = example
    assert 't0 -> f0 [label=" x "]' in tn.draw(LayerNorm(3)(x)).dot
    assert 't1 -> f0 [label=" weight "]' in tn.draw(LayerNorm(3)(x)).dot
    layer = LayerNorm(3)
    named = tn.draw(layer(x), {"0.weight": layer.weight}).dot  # it has the name already
    assert "t1 -> f0" in named
    assert 'label=" weight "' not in named


@pytest.mark.parametrize(
    ("compute", "shown"),
    [
        (lambda x: x * 2.0, "a × 2"),
        (lambda x: x + 1e-5, "a + 1e-05"),
        (lambda x: x**-0.5, "a ** -0.5"),
        (lambda x: 3 - x, "3 − b"),
        (lambda x: x / tn.tensor(4.0), "a / 4"),
        (lambda x: x.clamp(0, 6), "low = 0, high = 6"),
        (lambda x: x.clamp(max=1.5), "high = 1.5"),
    ],
)
def test_constant_numbers_stand_in_the_function_not_in_a_node(compute, shown):
    drawing = tn.draw(compute(tn.tensor([1.0, 2.0], requires_grad=True)))
    assert len(nodes(drawing)) == 3
    assert f"<BR/>{shown}</FONT>" in nodes(drawing)["f0"]


def test_a_constant_that_is_an_output_is_drawn():
    assert "data: 2.000" in nodes(tn.draw(tn.tensor(2.0)))["t0"]


def test_a_function_shows_formula_and_derivative(example):
    dot = tn.draw(example[2]).dot
    assert "<BR/>y = a·b</FONT>" in dot
    assert 'tooltip="y = a·b\\nda = dy·b, db = dy·a"' in dot


def test_a_function_whose_docstring_is_prose_shows_its_name():
    class TwiceFunction(Function):
        """Doubles its input.

        y = 2x · dx = 2·dy
        """

        def forward(self, x):
            return 2 * x

        def backward(self, dy):
            return 2 * dy

    class Child(TwiceFunction):
        pass

    x = tn.tensor([1.0], requires_grad=True)
    assert "<B>Twice</B></FONT>>" in nodes(tn.draw(TwiceFunction.apply(x)))["f0"]
    assert "y = 2x" not in tn.draw(TwiceFunction.apply(x)).dot
    assert "<B>Child</B>" in tn.draw(Child.apply(x)).dot


@pytest.mark.parametrize(
    ("compute", "shown"),
    [
        (lambda x: x.sum(0), ["y = Σ x over axes", "axes = (0,)"]),
        (lambda x: x.mean((0, -1)), ["y = Σ x / n over axes", "axes = (0, 2)"]),
        (lambda x: x.var((1, 2), correction=0), ["over axes", "correction = 0, axes = (1, 2)"]),
        (lambda x: x.prod(-1), ["y = Π x along dim", "dim = 2"]),
        (lambda x: x.logsumexp((0, 1)), ["y = log Σ exp(x) over axes", "axes = (0, 1)"]),
    ],
)
def test_a_function_shows_the_options_that_its_formula_names(compute, shown):
    label = nodes(tn.draw(compute(tn.ones(2, 3, 4, requires_grad=True))))["f0"]
    assert all(f"{line}<" in label for line in shown)


def test_options_are_shown_after_a_backward_that_freed_what_was_saved():
    y = tn.ones(2, 3, requires_grad=True).mean(1)
    y.sum().backward()
    assert "axes = (1,)" in nodes(tn.draw(y * 2.0))["f0"]


def test_several_outputs_of_one_function():
    class Halves(Function):
        """y = x[:n], x[n:] · dx = dy0, dy1 joined"""

        def forward(self, x):
            return x[: len(x) // 2], x[len(x) // 2 :]

        def backward(self, dy0, dy1):
            return numpy.concatenate([dy0, dy1])

    first, second = Halves.apply(tn.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True))
    drawing = tn.draw([second * 2, first])
    assert drawing.dot.count("<B>Halves</B>") == 1
    assert 'f0 -> t1 [label=" output 1 "]' in drawing.dot
    assert 'f0 -> t3 [label=" output 0 "]' in drawing.dot


def test_statistics_without_gradient_are_not_numbered_as_outputs():
    x = tn.tensor([[1.0], [2.0]], requires_grad=True)
    assert "output 0" not in tn.draw(BatchNorm1d(1)(x)).dot


def test_equal_computations_give_equal_text():
    def compute():
        x = tn.tensor([[1.0, 2.0]], requires_grad=True)
        h = LayerNorm(2)(x)
        return tn.draw(((h + x) * h).sum()).dot

    assert compute() == compute()


def test_a_picture_shows_the_moment_it_was_drawn(example):
    x, _, _, y = example
    drawing = tn.draw(y)
    before = drawing.dot
    y.backward(retain_graph=True)
    x.zero_()
    assert drawing.dot == before
    assert "data: 0 0 0" in text_of(tn.draw(y))


def test_a_result_that_was_not_recorded_is_a_single_tensor(example):
    with tn.no_grad():
        y = example[0] * 2
    assert list(nodes(tn.draw(y))) == ["t0"]
    assert "grad" not in nodes(tn.draw(y))["t0"]


# -- names and parameters


def test_parameters_are_marked_without_being_named(example):
    labels = tensor_nodes(tn.draw(example[-1]))
    assert "parameter" in labels["t1"]
    assert "#fdf3d8" in labels["t1"]
    assert sum("parameter" in label for label in labels.values()) == 1


def test_a_module_names_its_parameters():
    class Net(Module):
        def __init__(self):
            super().__init__()
            self.first = LayerNorm(3)

        def forward(self, x):
            return self.first(x)

    net = Net()
    drawing = tn.draw(net(tn.ones(2, 3)), net)
    assert "<B>first.weight</B>" in drawing.dot
    assert "<B>first.bias</B>" in drawing.dot


def test_a_mapping_names_anything(example):
    x, _, h, y = example
    labels = nodes(tn.draw(y, {"x": x, "h": h, "loss": y, "unused": tn.ones(1)}))
    assert "<B>x</B>" in labels["t0"]
    assert "<B>h</B>" in labels["t2"]
    assert "<B>loss</B>" in labels["t4"]


@needs_dot
@pytest.mark.parametrize(
    "name",
    ['<b>&"quotes"</b>', "<all>", "back\\slash \\N \\l", "new\nline", "\x00\x1b]0;", "]]>", "ŷ", "a;b->c{}"],
)
def test_any_name_is_text_not_markup(example, name, tmp_path):
    x, *_, y = example
    svg = tn.draw(y, {name: x}).save(tmp_path / "y.svg").read_text()
    shown = re.sub("&#(\\d+);", lambda code: chr(int(code[1])), "".join(re.findall(">([^<]*)</text>", svg)))
    for escaped, plain in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        shown = shown.replace(escaped, plain)
    expected = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    assert re.sub(r"\s", "", expected) in re.sub(r"\s", "", shown)


@pytest.mark.parametrize("wrong", [1.0, numpy.ones(3), [numpy.ones(3)], None, "y"])
def test_only_tensors_are_drawn(wrong):
    with pytest.raises(TypeError, match=r"the output is a \w+: wrap it with tn.tensor"):
        tn.draw(wrong)


def test_wrong_calls_raise(example):
    y = example[-1]
    with pytest.raises(ValueError, match="at least one tensor"):
        tn.draw([])
    with pytest.raises(TypeError, match=r"to write a file, use \.save\('m\.svg'\)"):
        tn.draw(y, "m.svg")
    with pytest.raises(TypeError, match="'lr' is a float"):
        tn.draw(y, {"lr": 0.1})
    with pytest.raises(TypeError, match=r"Module or a mapping .*, got Tensor"):
        tn.draw(y, example[0])
    with pytest.raises(ValueError, match="max_nodes must be at least 1, got 0"):
        tn.draw(y, max_nodes=0)


# -- large graphs


@pytest.mark.slow
def test_a_large_graph_is_cut_off_far_from_the_output_with_a_note():
    y = tn.tensor([1.0], requires_grad=True)
    for _ in range(100_000):
        y = y + 1.0
    drawing = tn.draw(y, max_nodes=7)
    assert "99,997 earlier functions are not drawn (max_nodes reached)" in drawing.dot
    assert set(nodes(drawing)) == {"more", "f0", "f1", "f2", "t0", "t1", "t2", "t3"}
    assert ("more", "t0") in edges(drawing)
    assert "data: 99998.0" in nodes(drawing)["t0"] or "data: 99998" in nodes(drawing)["t0"]


@pytest.mark.parametrize("max_nodes", range(1, 13))
def test_no_more_nodes_than_asked_for(max_nodes):
    x = tn.ones(3, 2, requires_grad=True)
    y = (x * tn.ones(2) + x * tn.ones(3, 1)).sum()
    graph = find_subgraph([y], max_nodes)
    assert len(graph.functions) + len(graph.tensors) <= max_nodes
    assert len(graph.functions) + graph.omitted == 4
    assert ("more" in nodes(tn.draw(y, max_nodes=max_nodes))) == (max_nodes < 11)


@pytest.mark.parametrize(("size", "count"), [(4, 0), (40, 1)])
@pytest.mark.parametrize("title", ["", "Title\nbelow"])
def test_the_summary_of_large_arrays_is_explained_once(size, count, title):
    x = Tensor(numpy.linspace(0, 1, size), requires_grad=True)
    text = build([Panel(find_subgraph([x.exp()], 10), {})], title).source
    assert text.count("large arrays: mean ± standard deviation, smallest … largest") == count
    assert text.count("<B>Title</B><BR/>below") == (title != "")
