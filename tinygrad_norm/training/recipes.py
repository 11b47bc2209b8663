"""Recipes: the default training settings of each model."""

from collections.abc import Iterator
from typing import NamedTuple

from .. import data
from ..data.sources import is_path
from ..suggestions import unknown

DATASETS = (*data.SOURCES, "text")
"""The datasets that `tinygrad-norm train` takes, by name."""

OWN = "own"
"""The name, in a config, of a dataset or a model that a script passes to `Run`."""


PLACES = {
    "pre": "before each sublayer",
    "post": "after each sublayer",
    "peri": "before and after each sublayer",
    "output": "after each sublayer, before the sum",
    "sub": "before and inside each sublayer",
    "hybrid": "inside attention and after its sum",
    "mix": "after the first sublayers, before the others",
    "scaled": "before each sublayer, divided by the root of its layer's number",
    "deep": "after each sublayer, as DeepNorm",
}
"""Where a transformer normalizes, by the names of `placement`."""


class Recipe(NamedTuple):
    """The default settings of a model; `placement`, `qk_norm`, `scale_init` are None if it has none."""

    norm: str
    epochs: int
    lr: float
    batch_size: int
    optimizer: str = "adam"
    placement: str | None = None
    schedule: str = "cosine"
    warmup: float = 0.05
    weight_decay: float | None = None
    clip_grad: float | None = None
    clip_mode: str = "norm"
    qk_norm: str | None = None
    scale_init: str | None = None

    def __str__(self) -> str:
        order = f" {PLACES[self.placement]}" if self.placement else ""
        norm = "no normalization layer" if self.norm == "none" else f"{self.norm} normalization"
        clip = "" if self.clip_grad is None else f", clip {self.clip_mode} {self.clip_grad:g}"
        return (
            f"{norm}{order}, epochs {self.epochs}, lr {self.lr:g}, "
            f"batch size {self.batch_size}, {self.optimizer}, warm-up {self.warmup:.0%}{clip}"
        )


_TRANSFORMER = Recipe("layer", 30, 2e-3, 64, "adamw", placement="pre", qk_norm="none", scale_init="none")
_RECURRENT = Recipe("layer", 30, 5e-3, 64)

IMAGES = {
    "mlp": Recipe("batch", 30, 3e-3, 64, warmup=0.1),
    "cnn": Recipe("batch", 30, 3e-3, 64, warmup=0.1),
    "resnet": Recipe("batch", 15, 3e-3, 64, warmup=0.1, scale_init="none"),
    "nf-resnet": Recipe("none", 15, 3e-3, 64, warmup=0.1, clip_grad=0.05, clip_mode="agc"),
    "convnext": Recipe("layer", 15, 1e-2, 64, "adamw", scale_init="none"),
    "rnn": _RECURRENT,
    "lstm": _RECURRENT,
    "gru": _RECURRENT,
    "transformer": _TRANSFORMER,
}
OWN_MODEL = Recipe("none", 30, 3e-3, 64, warmup=0.1)
TEXT = {
    "transformer": _TRANSFORMER._replace(epochs=6, lr=3e-3, batch_size=8),
    "lstm": Recipe("layer", 6, 5e-3, 32, "adamw"),
    "ngpt": Recipe("none", 6, 1e-2, 8, warmup=0.0),
}


def describe(recipes: dict[str, Recipe]) -> Iterator[str]:
    """Yield one line per distinct recipe: the models that use it, and its settings."""
    for recipe in dict.fromkeys(recipes.values()):
        models = (model for model, own in recipes.items() if own == recipe)
        yield f"{', '.join(models)}: {recipe}"


def find_recipe(dataset: str, model: str | None, regression: bool = False) -> tuple[str, Recipe]:
    """Return the model's name (by default, the first for `dataset`) and its recipe. Paths are not read.

    For regression, layer normalization takes the place of batch normalization: a prediction that depends on
    the other samples of a batch in training, and not in evaluation, is off by more than a class shows (on the
    sine, R² is 0.95 instead of 0.975).

    Raises:
        ValueError: if the dataset is unknown, or the model is unknown or not for this dataset.
    """
    if model == OWN:
        return OWN, OWN_MODEL
    if dataset not in (*DATASETS, OWN) and not is_path(dataset):
        raise ValueError(unknown("dataset", dataset, DATASETS) + ", or the path of a file or folder")
    recipes = TEXT if dataset == "text" else IMAGES
    model = next(iter(recipes)) if model is None else model
    if model in recipes:
        recipe = recipes[model]
        return model, recipe._replace(norm="layer") if regression and recipe.norm == "batch" else recipe
    if model in IMAGES:
        raise ValueError(f"{model} is for images, not text: choose one of {', '.join(recipes)}")
    if model in TEXT:
        raise ValueError(f"{model} is for text: choose one of {', '.join(recipes)}, or the dataset text")
    raise ValueError(unknown("model", model, recipes))
