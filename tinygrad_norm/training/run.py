"""Run: one training run, from a config to a folder of results, that can be stopped and taken up again.

The folder holds

    config.json               what decides the run
    metrics.csv               a line per epoch
    curves.png                loss and accuracy, training and validation, at the end
    model.safetensors         the weights and running statistics
    checkpoint.safetensors    these, the optimizer's state, the random stream and the place in the run

after every epoch, each written whole or not at all. The checkpoint is one file, so that weights and
place always belong together: a run taken up from it prints the numbers of one that was never stopped.
"""

from __future__ import annotations

import csv
import dataclasses
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy

from .. import data, optim
from ..autograd.grad_mode import no_grad
from ..autograd.tensor import Tensor
from ..backends import current_backend
from ..backends.random import generator, manual_seed
from ..files import replacing
from ..module import Module
from ..nn import functional as F
from ..optim import lr_scheduler
from .checkpoint import load_tree, save_arrays, save_tree
from .config import Config
from .curves import save_curves
from .models import build_model

METRICS = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


@dataclass
class Progress:
    """Where a run is: the epochs that are done, and the sums over the steps of the one under way."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


class Interrupted(Exception):
    """The run was stopped by Ctrl-C after a step; everything is saved."""


class Run:
    """One training run in the folder `out`; with `resume`, the one that was begun there.

    Raises:
        ValueError: for a config that cannot be built, or a folder that holds no run, another run, or
            the checkpoint of another architecture.
        RuntimeError: where a package is missing, saying what to install.
    """

    def __init__(self, config: Config, out: str | Path, resume: bool = False) -> None:
        self.config, self.out = config, Path(out)
        manual_seed(config.seed)
        dataset = data.load(config.dataset, config.data_dir, seed=config.seed)
        self.dataset = dataset.scaled(data.ImageScaler(max_value=dataset.max_value))
        shape = self.dataset.train.images.shape[1:]
        self.model = build_model(config.model, config.norm, shape, self.dataset.classes)
        self.model.to(current_backend().device)
        training = self.dataset.train
        drop_last = _drop_last(len(training), config.batch_size)
        self.loader = data.DataLoader(training, config.batch_size, True, drop_last, config.seed)
        self.optimizer = _optimizer(config, self.model)
        self.schedule = lr_scheduler.CosineAnnealingLR(self.optimizer, config.epochs * len(self.loader))
        self.progress = Progress()
        if resume:
            self._restore()

    def train(
        self,
        on_step: Callable[[Run], Any] = lambda run: None,
        on_epoch: Callable[[Run], Any] = lambda run: None,
    ) -> None:
        """Train to the last epoch, saving after each; call back after every step and every epoch.

        Raises:
            Interrupted: after Ctrl-C, with everything saved.
            RuntimeError: where the loss is no longer finite.
        """
        with _stop_after_step() as stopped:
            while self.progress.epoch < self.config.epochs:
                for images, labels in self._remaining_batches():
                    self._step(images, labels)
                    on_step(self)
                    if stopped():
                        self._save()
                        raise Interrupted
                self._end_epoch()
                on_epoch(self)
        save_curves(self.out / "curves.png", self.progress.history, title=str(self.config))

    def test(self) -> tuple[float, float]:
        """Return loss and accuracy on the test part, which nothing before has seen."""
        return self.evaluate(self.dataset.test)

    @no_grad()
    def evaluate(self, split: data.Split) -> tuple[float, float]:
        """Return loss and accuracy of the model in evaluation mode."""
        self.model.eval()
        loss_sum, correct = 0.0, 0
        for images, labels in data.DataLoader(split, batch_size=512):
            logits = self.model(images)
            loss_sum += F.cross_entropy(logits, labels, reduction="sum").item()
            correct += _count_correct(logits, labels)
        return loss_sum / len(split), correct / len(split)

    # -- one epoch

    def _remaining_batches(self) -> Iterator[tuple[Tensor, ...]]:
        self.loader.set_epoch(self.progress.epoch)
        batches = iter(self.loader)
        for _ in range(self.progress.step):  # of an epoch that was interrupted
            next(batches)
        return batches

    def _step(self, images: Tensor, labels: Tensor) -> None:
        self.model.train()
        self.optimizer.zero_grad()
        logits = self.model(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        value, n = float(loss.item()), len(labels)
        if not numpy.isfinite(value):
            raise RuntimeError(
                f"the loss became {value} in epoch {self.progress.epoch + 1}: try a smaller --lr, or a --norm"
            )
        self.progress.step += 1
        self.progress.loss_sum += value * n
        self.progress.correct += _count_correct(logits, labels)
        self.progress.seen += n

    def _end_epoch(self) -> None:
        done = self.progress
        loss, accuracy = self.evaluate(self.dataset.validation)
        values = done.loss_sum / done.seen, done.correct / done.seen, loss, accuracy
        row = {"epoch": done.epoch + 1, **dict(zip(METRICS, values, strict=True))}
        self.progress = Progress(epoch=done.epoch + 1, history=[*done.history, row])
        self._save()

    # -- files

    def _save(self) -> None:
        with replacing(self.out / "config.json") as path:
            path.write_text(self.config.to_json())
        with replacing(self.out / "metrics.csv") as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["epoch", *METRICS])
            writer.writeheader()
            writer.writerows(self.progress.history)
        weights = self.model.state_dict()
        save_arrays(self.out / "model.safetensors", weights)
        save_tree(
            self.out / "checkpoint.safetensors",
            {
                "model": weights,
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "progress": dataclasses.asdict(self.progress),
                "random": generator().bit_generator.state,
            },
        )

    def _restore(self) -> None:
        path = self.out / "checkpoint.safetensors"
        tree = load_tree(path)
        try:
            self.model.load_state_dict(tree["model"])
        except RuntimeError as error:
            raise ValueError(f"{path} is the checkpoint of another architecture: {error}") from error
        self.optimizer.load_state_dict(tree["optimizer"])
        self.schedule.load_state_dict(tree["schedule"])
        self.progress = Progress(**tree["progress"])
        generator().bit_generator.state = tree["random"]


def _optimizer(config: Config, model: Module) -> optim.Optimizer:
    groups = (
        optim.split_decay(model, weight_decay=0.01) if config.optimizer == "adamw" else model.parameters()
    )
    if config.optimizer == "sgd":
        return optim.SGD(groups, config.lr, momentum=0.9)
    return (optim.Adam if config.optimizer == "adam" else optim.AdamW)(groups, config.lr)


def _drop_last(samples: int, batch_size: int) -> bool:
    """Say whether the last batch would be a single sample, which has no batch statistics."""
    return samples > batch_size and samples % batch_size == 1


def _count_correct(logits: Tensor, labels: Tensor) -> int:
    return int((logits.array.argmax(1) == labels.array).sum())


@contextmanager
def _stop_after_step() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag to be read between steps; a second one interrupts at once."""
    interrupted = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    if threading.current_thread() is not threading.main_thread():  # only that one may handle signals
        yield interrupted.is_set
        return
    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield interrupted.is_set
    finally:
        signal.signal(signal.SIGINT, previous)
