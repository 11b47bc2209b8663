"""The examples run, with few steps, and show what they promise."""

import shutil
import sys

import numpy
import pytest
from example_scripts import load

import tinygrad_norm as tn
from tinygrad_norm.training import Config, Run


def test_batch_norm_learns_at_a_learning_rate_where_nothing_else_does(tmp_path, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    path = tmp_path / "curves.png"
    curves, accuracies = load("high_learning_rate").main(["--epochs", "5", "--out", str(path)])
    assert accuracies["with BatchNorm"] > 0.9
    assert accuracies["without"] < 0.3
    assert curves["with BatchNorm"][-1] < 0.3
    assert "with BatchNorm" in capsys.readouterr().out
    assert path.stat().st_size > 10_000


@pytest.mark.slow
def test_batch_renorm_closes_the_gap_between_training_and_evaluation(capsys):
    pytest.importorskip("sklearn")
    found = load("batch_renorm").main(["--epochs", "2", "--seeds", "1"])
    (accuracy, gap), (accuracy_renorm, gap_renorm) = found["batch", 4], found["renorm", 4]
    assert gap_renorm < 0.8 * gap
    assert found["power", 4][1] < 0.8 * gap
    assert accuracy_renorm > accuracy
    assert found["population", 64][1] < 0.8 * found["batch", 64][1]
    assert capsys.readouterr().out.count("renorm") == 2


@pytest.mark.slow
def test_a_class_that_enters_by_an_affine_is_obeyed_and_one_that_is_normalized_is_lost(capsys):
    pytest.importorskip("sklearn")
    found = load("conditional_norms").main(["--steps", "150"])
    (plain, _), (lost, obeyed) = found["BatchNorm2d, not told"], found["label map, InstanceNorm2d"]
    assert obeyed < 0.12
    assert abs(lost - plain) < 0.1 * plain
    for name in ("ConditionalBatchNorm2d", "BatchNorm2d, FiLM", "SPADE"):
        assert found[name][0] < plain
        assert found[name][1] > 0.15, name
    assert "obeys" in capsys.readouterr().out


def test_demodulated_outputs_have_size_1_whatever_the_style(capsys):
    found = load("demodulation").main([])
    numpy.testing.assert_allclose(found["not demodulated"][:3], (0.1, 1, 10), rtol=0.03)
    numpy.testing.assert_allclose(found["demodulated"], 1, rtol=0.1)
    numpy.testing.assert_allclose(found["demodulated", "spike"], 1, rtol=1e-6)
    assert found["InstanceNorm", "spike"][-1] < 0.3
    assert found["not demodulated"][3] > 100
    assert capsys.readouterr().out.count("demodulated") == 3


@pytest.mark.slow
def test_magnitude_preserving_layers_keep_the_size_of_the_stream(capsys):
    pytest.importorskip("sklearn")
    found = load("magnitudes").main(["--steps", "60", "--depth", "6"])
    before, after, longer, _ = found["magnitude-preserving"]
    assert 0.7 < before < 1.4
    assert after < 0.6 * found["plain"][1]
    assert abs(longer - 1) < 0.05
    assert found["plain"][2] > 1.1
    assert "accuracy" in capsys.readouterr().out


def test_a_shortcut_by_style_costs_least_with_instance_norm(capsys):
    pytest.importorskip("sklearn")
    found = load("mix_style").main(["--steps", "120", "--seeds", "1"])
    assert all(usual > 0.9 for usual, _ in found.values())
    assert found["InstanceNorm2d"][1] > found["plain"][1] + 0.03
    assert found["MixStyle"][1] > found["plain"][1] - 0.1
    assert "exchanged" in capsys.readouterr().out


@pytest.mark.slow
def test_a_small_convnext_v2_learns_the_digits_with_and_without_responses(capsys):
    pytest.importorskip("sklearn")
    found = load("convnext_v2").main(["--epochs", "6", "--seeds", "1"])
    for loss, accuracy, diversity in found.values():
        assert loss < 0.4
        assert accuracy > 0.9
        assert 0 < diversity < 1
    assert "with GRN" in capsys.readouterr().out


@pytest.mark.slow
def test_a_network_without_normalization_has_the_variances_that_were_predicted(capsys):
    pytest.importorskip("sklearn")
    rows = load("nf_resnet").main(["--epochs", "4", "--alpha", "1"])
    for name, predicted in (("normalizer-free", "  predicted"), ("batch norm", "  predicted ")):
        numpy.testing.assert_allclose(rows[name], rows[predicted], rtol=0.15)
        assert rows[name, "accuracy"] > 0.9
    assert rows["  predicted"] == [2, 3, 2, 3]
    assert capsys.readouterr().out.count("predicted") == 2


@pytest.mark.slow
def test_deep_networks_learn_with_scales_in_the_place_of_norms(capsys):
    found = load("deep_without_norms").main(["--steps", "30"])
    best = {kind: min(losses) for kind, losses in found.items()}
    assert best.pop("plain") == numpy.inf
    assert max(best.values()) < 0.9
    assert "LayerScale" in capsys.readouterr().out


@pytest.mark.slow
def test_a_gpt_with_rms_norm_says_what_the_trained_one_with_layer_norm_says(capsys):
    found = load("layernorm_to_rmsnorm").main(["--steps", "3"])
    for (_, dtype), (apart, same) in found.items():
        assert apart < (1e-13 if dtype == "float64" else 1e-5)
        assert same == 1 if dtype == "float64" else same > 0.99
    assert "CRMSNorm at the end" in capsys.readouterr().out


@pytest.mark.slow
def test_muon_is_ahead_where_directions_differ_in_size(capsys):
    found = load("ill_conditioned").main(["--steps", "100"])
    assert found["Muon"] < 0.3 * min(found["SGD"], found["Adam"])
    assert "0.68 to 1.13" in capsys.readouterr().out


@pytest.mark.slow
def test_a_conditional_model_draws_the_digit_that_it_is_told_to(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    path = tmp_path / "digits.png"
    losses, share = load("conditional_digits").main(["--steps", "500", "--out", str(path)])
    assert numpy.mean(losses[-50:]) < 0.4 * losses[0]
    assert share > 0.4  # 0.1 by chance
    assert path.stat().st_size > 10_000


@pytest.mark.slow
def test_adain_moves_the_statistics_of_one_picture_to_another(tmp_path):
    for package in ("sklearn", "matplotlib", "PIL"):
        pytest.importorskip(package)
    example, path = load("style_transfer"), tmp_path / "style.png"
    found = example.main(["--out", str(path)])
    assert all(after < 0.01 < 0.3 < before for before, after in found.values())
    assert path.stat().st_size > 10_000
    picture = example.load_images()[0]
    frequencies = example.Frequencies(8)
    numpy.testing.assert_allclose(frequencies.back(frequencies(picture)).numpy(), picture.numpy(), atol=1e-5)


def test_brightness_is_removed_per_image_and_not_per_feature(capsys):
    pytest.importorskip("sklearn")
    found = load("nearest_digits").main([])
    as_it_is, *lengths = found["none"]
    assert as_it_is < 0.9 < 0.98 < min(lengths)
    assert found["standard"][0] < as_it_is
    assert min(found["global contrast"] + found["local contrast"]) > 0.98
    assert "L∞" in capsys.readouterr().out


@pytest.mark.slow
def test_every_normalization_of_images_learns_the_digits(capsys):
    pytest.importorskip("sklearn")
    example = load("image_norms")
    found = example.main(["--epochs", "1", "--norms", "batch,group"])
    assert list(found) == ["batch", "group"]
    assert found["batch"][1] > 0.8
    capsys.readouterr()
    found = example.main(["--epochs", "2"])
    assert list(found) == [*example.NORMS, *example.CONVS]
    assert min(share for _, share in found.values()) > 0.7


@pytest.mark.slow
def test_one_batch_sets_the_scale_of_weight_normalized_layers_and_they_learn_at_once(capsys):
    pytest.importorskip("sklearn")
    found = load("normalized_weights").main(["--epochs", "2"])
    spread, loss, _ = found.pop("weight norm, initialized by a batch")
    assert spread == pytest.approx(1, abs=1e-4)
    assert loss < min(other for _, other, _ in found.values())
    assert found["weight norm"][0] == pytest.approx(found["plain"][0], rel=1e-4)
    assert found["cosine"][2] > 0.9
    assert "cosine" in capsys.readouterr().out


@pytest.mark.slow
def test_a_mask_keeps_padding_out_of_the_statistics():
    found = load("padded_sequences").main([])
    assert all(moved == 0 for (_, masked), (_, moved) in found.items() if masked)
    assert found["sequence", False][1] > 0.01
    assert min(found["frame", True][0], found["sequence", True][0]) > 0.85
    assert found["frame", False][0] < 0.7


@pytest.mark.slow
def test_a_denoiser_is_better_if_it_is_told_the_level(capsys):
    pytest.importorskip("sklearn")
    found = load("denoising").main(["--steps", "250"])
    assert found["told the level"][-1] < found["not told"][-1] < 1
    assert "not told" in capsys.readouterr().out


@pytest.mark.slow
def test_local_contrast_takes_a_shadow_away(tmp_path):
    for package in ("sklearn", "matplotlib", "PIL"):
        pytest.importorskip(package)
    path = tmp_path / "contrast.png"
    found = load("local_contrast").main(["--out", str(path)])
    for name in ("temple", "flower"):
        assert found[name, "local contrast"] < 0.2 < 0.5 < found[name, "subtractive"]
        assert found[name, "subtractive"] < found[name, "as it is"]
    assert path.stat().st_size > 10_000


@pytest.mark.slow
def test_other_deviations_than_the_standard_one_train_alike(capsys):
    pytest.importorskip("sklearn")
    found = load("power_norms").main(["--epochs", "2", "--seeds", "1"])
    assert found.pop("none")[1] < 0.3
    assert found.pop("mean of batch")[1] < 0.3
    of_batch = [norm for norm in found if "batch" in norm or norm == "mean, set lengths"]
    assert min(found[norm][1] for norm in of_batch) > 0.85
    assert found["L∞ batch"][2] < 0.5 < found["L1 batch"][2]
    assert capsys.readouterr().out.count("L∞") == 2


def test_own_training_goes_on_where_it_stopped(tmp_path, capsys):
    example = load("own_training")
    assert example.main(str(tmp_path / "run"), epochs=12) > 0.95
    assert "(0.5, 0.5) is inside" in capsys.readouterr().out
    assert example.main(str(tmp_path / "run"), epochs=12) > 0.95
    assert "epoch 1:" not in capsys.readouterr().out


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_epochs_of_learning_curves_are_integers(tmp_path, monkeypatch, epochs):
    figure = pytest.importorskip("matplotlib.figure").Figure
    drawn = []
    monkeypatch.setattr(figure, "savefig", lambda self, path: (drawn.append(self), path.write_bytes(b"")))
    load("high_learning_rate").draw({"with": [0.5] * epochs}, 1.0, tmp_path / "curves.png")
    (axes,) = drawn[0].axes
    assert all(tick.is_integer() for tick in axes.get_xticks().tolist())


def test_every_step_of_the_layer_norm_ladder_is_right(capsys):
    if shutil.which("g++") is None:
        pytest.skip("the emulator needs g++: apt install g++")
    found = load("layernorm_ladder").main(["--rows", "5", "--features", "260"])
    assert list(found) == ["naive", "shared", "shuffled", "vectorized<16>"]
    assert max(error for error, _ in found.values()) < 1e-5
    assert found["vectorized<16>"][1] < found["shuffled"][1]
    heading, *lines = capsys.readouterr().out.splitlines()[-5:]
    assert heading.split(maxsplit=3) == ["kernel", "blocks", "threads", "KiB moved  largest error"]
    assert lines[0].split()[:4] == ["naive", "1", "128", "30.5"]
    assert max(map(len, lines)) < 80


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("batch_renorm", ["--seeds", "0"], "argument --seeds: must be an integer of at least 1, got '0'"),
        ("batch_renorm", [], "pip install 'tinygrad_norm[data]'"),
        (
            "batch_norm_lstm",
            ["--epochs", "0"],
            "argument --epochs: must be an integer of at least 1, got '0'",
        ),
        ("batch_norm_lstm", ["--lr", "nan"], "argument --lr: must be a positive number, got nan"),
        ("batch_norm_lstm", [], "pip install 'tinygrad_norm[data]'"),
        (
            "conditional_digits",
            ["--steps", "0"],
            "argument --steps: must be an integer of at least 1, got '0'",
        ),
        ("conditional_digits", [], "pip install 'tinygrad_norm[data]'"),
        (
            "conditional_norms",
            ["--steps", "0"],
            "argument --steps: must be an integer of at least 1, got '0'",
        ),
        ("conditional_norms", [], "pip install 'tinygrad_norm[data]'"),
        ("magnitudes", ["--lr", "0"], "argument --lr: must be above 0, got '0'"),
        ("magnitudes", [], "pip install 'tinygrad_norm[data]'"),
        ("mix_style", ["--seeds", "0"], "argument --seeds: must be an integer of at least 1, got '0'"),
        ("mix_style", [], "pip install 'tinygrad_norm[data]'"),
        ("char_lstm", ["--steps", "0"], "argument --steps: must be an integer of at least 1, got '0'"),
        ("char_lstm", ["--file", "/nope"], "there is no file /nope"),
        ("cnn", ["--epochs", "0"], "argument --epochs: must be an integer of at least 1, got '0'"),
        ("cnn", [], "pip install 'tinygrad_norm[data]'"),
        (
            "high_learning_rate",
            ["--epochs", "0"],
            "argument --epochs: must be an integer of at least 1, got '0'",
        ),
        ("denoising", ["--steps", "0"], "argument --steps: must be an integer of at least 1, got '0'"),
        ("denoising", [], "pip install 'tinygrad_norm[data]'"),
        ("gradnorm", ["--steps", "0"], "--steps must be at least 1, got 0"),
        ("gradient_norms", ["--epochs", "0"], "--epochs must be at least 1, got 0"),
        ("gradient_norms", [], "pip install 'tinygrad_norm[data]'"),
        ("unit_sphere", ["--steps", "0"], "--steps must be at least 1, got 0"),
        ("spectral_gan", ["--steps", "0"], "--steps must be at least 1, got 0"),
        ("gradient_penalty", ["--steps", "0"], "--steps must be at least 1, got 0"),
        ("gradient_penalty", ["--seed", "-1"], "--seed must be at least 0, got -1"),
        ("hessian_sharpness", ["--steps", "0"], "--steps must be at least 1, got 0"),
        ("hessian_sharpness", [], "pip install 'tinygrad_norm[data]'"),
        ("image_norms", ["--epochs", "0"], "argument --epochs: must be an integer of at least 1, got '0'"),
        ("image_norms", ["--norms", "batch,layers"], "there is no 'layers': choose of none, batch, "),
        ("image_norms", [], "pip install 'tinygrad_norm[data]'"),
        ("normalized_weights", ["--epochs", "0"], "argument --epochs: must be an integer of at least 1, got"),
        ("normalized_weights", [], "pip install 'tinygrad_norm[data]'"),
        ("nearest_digits", ["--darkest", "2"], "--darkest: must be above 0 and at most 1, got 2.0"),
        ("nearest_digits", [], "pip install 'tinygrad_norm[data]'"),
        ("power_norms", ["--seeds", "0"], "argument --seeds: must be an integer of at least 1, got '0'"),
        ("power_norms", [], "pip install 'tinygrad_norm[data]'"),
        ("padded_sequences", ["--steps", "0"], "argument --steps: must be an integer of at least 1, got '0'"),
        ("gpt_norms", ["--steps", "0"], "argument --steps: must be an integer of at least 1, got '0'"),
        ("gpt_norms", ["--file", "/nope"], "there is no file /nope"),
        ("gpt_norms", ["--out", "/nope/x.png"], "in an existing folder, got '/nope/x.png'"),
        ("high_learning_rate", [], "pip install 'tinygrad_norm[data]'"),
        ("high_learning_rate", ["--lr", "-1"], "argument --lr: must be a positive number, got '-1'"),
        ("high_learning_rate", ["--lr", "nan"], "argument --lr: must be a positive number, got 'nan'"),
        ("high_learning_rate", ["--out", "/nope/x.png"], "in an existing folder, got '/nope/x.png'"),
        ("high_learning_rate", ["--out", "curves.foo"], "must be a .png or .svg file in an existing folder"),
        ("layernorm_ladder", ["--features", "0"], "must be an integer of at least 1, got '0'"),
        ("layernorm_ladder", ["--features", "6"], "must be a multiple of 4 up to 2048, got 6"),
        ("layernorm_ladder", ["--rows", "-1"], "argument --rows: must be an integer of at least 1, got '-1'"),
        ("local_contrast", [], "pip install 'tinygrad_norm[data]'"),
        ("style_transfer", [], "pip install 'tinygrad_norm[data]'"),
        ("textures", ["folder", "--images", "0"], "must be an integer of at least 1, got '0'"),
        ("textures", [], "the following arguments are required: folder"),
        ("tiny_gpt", ["--steps", "many"], "argument --steps: must be an integer of at least 1, got 'many'"),
        ("tiny_gpt", ["--file", "/nope"], "there is no file /nope"),
    ],
)
def test_wrong_arguments_and_missing_packages_end_in_one_line(monkeypatch, capsys, name, arguments, message):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(SystemExit) as stopped:
        load(name).main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", ["gpt_norms", "high_learning_rate"])
def test_curves_without_matplotlib_end_before_the_training(monkeypatch, capsys, name):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit) as stopped:
        load(name).main([])
    assert stopped.value.code == 2
    assert "pip install 'tinygrad_norm[plot]'" in capsys.readouterr().err.splitlines()[-1]


def test_a_cnn_reads_digits(capsys):
    pytest.importorskip("sklearn")
    assert load("cnn").main(["--epochs", "1"]) > 0.85
    printed = capsys.readouterr().out
    assert "epoch  1" in printed
    *_, accuracy, folded = printed.splitlines()
    assert accuracy.startswith("test accuracy")
    assert folded.split()[-1] == accuracy.split()[-1]


def test_textures_are_a_folder_of_images_to_train_on(tmp_path, capsys):
    pytest.importorskip("PIL", reason="images are written with Pillow")
    textures = load("textures")
    textures.main([str(tmp_path / "textures"), "--images", "40"])
    dataset = tn.data.load(tmp_path / "textures")
    assert (dataset.classes, dataset.shape) == (("blotches", "checks", "dots", "stripes"), (3, 32, 32))
    assert sum(map(len, dataset.parts.values())) == 40
    assert "40 images of 4 textures" in capsys.readouterr().out
    first = textures.texture("dots", numpy.random.default_rng(0))
    assert (first == textures.texture("dots", numpy.random.default_rng(0))).all()


@pytest.mark.slow
def test_a_cnn_reads_textures_from_one_command(tmp_path):
    pytest.importorskip("PIL", reason="images are written with Pillow")
    load("textures").main([str(tmp_path / "textures")])
    run = Run(Config(f"{tmp_path / 'textures'}", "cnn", epochs=12), tmp_path / "run")
    run.train()
    assert run.figures()["test"]["accuracy"] >= 0.85


def test_an_lstm_learns_letters_and_writes(tmp_path, capsys):
    path = tmp_path / "text.txt"
    path.write_text("The quick brown fox jumps over the lazy dog.\n" * 80)
    assert load("char_lstm").main(["--steps", "8", "--file", str(path)]) < 4.5
    step, sample = capsys.readouterr().out.split("\n", 1)
    assert step.startswith("step 8  ")
    assert sample.startswith("The ")
    assert len(sample) == len("The ") + 300 + 1
    assert set(sample) <= set(path.read_text())


def test_a_tiny_gpt_learns_with_pre_and_post_ln(tmp_path, capsys):
    path = tmp_path / "text.txt"
    path.write_text("The quick brown fox jumps over the lazy dog.\n" * 80)
    tiny_gpt = load("tiny_gpt")
    before, behind = tiny_gpt.main(["--steps", "8", "--file", str(path)])
    assert before.keys() == behind.keys() == {8}
    assert before[8] != behind[8]
    assert max(before[8], behind[8]) < 4.5
    assert tiny_gpt.train(tiny_gpt.data.load_text(path), True, steps=3, every=2).keys() == {2, 3}
    assert "pre-LN  post-LN" in capsys.readouterr().out


@pytest.mark.slow
def test_a_tiny_gpt_learns_with_seven_normalizations(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = tmp_path / "curves.png"
    text = tmp_path / "text.txt"
    text.write_text("The quick brown fox jumps over the lazy dog.\n" * 200)
    curves = load("gpt_norms").main(["--steps", "20", "--file", str(text), "--out", str(path)])
    assert list(curves) == ["layer", "rms", "scale", "QKNorm", "peri", "DeepNorm", "nGPT"]
    for curve in curves.values():
        bits = list(curve.values())
        assert numpy.isfinite(bits).all()
        assert bits[-1] < 0.8 * bits[0]
    assert path.stat().st_size > 10_000
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[-1] == "20"
    assert max(map(len, lines)) < 80 or str(path) in lines[-1]


def test_fix_norm_in_the_tiny_gpt_starts_with_logits_of_size_1():
    example = load("gpt_norms")
    tn.manual_seed(0)
    model = example.build_text_model(example.Config("text", norm="scale"), 30, 64)
    example.fix_lengths(model)
    codes = tn.tensor(numpy.random.default_rng(0).integers(30, size=(4, 64)))
    assert 0.7 < float(numpy.std(model(codes).numpy())) < 1.4


def test_batch_norm_in_an_lstm_learns_faster_and_keeps_gradients(capsys):
    pytest.importorskip("sklearn")
    found = load("batch_norm_lstm").main(["--epochs", "3"])
    plain, small, large, over_features = found.values()
    assert large[0][-1] < plain[0][-1]
    assert small[1] > max(0.85, plain[1])
    assert plain[2] < 1e-9
    assert 0.02 < small[2] < 5
    assert large[2] > 50
    assert plain[2] < over_features[2] < small[2]
    assert "gradient left" in capsys.readouterr().out


@pytest.mark.slow
def test_gradnorm_gives_loud_tasks_small_weights(capsys):
    weights, equal, balanced = load("gradnorm").main(["--steps", "300"])
    assert (numpy.diff(weights[3:]) < 0).all()
    assert weights[0] > 50 * weights[-1]
    assert balanced.max() < 0.9 * equal.max()
    assert "weight·scale" in capsys.readouterr().out


@pytest.mark.slow
def test_gradients_that_are_limited_let_a_network_learn_at_a_large_learning_rate(capsys):
    pytest.importorskip("sklearn")
    found = load("gradient_norms").main(["--epochs", "2"])
    assert found["nothing"][2] > 0.5
    assert found["clipped adaptively"][2] < 0.0501
    assert found["clipped adaptively"][0] < found["nothing"][0] - 0.2
    assert "clipped by value" in capsys.readouterr().out


@pytest.mark.slow
def test_a_spectrally_normalized_discriminator_keeps_its_bound(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = tmp_path / "samples.png"
    found = load("spectral_gan").main(["--steps", "500", "--out", str(path)])
    for _, samples, bound, stretch, *_ in found["spectral norm"]:
        assert stretch <= bound < 1.05
        assert samples.shape == (1000, 2)
    assert found["spectral norm"][-1][4] >= 7
    assert found["plain"][-1][2] > 1.3
    assert "Gaussians" in capsys.readouterr().out
    assert path.stat().st_size > 10_000


@pytest.mark.slow
def test_an_ngpt_stays_on_the_sphere_and_its_blocks_learn_step_sizes_of_their_own(capsys):
    losses, furthest, rows = load("unit_sphere").main(["--steps", "60"])
    assert furthest < 1e-6
    assert numpy.mean(losses[-10:]) < 4.3 < losses[0]
    assert len({round(attention, 2) for attention, *_ in rows}) > 1
    assert all(0 < angle < 90 for *_, angle in rows)
    assert "turns by" in capsys.readouterr().out
