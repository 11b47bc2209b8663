"""draw: when a picture shows gradients, and which part of one each arrow brings."""

import re
import shutil

import numpy
import pytest
from dot_text import NODE, edges, nodes, tensor_nodes, text_of

import tinygrad_norm as tn
from tinygrad_norm.learn.flows import flows_of

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's program dot is not installed")

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
