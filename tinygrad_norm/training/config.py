"""Config: everything that decides a run, so that the same config gives the same numbers."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OPTIMIZERS = ("sgd", "adam", "adamw")


@dataclass(frozen=True)
class Config:
    """What to train on which data, and how.

    dataset      "digits", or "idx" with `data_dir`
    model        "mlp" or "cnn"
    norm         "batch", "layer", "rms", "group", "instance" or "none"
    epochs       passes over the training set
    lr           learning rate of the first step; it falls to 0 along a cosine over all epochs
    batch_size   samples per step
    optimizer    "sgd" (momentum 0.9), "adam" or "adamw"
    seed         of the weights, the order of the batches, dropout and the split

    Raises:
        ValueError: for a number out of range or an unknown optimizer.
    """

    dataset: str = "digits"
    model: str = "mlp"
    norm: str = "batch"
    epochs: int = 30
    lr: float = 3e-3
    batch_size: int = 64
    optimizer: str = "adam"
    seed: int = 0
    data_dir: str | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.lr < float("inf"):
            raise ValueError(f"lr must be a positive number, got {self.lr}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"unknown optimizer {self.optimizer!r}: choose one of {', '.join(OPTIMIZERS)}")

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
        unknown = set(fields) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(f"{path} has unknown fields: {', '.join(sorted(unknown))}")
        return cls(**fields)
