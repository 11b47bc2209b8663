"""Examples of memory: what layers keep."""

from example_scripts import load


def test_layers_that_keep_their_output_need_less_and_lose_digits_where_weights_are_small(capsys):
    found = load("kept_outputs").main(["--batch", "64", "--width", "32"])
    for kind in ("BatchNorm, LeakyReLU", "LayerNorm", "RMSNorm"):
        (more, exact), (less, errors) = found[kind, "input"], found[kind, "output"]
        assert less < 0.8 * more
        assert errors[0] < 1e-6
        assert max(exact) < 1e-6
    assert found["LayerNorm", "output"][1][-1] > 1e-5
    assert "w = 0.0001" in capsys.readouterr().out
