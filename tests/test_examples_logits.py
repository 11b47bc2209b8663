"""The examples of logits and rewards: what they show."""

import pytest
from example_scripts import load


@pytest.mark.slow
def test_the_z_loss_holds_the_level_and_logit_norm_the_length(capsys):
    pytest.importorskip("sklearn")
    found = load("logit_levels").main(["--epochs", "15"])
    assert found["z-loss"][0] < 0.3 * found["plain"][0]
    assert found["LogitNorm"][1] < 0.3 * found["plain"][1]
    assert min(right for _, _, right, _ in found.values()) > 0.95
    assert "AUROC" in capsys.readouterr().out


def test_the_deviation_weighs_questions_whose_answers_agree(capsys):
    found = load("group_advantages").main(["--steps", "1"])
    easy, middle, hard = found["GRPO"][0] / found["Dr. GRPO"][0]
    assert middle < 2.1 < 2.5 < min(easy, hard)
    assert capsys.readouterr().out.count("first update") == 2
