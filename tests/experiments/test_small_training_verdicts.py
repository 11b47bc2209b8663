"""The rules of experiments on small trainings: figures as the papers say, others, and seeds that differ."""

import copy

import pytest

from tinygrad_norm import experiments
from tinygrad_norm.experiments.statistical import small_batches

HOLDS, FAILS, UNKNOWN = "holds", "does not hold at this scale", "cannot be told"
BATCH, GROUP = small_batches.BATCH, small_batches.GROUP
SMALL = {BATCH: {"errors": [0.05, 0.06, 0.12]}, GROUP: {"errors": [0.05, 0.05, 0.06]}}


@pytest.mark.parametrize(
    ("name", "figures", "changes", "state"),
    [
        ("small-batches", SMALL, {}, HOLDS),
        ("small-batches", SMALL, {(GROUP, "errors"): [0.05, 0.05, 0.08]}, FAILS),
        ("small-batches", SMALL, {(BATCH, "errors"): [0.05, 0.05, 0.04]}, FAILS),
        ("small-batches", SMALL, {(GROUP, "errors"): [0.14, 0.14, 0.14]}, FAILS),
        ("small-batches", SMALL, {(BATCH, "errors"): [0.2, 0.2, 0.3]}, UNKNOWN),
        ("small-batches", SMALL, {(BATCH, "errors", 0): [0.05, 0.05, 0.04]}, UNKNOWN),
        ("small-batches", SMALL, {(BATCH, "errors", 1): [0.05, 0.05, float("nan")]}, UNKNOWN),
    ],
)
def test_other_figures_change_the_verdict(name, figures, changes, state):
    found = {setting: {seed: copy.deepcopy(figures[setting]) for seed in range(3)} for setting in figures}
    for seed in range(3):  # seeds differ a little
        for of in found.values():
            for figure, value in of[seed].items():
                of[seed][figure] = [one + 1e-3 * seed * (k + 1) for k, one in enumerate(value)]
    for (setting, figure, *seed), value in changes.items():
        for of_seed in [found[setting][seed[0]]] if seed else found[setting].values():
            of_seed[figure] = value
    verdict = experiments.find(name).verdict(experiments.Results(found))
    assert verdict.state == state, verdict
    assert verdict.reason
