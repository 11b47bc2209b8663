"""The results in docs/experiments: complete, and the page is the one that they give."""

import sys
from pathlib import Path

import pytest

from tinygrad_norm import experiments
from tinygrad_norm.experiments.measuring_code import fingerprint

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


def test_the_code_that_measures_is_that_of_the_run(found):
    """Else `experiment run` would measure anew what is here."""
    jobs = [(one.experiment, job) for one in found.outcomes for job in one.record.jobs]
    if {job.made["python"].rpartition(".")[0] for _, job in jobs} != {"{}.{}".format(*sys.version_info)}:
        pytest.skip("made with another version of Python, which may write the same code otherwise")
    assert {one.name for one, job in jobs if job.code != fingerprint(one.measure)} == set(), "run them again"


def test_every_exact_claim_is_there(found):
    exact = [name for name, one in experiments.EXPERIMENTS.items() if one.kind == "exact"]
    assert [one.experiment.name for one in found.outcomes if one.experiment.kind == "exact"] == exact


def test_the_figures_are_small():
    assert sum(path.stat().st_size for path in FOLDER.glob("*.json")) <= 1_000_000
