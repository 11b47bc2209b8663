"""What an experiment is: a claim of a paper, what is measured for it, and how the verdict is reached.

To add one, write a file in `exact/` or `statistical/` of this package, import it in the `__init__.py` there,
and call `register(...)` at its end. Such a file has up to four functions:

    measure(seed, **arguments) -> {name: number or array}    one job: one setting with one seed
    judge(results) -> Verdict                                the rule; its docstring says it in words
    tabulate(results) -> [Row(what, ours, paper), ...]       the table
    draw(results, figure)                                    the plot, on a figure of matplotlib

`measure` is the only one that takes long. It must depend on nothing but its arguments: draw random numbers
from `np.random.default_rng(seed)` or after `manual_seed(seed)`. Its arguments are those of `sizes`, which all
settings share and which a test makes small, those of the setting, and the tuned one. What it returns is kept
in a file: thin out long curves to some 50 points. Write the rule before you look at figures, and give it a
control where you can: a setting in which the claim must fail, so that the measurement is known to see it.

The fingerprint of the file that measures (`measuring_code.py`) decides whether figures of an earlier run are
taken over: to change a plot, a table or a rule is no reason to measure anew. `--again` always does.
"""

import dataclasses
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

from .experiment_results import Results
from .verdicts import FEWEST_SEEDS, Verdict, cannot_be_told

NOTHING = "–"
Known = Literal["read in the paper", "its abstract", "from memory", "follows from the formula"]
"""How sure the figure of the paper is."""


class Row(NamedTuple):
    """A row of the table: what it is, our figure and the paper's."""

    what: str
    ours: str
    paper: str = NOTHING


@dataclass(frozen=True)
class Tuning:
    """An argument of `measure` that each setting gets tuned, over the same values and seeds.

    The value with the lowest mean of the figure `score` over `seeds` is chosen; one that is not finite loses.
    """

    values: tuple[float, ...]
    score: str
    parameter: str = "lr"
    seeds: tuple[int, ...] = (100,)


@dataclass(frozen=True)
class Experiment:
    """A claim of a paper and what is needed to judge it; `register` makes one."""

    name: str
    title: str
    claim: str
    source: str
    paper: str
    known: Known
    measure: Callable[..., Mapping[str, Any]]
    judge: Callable[[Results], Verdict]
    tabulate: Callable[[Results], Sequence[Row]]
    draw: Callable[[Results, Any], None]
    settings: Mapping[str, Mapping[str, Any]]
    sizes: Mapping[str, Any] = field(default_factory=dict)
    tuning: Tuning | None = None
    seeds: int = FEWEST_SEEDS
    kind: str = "exact"
    systems: tuple[str, ...] = ()

    @property
    def rule(self) -> str:
        """The rule of the verdict in words."""
        return " ".join((inspect.getdoc(self.judge) or "").split())

    def with_sizes(self, **sizes: Any) -> "Experiment":
        """Return this experiment with other sizes, as a quick test needs them.

        Raises:
            ValueError: if it has no size of that name.
        """
        if unknown := set(sizes) - set(self.sizes):
            raise ValueError(f"{self.name} has the sizes {', '.join(self.sizes)}, got {', '.join(unknown)}")
        return dataclasses.replace(self, sizes={**self.sizes, **sizes})

    def verdict(self, results: Results) -> Verdict:
        """Return the verdict on these results; with fewer than three seeds, it cannot be told."""
        if len(results.seeds) < FEWEST_SEEDS:
            found = len(results.seeds)
            return cannot_be_told(f"{found} seed{'s' * (found != 1)}: at least {FEWEST_SEEDS} are needed")
        return self.judge(results)


EXPERIMENTS: dict[str, Experiment] = {}
"""The registered experiments by name."""


def register(
    name: str,
    measure: Callable[..., Mapping[str, Any]],
    judge: Callable[[Results], Verdict],
    tabulate: Callable[[Results], Sequence[Row]],
    draw: Callable[[Results, Any], None],
    *,
    title: str,
    claim: str,
    source: str,
    paper: str,
    known: Known,
    settings: Mapping[str, Mapping[str, Any]],
    sizes: Mapping[str, Any] | None = None,
    tuning: Tuning | None = None,
    seeds: int = FEWEST_SEEDS,
    systems: tuple[str, ...] = (),
) -> Experiment:
    """Register an experiment, so that `tinygrad-norm experiment` and `tn.experiments` know it.

    One of your own script or notebook may be registered again: it replaces what it was.

    Args:
        name: words joined by hyphens.
        measure: a function of a module, not a lambda: it may run in another process.
        judge: the rule of the verdict; its docstring says it in words.
        tabulate: the table, with our figures and those of the paper.
        draw: the plot, on an empty figure of matplotlib.
        title: a few words.
        claim: the paper's claim in one sentence.
        source: authors, year, arXiv id, section.
        paper: the paper's figure.
        known: how sure that figure is.
        settings: for each setting, by name, its arguments of `measure`.
        sizes: arguments of `measure` that all settings share.
        tuning: an argument that is tuned for each setting, such as the learning rate.
        seeds: how many seeds are run, from 0.
        systems: names of registered ops that it measures; their pages in the docs show the verdict.

    Raises:
        ValueError: if the name is taken, the rule has no words, or the seeds are too few or used for tuning.
    """
    if name in EXPERIMENTS and EXPERIMENTS[name].measure.__module__ != "__main__":
        raise ValueError(f"there is an experiment {name!r} already: choose another name")
    if not inspect.getdoc(judge):
        raise ValueError(f"experiment {name!r}: write the rule of the verdict as the docstring of judge")
    if seeds < FEWEST_SEEDS:
        raise ValueError(f"experiment {name!r}: expected at least {FEWEST_SEEDS} seeds, got {seeds}")
    if tuning and min(tuning.seeds) < seeds:
        raise ValueError(f"experiment {name!r}: seeds below {seeds} are run, tune with others")
    kind = measure.__module__.rpartition(".")[0].rpartition(".")[2]
    EXPERIMENTS[name] = experiment = Experiment(
        name=name,
        title=title,
        claim=claim,
        source=source,
        paper=paper,
        known=known,
        measure=measure,
        judge=judge,
        tabulate=tabulate,
        draw=draw,
        settings=settings,
        sizes=sizes or {},
        tuning=tuning,
        seeds=seeds,
        kind=kind,
        systems=systems,
    )
    return experiment


def find(name: str) -> Experiment:
    """Return the experiment called `name`; case, hyphens, underscores and spaces make no difference.

    Raises:
        ValueError: if there is none; it lists those with similar names.
    """
    named = {_letters(known): experiment for known, experiment in EXPERIMENTS.items()}
    if (letters := _letters(name)) in named:
        return named[letters]
    close = [named[found].name for found in _similar(letters, named)]
    hint = f"Did you mean {', '.join(close)}?" if close else f"Choose one of {', '.join(EXPERIMENTS)}"
    raise ValueError(f"no experiment is called {name!r}. {hint}")


def _similar(letters: str, named: Collection[str]) -> list[str]:
    """Return at most five of the names that contain these letters, or else resemble them."""
    within = [name for name in named if letters and letters in name]
    return within[:5] or get_close_matches(letters, named, n=5)


def _letters(name: str) -> str:
    """Return the letters and digits of a name, in lower case."""
    return "".join(filter(str.isalnum, name)).lower()
