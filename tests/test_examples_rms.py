"""The examples of RMS and positional normalizations: what they print is what they say."""

import numpy as np
import pytest
from example_scripts import load


@pytest.mark.slow
def test_a_zero_centered_weight_is_another_layer_only_under_decay(capsys):
    found = load("zero_centered").main(["--steps", "100"])
    assert abs(found["w, no decay"][0] - found["1 + v, no decay"][0]).max() < 1e-10
    np.testing.assert_allclose(found["w, split_decay"][0], found["1 + v, split_decay"][0], 1e-9)
    assert found["w, decay"][1] < 1 < found["1 + v, decay"][1]
    assert found["no weight"][1] == 1
    assert "mean scale" in capsys.readouterr().out


@pytest.mark.slow
def test_a_gate_in_the_other_order_is_another_layer(capsys):
    found = load("gated_norms").main(["--steps", "150"])
    for order in load("gated_norms").ORDERS:
        trained, swapped, later = found[order]
        assert trained < 0.7
        assert swapped > 2 * trained
        assert later < swapped
    assert "in the other order" in capsys.readouterr().out


@pytest.mark.slow
def test_a_moment_shortcut_goes_around_the_code(capsys):
    pytest.importorskip("sklearn")
    found = load("moment_shortcut").main(["--epochs", "3"])
    assert found["shortcut"][0] < 0.5 * found["no shortcut"][0]
    assert found["shortcut"][0] < found["shortcut, detached"][0]
    assert found["shortcut"][1] > 0.5
    assert "moments of another" in capsys.readouterr().out
