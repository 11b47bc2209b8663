"""draw_model: a model folded by its layers."""

import re

import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.learn import draw_model
from tinygrad_norm.learn.subgraph import Folded

NODE = re.compile(r"^\t+(\w+) \[label=(.*)\]$", re.MULTILINE)


class Net(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.embed = nn.Linear(3, 4)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), layers)
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x))).sum()


def titles(drawing):
    found = (re.search(r"<B>([^<]*)</B>", label) for key, label in NODE.findall(drawing.dot) if key[0] == "f")
    return [match[1] for match in found if match]


def test_a_small_model_is_drawn_whole_with_its_names_and_gradients():
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    drawing = draw_model(model, tn.randn(1, 2), dy=[[1.0, 0.0, 0.0]])
    assert titles(drawing) == ["Linear", "LayerNorm"]
    for name in ("0.weight", "1.bias", "input"):
        assert f"<B>{name}</B>" in drawing.dot
    assert "not computed" not in drawing.dot
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("layers", [2, 12, pytest.param(40, marks=pytest.mark.slow)])
def test_equal_layers_in_a_row_are_one_box_with_a_count(layers):
    drawing = draw_model(Net(layers), tn.randn(1, 2, 3))
    assert f"{layers} × TransformerEncoderLayer" in titles(drawing)
    assert f"encoder.layers.0 … encoder.layers.{layers - 1}" in drawing.dot
    assert "22 functions each" in drawing.dot
    assert len(NODE.findall(drawing.dot)) < 20
    assert "not computed" not in drawing.dot  # the result is one number, its own loss


def test_layers_that_differ_are_boxes_of_their_own():
    layers = [nn.Sequential(*(nn.Linear(2, 2) for _ in range(n))) for n in (9, 10, 11)]
    drawing = draw_model(nn.Sequential(*layers), tn.randn(1, 2))
    assert titles(drawing) == ["Sequential"] * 3 or titles(drawing) == [f"{n} × Linear" for n in (9, 10, 11)]


def test_too_many_nodes_are_cut_off_with_a_message():
    drawing = draw_model(nn.Sequential(*(nn.Linear(1, 1) for _ in range(3))), tn.ones(1, 1), max_nodes=5)
    assert drawing.omitted == 2
    assert "2 earlier functions are not drawn" in drawing.dot


def test_a_box_takes_the_place_of_its_functions():
    box = Folded("layer", ())
    assert box.count == 1
    assert box != Folded("layer", ())


def test_wrong_calls_raise():
    with pytest.raises(TypeError, match="needs a Module and its inputs, got Tensor"):
        draw_model(tn.ones(1))
    with pytest.raises(TypeError, match="must return a Tensor or several, got dict"):
        draw_model(Dictionary(), tn.ones(1))


class Dictionary(nn.Module):
    def forward(self, x):
        return {"y": x}
