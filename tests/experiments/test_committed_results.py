"""The results in docs/experiments: complete, and the page is the one that they give."""

from pathlib import Path

import pytest

from tinygrad_norm import experiments

FOLDER = Path(__file__).parents[2] / "docs" / "experiments"


@pytest.fixture(scope="module")
def found():
    return experiments.report(FOLDER)


def test_the_page_is_made_of_the_figures(found):
    again = "tinygrad-norm experiment report docs/experiments --no-pictures"
    page = experiments.markdown(found, FOLDER, pictures=False)
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == page, again


def test_nothing_has_changed_since_the_run(found):
    """Neither rules nor verdicts, and no run is unfinished."""
    assert found.remarks == []


def test_every_exact_claim_is_there(found):
    exact = [name for name, one in experiments.EXPERIMENTS.items() if one.kind == "exact"]
    assert [one.experiment.name for one in found.outcomes if one.experiment.kind == "exact"] == exact


def test_the_figures_are_small():
    assert sum(path.stat().st_size for path in FOLDER.glob("*.json")) <= 1_000_000
