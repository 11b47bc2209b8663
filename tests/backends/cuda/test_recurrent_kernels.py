"""The kernels of time steps: LSTM and GRU with all options have the results of NumPy in float64."""

import shutil

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.backends import emulator, to_numpy
from tinygrad_norm.backends.cuda.elements import ElementSource
from tinygrad_norm.nn.recurrent import lstm_steps
from tinygrad_norm.nn.recurrent.gru import gru_layer
from tinygrad_norm.nn.recurrent.lstm import lstm_layer

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++: apt install g++")
T, N, D, H = 4, 3, 5, 6


def run(layer, backend, dtype, bias=True, lengths=None, reverse=False, projected=0):
    """The outputs and all gradients, and the launches by name."""
    rng = np.random.default_rng(0)
    gates, P = (4, projected or H) if layer is lstm_layer else (3, H)
    shapes = [(T, N, D), (N, P), *([(N, H)] if gates == 4 else []), (gates * H, D), (gates * H, P)]
    shapes += [(gates * H,)] * 2 if bias else []
    drawn = [rng.normal(size=shape) for shape in shapes] + ([rng.normal(size=(P, H))] if projected else [])
    with tn.use_backend(backend), emulator.schedule(checked=True), emulator.record() as launches:
        tensors = [Tensor(a.astype(dtype), requires_grad=True) for a in drawn]
        x, *states = tensors[: 3 if gates == 4 else 2]
        weights = tensors[len(states) + 1 :]
        given = [*weights[:2], *(weights[2:4] if bias else (None, None))]
        hx = tuple(states) if gates == 4 else states[0]
        last = (weights[-1] if projected else None,) if gates == 4 else ()
        ys = layer(x, hx, *given, *last, lengths=lengths, reverse=reverse)
        dys = [np.random.default_rng(k).normal(size=y.shape).astype(dtype) for k, y in enumerate(ys)]
        results = [to_numpy(a.array) for a in (*ys, *grad(ys, tensors, dys))]
    return results, [launch.name.partition("<")[0] for launch in launches]


OPTIONS = {
    "plain": {},
    "no bias": {"bias": False},
    "reverse": {"reverse": True},
    "padded": {"lengths": [4, 1, 3]},
    "padded in reverse": {"lengths": [2, 4, 3], "reverse": True},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("layer", [lstm_layer, gru_layer])
def test_a_layer_has_the_results_of_numpy(layer, name):
    expected, _ = run(layer, "numpy", np.float64, **OPTIONS[name])
    found, launches = run(layer, "emulator", np.float32, **OPTIONS[name])
    kind = layer.__name__.removesuffix("_layer")
    assert launches == [f"{kind}_step"] * T + [f"{kind}_step_backward"] * T
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(abs(b).max(), 1))


def test_an_lstm_with_a_projection():
    expected, _ = run(lstm_layer, "numpy", np.float64, projected=2)
    found, _ = run(lstm_layer, "emulator", np.float64, projected=2)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12 * max(abs(b).max(), 1))


@pytest.mark.parametrize(
    ("old", "new"), [("f * A(c[k]) + i * g", "f * A(c[k]) - i * g"), ("dc[k] = T(d * f)", "dc[k] = T(d)")]
)
def test_planted_errors_are_seen(old, new, tmp_path, monkeypatch):
    source = ElementSource(lstm_steps.__file__)
    text = source.path.read_text()
    assert text.count(old) == 1
    wrong = tmp_path / source.path.name
    wrong.write_text(text.replace(old, new))
    source.parts = (*source.parts[:-1], wrong)
    monkeypatch.setattr(lstm_steps, "_kernels", source)
    expected, _ = run(lstm_layer, "numpy", np.float64)
    found, _ = run(lstm_layer, "emulator", np.float32)
    assert not all(np.allclose(a, b, atol=1e-4) for a, b in zip(found, expected, strict=True))
