"""Augmentation of the training inputs: its values, and that a resumed run sees the same batches."""

import signal

import numpy as np
import pytest
from train_runs import assert_same_numbers, invoke

from tinygrad_norm import data
from tinygrad_norm.training import Config, Interrupted, Run
from tinygrad_norm.training.augmentation import AugmentedLoader, augmented, check_augmentation

IMAGES = np.random.default_rng(0).random((64, 2, 16, 24), np.float32)


def rng(seed=0):
    return np.random.default_rng(seed)


def shifted(image, dy, dx):
    """Moved by dy rows and dx columns, with repeated edges."""
    padded = np.pad(image, ((0, 0), (2, 2), (3, 3)), mode="edge")
    return padded[:, 2 + dy : 18 + dy, 3 + dx : 27 + dx]


def test_shift_moves_each_image_by_up_to_an_eighth_of_its_size():
    moved = augmented(IMAGES, ["shift"], rng())
    places = [(dy, dx) for dy in range(-2, 3) for dx in range(-3, 4)]
    found = set()
    for before, after in zip(IMAGES, moved, strict=True):
        matches = [place for place in places if np.array_equal(shifted(before, *place), after)]
        assert len(matches) == 1
        found.add(matches[0])
    assert {dy for dy, _ in found} == set(range(-2, 3))
    assert {dx for _, dx in found} == set(range(-3, 4))


def test_flip_mirrors_half_of_the_images():
    flipped = augmented(IMAGES, ["flip"], rng())
    mirrored = [np.array_equal(a, b[..., ::-1]) for a, b in zip(IMAGES, flipped, strict=True)]
    same = [np.array_equal(a, b) for a, b in zip(IMAGES, flipped, strict=True)]
    assert all(np.not_equal(mirrored, same))
    assert 16 < sum(mirrored) < 48


def test_flip_and_shift_together_move_a_mirrored_image():
    both = augmented(IMAGES, ["shift", "flip"], rng())
    places = [(dy, dx) for dy in range(-2, 3) for dx in range(-3, 4)]
    for before, after in zip(IMAGES, both, strict=True):
        candidates = [shifted(x, *p) for x in (before, before[..., ::-1]) for p in places]
        mirrored_after = [c[..., ::-1] for c in candidates]
        assert any(np.array_equal(c, after) for c in candidates + mirrored_after)


def test_noise_is_a_tenth_of_the_standard_deviation_per_feature():
    x = (rng(1).standard_normal((4000, 2)) * [1, 1000]).astype(np.float32)
    noise = augmented(x, ["noise"], rng()) - x
    np.testing.assert_allclose(noise.std(0), [0.1, 100], rtol=0.05)
    assert augmented(x, ["noise"], rng()).dtype == np.float32


def test_no_input_is_changed_in_place():
    before = IMAGES.copy()
    augmented(IMAGES, ["shift", "flip", "noise"], rng())
    np.testing.assert_array_equal(IMAGES, before)


def test_batches_depend_on_seed_epoch_and_step_only():
    labels = np.arange(64)

    def batches(seed, epoch):
        loader = AugmentedLoader(data.DataLoader((IMAGES, labels), 16), ["shift", "noise"], seed)
        loader.set_epoch(epoch)
        return np.stack([inputs.numpy() for inputs, _ in loader])

    first = batches(0, 1)
    np.testing.assert_array_equal(first, batches(0, 1))
    for other in (batches(0, 2), batches(1, 1)):
        assert (first != other).any((1, 2, 3, 4)).all()


def test_targets_and_the_other_parts_stay_as_they_are(tmp_path):
    plain, changed = (Run(Config(augment=a), tmp_path) for a in ((), ("shift", "noise")))
    assert len(plain.loader) == len(changed.loader)
    for (x, t), (y, u) in zip(plain.loader, changed.loader, strict=True):
        np.testing.assert_array_equal(t.numpy(), u.numpy())
        assert (x.numpy() != y.numpy()).any()
    assert plain.task.evaluate("validation") == changed.task.evaluate("validation")


def test_resume_gives_the_numbers_of_an_uninterrupted_run(tmp_path):
    config = Config(epochs=3, augment="shift,flip,noise")
    Run(config, tmp_path / "whole").train()

    def stop_in_the_middle_of_epoch_2(run):
        if run.progress.epoch == 1 and run.progress.step == 7:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        Run(config, tmp_path / "parts").train(on_step=stop_in_the_middle_of_epoch_2)
    Run(config, tmp_path / "parts", resume=True).train()
    assert_same_numbers(tmp_path / "whole", tmp_path / "parts")


def test_features_take_noise_only(tmp_path):
    check_augmentation(["noise"], (3,))
    moons = data.load_toy("moons")
    assert len(Run(Config(augment="noise"), tmp_path, dataset=moons).loader)
    with pytest.raises(ValueError, match="flip is for images"):
        Run(Config(augment="flip"), tmp_path, dataset=moons)
    with pytest.raises(ValueError, match=r"shift is for images .* have shape \(3,\): use only noise"):
        check_augmentation(["shift", "noise"], (3,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits", "--augment", "turn"], "unknown augmentation 'turn': choose one of shift, flip, noise"),
        (["text", "--augment", "noise"], "but the dataset is text: leave out --augment noise"),
        (["text", "--augment", "noise,shift"], "leave out --augment shift,noise"),
    ],
)
def test_a_wrong_call_prints_an_error(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
