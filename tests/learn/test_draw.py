"""draw: the contents of a picture, when it shows gradients, and drawing without Graphviz."""

import re
import shutil
import subprocess
import sys

import numpy
import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd import Function
from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.learn.dot import Panel, build
from tinygrad_norm.learn.flows import flows_of
from tinygrad_norm.learn.subgraph import find_subgraph
from tinygrad_norm.module import Module, Parameter
from tinygrad_norm.normalization import BatchNorm1d, LayerNorm

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's program dot is not installed")

NODE = re.compile(r"^\t+(\w+) \[label=(.*)\]$", re.MULTILINE)
EDGE = re.compile(r"^\t+(\w+) -> (\w+)(?! \[style=invis\])(?: \[.*\])?$", re.MULTILINE)


def text_of(drawing):
    """Its DOT text with single spaces."""
    return re.sub("(?:&#160;| )+", " ", drawing.dot)


def nodes(drawing):
    return dict(NODE.findall(text_of(drawing)))


def edges(drawing):
    return sorted(EDGE.findall(drawing.dot))


def tensor_nodes(drawing):
    return {key: label for key, label in nodes(drawing).items() if "data: " in label}


@pytest.fixture
def example():
    x = tn.tensor([[1.0, -2.0, 4.0]], requires_grad=True)
    weight = Parameter(numpy.float32([2.0, 3.0, 5.0]))
    h = x * weight
    return x, weight, h, (h + 0.5).sum()


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


# -- gradients


def test_before_backward_no_gradient_is_computed(example):
    labels = tensor_nodes(tn.draw(example[-1])).values()
    assert len(labels) == 5
    assert all("grad: not computed" in label for label in labels)


def test_after_backward_leaves_show_theirs_and_the_rest_was_not_kept(example):
    y = example[-1]
    y.backward(retain_graph=True)
    x, weight, *computed = tensor_nodes(tn.draw(y)).values()
    assert "grad: 2.000 3.000 5.000" in x
    assert "grad: 1.000 -2.000 4.000" in weight
    assert len(computed) == 3
    assert all("grad: not kept (retain_grad() keeps it)" in label for label in computed)


def test_gradients_stand_below_their_values(example):
    y = example[-1]
    y.backward(retain_graph=True)
    label = dict(NODE.findall(tn.draw(y).dot))["t1"].replace("&#160;", " ")
    assert "data: 2.000   3.000  5.000<" in label
    assert "grad: 1.000  -2.000  4.000<" in label


def test_a_retained_gradient_is_shown(example):
    *_, h, y = example
    h.retain_grad()
    assert "grad: not computed" in tensor_nodes(tn.draw(y))["t2"]
    y.backward(retain_graph=True)
    assert "grad: 1.000 1.000 1.000" in tensor_nodes(tn.draw(y))["t2"]


def test_a_graph_that_backward_has_freed_raises_or_is_marked():
    x = tn.tensor([1.0], requires_grad=True)
    loss = (x * 3.0).sum()
    total = loss + 1.0
    loss.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        tn.draw(loss)
    freed = nodes(tn.draw(total))
    assert "inputs freed by backward" in freed["f0"]
    assert "freed" not in freed["f1"]


def test_a_zero_gradient_differs_from_a_missing_one():
    x = tn.tensor([1.0], requires_grad=True)
    y = x * 0.0
    assert "grad: not computed" in nodes(tn.draw(y))["t0"]
    y.backward(retain_graph=True)
    assert "grad: 0<" in nodes(tn.draw(y))["t0"]


def test_a_backward_elsewhere_computes_nothing_here():
    x = tn.tensor([1.0], requires_grad=True)
    here, elsewhere = x * 2, x * 3
    elsewhere.backward()
    assert "grad: 3.000" in nodes(tn.draw(here))["t0"]
    assert "grad: not computed" in nodes(tn.draw(here))["t1"]


def test_a_failed_backward_leaves_gradients_not_computed(example):
    *_, h, _ = example
    with pytest.raises(RuntimeError, match="gradient"):
        h.backward()
    assert "not kept" not in tn.draw(h).dot


def test_a_constant_has_no_gradient_to_wait_for(example):
    x, *_ = example
    label = nodes(tn.draw(x + tn.tensor([1.0, 2.0, 3.0])))["t1"]
    assert "constant" in label
    assert "grad" not in label


# -- gradients for the picture


def test_with_dy_every_gradient_is_shown_and_none_is_kept(example):
    x, weight, h, y = example
    h.retain_grad()
    labels = list(tensor_nodes(tn.draw(y, dy=2.0)).values())
    assert all("grad: " in label and "not computed" not in label for label in labels)
    assert "grad: 4.00 6.00 10.00" in labels[0]
    assert x.grad is None
    assert weight.grad is None
    assert h.grad is None


def test_an_arrow_shows_its_part_where_gradients_add_up():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    y = x * 3.0 + x * x
    drawing = tn.draw(y, dy=[1.0, 1.0])
    parts = {key: label for key, label in nodes(drawing).items() if key.startswith("t0_f")}
    values = [re.findall(r"\d\.\d+", label) for label in parts.values()]
    assert sorted(values) == [["1.000", "2.000"], ["1.000", "2.000"], ["3.000", "3.000"]]
    assert "grad: 5.000 7.000" in text_of(drawing)
    for key in parts:
        assert ("t0", key) in edges(drawing)
        assert (key, key.split("_")[1]) in edges(drawing)
    assert ("t1", "f2") in edges(drawing)  # what comes back along the only arrow of t1 is its gradient


def test_the_parts_of_all_arrows_add_up_to_the_gradient():
    x = tn.tensor([[1.0, 2.0, 4.0]], requires_grad=True)
    a = x.exp()
    y = (a * a).sum(1) / a.sum(1) + x.mean()
    for t in (a, x):
        t.retain_grad()
    flows = flows_of([y], [numpy.float32([1.0])])
    y.backward(numpy.float32([1.0]), retain_graph=True)
    for t in (x, a):
        parts = [dx for (node, i), dx in flows.arrows.items() if node.inputs[i] is t]
        assert len(parts) > 1
        numpy.testing.assert_allclose(sum(parts), t.grad.numpy(), rtol=1e-6)
        numpy.testing.assert_array_equal(flows.tensors[id(t)], t.grad.numpy())


def test_a_wrong_dy_raises(example):
    y = example[-1]
    with pytest.raises(ValueError, match="one gradient for each of 1 outputs, got 2"):
        tn.draw([y], dy=[1.0, 2.0])
    with pytest.raises(RuntimeError, match="gradient has shape"):
        tn.draw(y, dy=[1.0, 2.0])


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


# -- files and notebooks


@needs_dot
@pytest.mark.parametrize(
    ("suffix", "start"),
    [(".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF"), (".dot", b"digraph"), (".SVG", b"<?xml")],
)
def test_the_suffix_chooses_the_format(example, tmp_path, suffix, start):
    path = tn.draw(example[-1]).save(tmp_path / "deep" / f"y{suffix}")
    assert path == tmp_path / "deep" / f"y{suffix}"
    assert path.read_bytes().startswith(start)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@needs_dot
def test_graphviz_reads_the_text(example, tmp_path):
    path = tn.draw(example[-1], {"x": example[0]}).save(tmp_path / "y.dot")
    done = subprocess.run(["dot", "-Tplain", path], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len(re.findall("^node", done.stdout, re.MULTILINE)) == 8


@pytest.mark.parametrize("name", ["y.jpg", "y", "y.svg.gz"])
def test_another_suffix_raises(example, tmp_path, name):
    with pytest.raises(ValueError, match=r"\.svg, \.png, \.pdf, \.dot"):
        tn.draw(example[-1]).save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_without_dot_the_text_is_saved(example, tmp_path, without_dot):
    drawing = tn.draw(example[-1])
    with pytest.warns(
        UserWarning,
        match=r"tinygrad_norm\[graph\].*apt install graphviz.*brew install graphviz.*conda.*y\.dot",
    ):
        path = drawing.save(tmp_path / "y.svg")
    assert path == tmp_path / "y.dot"
    assert path.read_text() == drawing.dot
    assert drawing.save(tmp_path / "z.dot").read_text() == drawing.dot


def test_without_dot_the_library_in_pygraphviz_draws(example, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.delitem(sys.modules, "pygraphviz", raising=False)
    (tmp_path / "pygraphviz.py").write_text(
        "class AGraph:\n"
        "    def __init__(self, string):\n"
        "        self.string = string\n"
        "    def draw(self, format, prog):\n"
        "        if format == 'pdf':\n"
        "            raise ValueError('no such format')\n"
        "        return f'{prog} {format} {self.string}'.encode()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    drawing = tn.draw(example[-1])
    path = drawing.save(tmp_path / "y.svg")
    assert path.read_text() == f"dot svg {drawing.dot}"
    with pytest.warns(UserWarning, match="pygraphviz failed: ValueError: no such format"):
        assert drawing.save(tmp_path / "y.pdf") == tmp_path / "y.dot"
    monkeypatch.delitem(sys.modules, "pygraphviz")


def test_where_dot_fails_the_text_is_saved(example, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "dot"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'no such font' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    with pytest.warns(UserWarning, match="dot failed: no such font"):
        assert tn.draw(example[-1]).save(tmp_path / "y.png") == tmp_path / "y.dot"


@needs_dot
def test_a_notebook_shows_the_picture(example):
    drawing = tn.draw(example[-1])
    assert "<svg" in drawing._repr_svg_()
    bundle = drawing._repr_mimebundle_()
    assert bundle["image/svg+xml"] == drawing._repr_svg_()
    assert "5 tensors" in bundle["text/plain"]
    assert "3 functions" in bundle["text/plain"]


def test_a_notebook_shows_the_text_without_dot(example, without_dot):
    drawing = tn.draw(example[-1])
    assert drawing._repr_svg_() is None
    bundle = drawing._repr_mimebundle_()
    assert list(bundle) == ["text/plain"]
    assert "apt install graphviz" in bundle["text/plain"]
    assert drawing.dot in bundle["text/plain"]


def test_a_function_without_a_formula_leaves_no_empty_font():
    """Graphviz would call that a syntax error."""

    class Square(Function):
        def forward(self, x):
            self.saved = (x,)
            return x * x

        def backward(self, dy):
            (x,) = self.saved
            return 2 * dy * x

    dot = tn.draw(Square.apply(tn.ones(2, requires_grad=True))).dot
    assert "<B>Square</B>" in dot
    assert not re.search(r"<FONT[^>]*></FONT>", dot)
