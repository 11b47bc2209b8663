"""Config: all settings of a run. Equal configs give equal results."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.sources import KINDS, locate
from ..nn.activation.softcap import as_cap
from ..nn.attention.qknorm import QK_NORMS
from ..ops.arguments import as_number, as_size
from ..suggestions import unknown
from .norm_choices import find_norm, norm_name
from .older_settings import RENAMED, of_today
from .optimizer_choices import CHOICES, default_decay
from .recipes import DATASETS, OWN, PLACES, find_recipe
from .scale_choices import check_scale_init

OPTIMIZERS = tuple(CHOICES)
"""The optimizers that `tinygrad-norm train` takes, by name."""

SCHEDULES = ("cosine", "linear", "step", "constant")
WITHOUT_NORM = {
    "ngpt": ("keeps every vector at length 1", "transformer"),
    "nf-resnet": ("standardizes its weights", "resnet"),
}
"""Models that take no norm: what they do instead, and the model that takes one."""

CLIP_MODES = ("norm", "value", "agc")
TEXTS = (
    "model",
    "norm",
    "optimizer",
    "schedule",
    "clip_mode",
    "placement",
    "qk_norm",
    "scale_init",
    "scale",
    "label",
    "target",
)
"""The settings that are text; some may be None."""

AUGMENTATIONS = ("shift", "flip", "noise")
SCALES = ("minmax", "standard", "image", "contrast", "none")


@dataclass(frozen=True, init=False)
class Config:
    """The model, the data and the training settings. Defaults come from the model's recipe (recipes.py).

    dataset      a name in DATASETS, such as "digits", "idx" (with `data_dir`) or "text"; the path of a file
                 or folder that `tn.data.load` reads, or of a .txt file, which is "text" with this `file`;
                 "own" if a script passes it to `Run`
    model        a name in IMAGE_MODELS, such as "mlp", or for text in TEXT_MODELS; "own" if a script passes
                 it to `Run`
    norm         a name in NORMS, such as "batch", or one with options, such as "group:groups=4"
    epochs       passes over the training set
    lr           highest learning rate
    batch_size   samples per step; for text, windows per step
    optimizer    a name in OPTIMIZERS: "sgd" (momentum 0.9), "adam", "adamw", "muon" (with AdamW for what is
                 not a matrix between layers), "lars", "lamb", …
    seed         for the weights, the order of the batches and the split
    data_dir     folder of IDX files, for "idx"
    file         text file, for "text"; default: the standard library's pydoc_data.topics
    placement    in transformers, where each sublayer has its normalization, one of PLACES: "pre" (before it),
                 "post" (after the residual sum), "peri" (before and after it), …; else None
    scale        how inputs are scaled, fitted on the training part: "minmax", "standard", "image", "contrast"
                 or "none"; None means "image" for images and "standard" for other inputs
    label        in a table, the column with the classes
    target       in a table, the column with the values to predict (regression)
    size         the height and width to which the images of a folder are scaled; None leaves them as they are
    schedule     how the learning rate goes on after the warm-up: down to 0 along a "cosine" or a "linear"
                 line, by a factor of 10 after each third of the steps ("step"), or "constant"
    warmup       fraction of all steps, 0 to below 1, over which the learning rate rises linearly
    weight_decay how strongly weights decay; not biases or the weights of normalizations. Default: 0.01 for
                 adamw, muon and lamb, 1e-4 for lars, otherwise 0. It is decoupled in adamw and muon; lamb
                 adds it to its step, the others to the gradient (L2)
    augment      random changes of the training inputs, any of "shift", "flip" (images) and "noise"
                 (augmentation.py)
    clip_grad    how far gradients are clipped before each step; 0 does not clip, None is the recipe's
    clip_mode    what clip_grad is: the largest "norm" of all gradients together, the largest "value" of an
                 entry, or, for "agc" (adaptive clipping), the largest norm of a unit's gradient as a fraction
                 of its weights' norm, not in the last linear layer
    early_stop   stop after so many epochs without a better validation cost, and keep the best weights; None
                 trains all epochs
    qk_norm      in transformers, how queries and keys are normalized: "none" or one of QK_NORMS; else None
    softcap      in transformers, c of the soft cap c·tanh(s/c) of attention's scores s; None for none
    scale_init   what residual branches are multiplied by: "none", or a scale that is learned and starts as
                 "layerscale" (1e-5), "rezero" (0) or "skipinit" (1/√blocks); "fixup" is for the resnet with
                 norm "none". None if the model has no such branches

    Raises:
        ValueError: if a number is out of range, a name is unknown, or settings do not fit together.
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
    placement: str | None
    scale: str | None
    label: str | None
    target: str | None
    size: int | None
    schedule: str
    warmup: float
    weight_decay: float
    augment: tuple[str, ...]
    early_stop: int | None
    clip_grad: float | None
    clip_mode: str
    qk_norm: str | None
    scale_init: str | None
    softcap: float | None

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
        placement: str | None = None,
        scale: str | None = None,
        label: str | None = None,
        target: str | None = None,
        size: int | None = None,
        schedule: str | None = None,
        warmup: float | None = None,
        weight_decay: float | None = None,
        augment: str | Sequence[str] = (),
        early_stop: int | None = None,
        clip_grad: float | None = None,
        clip_mode: str | None = None,
        qk_norm: str | None = None,
        scale_init: str | None = None,
        softcap: float | None = None,
    ) -> None:
        dataset, file = (dataset, file) if dataset == OWN else locate(dataset, file)
        model, recipe = find_recipe(dataset, model, regression=target is not None or dataset == "sine")
        given: dict[str, Any] = {
            "norm": norm,
            "epochs": epochs,
            "lr": lr,
            "batch_size": batch_size,
            "optimizer": optimizer,
            "placement": placement,
            "qk_norm": qk_norm,
            "scale_init": scale_init,
            "schedule": schedule,
            "warmup": warmup,
            "weight_decay": weight_decay,
            "clip_grad": clip_grad,
            "clip_mode": clip_mode,
        }
        if clip_mode in CLIP_MODES and clip_mode != recipe.clip_mode and not clip_grad:
            raise ValueError(f"clip_mode {clip_mode!r} needs a clip_grad of its own, such as 1.0 for norm")
        if lr is None and optimizer in CHOICES:
            given["lr"] = CHOICES[optimizer].lr
        settings = recipe._asdict() | {name: value for name, value in given.items() if value is not None}
        settings |= {"dataset": dataset, "model": model, "seed": seed, "data_dir": data_dir, "file": file}
        settings |= {"scale": scale, "label": label, "target": target, "size": size}
        settings |= {"augment": as_augmentations(augment), "early_stop": early_stop, "softcap": softcap}
        if settings["weight_decay"] is None:
            settings["weight_decay"] = default_decay(settings["optimizer"])
        for name, value in settings.items():
            object.__setattr__(self, name, value)
        self._check(is_transformer=recipe.placement is not None)
        if recipe.scale_init is None and scale_init is not None:
            raise ValueError(
                f"scale_init is for residual branches; the model {self.model!r} has none that take a scale"
            )
        check_scale_init(self.scale_init, self.model, self.norm, self.placement)

    def _check(self, is_transformer: bool) -> None:
        for name in TEXTS:
            if not isinstance(getattr(self, name), str | None):
                raise TypeError(f"{name} must be text, got {getattr(self, name)!r}")
        for name in ("epochs", "batch_size", "seed"):
            as_size(getattr(self, name), name, None)
        for name in ("size", "early_stop"):
            if getattr(self, name) is not None:
                as_size(getattr(self, name), name, None)
        for name in ("lr", "warmup", "weight_decay"):
            as_number(getattr(self, name), name)
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.lr < float("inf"):
            raise ValueError(f"lr must be a positive number, got {self.lr}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if not 0 <= self.warmup < 1:
            raise ValueError(
                f"warmup is a fraction of all steps, 0 to below 1 (0.05: 5 %), got {self.warmup}"
            )
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay must be a number of at least 0, got {self.weight_decay}")
        if self.clip_grad is not None and not 0 <= as_number(self.clip_grad, "clip_grad") < float("inf"):
            raise ValueError(f"clip_grad must be a number of at least 0, got {self.clip_grad}")
        if self.early_stop is not None and self.early_stop < 1:
            raise ValueError(f"early_stop must be at least 1 epoch, got {self.early_stop}")
        if self.augment and self.dataset == "text":
            raise ValueError(
                "augment is for images and features, but the dataset is text: leave out --augment "
                f"{','.join(self.augment)}"
            )
        choices: Collection[str]
        find_norm(self.norm)
        for name, choices in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("clip_mode", CLIP_MODES),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(unknown(name, getattr(self, name), choices))
        if self.scale is not None and self.scale not in SCALES:
            raise ValueError(unknown("scale", self.scale, SCALES))
        of_batches = norm_name(self.norm) in ("batch", "sync-batch", "renorm", "ghost", "lpbatch", "noisy")
        if self.model == "mlp" and of_batches and self.batch_size == 1:
            raise ValueError(
                "batch normalization needs more than one sample per batch: use a larger batch_size, or "
                "another norm"
            )
        without, instead = WITHOUT_NORM.get(self.model, ("", ""))
        if without and norm_name(self.norm) != "none":
            raise ValueError(
                f"the model {self.model!r} {without} and takes no other norm, got {self.norm!r}: leave out "
                f"norm, or use the model {instead!r}"
            )
        if self.dataset == "idx" and self.data_dir is None:
            raise ValueError("the dataset 'idx' is read from a folder of IDX files: pass it as --data-dir")
        for name, choices in (
            ("placement", tuple(PLACES)),
            ("qk_norm", ("none", *QK_NORMS)),
            ("softcap", ()),
        ):
            value = getattr(self, name)
            if value is not None and not is_transformer:
                raise ValueError(
                    f"{name} is an option of transformers; the model {self.model!r} has no such option"
                )
            if value in RENAMED:
                raise ValueError(f"the placement {value!r} is called {RENAMED[value]!r}: pass that")
            if value is not None and choices and value not in choices:
                raise ValueError(unknown(name, str(value), choices))
        if self.placement == "mix" and self.dataset != "text":
            raise ValueError(
                "the placement 'mix' is 'post' in the first quarter of the layers, and this transformer has "
                "only 2, so it would be 'pre': pass that, or use the dataset 'text', whose transformer has 4"
            )
        if self.softcap is not None:
            as_cap(self.softcap, "softcap")
        for name, dataset in (("data_dir", "idx"), ("file", "text")):
            if getattr(self, name) is not None and self.dataset != dataset:
                raise ValueError(
                    f"{name} is only for the dataset {dataset!r}, but the dataset is {self.dataset!r}"
                )
        for name in ("scale", "label", "target", "size"):
            if getattr(self, name) is not None and self.dataset == "text":
                raise ValueError(f"{name} is not for text: leave it out")

    def to_json(self) -> str:
        """Return the config as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    def with_own(self, dataset: bool, model: bool) -> Config:
        """Return the config of a run to which a script passes its own dataset or model."""
        own = copy.copy(self)
        for name, given in (("dataset", dataset), ("model", model)):
            if given:
                object.__setattr__(own, name, OWN)
        if model:
            object.__setattr__(own, "norm", "none")
            for name in ("placement", "qk_norm", "scale_init", "softcap"):
                object.__setattr__(own, name, None)
        return own

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read a config.json; a setting that older versions did not have gets the value they used.

        Raises:
            ValueError: if the file is not a config of this version; the message names the wrong fields.
        """
        try:
            fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:  # not JSON, or not UTF-8
            raise ValueError(
                f"{path} is not valid JSON ({error}): was it edited by hand?{_remedy(path)}"
            ) from error
        if not isinstance(fields, dict):
            raise ValueError(
                f"{path} is not a config: expected a JSON object, got {type(fields).__name__}{_remedy(path)}"
            )
        fields = of_today(fields)
        unknown = set(fields) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(f"{path} has unknown fields: {', '.join(sorted(unknown))}{_remedy(path)}")
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError(
                f"{path} has a field of the wrong type ({error}): was it edited by hand?{_remedy(path)}"
            ) from error
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be used: {error}") from error

    @property
    def data_name(self) -> str:
        """The name of the dataset, or that of its file or folder without the ending."""
        source = self.dataset if self.file is None else self.file
        if source in DATASETS or source == OWN:
            return source
        path = Path(source)
        name = path.stem if path.suffix.lower() in KINDS else path.name
        return name or path.resolve().name

    @property
    def title(self) -> str:
        """A short description of the run, for plots."""
        return f"{self.model} on {self.data_name}, {self.norm_in_words}{self.details}"

    @property
    def norm_in_words(self) -> str:
        """The normalization: "batch normalization", "no normalization"."""
        return "no normalization" if self.norm == "none" else f"{self.norm} normalization"

    @property
    def details(self) -> str:
        """Where a transformer normalizes, if not before each sublayer, and what else it does."""
        place = f" {PLACES[self.placement]}" if self.placement not in (None, "pre") else ""
        scores = f", {self.qk_norm} on queries and keys" if self.qk_norm not in (None, "none") else ""
        start = f", {self.scale_init} on residual branches" if self.scale_init not in (None, "none") else ""
        cap = f", scores capped at {self.softcap:g}" if self.softcap is not None else ""
        return place + scores + cap + start


def differences(fields: Mapping[str, Any], config: Config) -> dict[str, tuple[Any, Any]]:
    """Return the settings in which `fields` and `config` differ, by name: the value of each."""
    own = dataclasses.asdict(config)
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return {name: (value, own[name]) for name, value in given.items() if own.get(name, value) != value}


def check_settings(config: Config, fields: Mapping[str, Any], path: Path) -> None:
    """Compare the config.json in the folder of `path` with the settings that the file `path` was made with.

    The data may have been moved since.

    Raises:
        ValueError: if they differ.
    """
    differing = differences(fields, config)
    changed = [name for name in differing if name not in ("dataset", "data_dir", "file")]
    if changed:
        was, now = (", ".join(f"{name} {differing[name][i]!r}" for name in changed) for i in (0, 1))
        raise ValueError(
            f"{path} was made with {was}, but config.json beside it says {now}: it was edited, or is "
            "damaged. Write the former settings back, or start a new run in another folder"
        )


def as_augmentations(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return `names`, a sequence or separated by commas, in the order in which they are applied.

    Raises:
        ValueError: if a name is unknown.
    """
    given = [name.strip() for name in names.split(",") if name.strip()] if isinstance(names, str) else names
    for name in given:
        if name not in AUGMENTATIONS:
            raise ValueError(unknown("augmentation", str(name), AUGMENTATIONS))
    return tuple(name for name in AUGMENTATIONS if name in given)


def _remedy(path: Path) -> str:
    """Return what can be done about a config.json that was edited badly, as a sentence after another."""
    if (path.parent / "checkpoint.safetensors").is_file():
        return f". Remove it: tinygrad-norm train --resume {path.parent} writes it again"
    return f". {path.parent} has no checkpoint to write it from: train a new run in another folder"
