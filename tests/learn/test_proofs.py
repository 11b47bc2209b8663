"""tn.prove: its table, its arguments and its answers to wrong calls."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.autograd import Function
from tinygrad_norm.registry import REGISTRY, Case, Op


class WrongSquare(Function):
    """y = x² · dx = 3·dy·x, which is wrong"""

    def forward(self, x):
        self.saved = (x,)
        return x * x

    def backward(self, dy):
        return 3 * dy * self.saved[0]


SQUARE = lambda x: x * x, lambda dy, x: 2 * x * dy


@pytest.fixture
def wrong(monkeypatch):
    op = Op("wrong_square", lambda x: WrongSquare.apply(x), None, (Case(((2, 3),)), Case(((2,),))))
    monkeypatch.setitem(REGISTRY, op.name, op)


def test_a_table_and_a_summary():
    proofs = tn.prove("rms_norm", "exp")
    assert [proof.verdict for proof in proofs] == ["proved", "not algebraic"]
    lines = str(proofs).splitlines()
    assert lines[0].split() == ["op", "kind", "cases", "points", "bound", "ms", "verdict"]
    assert lines[1].split()[:2] == ["rms_norm", "normalization"]
    assert lines[2].endswith("not algebraic: exp")
    assert lines[-1].startswith("1 of 2 ops proved, in ")
    assert repr(proofs) == "<proofs of rms_norm, exp: print shows them>"


def test_a_refutation_names_the_input_the_entry_and_the_smallest_case(wrong):
    (proof,) = tn.prove("wrong_square")
    assert proof.verdict == "refuted"
    text = str(tn.prove("wrong_square"))
    assert "wrong_square is refuted: the gradient of x is wrong at [0]\n  case        2\n" in text
    assert "They differ by 3.3e-01 of the larger one." in text


def test_functions_of_ones_own():
    assert tn.prove(SQUARE)[0].verdict == "proved"
    assert tn.prove(SQUARE, inputs=np.arange(3.0))[0].cases == 1
    assert [proof.verdict for proof in tn.prove("neg", SQUARE, WrongSquare)] == [
        "proved",
        "proved",
        "refuted",
    ]


def test_a_file(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "def square(x):\n    return x * x\n\n\ndef square_backward(dy, x):\n    return 3 * x * dy\n"
    )
    (proof,) = tn.prove(f"{path}:square")
    assert (proof.name, proof.verdict) == ("square", "refuted")  # both functions, not autograd's own gradient


def test_points_and_seed():
    (proof,) = tn.prove("neg", points=3, seed=7)
    assert proof.points == 3
    with pytest.raises(ValueError, match="points"):
        tn.prove("neg", points=0)
    with pytest.raises(TypeError, match="seed"):
        tn.prove("neg", seed=0.5)


def test_wrong_calls():
    with pytest.raises(ValueError, match=r"op is called 'layer_nrm' \(did you mean 'layer_norm'"):
        tn.prove("layer_nrm")
    with pytest.raises(TypeError, match="pass a Function class"):
        tn.prove(3)
    for names in ((), ("neg",), (SQUARE, SQUARE)):
        with pytest.raises(ValueError, match="inputs are those of one function of your own"):
            tn.prove(*names, inputs=np.ones(3))


def test_another_backend(monkeypatch):
    monkeypatch.setattr("tinygrad_norm.learn.proofs.current_backend", lambda: type("B", (), {"name": "cupy"}))
    with pytest.raises(RuntimeError, match="proofs run on NumPy, not on cupy"):
        tn.prove("neg")
