"""Text as integer codes, one per character: the first nine tenths for training, the rest for validation.

The alphabet is that of the training part plus U+FFFD, which stands for every other character. Such
characters can occur in the validation part. They count like any other: their cost is that of U+FFFD,
which the model never saw in training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy

from ..autograd.tensor import Tensor
from ..ops.arguments import as_size
from .loader import DataLoader
from .shuffle import permutation

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
IGNORED = -100
"""The target that `cross_entropy` ignores."""


@dataclass(frozen=True, eq=False, repr=False)
class Text:
    """A text in two parts, each an array of codes (L,), int64: a code is an index into the alphabet.

    The first character of the alphabet, code 0, is UNKNOWN.
    """

    name: str
    alphabet: str
    train: numpy.ndarray
    validation: numpy.ndarray

    @cached_property
    def unknown(self) -> int:
        """The number of characters in the validation part that are not in the alphabet."""
        return int((self.validation == 0).sum())

    def decode(self, codes: numpy.ndarray) -> str:
        """Return the characters with these codes (L,)."""
        return "".join(self.alphabet[code] for code in codes)

    def __repr__(self) -> str:
        parts = f"{len(self.train)} training, {len(self.validation)} validation"
        return f"<Text {self.name}: {parts} characters, {len(self.alphabet) - 1} different ones>"


def load_text(file: str | Path | None = None) -> Text:
    """Return the text of a UTF-8 file; by default, that of the standard library's `pydoc_data.topics`.

    Raises:
        ValueError: if the file does not exist, is not text, or is too short to split in two parts.
        RuntimeError: if this Python does not include `pydoc_data`.
    """
    name, text = ("pydoc_data.topics", _topics()) if file is None else (str(file), _read(Path(file)))
    if len(text) < 20:
        raise ValueError(f"{name} has {len(text)} characters: at least 20 are required")
    cut = len(text) - len(text) // 10
    alphabet = UNKNOWN + "".join(sorted(set(text[:cut])))
    return Text(name, alphabet, _encode(text[:cut], alphabet), _encode(text[cut:], alphabet))


def _topics() -> str:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise RuntimeError(
            "the default text is the standard library's pydoc_data.topics, which this Python does not "
            "include: choose another text with --file"
        ) from error
    return "\n\n".join(topics.values())


def _read(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"there is no file {path} to read a text from")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text (byte {error.start}: {error.reason}): convert it first, for example "
            "with iconv -t UTF-8"
        ) from error
    if "\0" in text:
        raise ValueError(f"{path} contains zero bytes: it is not text, or not UTF-8")
    return text


def _encode(text: str, alphabet: str) -> numpy.ndarray:
    letters, characters = (
        numpy.frombuffer(string.encode("utf-32-le"), numpy.uint32) for string in (alphabet[1:], text)
    )
    places = numpy.searchsorted(letters, characters).clip(max=len(letters) - 1)
    return numpy.where(letters[places] == characters, places + 1, 0).astype(numpy.int64)


class TextLoader:
    """Iterate over batches of (characters, next characters), each (N, T): consecutive windows, shuffled.

    Args:
        codes: (L,), at least T + 1.
        context: T, the number of characters in a window.
        batch_size: N; the last batch may be smaller.
        seed: determines the order of the windows and where the first one starts; both change in every
            epoch, so that window boundaries differ between epochs.

    Raises:
        TypeError: if context, batch_size or seed is not an int.
        ValueError: if the text is too short, context or batch_size is below 1, or seed is negative.
    """

    def __init__(self, codes: numpy.ndarray, context: int, batch_size: int, seed: int = 0) -> None:
        context, batch_size = as_size(context, "context"), as_size(batch_size, "batch_size")
        seed = as_size(seed, "seed", 0)
        if len(codes) <= context:
            raise ValueError(
                f"the training part of the text has {len(codes)} characters, and a window takes "
                f"{context + 1}: use a longer text"
            )
        self.codes, self.context, self.batch_size, self.seed = codes, context, batch_size, seed
        self.windows = max(1, len(codes) // context - 1)
        self.epoch = 0

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-self.windows // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration epoch `epoch`, counted from 0."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        length = self.windows * self.context
        starts = min(self.context, len(self.codes) - length)
        start = int(permutation(starts, self.seed, self.epoch)[0])
        inputs, targets = (
            self.codes[first : first + length].reshape(self.windows, self.context)
            for first in (start, start + 1)
        )
        batches = DataLoader((inputs, targets), self.batch_size, shuffle=True, seed=self.seed)
        batches.set_epoch(self.epoch)
        self.epoch += 1
        return iter(batches)


def overlapping_windows(codes: numpy.ndarray, context: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return windows (W, T) and their next characters (W, T): every character but the first is a target once.

    Each window starts in the middle of the previous one; targets already in the previous window are
    IGNORED. So every target has at least T/2 characters before it, except near the start of the text.
    T is `context`, or less for a shorter text.
    """
    context = min(context, len(codes) - 1)
    last = len(codes) - 1 - context
    starts = numpy.append(numpy.arange(0, last, max(1, context // 2)), last)
    places = starts[:, None] + numpy.arange(context)
    done = numpy.append(0, starts[:-1] + context)
    return codes[places], numpy.where(places >= done[:, None], codes[places + 1], IGNORED)
