"""Language modelling: predict the next character, then sample."""

import dataclasses
import math
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy

from .. import data
from ..autograd.grad_mode import no_grad
from ..autograd.tensor import Tensor
from ..backends import to_numpy
from ..module import Module
from .config import Config
from .models import build_text_model
from .task import Batch, Cost, Figures, Sums, Task, classification_score

CONTEXT = 128
SAMPLE_LENGTH = 400


class TextTask(Task):
    """Predict each character from at most CONTEXT characters before it.

    Raises:
        ValueError: if the file is missing, is not text or is too short, or the model does not fit.
    """

    cost = Cost("bits_per_character", "bits per character", 1 / math.log(2))
    figure_names = cost.name, "accuracy"
    parts = ("train", "validation")

    def __init__(self, config: Config) -> None:
        self.text = data.load_text(config.file)
        self.loader = data.TextLoader(self.text.train, CONTEXT, config.batch_size, config.seed)
        self.model = build_text_model(config, len(self.text.alphabet), CONTEXT)
        self.config = config

    def batches(self, part: str) -> Iterable[Batch]:
        windows = data.overlapping_windows(getattr(self.text, part), CONTEXT)
        return data.DataLoader(windows, batch_size=32)

    def fingerprint(self) -> int:
        return zlib.crc32(self.text.alphabet.encode(), zlib.crc32(self.text.train.tobytes()))

    def checksums(self) -> dict[str, int]:
        return {"train": self.fingerprint(), "validation": zlib.crc32(self.text.validation.tobytes())}

    def metadata(self) -> dict[str, Any]:
        return {"config": dataclasses.asdict(self.config), "alphabet": self.text.alphabet}

    def score(self, batch: Batch) -> tuple[Tensor, Sums]:
        inputs, targets = batch
        return classification_score(self.model(inputs), targets)

    def figures(self, sums: Sums) -> Figures:
        values = sums.loss / sums.seen * self.cost.per_unit, sums.correct / sums.seen
        return dict(zip(self.figure_names, values, strict=True))

    def describe(self) -> str:
        text = self.text
        unknown = f", {text.unknown} of them never seen in training" if text.unknown else ""
        return (
            f"{len(text.train):,} training characters of {text.name} "
            f"({len(text.validation):,} validation{unknown}), {len(text.alphabet) - 1} different characters"
        )

    def conclude(self, figures: Mapping[str, Figures]) -> str:
        bits = figures["validation"][self.cost.name]
        codes = sample_codes(self.model, self.text.train[-CONTEXT:], SAMPLE_LENGTH, self.config.seed)
        sample = "".join(c if c.isprintable() or c in "\n\t" else "·" for c in self.text.decode(codes))
        return f"a sample:\n\n{sample}\n\nvalidation bits per character: {bits:.3f}"


@no_grad()
def sample_codes(model: Module, prompt: numpy.ndarray, length: int, seed: int) -> numpy.ndarray:
    """Return `length` codes that continue `prompt` (T,), each sampled from the model's prediction.

    The model always sees the last T codes. Code 0, for unknown characters, is never sampled.
    """
    model.eval()
    T, rng = len(prompt), numpy.random.default_rng(seed)
    codes = prompt.tolist()
    for _ in range(length):
        logits = to_numpy(model(Tensor(numpy.array([codes[-T:]]))).array)[0, -1, 1:].astype(numpy.float64)
        probabilities = numpy.exp(logits - logits.max())
        threshold = rng.random() * probabilities.sum()
        codes.append(1 + int(numpy.searchsorted(probabilities.cumsum(), threshold, side="right")))
    return numpy.array(codes[T:])
