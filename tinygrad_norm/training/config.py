"""Config: everything that decides a run, so that the same config gives the same numbers."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..suggestions import unknown
from .norm_choices import NORMS
from .recipes import find_recipe

OPTIMIZERS = ("sgd", "adam", "adamw")


@dataclass(frozen=True, init=False)
class Config:
    """What to train on which data, and how. What is not given, the model's recipe decides (recipes.py).

    dataset      "digits", "idx" with `data_dir`, or "text"
    model        "mlp", "cnn", "rnn", "lstm", "gru" or "transformer"; for text "lstm" or "transformer"
    norm         "batch", "layer", "rms", "group", "instance" or "none"
    epochs       passes over the training set
    lr           highest learning rate; it falls to 0 along a cosine over all epochs, in transformers
                 after a warm-up
    batch_size   samples per step, for text windows
    optimizer    "sgd" (momentum 0.9), "adam" or "adamw"
    seed         of the weights, the order of the batches and the split
    data_dir     folder of IDX files, for "idx"
    file         for "text"; without it, the standard library's pydoc_data.topics
    norm_first   in transformers, whether normalizations stand before each step (pre-LN) or behind
                 (post-LN); None in other models

    Raises:
        ValueError: for a number out of range, an unknown name, or settings that do not go together.
    """

    dataset: str
    model: str
    norm: str
    epochs: int
    lr: float
    batch_size: int
    optimizer: str
    seed: int
    data_dir: str | None
    file: str | None
    norm_first: bool | None

    def __init__(
        self,
        dataset: str = "digits",
        model: str | None = None,
        norm: str | None = None,
        epochs: int | None = None,
        lr: float | None = None,
        batch_size: int | None = None,
        optimizer: str | None = None,
        seed: int = 0,
        data_dir: str | None = None,
        file: str | None = None,
        norm_first: bool | None = None,
    ) -> None:
        model, recipe = find_recipe(dataset, model)
        given: dict[str, Any] = {
            "norm": norm,
            "epochs": epochs,
            "lr": lr,
            "batch_size": batch_size,
            "optimizer": optimizer,
            "norm_first": norm_first,
        }
        settings = recipe._asdict() | {name: value for name, value in given.items() if value is not None}
        settings |= {"dataset": dataset, "model": model, "seed": seed, "data_dir": data_dir, "file": file}
        for name, value in settings.items():
            object.__setattr__(self, name, value)
        self._check(recipe.norm_first is not None)

    def _check(self, is_transformer: bool) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.lr < float("inf"):
            raise ValueError(f"lr must be a positive number, got {self.lr}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        for name, choices in (("norm", NORMS), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in choices:
                raise ValueError(unknown(name, getattr(self, name), choices))
        if self.model == "mlp" and self.norm == "batch" and self.batch_size == 1:
            raise ValueError(
                "a batch of one has no batch statistics: use a larger batch_size, or another norm"
            )
        if self.dataset == "idx" and self.data_dir is None:
            raise ValueError("the dataset 'idx' is read from a folder of IDX files: name it with --data-dir")
        if self.norm_first is not None and not is_transformer:
            raise ValueError(
                f"norm_first says where a transformer normalizes: the model {self.model!r} has no such choice"
            )
        for name, dataset in (("data_dir", "idx"), ("file", "text")):
            if getattr(self, name) is not None and self.dataset != dataset:
                raise ValueError(
                    f"{name} is where the dataset {dataset!r} is read from; the dataset here is "
                    f"{self.dataset!r}"
                )

    def to_json(self) -> str:
        """Return the config as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read a config.json.

        Raises:
            ValueError: where the file is no config of this version, naming the fields that differ.
        """
        try:
            fields: dict[str, Any] = json.loads(path.read_text())
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not valid JSON ({error}): was it edited by hand?") from error
        if not isinstance(fields, dict):
            raise ValueError(f"{path} holds no config: expected a JSON object, got {type(fields).__name__}")
        unknown = set(fields) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(f"{path} has unknown fields: {', '.join(sorted(unknown))}")
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError(f"{path} has a field of the wrong type ({error}): was it edited?") from error

    @property
    def title(self) -> str:
        """What the run is, in a few words."""
        return f"{self.model} on {self.dataset}, {self.norm} normalization"
