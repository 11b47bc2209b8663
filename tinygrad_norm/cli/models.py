"""`tinygrad-norm models`: list the models of `train`."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..training import IMAGE_MODELS, TEXT_MODELS
from ..training.recipes import IMAGES, TEXT, Recipe
from .tables import print_line, wide_console, words_table


def models() -> None:
    """List the models of `train`, with their default settings."""
    console = wide_console()
    rows = [*_rows("", IMAGE_MODELS, IMAGES), *_rows(" (text)", TEXT_MODELS, TEXT)]
    console.print(words_table(console, ("model", "what it is", "default settings"), rows))
    print_line(
        console,
        "The mlp takes inputs of any shape, the others images; sequence models read an image row by row.",
    )


def _rows(
    suffix: str, builders: Mapping[str, Callable[..., Any]], recipes: Mapping[str, Recipe]
) -> list[tuple[str, str, str]]:
    return [(name + suffix, _what(builders[name]), str(recipe)) for name, recipe in recipes.items()]


def _what(builder: Callable[..., Any]) -> str:
    """Return the first sentence of the builder's docstring: the layers."""
    function = builder.func if isinstance(builder, partial) else builder
    line = (function.__doc__ or "").strip().splitlines()[0]
    return line.removeprefix("Return ").removesuffix(".")
