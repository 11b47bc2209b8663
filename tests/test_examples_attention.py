"""The examples of attention's scores and of placements: who is bounded, and by what."""

import pytest
from example_scripts import load

from tinygrad_norm import nn


def test_scores_are_bounded_by_a_norm_a_cap_or_a_clip(capsys):
    found = load("attention_logits").main(["--steps", "30", "--lr", "0.02"])
    largest = {name: scores[-1] for (name, lr), (_, scores) in found.items() if lr > 0.1}
    assert largest["none"] > 100
    assert largest["QK norm, no weight"] < 4.001  # √16
    assert largest["soft cap 20"] <= 20
    assert largest["QK-Clip 20"] < largest["none"] / 10  # the threshold holds for the batch before the step
    assert capsys.readouterr().out.count("soft cap") == 2


def test_the_stream_has_the_variance_of_theory_in_every_placement():
    found = load("placements").main(["--layers", "4", "--features", "32"])
    assert len(found) == 9
    for variance, expected, _, _ in found.values():
        assert variance == pytest.approx(expected, rel=0.25)
    assert found["scaled"][0] < found["pre"][0]


def test_models_have_the_norms_of_their_families(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("the quick brown fox jumps over the lazy dog, again and again.\n" * 120, encoding="utf-8")
    script = load("model_families")
    found = script.main(["--steps", "2", "--file", str(file)])
    assert list(found) == ["GPT-2", "Gemma 3", "Qwen3", "OLMo 2"]
    assert all(list(curve) == [1, 2] for curve in found.values())
    model = script.build_text_model(script.Config("text", **script.FAMILIES["Gemma 3"]), 9, 8)
    script.zero_centered(model)
    norms = [module for module in model.modules() if isinstance(module, nn.RMSNorm)]
    assert len(norms) == 4 * 6 + 1
    assert all(norm.zero_centered for norm in norms)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("placements", ["--layers", "0"], "must be at least 1, got 0"),
        ("placements", ["--features", "30"], "must be a multiple of 4"),
        ("attention_logits", ["--steps", "0"], "must be positive, got '0'"),
        ("model_families", ["--seeds", "0"], "must be an integer of at least 1, got '0'"),
        ("model_families", ["--file", "/nope"], "there is no file /nope"),
    ],
    ids=["layers", "features", "steps", "seeds", "file"],
)
def test_odd_arguments_are_refused(name, arguments, message, capsys):
    with pytest.raises(SystemExit):
        load(name).main(arguments)
    assert message in " ".join(capsys.readouterr().err.split())
