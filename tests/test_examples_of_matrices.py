"""Examples of functions of matrices: whitening."""

import pytest
from example_scripts import load


def test_whitening_helps_with_correlated_inputs_and_batch_normalization_does_not(capsys):
    found = load("correlated_inputs").main(["--steps", "60", "--seeds", "1"])
    best = {norm: min(losses) for norm, (losses, _) in found.items()}
    assert best["decorrelated"] < best["IterNorm, T = 5"] < 0.9 * best["BatchNorm"]
    correlations = {norm: correlation for norm, (_, correlation) in found.items()}
    assert correlations["decorrelated"] < 0.02 < correlations["IterNorm, T = 5"] < correlations["BatchNorm"]
    assert "|correlation|" in capsys.readouterr().out


@pytest.mark.slow
def test_a_root_of_a_covariance_tells_textures_apart_and_means_do_not():
    found = load("matrix_roots").main(["--steps", "60", "--layers", "8"])
    assert found["means"] < 0.15 < found["covariance"] + 0.1 < found["its square root"]
    assert found["its square root"] > 0.95
    assert found["orthogonal at first"] < 0.5
