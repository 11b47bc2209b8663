"""A mistake planted in the text of a kernel is refuted, however small it is."""

import random
import shutil

import pytest

from tinygrad_norm.nn.recurrent import lstm_steps
from tinygrad_norm.normalization.batch import batchnorm, lpbatchnorm
from tinygrad_norm.normalization.core import running_stats, segments
from tinygrad_norm.normalization.sample import divisivenorm, gdn, groupnorm, layernorm, rmsnorm
from tinygrad_norm.normalization.vector.normalize import _kernels as normalize_kernels
from tinygrad_norm.normalization.weight import spectralnorm, weightdemodulation, weightnorm
from tinygrad_norm.optim import adam
from tinygrad_norm.proof.covered import BY_CALLS, BY_OPS
from tinygrad_norm.proof.errors import NoRoot, NotExact
from tinygrad_norm.proof.kernels import compare_call, compare_on_case
from tinygrad_norm.registry import REGISTRY

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++: apt install g++")

TINY = "(1 + A(0x1p-43))"  # 1 + 1.1e-13
QUICK = [
    pytest.param(
        "layer_norm_backward",
        layernorm._kernels,
        "mean_g = sums.first * inverse_count",
        "mean_g = sums.first / A(D - 1)",
        id="layer_norm-count",
    ),
    pytest.param(
        "layer_norm_backward",
        layernorm._kernels,
        "- x_hat * mean_g_x_hat - mean_g)",
        f"- {TINY} * x_hat * mean_g_x_hat - mean_g)",
        id="layer_norm-coefficient",
    ),
    pytest.param(
        "rms_norm_backward",
        rmsnorm._kernels,
        " * r * mean_g_x_hat)",
        " * mean_g_x_hat)",
        id="rms_norm-factor",
    ),
]
WIDER = [
    (
        "layer_norm_backward",
        layernorm._kernels,
        "- x_hat * mean_g_x_hat - mean_g)",
        "- x_hat * mean_g_x_hat)",
    ),
    (
        "layer_norm_forward",
        layernorm._kernels,
        "inverse_root(var + eps * scale * scale)",
        "inverse_root(var)",
    ),
    (
        "layer_norm_forward",
        layernorm._kernels,
        "rstd = inverse_root(var + eps * scale * scale)",
        "rstd = A(1) / (sqrt(var) + eps)",
    ),
    (
        "layer_norm_forward",
        layernorm._kernels,
        "centered * (centered * inverse_count)",
        "centered * (centered / A(row.D - 1))",
    ),
    (
        "group_norm_backward",
        groupnorm._kernels,
        "- x_hat * mean_g_x_hat - mean_g)",
        "- x_hat * mean_g_x_hat + mean_g)",
    ),
    (
        "batch_norm_backward",
        batchnorm._kernels.source,
        "mean_dy_x_hat = dweight[c] * inverse_count",
        f"mean_dy_x_hat = {TINY} * dweight[c] * inverse_count",
    ),
    (
        "lp_batch_norm_backward",
        lpbatchnorm._kernels.source,
        "(slope_here - mean_s) * along",
        "slope_here * along",
    ),
    ("gdn_backward", gdn._kernels, "(squared ? A(0.5) : A(1))", "A(1)"),
    (
        "normalize_backward",
        normalize_kernels,
        " - A(values.at[v]) * along)",
        f" - {TINY} * A(values.at[v]) * along)",
    ),
    ("weight_norm_backward", weightnorm._kernels, " - along * unit.of(", " - unit.of("),
    (
        "weight_demodulation_forward",
        weightdemodulation._kernels,
        "found * sqrt(inverse_count)",
        "found * inverse_count",
    ),
    (
        "spectral_norm_backward",
        spectralnorm._kernels,
        "(A(dys.at[k]) - of_row * v[i + k]) / divisor",
        "A(dys.at[k]) / divisor",
    ),
    ("divisive_norm_backward", divisivenorm._kernels, "ds[o] = -sum / divisor", "ds[o] = -sum"),
    ("move_statistics", running_stats._kernels, "gain_var * new_var[c]", "gain * new_var[c]"),
    ("segment_sums", segments._kernels, "(double(x[at]) - middle)", "double(x[at])"),
    ("lstm_backward", lstm_steps._kernels, "d * i * (A(1) - g * g)", "d * i * (A(1) - g)"),
    ("adam_step", adam._kernels, "(sqrt(size) + e)", "sqrt(size)"),
]


def differences(name):
    """Where a function and its kernels differ, at the first case or call that shows it."""
    rng = random.Random(1)
    if name in BY_CALLS:
        comparisons = (compare_call(name, call, rng) for call in BY_CALLS[name])
    else:
        comparisons = on_cases(REGISTRY[BY_OPS[name]], rng)
    return next((found.different[name] for found in comparisons if name in found.different), None)


def on_cases(op, rng):
    for case in op.cases:
        try:
            yield compare_on_case(op, case, rng)
        except (NoRoot, NotExact):
            continue


@pytest.mark.parametrize(
    ("name", "source", "old", "new"),
    [
        *QUICK,
        *(
            pytest.param(*plant, marks=pytest.mark.slow, id=f"{plant[0]}-{k}")
            for k, plant in enumerate(WIDER)
        ),
    ],
)
def test_a_planted_mistake_is_refuted(name, source, old, new, monkeypatch):
    assert old in source.code
    monkeypatch.setitem(source.__dict__, "code", source.code.replace(old, new))
    monkeypatch.setattr(source, "_instances", {})
    assert differences(name) is not None
