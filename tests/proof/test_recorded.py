"""The verdicts in the README and in docs/proof.md are those of proofs made now."""

import json
from pathlib import Path

import pytest

from tinygrad_norm.proof.agreement import digits_of
from tinygrad_norm.proof.proving import NOT_ALGEBRAIC, NOT_TESTED, PROVED, prove_op
from tinygrad_norm.proof.record import BEGIN, FILE, Recorded, recorded, replace_table
from tinygrad_norm.registry import REGISTRY

PAGE = Path(__file__).parents[2] / "docs/proof.md"
TRANSCENDENTAL = {
    *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "logaddexp", "erf", "eigh"),
    *("sin", "cos", "tan", "sinh", "cosh", "tanh"),
    *("arcsin", "arccos", "arctan", "arctan2", "arcsinh", "arccosh", "arctanh"),
}
OTHER_REASONS = {"argsort", "one_hot", "pow", "sinusoidal_positions", "subtractive_norm"}
"""No gradient; an exponent that varies; sines, and weights of a window, that are computed in floats."""

ROUNDED = {"interpolate", "subtractive_norm", "local_contrast_norm", "sinusoidal_positions"}
"""They compute constants in floats, so no more than 16 digits can agree."""


def test_there_is_a_verdict_for_every_op():
    assert list(json.loads(FILE.read_text(encoding="utf-8"))) == sorted(REGISTRY)


def test_the_table_of_the_page_is_made_from_them():
    text = PAGE.read_text(encoding="utf-8")
    assert replace_table(text) == text, "run python -m tinygrad_norm.proof.record docs/proof.md"


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="marker"):
        replace_table(BEGIN)


def test_what_is_not_proved_has_a_reason_and_its_digits():
    for name, each in recorded().items():
        if not each.proved:
            assert set(each.because.split(", ")) <= TRANSCENDENTAL or name in OTHER_REASONS, name
            assert each.digits is None or each.digits >= (15 if name in ROUNDED else 30), name


@pytest.mark.parametrize(
    ("each", "shown"),
    [(Recorded(True), "proved"), (Recorded(False, "exp", 40), "40 digits"), (Recorded(False), "–")],
)
def test_what_tables_show(each, shown):
    assert str(each) == shown


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_verdict_is_that_of_a_proof_made_now(name):
    each, proof = recorded()[name], prove_op(REGISTRY[name])
    if each.proved:
        assert proof.verdict == PROVED
        assert proof.bound < 1e-12
    else:
        assert proof.verdict in (PROVED, NOT_ALGEBRAIC, NOT_TESTED)
        assert proof.reason.partition(", at ")[0] == each.because
        worst = digits_of(REGISTRY[name]).worst
        assert each.digits == (None if worst is None else int(worst.digits))
