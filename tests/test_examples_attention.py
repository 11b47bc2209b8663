"""The example of attention's scores: who is bounded, and by what."""

from example_scripts import load


def test_scores_are_bounded_by_a_norm_a_cap_or_a_clip(capsys):
    found = load("attention_logits").main(["--steps", "30", "--lr", "0.02"])
    largest = {name: scores[-1] for (name, lr), (_, scores) in found.items() if lr > 0.1}
    assert largest["none"] > 100
    assert largest["QK norm, no weight"] < 4.001  # √16
    assert largest["soft cap 20"] <= 20
    assert largest["QK-Clip 20"] < largest["none"] / 10  # the threshold holds for the batch before the step
    assert capsys.readouterr().out.count("soft cap") == 2
