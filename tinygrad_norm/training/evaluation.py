"""Evaluate a finished run: figures, the confusion matrix, and figures per class."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy

from .. import data
from ..files import replacing
from .dataset_task import load_dataset
from .finished_run import FinishedRun
from .language_modelling import TextTask
from .recipes import OWN
from .task import Figures


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How well a model predicts some samples.

    name           what was evaluated
    figures        loss and accuracy; or mse, mae and r2; or bits per character and accuracy
    targets        the classes (N,), or the target values
    predictions    the predicted classes (N,), or values
    classes        the names of the classes; () if there are none
    """

    name: str
    figures: Figures
    targets: numpy.ndarray
    predictions: numpy.ndarray
    classes: tuple[str, ...]

    def confusion(self) -> numpy.ndarray:
        """Return the matrix (classes, classes): row i, column j counts samples of class i predicted as j."""
        counts = numpy.zeros((len(self.classes), len(self.classes)), numpy.int64)
        numpy.add.at(counts, (self.targets, self.predictions), 1)
        return counts

    def per_class(self) -> dict[str, dict[str, float]]:
        """Return precision, recall, F1 (0 if nothing was predicted) and the number of samples, by class."""
        counts = self.confusion()
        right, truth, predicted = numpy.diag(counts), counts.sum(1), counts.sum(0)
        precision, recall = right / numpy.maximum(predicted, 1), right / numpy.maximum(truth, 1)
        f1 = 2 * right / numpy.maximum(predicted + truth, 1)
        return {
            name: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "F1": float(f1[i]),
                "samples": int(truth[i]),
            }
            for i, name in enumerate(self.classes)
        }


def evaluate_run(run: FinishedRun, dataset: data.Dataset | None = None, *, part: str = "test") -> Evaluation:
    """Evaluate a finished run on a part of its own data, or on all samples of another dataset.

    `dataset` is not split and not scaled by statistics of its own; its classes are found by their names.

    Raises:
        ValueError: if the run's data are a script's own and `dataset` is missing; if the part is unknown; if
            the dataset has other inputs or classes than the run.
        RuntimeError: if a package is not installed that reads the data.
    """
    if run.alphabet is not None:
        return _evaluate_text(run, dataset)
    if part not in data.PARTS:
        raise ValueError(f"unknown part {part!r}: choose one of {', '.join(data.PARTS)}")
    if dataset is None:
        if run.config.dataset == OWN:
            raise ValueError(f"the data of {run.folder} are a script's own: pass the dataset (--data)")
        dataset = load_dataset(run.config)
        split, name = dataset.parts[part], f"the {part} part of {dataset.name}"
    else:
        split, name = _in_order_of(run, dataset), dataset.name
    if (dataset.classes is None) != (run.classes is None):
        kinds = ("target values", "classes")
        raise ValueError(
            f"{dataset.name} has {kinds[dataset.classes is not None]}, but {run.folder} was trained on "
            f"{kinds[run.classes is not None]}"
        )
    outputs = run.outputs(split.inputs).astype(numpy.float64)
    if run.classes is None or dataset.classes is None:
        return Evaluation(name, _value_figures(outputs, split.targets), split.targets, outputs, ())
    targets = _as_classes_of(run, dataset.classes)[split.targets]
    logits = outputs - outputs.max(1, keepdims=True)
    picked = logits[numpy.arange(len(targets)), targets]
    loss = float((numpy.log(numpy.exp(logits).sum(1)) - picked).mean())
    predictions = outputs.argmax(1)
    figures = {"loss": loss, "accuracy": float((predictions == targets).mean())}
    return Evaluation(name, figures, targets, predictions, run.classes)


def save_confusion(path: Path, evaluation: Evaluation) -> bool:
    """Draw the confusion matrix of an evaluation, or predicted against true values; write `path`.

    Returns False, and writes nothing, if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    side = min(max(4.0, 0.45 * len(evaluation.classes)), 16)  # of the matrix, inches
    figure = Figure(figsize=(side + 2.5, side + 1.5), layout="constrained", dpi=120)
    axes = figure.subplots()
    axes.set_title(evaluation.name, fontsize=10, wrap=True, parse_math=False)
    if evaluation.classes:
        counts = evaluation.confusion()
        shares = counts / numpy.maximum(counts.sum(1, keepdims=True), 1)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        bar = axes.inset_axes((1 + 0.15 / side, 0, 0.2 / side, 1))  # as high as the matrix
        figure.colorbar(image, cax=bar, label="share of the true class")
        cell = 72 * side / len(counts)  # points
        names = [n if len(n) <= 16 else n[:15] + "…" for n in evaluation.classes]
        places = range(0, len(names), ceil(12 / cell))
        shown = [names[i] for i in places]
        turned = 6 * max(map(len, shown)) > cell * places.step
        axes.set_xticks(places, shown, fontsize=9, rotation=90 if turned else 0, parse_math=False)
        axes.set_yticks(places, shown, fontsize=9, parse_math=False)
        axes.set(xlabel="predicted", ylabel="true")
        if len(counts) <= 40:
            size = min(12, 0.4 * cell, 1.15 * cell / len(str(counts.max())))
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": size, "in_layout": False}
            for i, j in numpy.ndindex(counts.shape):
                colour = "white" if shares[i, j] > 0.5 else "black"
                axes.text(j, i, str(counts[i, j]), color=colour, **style)
    else:
        t, y = evaluation.targets.reshape(-1), evaluation.predictions.reshape(-1)
        axes.scatter(t, y, s=8, alpha=0.6)
        ends = [min(t.min(), y.min()), max(t.max(), y.max())]
        axes.plot(ends, ends, color="tab:orange", label="predicted = true")
        axes.set(xlabel="true value", ylabel="predicted value")
        axes.grid(alpha=0.3)
        axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, bbox_inches="tight")
    return True


def _evaluate_text(run: FinishedRun, dataset: data.Dataset | None) -> Evaluation:
    if dataset is not None:
        raise ValueError(f"{run.folder} is a run on text: it is evaluated on the validation part of its text")
    task = TextTask(run.config)
    if task.text.alphabet != run.alphabet:
        raise ValueError(f"the text of {run.folder}, {task.text.name}, has changed since the run")
    task.model = run.model
    empty = numpy.zeros(0)
    return Evaluation(
        f"the validation part of {task.text.name}", task.evaluate("validation"), empty, empty, ()
    )


def _in_order_of(run: FinishedRun, dataset: data.Dataset) -> data.Split:
    """Return all samples of a dataset; the columns of a table are in the order of the training."""
    parts = dataset.parts.values()
    inputs = numpy.concatenate([part.inputs for part in parts])
    if run.features is not None and dataset.features is not None and run.features != dataset.features:
        if missing := [name for name in run.features if name not in dataset.features]:
            raise ValueError(
                f"{dataset.name} has no column {', '.join(map(repr, missing))}, a feature in the training of "
                f"{run.folder}"
            )
        inputs = inputs[:, [dataset.features.index(name) for name in run.features]]
    return data.Split(inputs, numpy.concatenate([part.targets for part in parts]))


def _as_classes_of(run: FinishedRun, classes: tuple[str, ...]) -> numpy.ndarray:
    """Return the index in the run's classes of each of `classes`."""
    known = run.classes or ()
    if unknown := [name for name in classes if name not in known]:
        raise ValueError(
            f"the classes {', '.join(unknown)} are not among those of {run.folder}: {', '.join(known)}"
        )
    return numpy.array([known.index(name) for name in classes])


def _value_figures(y: numpy.ndarray, t: numpy.ndarray) -> Figures:
    errors = (y - t).reshape(len(t), -1)
    total = ((t - t.mean(0)) ** 2).reshape(len(t), -1).sum(0)
    squares = (errors**2).sum(0)
    r2 = numpy.where(total > 0, 1 - squares / numpy.where(total > 0, total, 1), squares == 0)
    return {"mse": float((errors**2).mean()), "mae": float(abs(errors).mean()), "r2": float(r2.mean())}
