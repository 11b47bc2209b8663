"""Text: the alphabet, windows in which every character has its turn, and files that are none."""

import numpy as np
import pytest

from tinygrad_norm.data import TextLoader, load_text, overlapping_windows


def write(path, text, **options):
    path.write_text(text, encoding="utf-8", **options)
    return path


def test_the_default_text_is_the_standard_library_s():
    text = load_text()
    assert text.name == "pydoc_data.topics"
    assert 'The "assert" statement' in text.decode(text.train[:40])
    assert len(text.train) / (len(text.train) + len(text.validation)) == pytest.approx(0.9, abs=1e-5)


def test_decoding_gives_back_what_was_read(tmp_path):
    content = "ein Satz mit ä, 𝔸 und\nzwei Zeilen\n" * 10
    text = load_text(write(tmp_path / "a.txt", content))
    assert text.decode(np.concatenate([text.train, text.validation])) == content
    assert len(text.validation) == len(content) // 10
    assert text.unknown == 0


def test_a_character_that_only_validation_has_is_unknown(tmp_path):
    text = load_text(write(tmp_path / "a.txt", "ab" * 45 + "abzabZabab"))
    assert text.alphabet == "�ab"
    assert text.decode(text.validation) == "ab�ab�abab"
    assert text.unknown == 2


def test_a_replacement_character_in_training_is_a_letter_like_any_other(tmp_path):
    text = load_text(write(tmp_path / "a.txt", "�a" * 50))
    assert text.unknown == 0
    assert text.decode(text.validation) == "�a" * 5


def test_a_byte_order_mark_and_foreign_line_ends_are_no_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf" + b"a line\r\n" * 10)
    text = load_text(path)
    assert text.decode(text.train[:7]) == "a line\n"
    assert "\r" not in text.alphabet


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 characters"),
        (b"too short", "has 9 characters"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 100, "is not UTF-8 text"),
        (b"\x00\x01" * 100, "zero bytes"),
        ("Grüße ".encode("utf-16") * 20, "is not UTF-8 text"),
    ],
    ids=["empty", "short", "picture", "binary", "utf-16"],
)
def test_a_file_that_is_not_text_raises(tmp_path, content, message):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_text(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        load_text(tmp_path / "nothing.txt")
    with pytest.raises(ValueError, match="there is no file"):
        load_text(tmp_path)


def test_python_without_its_topics(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydoc_data.topics", None)
    with pytest.raises(RuntimeError, match="--file"):
        load_text()


@pytest.mark.parametrize("length", [9, 15, 16, 17, 23, 24, 100])
def test_an_epoch_has_windows_side_by_side_and_the_next_character_as_target(length):
    loader = TextLoader(np.arange(length), context=8, batch_size=2, seed=3)
    seen = []
    batches = list(loader)
    for inputs, targets in batches:
        assert inputs.shape[1] == 8
        np.testing.assert_array_equal(targets.numpy(), inputs.numpy() + 1)
        seen += inputs.numpy().ravel().tolist()
    assert len(batches) == len(loader)
    assert sorted(seen) == list(range(min(seen), min(seen) + len(seen)))
    assert len(seen) == max(8, (length // 8 - 1) * 8)
    assert max(seen) + 1 < length


def test_every_epoch_has_its_own_order_and_start_and_can_be_had_again():
    def epoch(k):
        loader = TextLoader(np.arange(1000), 8, 4, seed=1)
        loader.set_epoch(k)
        return [inputs.numpy().tolist() for inputs, _ in loader]

    assert epoch(1) == epoch(1)
    assert epoch(0) != epoch(1)
    starts = {min(min(window) for batch in epoch(k) for window in batch) for k in range(30)}
    assert starts == set(range(8))


def test_a_text_shorter_than_a_window():
    with pytest.raises(ValueError, match="has 8 characters, and a window takes 9"):
        TextLoader(np.arange(8), 8, 2)


def test_invalid_sizes_raise_when_the_loader_is_created():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        TextLoader(np.arange(8), 2, 0)
    with pytest.raises(ValueError, match="context must be at least 1, got 0"):
        TextLoader(np.arange(8), 0, 2)
    with pytest.raises(TypeError, match="seed must be an int, got None"):
        TextLoader(np.arange(8), 2, 2, None)


@pytest.mark.parametrize("length", [2, 5, 8, 9, 10, 12, 13, 40, 41, 43])
@pytest.mark.parametrize("context", [1, 2, 7, 8])
def test_every_character_but_the_first_counts_once_with_half_a_window_before_it(length, context):
    inputs, targets = overlapping_windows(np.arange(length), context)
    counted = targets >= 0
    np.testing.assert_array_equal(targets[counted], inputs[counted] + 1)
    assert sorted(targets[counted].tolist()) == list(range(1, length))
    window, place = np.nonzero(counted)
    assert (place[window > 0] >= context // 2).all()


def test_printed_a_text_is_a_line(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("abcde" * 20)
    assert repr(load_text(path)) == f"<Text {path}: 90 training, 10 validation characters, 5 different ones>"
