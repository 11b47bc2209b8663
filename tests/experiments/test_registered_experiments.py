"""Every registered experiment is complete, and a tiny run of it ends in a table, a plot and a verdict."""

import pytest

from tinygrad_norm import experiments
from tinygrad_norm.experiments.verdicts import FEWEST_SEEDS

TINY = {
    "bias-before-batchnorm": {"steps": 2},
    "weight-and-bias-restore-the-identity": {"steps": 3},
    "weight-norm-grows": {"steps": 3},
    "one-power-iteration": {"steps": 4, "every": 2},
    "qk-norm-bounds-logits": {"steps": 2},
    "adaln-zero-is-the-identity": {"steps": 2},
    "gradnorm-weights": {"steps": 2},
    "nf-resnet-variances": {"width": 8, "size": 16},
    "gradient-over-depth": {"depths": (1, 2), "features": 8},
    "warm-up-for-post-ln": {"steps": 2, "layers": 1, "features": 4},
    "smoother-loss": {"steps": 3, "looks": 2},
    "noisy-batchnorm": {"steps": 2},
    "spectral-norm-gan": {"steps": 2},
    "input-scaling": {"steps": 3},
    "rates-and-initialization": {"rates": (0.1, 1.0), "scales": (1, 2), "steps": 2},
    "deviation-norms": {"steps": 2, "train": 64},
    "own-statistics": {"images": 64, "train": 64},
    "ghost-batches": {"epochs": 1, "train": 256},
    "sorted-batches": {"steps": 2, "train": 100},
    "small-batches": {"images": 64, "train": 32},
    "rms-norm-against-layer-norm": {"steps": 2, "layers": 1, "features": 4, "turns": 2},
    "batch-norm-lstm-gamma": {"steps": 2, "length": 3, "features": 4},
    "batch-statistics-of-text": {"steps": 2, "layers": 1, "features": 4},
    "ngpt-steps": {"steps": 4, "layers": 1, "features": 4},
}
"""Sizes for a run of seconds; without an entry, an experiment is small enough, or its test is slow."""
EXPERIMENTS = [pytest.param(one, id=one.name) for one in experiments.EXPERIMENTS.values()]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_it_says_what_is_claimed_by_whom_and_how_it_is_judged(experiment):
    for name in ("title", "claim", "source", "paper", "known", "rule"):
        assert len(getattr(experiment, name)) > 4, name
    for word in ("olds if", "annot be told"):
        assert word in experiment.rule
    assert experiment.claim.endswith(".")
    assert "arXiv:" in experiment.source or "doi:" in experiment.source
    assert experiment.seeds >= FEWEST_SEEDS
    assert experiment.kind in ("exact", "statistical")
    assert experiment.name == experiment.name.lower()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_tiny_run_ends_in_a_table_a_plot_and_a_verdict(experiment, tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    tiny = experiment.with_sizes(**TINY.get(experiment.name, {}))
    (outcome,) = experiments.run(tiny, tmp_path)
    assert any(row.paper != "–" for row in outcome.rows)
    assert outcome.verdict.reason
    assert outcome.plot.stat().st_size > 10_000
    (again,) = experiments.report(tmp_path).outcomes
    assert (again.verdict, again.rows) == (outcome.verdict, outcome.rows)
