"""help(nn.LayerNorm) shows the formula and the gradient, and where they are derived."""

import inspect
import pydoc
import re
from pathlib import Path

import pytest

import tinygrad_norm
from tinygrad_norm import nn, normalization
from tinygrad_norm.module import Module

ROOT = Path(tinygrad_norm.__file__).parent.parent
IN_NN = [
    "AdaGroupNorm",
    "AdaLayerNorm",
    "AdaLayerNormZero",
    "CosineLinear",
    "CosineConv2d",
    "BatchNormLSTM",
    "LayerNormLSTM",
]
LAYERS = [
    *(x for x in vars(normalization).values() if inspect.isclass(x) and issubclass(x, Module)),
    *(getattr(nn, name) for name in IN_NN),
]


def test_help_shows_formula_backward_and_file():
    text = pydoc.plain(pydoc.render_doc(nn.LayerNorm))
    for line in (
        "x (..., D)   m = mean(x)   v = mean((x - m)²)   r = 1/√(v + eps)   x̂ = (x - m)·r   y = w·x̂ + b",
        "dx = r·(g - mean(g) - x̂·mean(g·x̂))",
        "Derived path by path in tinygrad_norm/normalization/sample/layernorm.py.",
    ):
        assert line in text


def test_help_of_a_function_names_the_file_once():
    text = inspect.getdoc(nn.functional.layer_norm)
    assert text.count("Derived path by path in tinygrad_norm/normalization/sample/layernorm.py.") == 1
    assert text.endswith("layernorm.py.")
    assert "dx = y·(dy - Σ dy·y)" in inspect.getdoc(nn.functional.softmax)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
def test_every_layer_shows_them_once(layer):
    text = inspect.getdoc(layer)
    head, formula, rest = re.split(r"^(?:Formula|Backward):$", text, flags=re.MULTILINE)
    assert head.strip()
    assert "= " in formula
    assert re.search(r"^    .*dx = ", rest, re.MULTILINE)
    (path,) = re.findall(r"Derived path by path in (\S+\.py)\.$", text)
    assert (ROOT / path).is_file()


def test_there_are_layers_to_show():
    assert len(LAYERS) > 45
