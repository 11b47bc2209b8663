"""Examples of functions of matrices: whitening."""

from example_scripts import load


def test_whitening_helps_with_correlated_inputs_and_batch_normalization_does_not(capsys):
    found = load("correlated_inputs").main(["--steps", "60", "--seeds", "1"])
    best = {norm: min(losses) for norm, (losses, _) in found.items()}
    assert best["decorrelated"] < best["IterNorm, T = 5"] < 0.9 * best["BatchNorm"]
    correlations = {norm: correlation for norm, (_, correlation) in found.items()}
    assert correlations["decorrelated"] < 0.02 < correlations["IterNorm, T = 5"] < correlations["BatchNorm"]
    assert "|correlation|" in capsys.readouterr().out
