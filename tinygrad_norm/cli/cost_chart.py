"""A small chart of a training run for a terminal: the cost over the epochs, in braille characters.

Such a character has 2 × 4 dots. Its code point is U+2800 plus the sum of the numbers of the dots set:

    1   8
    2  16
    4  32
    64 128

The training cost is a line of dots, the validation cost an o at the end of each epoch.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from ..training import Run
from ..training.task import format_figure

LINES = 7
"""Lines with dots, an odd number; there is one above them for the figures, and one below for the epochs."""
MARGIN = 9
"""Columns to the left of the dots, for the highest cost, the lowest, and that between them."""
WIDEST = 100
"""Columns of the widest chart, with its margin."""
NARROWEST, LOWEST = 30, 16
"""Columns and lines that a terminal must have; on a smaller one, nothing is drawn."""
PARTS = 2 * WIDEST
"""Parts of a run over which the training cost is averaged: a long run is drawn as fast as a short one."""

DOTS = ((1, 8), (2, 16), (4, 32), (64, 128))
TRAINING, VALIDATION = "cyan", "bold magenta"

Point = tuple[float, float]
"""The part of the run that was done, from 0 to 1, and a cost."""


class CostChart:
    """The costs of a run so far. Rich prints it in the width that the terminal has at that time."""

    def __init__(self, run: Run) -> None:
        self.name, self.epochs, self.steps = run.task.cost.name, run.config.epochs, len(run.loader)
        self._parts: dict[int, tuple[float, int]] = {}
        self._validation: list[Point] = []
        self._last = run.progress.epoch, 0, 0.0
        for row in run.progress.history:  # of a run that is continued
            self._add_training((row["epoch"] - 0.5) / self.epochs, row[f"train_{self.name}"])
            self._validation.append((row["epoch"] / self.epochs, row[f"validation_{self.name}"]))

    def add_steps(self, run: Run, cost: float) -> None:
        """Add the steps since the last call, given the mean training cost of the epoch so far."""
        self._add_until(run.progress.epoch, run.progress.step, cost)

    def add_epoch(self, run: Run) -> None:
        """Add the rest of the epoch that has just ended, and its validation cost."""
        row = run.progress.history[-1]
        self._add_until(int(row["epoch"]) - 1, self.steps, row[f"train_{self.name}"])
        self._validation.append((row["epoch"] / self.epochs, row[f"validation_{self.name}"]))

    def _add_until(self, epoch: int, step: int, cost: float) -> None:
        before, total = self._last[1:] if self._last[0] == epoch else (0, 0.0)
        self._last = epoch, step, cost * step
        if step > before:
            middle = epoch + (before + step) / 2 / self.steps
            self._add_training(middle / self.epochs, (cost * step - total) / (step - before))

    def _add_training(self, done: float, cost: float) -> None:
        part = int(done * PARTS)
        total, count = self._parts.get(part, (0.0, 0))
        self._parts[part] = total + cost, count + 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        training = [((k + 0.5) / PARTS, total / count) for k, (total, count) in sorted(self._parts.items())]
        validation = self._validation.copy()
        width = min(options.max_width, WIDEST)
        if not training or options.ascii_only or width < NARROWEST or console.height < LOWEST:
            return
        yield self._figures(training, validation, width)
        yield from _plot(training, validation, width - MARGIN)
        words = f"{self.epochs} epoch{'s' * (self.epochs > 1)}"
        yield Text(f"{'':{MARGIN}}0{words:>{width - MARGIN - 1}}", no_wrap=True, overflow="crop")

    def _figures(self, training: list[Point], validation: list[Point], width: int) -> Text:
        line = Text(f"train {format_figure(self.name, training[-1][1])}", TRAINING, no_wrap=True)
        if validation:
            line.append(f"  o validation {format_figure(self.name, validation[-1][1])}", VALIDATION)
        name = Text(f"{self.name.replace('_', ' ')}  ")
        return name + line if len(name) + len(line) <= width else line


def _plot(training: list[Point], validation: list[Point], columns: int) -> Iterator[Text]:
    """Yield the lines with dots; costs are on a logarithmic scale, unless one is 0 or less."""
    costs = [cost for _, cost in training + validation]
    forth, back = (math.log, math.exp) if min(costs) > 0 else (float, float)
    low, high = forth(min(costs)), forth(max(costs))

    def dot(point: Point) -> tuple[int, int]:
        """Return the column and the row of a point, in dots from the upper left corner."""
        down = (high - forth(point[1])) / (high - low) if high > low else 0.5
        return round(point[0] * (2 * columns - 1)), round(down * (4 * LINES - 1))

    cells: defaultdict[tuple[int, int], int] = defaultdict(int)
    for x, y in _joined([dot(point) for point in training]):
        cells[y // 4, x // 2] |= DOTS[y % 4][x % 2]
    marks = {(y // 4, x // 2) for x, y in map(dot, validation)}
    labels = {0: high, LINES // 2: (low + high) / 2, LINES - 1: low}
    for row in range(LINES):
        label = f"{back(labels[row]):.3g}" if row in labels else ""
        line = Text(f"{label:>{MARGIN - 1}} ", no_wrap=True, overflow="crop")
        characters = ["o" if (row, k) in marks else _braille(cells[row, k]) for k in range(columns)]
        for marked, group in itertools.groupby(characters, "o".__eq__):
            line.append("".join(group), VALIDATION if marked else TRAINING)
        yield line


def _braille(bits: int) -> str:
    return chr(0x2800 + bits) if bits else " "  # not every font has the character without dots


def _joined(dots: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the dots, and those on the lines between them."""
    yield from dots[:1]
    for (x, y), (to_x, to_y) in itertools.pairwise(dots):
        steps = max(abs(to_x - x), abs(to_y - y))
        for k in range(1, steps + 1):
            yield round(x + (to_x - x) * k / steps), round(y + (to_y - y) * k / steps)
