"""Run: one training run, from a config to a folder of results; it can be stopped and resumed.

The folder holds

    config.json               all settings of the run
    metrics.csv               one line per epoch
    curves.png                the figures of both parts over the epochs, written when training ends or stops
    results.json              the figures of every part after the last epoch
    model.safetensors         the weights and running statistics; its metadata says what rebuilds the model
    scaler.safetensors        the scaler of the inputs, and for regression that of the targets
    checkpoint.safetensors    weights, optimizer state, random generator state and progress

Started by mpiexec, the processes share the work (ranks.py), and rank 0 writes the folder.

Weights, metrics and checkpoint are written after every epoch; a file is never left half-written. The
checkpoint is one file, so that weights and progress always match: a resumed run gives the same numbers as
a run that was not interrupted. It is written first: the others, which only report, can be made from it.
While a run trains, its folder is locked: another process cannot train there. `load_run` reads the folder.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy

from .. import data
from ..autograd.tensor import Tensor
from ..backends import backend_of, current_backend
from ..backends.cpu.threads import use_threads
from ..backends.random import manual_seed, mask_state
from ..distributed.world import default_group
from ..files import replacing
from ..module import Module
from ..ops.arguments import as_size
from .augmentation import AugmentedLoader, check_augmentation
from .checkpoint import Damaged, load_tree, naming, save_arrays, save_tree
from .config import Config, check_settings, differences
from .curves import save_curves
from .dataset_task import DatasetTask, LossFunction, Metric
from .early_stopping import EarlyStopping
from .interrupt import stop_after_step
from .language_modelling import TextTask
from .optimization import make_clipping, make_optimizer, make_schedule
from .ranks import Ranks, sum_of_nothing
from .run_folder import RUN_FILES, has_only_begun, own_folder
from .run_record import save_metrics
from .scaling import save_scalers
from .task import Batch, Figures, Sums, Task


@dataclass
class Progress:
    """How far a run is: completed epochs, steps in the current epoch, and the sums over those steps."""

    epoch: int = 0
    step: int = 0
    sums: Sums = field(default_factory=Sums)
    history: list[dict[str, float]] = field(default_factory=list)


class Interrupted(Exception):
    """Raised when Ctrl-C stopped the run after a step; everything is saved."""


class Diverged(RuntimeError):
    """Raised when the loss is infinite or NaN."""


class Run:
    """A training run in the folder `out`; with `resume`, continue the run in that folder.

    Args:
        config: the settings; what is passed below takes the place of `config.dataset` and `config.model`.
        out: the folder of the run's files; it is made if it does not exist.
        resume: continue from the checkpoint in `out`, with the same numbers as without interruption; if the
            run was killed before its first checkpoint, from the beginning.
        dataset: a `tn.data.Dataset` of one's own. It is scaled by `config.scale`, unless it already is.
        model: a module of one's own, from inputs to logits (N, classes) or to target values.
        loss: a function (outputs, targets) that returns the mean loss of the batch, a scalar tensor;
            default: cross entropy, for regression the mean squared error.
        metrics: functions (outputs, targets) by name, each the mean over the batch; they replace the
            default, which is the accuracy, for regression R².
        threads: for BLAS and the block loop, while it trains and evaluates; those of the process are
            restored afterwards. It is not part of the config: it changes at most the last digits.

    Initialize a model of one's own after `tn.manual_seed`, if its weights are to be the same in every run.
    `saved_epochs` is the number of epochs in the checkpoint, None before the first save.

    Raises:
        ValueError: if the model cannot be built or does not fit the data; with `resume`, also if the folder
            has no checkpoint, or one of other settings, another architecture or other data.
        RuntimeError: if a package is not installed; the message says what to install.
    """

    def __init__(
        self,
        config: Config,
        out: str | Path,
        resume: bool = False,
        *,
        dataset: data.Dataset | None = None,
        model: Module | None = None,
        loss: LossFunction | None = None,
        metrics: Mapping[str, Metric] | None = None,
        threads: int = 1,
    ) -> None:
        threads = as_size(threads, "threads")
        config = config.with_own(dataset=dataset is not None, model=model is not None)
        self.config, self.out, self.threads = config, Path(out), threads
        self.ranks = Ranks(default_group())
        manual_seed(config.seed)
        self.task: Task
        if config.dataset == "text":
            if (model, loss, metrics) != (None, None, None):
                raise ValueError("a run on text takes no model, loss or metrics of one's own")
            self.task = TextTask(config)
        else:
            task = DatasetTask(config, dataset, model, loss, metrics)
            check_augmentation(config.augment, task.dataset.shape)
            self.task = task
        self.fingerprint = self.task.fingerprint()
        self.model, self.loader = self.task.model, self.task.loader
        if config.augment:
            self.loader = AugmentedLoader(self.loader, config.augment, config.seed)
        self.model.to(current_backend().device)
        self.optimizer = make_optimizer(config, self.model)
        self.clip_gradients = make_clipping(config, self.model)
        self.schedule = make_schedule(config, self.optimizer, config.epochs * len(self.loader))
        self.early_stopping = EarlyStopping(config.early_stop, f"validation_{self.task.cost.name}")
        self.progress = Progress()
        self.saved_epochs: int | None = None
        self.ranks.own_stream(config.seed)
        if resume:
            self._check_config()
            self._restore()
        self.ranks.check_start(self.model, dataclasses.asdict(config), self.task)

    def train(
        self,
        on_step: Callable[[Run], Any] = lambda run: None,
        on_epoch: Callable[[Run], Any] = lambda run: None,
    ) -> None:
        """Train until the last epoch, or until it is stopped early; save after each epoch.

        The callbacks are called after each step and epoch and get the run: `run.progress` says how far it is,
        `run.progress.history` holds the figures of the epochs, and `run.model`, `run.optimizer` and
        `run.schedule` are what is trained. A finished run is not trained further; its missing files are
        written again.

        Raises:
            Interrupted: after Ctrl-C, with everything saved. Several processes end at once instead, and
                the last epoch is saved.
            Diverged: if the loss is not finite; a RuntimeError.
            ValueError: if the folder has another run, and this one does not resume it; if another process
                trains in the folder.
            OSError: if the folder cannot be created or written to.
        """
        if not self.ranks.first:
            self._train(on_step, on_epoch)
            return
        with own_folder(self.out, RUN_FILES):
            self._begin()
            self._train(on_step, on_epoch)

    def _train(self, on_step: Callable[[Run], Any], on_epoch: Callable[[Run], Any]) -> None:
        with self._stops() as stopped, use_threads(self.threads):
            if self.finished:
                self._save()
            while not self.finished:
                for batch in self._remaining_batches():
                    self._step(batch)
                    on_step(self)
                    if stopped():
                        self._save()
                        self._draw()
                        raise Interrupted
                self._end_epoch()
                on_epoch(self)
        self._draw()
        if stopped():  # during the end of the last epoch
            raise Interrupted

    def _stops(self) -> AbstractContextManager[Callable[[], bool]]:
        """Let Ctrl-C end a step first; several processes end at once, as they are not at the same step."""
        return nullcontext(lambda: False) if self.ranks.several else stop_after_step()

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the run was stopped early."""
        done = self.progress
        return done.epoch >= self.config.epochs or self.early_stopping.stops(done.history)

    @property
    def kept_epoch(self) -> int:
        """The epoch, counted from 1, of the weights of a finished run: with early stopping the best one."""
        return self.early_stopping.best_epoch(self.progress.history) + 1

    def figures(self) -> dict[str, Figures]:
        """Return the figures after `kept_epoch`, by part of the data and name; write them to results.json.

        Those of the training part are means over the epoch. The test part, if there is one, is evaluated
        only here.

        Raises:
            RuntimeError: if no epoch is complete.
        """
        if not self.progress.history:
            raise RuntimeError("there are no figures before the first epoch is complete: call train first")
        row = self.progress.history[self.kept_epoch - 1]
        names = self.task.figure_names
        known = {part: {name: row[f"{part}_{name}"] for name in names} for part in ("train", "validation")}
        with use_threads(self.threads):
            unknown = {part: self._evaluate(part) for part in self.task.parts if part not in known}
        figures = known | unknown
        if self.ranks.first:
            with replacing(self.out / "results.json") as path:
                path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        return figures

    def _evaluate(self, part: str) -> Figures:
        group = self.ranks.group
        if group.size == 1:
            return self.task.evaluate(part)
        return self.task.figures(self.ranks.join(self.task.sums_of(part, group.rank, group.size)))

    # -- one epoch

    def _remaining_batches(self) -> Iterator[Batch]:
        self.loader.set_epoch(self.progress.epoch)
        batches = iter(self.loader)
        for _ in range(self.progress.step):  # skip the steps done before an interruption
            next(batches)
        return batches

    def _step(self, batch: Batch) -> None:
        self.model.train()
        self.optimizer.zero_grad()
        shard, weight = self.ranks.shard(batch)
        if weight:
            loss, sums = self.task.score(shard)
        else:
            loss, sums = sum_of_nothing(self.model(shard[0])), Sums()
        if backend_of(loss.array).kernels != "cuda":  # a GPU goes on: the sums are checked when they are read
            self._check_finite(sums)
        loss.backward(None if weight == 1 else Tensor(numpy.full(loss.shape, weight, loss.dtype)))
        self.clip_gradients()
        self.optimizer.step()
        self.schedule.step()
        self.progress.step += 1
        self.progress.sums += sums

    def figures_so_far(self) -> Figures:
        """Return the figures of the epoch's steps so far, by name: on a GPU this waits for the last step.

        On several processes, they are those of this process's shards.

        Raises:
            Diverged: if a loss was not finite.
        """
        return self.task.figures(self._read_sums())

    def _read_sums(self) -> Sums:
        sums = self.progress.sums.read()
        self._check_finite(sums)
        return sums

    def _check_finite(self, sums: Sums) -> None:
        if not numpy.isfinite(sums.loss):
            raise Diverged(
                f"the loss became {float(sums.loss)} in epoch {self.progress.epoch + 1}: try a smaller --lr "
                "or another --norm"
            )

    def _end_epoch(self) -> None:
        done = self.progress
        row: dict[str, float] = {"epoch": done.epoch + 1}
        self.ranks.share_buffers(self.model)
        for part, figures in (
            ("train", self.task.figures(self.ranks.join(self._read_sums()))),
            ("validation", self._evaluate("validation")),
        ):
            row |= {f"{part}_{name}": value for name, value in figures.items()}
        self.progress = Progress(epoch=done.epoch + 1, history=[*done.history, row])
        self.early_stopping.keep(self.model, self.progress.history)
        if self.finished:
            self.early_stopping.restore(self.model)
        self._save()

    # -- files

    def _begin(self) -> None:
        """Write config.json, with which a run can be resumed that is killed before its first checkpoint."""
        if self.saved_epochs is None and (self.out / "checkpoint.safetensors").exists():
            raise ValueError(
                f"{self.out} already has a run: continue it with resume=True, or choose another folder"
            )
        with replacing(self.out / "config.json") as path:
            path.write_text(self.config.to_json(), encoding="utf-8")

    def _save(self) -> None:
        progress = dataclasses.replace(self.progress, sums=self._read_sums())
        random_states = self.ranks.random_states()
        if not self.ranks.first:
            self.saved_epochs = self.progress.epoch
            return
        weights = self.model.state_dict()
        save_tree(
            self.out / "checkpoint.safetensors",
            {
                "model": weights,
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "progress": dataclasses.asdict(progress),
                "random": random_states[0][0],
                "masks": random_states[0][1],
                "data": self.fingerprint,
                "best": self.early_stopping.best,
                "config": dataclasses.asdict(self.config),
                **({"ranks": random_states[1:]} if self.ranks.several else {}),
            },
            durable=True,
        )
        columns = [f"{part}_{name}" for part in ("train", "validation") for name in self.task.figure_names]
        save_metrics(self.out / "metrics.csv", ["epoch", *columns], self.progress.history)
        facts = {"run": json.dumps(self.task.metadata()), "config": self.config.to_json()}
        save_scalers(self.out / "scaler.safetensors", self.task.scalers())
        save_arrays(self.out / "model.safetensors", weights, facts)
        self.saved_epochs = self.progress.epoch

    def _draw(self) -> None:
        """Draw the curves, if an epoch is complete."""
        if self.progress.history and self.ranks.first:
            save_curves(self.out / "curves.png", self.progress.history, self.task.curves(), self.config.title)

    def _check_config(self) -> None:
        path = self.out / "config.json"
        if not path.exists():
            return  # the checkpoint is missing too, or was moved: _restore says what it lacks
        differing = differences(dataclasses.asdict(Config.load(path)), self.config)
        if differing:
            started, now = (
                ", ".join(f"{name} {pair[i]!r}" for name, pair in differing.items()) for i in (0, 1)
            )
            raise ValueError(
                f"{self.out} was started with {started}, and cannot continue with {now}: load its config "
                "with Config.load, or start a new run in another folder"
            )

    def _restore(self) -> None:
        path = self.out / "checkpoint.safetensors"
        if not path.exists() and has_only_begun(self.out):
            return
        try:
            with naming(path):
                self._restore_from(load_tree(path), path)
        except Damaged as error:
            usable = (self.out / "model.safetensors").is_file()
            raise ValueError(
                f"{error}. The run cannot be continued: train a new one in another folder"
                + ("; evaluate, predict and export need only its other files" if usable else "")
            ) from error

    def _restore_from(self, tree: dict[str, Any], path: Path) -> None:
        if tree["data"] != self.fingerprint:
            raise ValueError(
                f"{path} belongs to a run on other data than the current {self.task.describe()}: the data "
                "have changed since the run started"
            )
        check_settings(self.config, tree.get("config", {}), path)
        try:
            self.model.load_state_dict(tree["model"])
        except RuntimeError as error:
            raise ValueError(f"{path} is a checkpoint of another architecture: {error}") from error
        self.optimizer.load_state_dict(tree["optimizer"])
        self.schedule.load_state_dict(tree["schedule"])
        progress = tree["progress"]
        self.progress = Progress(**progress | {"sums": Sums(**progress["sums"]).to_device()})
        self.early_stopping.best = tree.get("best", {})  # older checkpoints have none
        self.saved_epochs = self.progress.epoch
        if not self.ranks.first:
            self.progress.sums = Sums()  # rank 0 has those of the epoch that was interrupted
        masks = tree.get("masks", mask_state())  # older checkpoints have none
        states = [(tree["random"], masks), *tree.get("ranks", ())]
        self.ranks.restore_random_state(states, self.config.seed, self.progress.epoch)
