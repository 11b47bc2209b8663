"""The statements that everyone repeats: what is measured of them is what docs/repeated.md says."""

import pathlib
import re

import pytest
from example_scripts import load

SCRIPT = load("repeated_statements")
PAGE = (pathlib.Path(__file__).parent.parent / "docs/repeated.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^\*\*(\d+)\. (.*?)(?=^\*\*\d|^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))

FIGURES = {  # the lines of the script in their order, as the page has them; None is rounding
    1: ["2.30", "0.02", "0.15"],
    4: ["0.0446", "995.3"],
    5: ["1.461"],
    7: ["0.99"],
    9: [None, None, "34", "24", "26"],
    10: ["1.52", "2.98"],
    11: ["0.54", "2,896"],
    12: ["8", "128"],
    13: [None, "4.5", None],
    17: ["0.68", "1.13"],
    18: [None, "> 0.01"],
    19: ["7.99", "3.00", "1.98"],
    21: [None, "0.43"],
}
SLOW = {1, 4, 5, 7, 10}


def test_the_page_has_all_statements_and_names_the_script_of_each_that_is_measured():
    assert sorted(map(int, SECTIONS)) == list(range(1, 22))
    assert set(FIGURES) == set(SCRIPT.STATEMENTS)
    for number, section in SECTIONS.items():
        measured = int(number) in FIGURES
        assert measured == (f"repeated_statements.py --only {number}`" in section), number
        assert measured or "examples/" in section or "ot measured here" in section, number


@pytest.mark.parametrize(
    "number", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in FIGURES]
)
def test_the_page_says_what_is_measured(number, capsys):
    if number == 1:
        pytest.importorskip("sklearn")
    lines = SCRIPT.main(["--only", str(number)])[number]
    for (what, measured, _), figure in zip(lines, FIGURES[number], strict=True):
        if figure is None:
            assert measured < 1e-6, what
            continue
        if figure.startswith(">"):
            assert measured > float(figure[1:]), what
            continue
        plain = figure.replace(",", "")
        digits = len(plain.partition(".")[2])
        # Other processors round otherwise: one in the last place that the page shows.
        assert measured == pytest.approx(float(plain), abs=1.5 * 10**-digits), what
        assert figure in SECTIONS[str(number)], what
    assert f"{number}. “{SCRIPT.STATEMENTS[number][0]}”" in capsys.readouterr().out


def test_an_unknown_statement_is_named(capsys):
    with pytest.raises(SystemExit):
        SCRIPT.main(["--only", "4,16"])
    assert "there is no statement '16' here: choose of 1, 4, 5" in capsys.readouterr().err
