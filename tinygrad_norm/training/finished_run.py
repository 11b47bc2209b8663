"""FinishedRun: the trained model of a run, with all that is needed to use it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy

from .. import data
from ..autograd.grad_mode import no_grad
from ..autograd.tensor import Tensor
from ..backends import to_numpy
from ..module import Module
from .checkpoint import Damaged, load_arrays, naming
from .config import Config, check_settings
from .dataset_task import DatasetTask, for_model
from .language_modelling import CONTEXT, TextTask, sample_codes
from .models import build_image_model, build_text_model
from .recipes import OWN
from .run_folder import remedy
from .run_record import read_config, read_metrics, read_results
from .scaling import load_scalers

BATCH = 512
"""Samples per forward pass."""


@dataclass(frozen=True, eq=False, repr=False)
class FinishedRun:
    """A trained model and what it was trained with; `load_run` makes it.

    folder          the folder of the run
    config          the settings
    model           the model in evaluation mode, with the saved weights
    scaler          scales raw inputs as in training; None if they were not scaled
    target_scaler   in regression, scales the targets that the model predicts; None if it predicts them as
                    they are
    classes         the names of the classes; None in regression and for text
    features        the names of the features, if the run is on a table
    input_shape     the shape of one input: (C, H, W) or (D,); None for text
    target_shape    in regression, the shape of the target values of one sample: () or (K,)
    alphabet        for text, the characters by code
    """

    folder: Path
    config: Config
    model: Module
    scaler: data.Scaler | None
    target_scaler: data.Scaler | None
    classes: tuple[str, ...] | None
    features: tuple[str, ...] | None
    input_shape: tuple[int, ...] | None
    target_shape: tuple[int, ...]
    alphabet: str | None

    @cached_property
    def metrics(self) -> list[dict[str, float]]:
        """One dict per epoch, as in metrics.csv; raises ValueError if the file is damaged."""
        return read_metrics(self.folder / "metrics.csv")

    @cached_property
    def results(self) -> dict[str, dict[str, float]]:
        """The figures of every part after the last epoch; {} if the run did not finish.

        Raises ValueError if results.json is damaged.
        """
        return read_results(self.folder / "results.json")

    @no_grad()
    def outputs(self, inputs: Any) -> numpy.ndarray:
        """Return the model's outputs for raw `inputs` (N, …): logits, or target values in their units.

        Raises:
            TypeError: if the inputs are not numbers.
            ValueError: if the run is on text, or the inputs have another shape than those of the training.
        """
        if self.alphabet is not None:
            raise ValueError(f"{self.folder} is a run on text: use generate to continue a text")
        x = numpy.asarray(inputs)
        if self.input_shape is not None and (x.ndim == 0 or x.shape[1:] != self.input_shape):
            expected = ", ".join(map(str, ("N", *self.input_shape)))
            raise ValueError(
                f"{self.folder} was trained on inputs of shape ({expected}), got {x.shape}"
                + (": for one input, pass x[None]" if x.shape == self.input_shape else "")
            )
        x = x if self.scaler is None else self.scaler.transform(x)
        x = for_model(self.model, x, self.config)
        self.model.eval()
        parts = [to_numpy(self.model(Tensor(x[i : i + BATCH])).array) for i in range(0, len(x), BATCH)]
        if not parts:
            raise ValueError("there are no inputs: pass at least one")
        outputs = numpy.concatenate(parts)
        if self.target_scaler is not None and isinstance(self.target_scaler, data.StandardScaler):
            outputs = self.target_scaler.inverse_transform(outputs.reshape(len(x), -1).astype(numpy.float64))
        return outputs if self.classes is not None else outputs.reshape(len(x), *self.target_shape)

    def predict(self, inputs: Any) -> numpy.ndarray:
        """Return the predicted names of classes (N,), or target values, for raw `inputs` (N, …).

        Raises:
            TypeError, ValueError: as in `outputs`.
        """
        outputs = self.outputs(inputs)
        return outputs if self.classes is None else numpy.array(self.classes)[outputs.argmax(1)]

    def predict_proba(self, inputs: Any) -> numpy.ndarray:
        """Return the probability of every class (N, classes), float64, for raw `inputs` (N, …).

        Raises:
            TypeError: if the inputs are not numbers.
            ValueError: if the run has no classes, or the inputs have another shape than in training.
        """
        if self.classes is None:
            raise ValueError(f"{self.folder} has no classes: use predict")
        logits = self.outputs(inputs).astype(numpy.float64)
        exponentials = numpy.exp(logits - logits.max(1, keepdims=True))
        return exponentials / exponentials.sum(1, keepdims=True)

    def generate(self, prompt: str, length: int = 400, seed: int = 0) -> str:
        """Return `length` characters that continue `prompt`, sampled by a run on text.

        Raises:
            ValueError: if the run is not on text, or the prompt is empty.
        """
        if self.alphabet is None:
            raise ValueError(f"{self.folder} is not a run on text: use predict")
        if not prompt:
            raise ValueError("the prompt must have at least one character")
        codes = numpy.array([max(0, self.alphabet.find(character)) for character in prompt[-CONTEXT:]])
        sample = sample_codes(self.model, codes, length, seed)
        return "".join(self.alphabet[code] for code in sample)

    def __repr__(self) -> str:
        try:
            done = str(len(self.metrics))
        except ValueError:  # metrics.csv is damaged
            done = "?"
        return f"<FinishedRun {self.folder}: {self.config.title}, {done} of {self.config.epochs} epochs>"


def load_run(
    folder: str | Path,
    *,
    model: Module | None = None,
    scaler: data.Scaler | None = None,
) -> FinishedRun:
    """Return the trained model in the folder of a run, with all that is needed to use it.

    model     for a run with a model of a script's own: that module, of the same architecture
    scaler    for a run whose inputs a scaler of a script's own has scaled: that scaler, fitted

    A run that was stopped by Ctrl-C can be loaded too.

    Raises:
        ValueError: if the folder has no run, a file is damaged, or `model` or `scaler` is missing.
        RuntimeError: if a package is not installed that reads the data of a run of an older version.
    """
    folder = Path(folder).expanduser()
    path, config = folder / "model.safetensors", read_config(folder)
    with _remedied(folder):
        weights, metadata = load_arrays(path)
    with _remedied(folder), naming(path):
        check_settings(config, json.loads(metadata.get("config", "{}")), path)
        facts = json.loads(metadata.get("run", "null"))
    if facts is None:
        facts = _facts_of_data(config)
    if model is None:
        if config.model == OWN:
            raise ValueError(
                f"{folder} has a model of a script's own: pass one like it, load_run(..., model=...)"
            )
        with naming(path):
            model = _build(config, facts)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path} holds the weights of another architecture: {error}") from error
    with _remedied(folder):
        scaler_path = folder / "scaler.safetensors"
        scalers = load_scalers(scaler_path) if scaler_path.exists() else {}
    used = scaler or scalers.get("inputs") or facts.get("fitted_scaler")
    if used is None and facts.get("scaler") is not None:
        name = facts["scaler"]
        if hasattr(data, name):
            raise ValueError(
                f"{folder} has no scaler.safetensors, which holds the {name} of its inputs: {remedy(folder)}"
            )
        raise ValueError(f"the inputs of {folder} were scaled by {name}, a script's own: pass it as scaler=")
    with naming(path):
        classes, features, shape = (
            None if facts.get(name) is None else tuple(facts[name])
            for name in ("classes", "features", "input_shape")
        )
        target_shape = tuple(facts.get("target_shape", ()))
    return FinishedRun(
        folder,
        config,
        model.eval(),
        used,
        scalers.get("targets"),
        classes,
        features,
        shape,
        target_shape,
        facts.get("alphabet"),
    )


@contextmanager
def _remedied(folder: Path) -> Iterator[None]:
    """Let errors about a damaged file of the run in `folder` say what can be done."""
    try:
        yield
    except Damaged as error:
        raise ValueError(f"{error}. {remedy(folder)}") from error


def _facts_of_data(config: Config) -> dict[str, Any]:
    """Return what the metadata of model.safetensors say, for a run of an older version, which has none."""
    task = TextTask(config) if config.dataset == "text" else DatasetTask(config)
    return task.metadata() | {"fitted_scaler": task.scalers().get("inputs")}


def _build(config: Config, facts: dict[str, Any]) -> Module:
    if "alphabet" in facts:
        return build_text_model(config, len(facts["alphabet"]), CONTEXT)
    return build_image_model(config, tuple(facts["input_shape"]), facts["outputs"])
