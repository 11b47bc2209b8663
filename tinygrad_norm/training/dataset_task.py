"""Predict the classes or the target values of a `Dataset`.

Classification has the loss cross entropy and reports the accuracy. Regression has the loss mean squared
error and reports it in the square of the target's units, with R² = 1 − Σ(y − t)²/Σ(t − t̄)², the mean over
the target values if there are several. A model of this package predicts targets scaled to mean 0 and
standard deviation 1 on the training part; a model of one's own predicts them as they are.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy

from .. import data
from ..autograd.tensor import Tensor
from ..backends import Array, asarray
from ..module import Module
from ..nn import functional as F
from .config import Config
from .models import build_image_model
from .recipes import OWN
from .scaling import make_scaler
from .task import Batch, Cost, Figures, Sums, Task, classification_score, format_figure

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""A function of outputs and targets that returns the mean over the batch, a scalar."""

Metric = Callable[[Tensor, Tensor], Any]
"""A function of outputs and targets that returns the mean over the batch, a number or a scalar tensor."""

COSTS = {
    "classification": Cost("loss", "cross entropy (nats)"),
    "regression": Cost("mse", "mean squared error"),
}


class DatasetTask(Task):
    """Train on a dataset, by default the one that `config` names, scaled as `config` says.

    dataset    a `Dataset`; it is scaled unless it is already
    model      a module from inputs to logits (N, classes) or target values
    loss       a function of outputs and targets; default: cross entropy, or mean squared error
    metrics    functions of outputs and targets, by name; default: the accuracy, or R²

    Raises:
        ValueError: if the data cannot be found, the model does not fit it, or the config's dataset or model
            is a script's own and is not passed.
        RuntimeError: if a package is not installed; the message says what to install.
    """

    parts = data.PARTS

    def __init__(
        self,
        config: Config,
        dataset: data.Dataset | None = None,
        model: Module | None = None,
        loss: LossFunction | None = None,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        for name, given in (("dataset", dataset), ("model", model)):
            if given is None and getattr(config, name) == OWN:
                raise ValueError(
                    f"this run has a {name} of a script's own: continue it in the script, with "
                    f"Run(config, out, resume=True, {name}=...)"
                )
        _check_types(dataset, model, loss, metrics)
        dataset = load_dataset(config) if dataset is None else dataset
        if dataset.scaler is None and (scaler := make_scaler(config.scale, dataset)) is not None:
            dataset = dataset.scaled(scaler)
        self.dataset, self.config, self.loss, self.metrics = dataset, config, loss, metrics
        self.target_scaler: data.StandardScaler | None = None
        if dataset.task == "regression":
            targets = dataset.train.targets.astype(numpy.float64)
            std = targets.std(0)
            self.mean, self.std = asarray(targets.mean(0)), asarray(numpy.where(std > 0, std, 1.0))
            if model is None:
                self.target_scaler = data.StandardScaler().fit(targets.reshape(len(targets), -1))
        self.model = build_image_model(config, dataset.shape, dataset.outputs) if model is None else model
        drop_last = _drop_last(len(dataset.train), config.batch_size)
        self.loader = data.DataLoader(self._arrays("train"), config.batch_size, True, drop_last, config.seed)
        self.cost = COSTS[dataset.task] if loss is None else Cost("loss", "loss")
        default = "r2" if dataset.task == "regression" else "accuracy"
        self.figure_names = (self.cost.name, *((default,) if metrics is None else metrics))
        if self.cost.name in (metrics or {}):
            raise ValueError(
                f"a metric cannot be called {self.cost.name}, which is the name of the loss: rename it"
            )

    def batches(self, part: str) -> Iterable[Batch]:
        return data.DataLoader(self._arrays(part), batch_size=512)

    def fingerprint(self) -> int:
        return _checksum(self.dataset.train)

    def checksums(self) -> dict[str, int]:
        return {part: _checksum(split) for part, split in self.dataset.parts.items()}

    def metadata(self) -> dict[str, Any]:
        dataset = self.dataset
        return {
            "config": dataclasses.asdict(self.config),
            "input_shape": dataset.shape,
            "outputs": dataset.outputs,
            "classes": dataset.classes,
            "features": dataset.features,
            "target_shape": dataset.train.targets.shape[1:],
            "scaler": None if dataset.scaler is None else type(dataset.scaler).__name__,
        }

    def scalers(self) -> dict[str, data.Scaler | None]:
        return {"inputs": self.dataset.scaler, "targets": self.target_scaler}

    def describe(self) -> str:
        return self.dataset.describe()

    def conclude(self, figures: Mapping[str, Figures]) -> str:
        name = self.figure_names[-1]
        return f"test {name.replace('r2', 'R²')}: {format_figure(name, figures['test'][name])}"

    def score(self, batch: Batch) -> tuple[Tensor, Sums]:
        inputs, targets = batch
        outputs = self.model(inputs)
        if self.dataset.task == "classification":
            loss, sums = self._score_classes(outputs, targets)
        else:
            loss, sums = self._score_values(outputs, targets)
        for name, metric in (self.metrics or {}).items():
            sums.others[name] = _number(name, metric(outputs, targets)) * sums.seen
        return loss, sums

    def figures(self, sums: Sums) -> Figures:
        figures = {self.cost.name: sums.loss / sums.seen}
        if self.metrics is not None:
            return figures | {name: sums.others[name] / sums.seen for name in self.metrics}
        if self.dataset.task == "classification":
            return figures | {"accuracy": sums.correct / sums.seen}
        return figures | {"r2": _r2(sums)}

    def _arrays(self, part: str) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return inputs and targets as the model takes them."""
        split = self.dataset.parts[part]
        targets = split.targets
        if self.target_scaler is not None:
            scaled = self.target_scaler.transform(targets.reshape(len(targets), -1).astype(numpy.float64))
            targets = scaled.reshape(targets.shape)
        return for_model(self.model, split.inputs, self.config), for_model(self.model, targets)

    def _score_classes(self, outputs: Tensor, classes: Tensor) -> tuple[Tensor, Sums]:
        if self.loss is None or self.metrics is None:
            expected = len(classes), self.dataset.outputs
            if outputs.shape != expected:
                raise ValueError(
                    f"the model returned outputs of shape {outputs.shape}, expected logits {expected}: one "
                    "per class. For other outputs, pass a loss and metrics of your own"
                )
        if self.loss is None:
            return classification_score(outputs, classes)
        loss = self.loss(outputs, classes)
        sums = Sums(_scalar(loss) * len(classes), 0, len(classes))
        if self.metrics is None:
            sums.correct = (outputs.array.argmax(1) == classes.array).sum()
        return loss, sums

    def _score_values(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Sums]:
        seen = len(targets)
        if self.loss is None or self.metrics is None:
            if outputs.shape[:1] != targets.shape[:1] or outputs.numel() != targets.numel():
                raise ValueError(
                    f"the model returned outputs of shape {outputs.shape} for targets of shape "
                    f"{targets.shape}: one output per target value is expected. For other outputs, pass a "
                    "loss and metrics of your own"
                )
            outputs = outputs.reshape(targets.shape)
        loss = F.mse_loss(outputs, targets) if self.loss is None else self.loss(outputs, targets)
        y, t = (tensor.array.astype(numpy.float64) for tensor in (outputs, targets))
        if self.metrics is not None and self.loss is not None:
            return loss, Sums(_scalar(loss) * seen, 0, seen)
        if self.target_scaler is None:  # in the units of the targets
            y, t = ((values - self.mean) / self.std for values in (y, t))
        errors = ((y - t) ** 2).reshape(seen, -1)
        t = t.reshape(seen, -1)
        in_units = (errors * self.std.reshape(-1) ** 2).mean(1).sum()
        total = in_units if self.loss is None else _scalar(loss) * seen
        others = {"errors": errors.sum(0), "targets": t.sum(0), "squares": (t * t).sum(0)}
        return loss, Sums(total, 0, seen, others)


def load_dataset(config: Config) -> data.Dataset:
    """Return the dataset that `config` names, not scaled.

    Raises:
        ValueError, RuntimeError: as `tn.data.load` does.
    """
    try:
        return data.load(
            config.dataset,
            config.data_dir,
            seed=config.seed,
            label=config.label,
            target=config.target,
            size=config.size,
        )
    except ValueError as error:
        path = Path(config.dataset)
        if data.is_path(config.dataset) and not path.is_absolute() and not path.exists():
            raise ValueError(
                f"{error} in {Path.cwd()}: a run finds its data from the folder in which it was started"
            ) from None
        raise


def for_model(model: Module, values: numpy.ndarray, config: Config | None = None) -> numpy.ndarray:
    """Return floating-point `values` in the dtype of the model's weights; with a config of one of this
    package's models, integers too.
    """
    if values.dtype.kind != "f" and (config is None or config.model == OWN):
        return values
    dtypes = (parameter.array.dtype for parameter in model.parameters())
    dtype = next((dtype for dtype in dtypes if dtype.kind == "f"), values.dtype)
    return values.astype(dtype, copy=False)


def _checksum(split: data.Split) -> int:
    return zlib.crc32(split.targets.tobytes(), zlib.crc32(split.inputs.tobytes()))


def _r2(sums: Sums) -> float:
    """Return R², the mean over the target values; of constant values 1 if there is no error, else 0."""
    errors, targets, squares = (numpy.asarray(sums.others[name]) for name in ("errors", "targets", "squares"))
    total = squares - targets * targets / sums.seen  # of scaled targets, with a mean near 0
    constant = total <= 1e-12 * squares
    r2 = 1 - errors / numpy.where(constant, 1.0, total)
    return float(numpy.where(constant, errors == 0, r2).mean())


def _number(name: str, value: Any) -> Array | float:
    if (value.numel() if isinstance(value, Tensor) else numpy.size(value)) != 1:
        raise ValueError(f"the metric {name!r} must be the mean over the batch, a number, got {value!r}")
    return _float64(value) if isinstance(value, Tensor) else float(value)


def _check_types(dataset: Any, model: Any, loss: Any, metrics: Any) -> None:
    if dataset is not None and not isinstance(dataset, data.Dataset):
        raise TypeError(
            f"dataset must be a tn.data.Dataset, got {type(dataset).__name__}: tn.data.from_arrays(inputs, "
            "targets) makes one of arrays; a name or a path belongs in Config(dataset=...)"
        )
    if model is not None and not isinstance(model, Module):
        raise TypeError(
            f"model must be a module of tinygrad_norm.nn, got {type(model).__module__}."
            f"{type(model).__name__}: the name of a model belongs in Config(model=...)"
        )
    if loss is not None and not callable(loss):
        raise TypeError(f"loss must be a function of outputs and targets, got {loss!r}")
    if metrics is not None and not (isinstance(metrics, Mapping) and all(map(callable, metrics.values()))):
        raise TypeError(
            f"metrics must be functions of outputs and targets by name, as {{'mae': F.l1_loss}}, got "
            f"{metrics!r}"
        )


def _scalar(loss: Tensor) -> Array:
    if loss.numel() != 1:
        raise ValueError(f"a loss must be the mean over the batch, a scalar, got shape {loss.shape}")
    return _float64(loss)


def _float64(value: Tensor) -> Array:
    return value.array.reshape(()).astype(numpy.float64)


def _drop_last(samples: int, batch_size: int) -> bool:
    """Return whether the last batch would be a single sample, for which BatchNorm is undefined."""
    return samples > batch_size and samples % batch_size == 1
