"""The rules of experiments on small trainings: figures as the papers say, others, and seeds that differ."""

import pytest
from changed_figures import verdict

from tinygrad_norm.experiments.statistical import (
    deviation_norms,
    ghost_batches,
    small_batches,
    sorted_batches,
)

HOLDS, FAILS, UNKNOWN = "holds", "does not hold at this scale", "cannot be told"
BATCH, GROUP = small_batches.BATCH, small_batches.GROUP
SMALL = {BATCH: {"errors": [0.05, 0.06, 0.12]}, GROUP: {"errors": [0.05, 0.05, 0.06]}}
SORTED = {
    sorted_batches.MIXED: {"error": 0.04},
    sorted_batches.SORTED: {"error": 0.64},
    sorted_batches.RENORM: {"error": 0.1},
    sorted_batches.CONTROL: {"error": 0.05},
}
GHOSTS = {
    ghost_batches.SMALL: {"test error": 0.08, "training error": 0.0},
    ghost_batches.LARGE: {"test error": 0.12, "training error": 0.0},
    ghost_batches.GHOSTS: {"test error": 0.09, "training error": 0.0},
}
L1, MAX, NONE = deviation_norms.L1, deviation_norms.MAX, deviation_norms.NONE
DEVIATIONS = {deviation_norms.L2: {"error": 0.04}, **{name: {"error": 0.042} for name in (L1, MAX)}}
DEVIATIONS[NONE] = {"error": 0.08}
WEIGHED = {f"batch {size}": {"gain": 0.005, "harm": 0.5} for size in (4, 16)}


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
        ("sorted-batches", SORTED, {}, HOLDS),
        ("sorted-batches", SORTED, {(sorted_batches.RENORM, "error"): 0.5}, FAILS),
        ("sorted-batches", SORTED, {(sorted_batches.SORTED, "error"): 0.07}, FAILS),
        ("sorted-batches", SORTED, {(sorted_batches.CONTROL, "error"): 0.5}, UNKNOWN),
        ("sorted-batches", SORTED, {(sorted_batches.RENORM, "error", 0): 0.6}, UNKNOWN),
        ("sorted-batches", SORTED, {(sorted_batches.SORTED, "error", 0): 0.1}, UNKNOWN),
        ("ghost-batches", GHOSTS, {}, HOLDS),
        ("ghost-batches", GHOSTS, {(ghost_batches.GHOSTS, "test error"): 0.15}, FAILS),
        ("ghost-batches", GHOSTS, {(ghost_batches.SMALL, "test error"): 0.12}, UNKNOWN),
        ("ghost-batches", GHOSTS, {(ghost_batches.GHOSTS, "test error", 2): 0.14}, UNKNOWN),
        ("ghost-batches", GHOSTS, {(ghost_batches.LARGE, "training error", 2): 0.03}, UNKNOWN),
        ("deviation-norms", DEVIATIONS, {}, HOLDS),
        ("deviation-norms", DEVIATIONS, {(MAX, "error"): 0.03}, HOLDS),
        ("deviation-norms", DEVIATIONS, {(MAX, "error"): 0.06}, FAILS),
        ("deviation-norms", DEVIATIONS, {(L1, "error"): 0.06}, FAILS),
        ("deviation-norms", DEVIATIONS, {(L1, "error", 1): 0.06}, UNKNOWN),
        ("deviation-norms", DEVIATIONS, {(NONE, "error"): 0.045}, UNKNOWN),
        ("own-statistics", WEIGHED, {}, HOLDS),
        ("own-statistics", WEIGHED, {("batch 16", "gain"): 0.0}, FAILS),
        ("own-statistics", WEIGHED, {("batch 4", "gain"): -0.01}, FAILS),
        ("own-statistics", WEIGHED, {("batch 4", "gain", 0): -0.01}, UNKNOWN),
        ("own-statistics", WEIGHED, {("batch 4", "harm", 0): 0.05}, UNKNOWN),
    ],
)
def test_other_figures_change_the_verdict(name, figures, changes, state):
    assert verdict(name, figures, changes, apart=1e-3).state == state
