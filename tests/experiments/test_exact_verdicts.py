"""The rules of the exact experiments: figures as expected, a wrong one, and a control that shows nothing."""

import numpy as np
import pytest
from changed_figures import verdict

from tinygrad_norm import experiments
from tinygrad_norm.experiments.exact import branch_variances, gradient_by_depth, growing_vectors, loss_weights
from tinygrad_norm.normalization.weight import weightnorm

HOLDS, FAILS, UNKNOWN = "holds", "does not hold at this scale", "cannot be told"
BIAS = {
    "linear": {"ratio": 1e-15},
    "convolution": {"ratio": 1e-15},
    "linear, no BatchNorm": {"ratio": 1.0},
}
IDENTITY = {
    "BatchNorm1d": {"set": 1e-16, "learned": 1e-16},
    "BatchNorm2d": {"set": 1e-16, "learned": 1e-16},
    "LayerNorm": {"set": 0.5, "learned": 0.5},
}
GROWTH = {
    **{name: {"cosine": 1e-15, "least growth": 1e-9} for name in growing_vectors.DESCENTS},
    "not normalized": {"cosine": 0.5, "least growth": -1e-3},
}
POWER = {
    "one step, kept": {"worst": 0.005, "median": 0.001},
    "one step, from random vectors": {"worst": 0.5, "median": 0.3},
}
LOGITS = {
    "QK norm, lr 0.003": {"of the bound": 0.9, "at most": 7.0},
    "QK norm, lr 0.03": {"of the bound": 1.0, "at most": 5.0},
    "no norm, lr 0.03": {"of the bound": 0.0, "at most": 900.0},
}
ZERO = {
    "adaLN-Zero, 2 blocks": {"forward": 0.0, "backward": 0.0, "curve": [0.0, 0.1]},
    "random start, 2 blocks": {"forward": 0.3, "backward": 0.3, "curve": [0.3, 0.3]},
}
LOSSES = {
    "GradNorm": {"slope": -1.1, "weights": loss_weights.SCALES**-1.1},
    "equal weights": {"slope": 0.0},
}
VARIANCES = {
    "α = 0.2": {"variances": [1.04, 1.08], "expected": [1.04, 1.08]},
    branch_variances.PLAIN: {"variances": [0.3, 0.3], "expected": [2.0, 3.0]},
}
DEPTH = {gradient_by_depth.POST: {"slope": 0.02}, gradient_by_depth.PRE: {"slope": -0.47}}


@pytest.mark.parametrize(
    ("name", "figures", "changes", "state"),
    [
        ("bias-before-batchnorm", BIAS, {}, HOLDS),
        ("bias-before-batchnorm", BIAS, {("convolution", "ratio"): 1e-3}, FAILS),
        ("bias-before-batchnorm", BIAS, {("linear, no BatchNorm", "ratio"): 1e-9}, UNKNOWN),
        ("weight-and-bias-restore-the-identity", IDENTITY, {}, HOLDS),
        ("weight-and-bias-restore-the-identity", IDENTITY, {("BatchNorm2d", "learned"): 1e-3}, FAILS),
        ("weight-and-bias-restore-the-identity", IDENTITY, {("BatchNorm1d", "set"): 1e-6}, FAILS),
        ("weight-and-bias-restore-the-identity", IDENTITY, {("LayerNorm", "set"): 1e-6}, UNKNOWN),
        ("weight-norm-grows", GROWTH, {}, HOLDS),
        ("weight-norm-grows", GROWTH, {(growing_vectors.DESCENTS[0], "cosine"): 1e-4}, FAILS),
        ("weight-norm-grows", GROWTH, {(growing_vectors.DESCENTS[1], "least growth"): -1e-9}, FAILS),
        ("weight-norm-grows", GROWTH, {(growing_vectors.DESCENTS[1], "cosine"): np.nan}, UNKNOWN),
        ("weight-norm-grows", GROWTH, {("not normalized", "cosine"): 1e-15}, UNKNOWN),
        ("one-power-iteration", POWER, {}, HOLDS),
        ("one-power-iteration", POWER, {("one step, kept", "worst"): 0.02}, FAILS),
        ("one-power-iteration", POWER, {("one step, from random vectors", "median"): 0.001}, UNKNOWN),
        ("qk-norm-bounds-logits", LOGITS, {}, HOLDS),
        ("qk-norm-bounds-logits", LOGITS, {("QK norm, lr 0.03", "of the bound"): 1.01}, FAILS),
        ("qk-norm-bounds-logits", LOGITS, {("no norm, lr 0.03", "at most"): 4.0}, UNKNOWN),
        ("adaln-zero-is-the-identity", ZERO, {}, HOLDS),
        ("adaln-zero-is-the-identity", ZERO, {("adaLN-Zero, 2 blocks", "backward"): 1e-7}, FAILS),
        ("adaln-zero-is-the-identity", ZERO, {("random start, 2 blocks", "forward"): 1e-3}, UNKNOWN),
        ("adaln-zero-is-the-identity", ZERO, {("adaLN-Zero, 2 blocks", "curve"): [0.0, 0.0]}, UNKNOWN),
        ("gradnorm-weights", LOSSES, {}, HOLDS),
        ("gradnorm-weights", LOSSES, {("GradNorm", "slope"): -1.6}, FAILS),
        ("gradnorm-weights", LOSSES, {("GradNorm", "slope", 1): -1.3}, UNKNOWN),
        ("nf-resnet-variances", VARIANCES, {}, HOLDS),
        ("nf-resnet-variances", VARIANCES, {("α = 0.2", "variances"): [1.04, 1.3]}, FAILS),
        ("nf-resnet-variances", VARIANCES, {(branch_variances.PLAIN, "variances"): [2, 3]}, UNKNOWN),
        ("gradient-over-depth", DEPTH, {}, HOLDS),
        ("gradient-over-depth", DEPTH, {("pre-LN", "slope"): -0.1}, FAILS),
        ("gradient-over-depth", DEPTH, {("post-LN", "slope"): 0.3}, FAILS),
        ("gradient-over-depth", DEPTH, {("pre-LN", "slope", 2): -0.9}, UNKNOWN),
    ],
)
def test_a_wrong_figure_changes_the_verdict(name, figures, changes, state):
    assert verdict(name, figures, changes).state == state


def test_a_wrong_backward_changes_the_verdict_of_a_run(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    right = weightnorm.WeightNormFunction.backward

    def along_v(self, dw):
        dv, dg = right(self, dw)
        return dv + 1e-6 * self.saved[0].reshape(dv.shape), dg

    experiment = experiments.find("weight-norm-grows").with_sizes(steps=3)
    assert experiments.run(experiment, tmp_path)[0].verdict.state == HOLDS
    monkeypatch.setattr(weightnorm.WeightNormFunction, "backward", along_v)
    assert experiments.run(experiment, tmp_path, again=True)[0].verdict.state == FAILS
