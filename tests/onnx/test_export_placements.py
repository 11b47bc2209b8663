"""Transformers with norms in every place, norms of q and k, and soft caps: exported, and run again."""

import numpy
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn

pytest.importorskip("onnx")
OPTIONS = {
    "sub, capped": {"placement": "sub", "softcap": 1.0},
    "hybrid": {"placement": "hybrid"},
    "scaled, all heads": {"placement": "scaled", "qk_norm": "rms-all"},
    "mix, weightless": {"placement": "mix", "qk_norm": "rms-weightless"},
    "output": {"placement": "output"},
}


class Capped(nn.Module):
    def __init__(self, **options):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, "gelu", batch_first=True, **options)
        self.encoder = nn.TransformerEncoder(layer, 4)

    def forward(self, x):
        return nn.functional.softcap(self.encoder(x), 3.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_a_transformer_is_exported_and_computes_the_same(tmp_path, name):
    tn.manual_seed(0)
    model, path = Capped(**OPTIONS[name]).eval(), tmp_path / "model.onnx"
    x = tn.tensor(numpy.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32"))
    tn.onnx.export(model, (x,), path)
    numpy.testing.assert_allclose(tn.onnx.load(path)(x).numpy(), model(x).numpy(), atol=5e-6)
