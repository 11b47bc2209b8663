"""`tinygrad-norm datasets`: list the datasets that `train` knows by name."""

from ..data.sources import KINDS, SOURCES, load
from ..training.recipes import DATASETS
from .tables import NOTHING, print_line, wide_console, words_table

OF_FILES = {"text": "the characters of a UTF-8 file, to predict the next one"}


def datasets() -> None:
    """List the datasets that `train` knows by name, and the files that it reads."""
    console = wide_console()
    rows = [(name, (SOURCES | OF_FILES)[name], *_facts(name)) for name in DATASETS]
    console.print(words_table(console, ("dataset", "what it is", "one input", "samples", "outputs"), rows))
    print_line(
        console,
        "A path can take the place of a name: a folder of images by class, a folder of IDX files, or a file "
        f"that ends in {', '.join(KINDS)}.",
    )


def _facts(name: str) -> tuple[str, str, str]:
    """Return the shape, the number of samples, and the outputs of a model, if the data need no files."""
    try:
        dataset = load(name)
    except (ValueError, RuntimeError):  # files are needed, or a package
        return NOTHING, NOTHING, NOTHING
    samples = sum(len(part) for part in dataset.parts.values())
    predicted = "classes" if dataset.classes else "value" if dataset.outputs == 1 else "values"
    return "×".join(map(str, dataset.shape)), str(samples), f"{dataset.outputs} {predicted}"
