"""Watch a model while it trains: what its layers compute, what gradients reach them, how far weights move.

    watched = tn.learn.watch(model, every=10)
    for x, t in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), t).backward()
        optimizer.step()
        watched.step()
    print(watched.table())
    watched.save("stats.csv")
    watched.plot("stats.png")

Only every tenth step is recorded: in the others the model has no hooks and runs as ever. In a recorded step,
all numbers stay on the device until the step ends, and are then copied at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from ..module import Module
from ..ops.arguments import as_size
from .stats_file import Row, read_stats, save_stats
from .stats_picture import save_picture
from .stats_table import as_table
from .step_recorder import StepRecorder, layers_of


def watch(model: Module, every: int = 1) -> Watched:
    """Record what happens in the layers of `model` while it trains; return the `Watched`.

    Call its `step()` after each `optimizer.step()`. Of every `every` steps the first is recorded.

    Raises:
        TypeError: if the model is not a module, or `every` is not an int.
        ValueError: if the model has no parameters, or `every` is below 1.
    """
    return Watched(model, every)


class Watched:
    """The recordings of a model; `watch` makes it. `rows` holds what was recorded.

    A row is (step, layer, quantity, value). Steps count from 1; a layer or parameter has its name in the
    model, as in `state_dict`. The quantities:

    activation_mean, activation_std   of all values of a layer's output
    unit_std                          how far a unit of it varies in the batch: the root of the mean of the
                                      units' variances
    activation_grad                   ‖dL/dy‖ of a layer's output y
    dead                              share of the units after a ReLU that are 0 for the whole batch
    mean_distance                     batch mean to running mean, in running standard deviations
    var_ratio                         batch variance over running variance
    grad                              ‖dL/dw‖ of a parameter, as the optimizer got it, so after clipping
    update_ratio                      ‖change of w‖ / ‖w‖ in the step; not of a parameter that is 0

    If a layer runs several times in a step, a value is the mean over its runs. Calls without gradients or in
    evaluation mode are not recorded. A `with` block, or `remove()`, ends the watching.
    """

    def __init__(self, model: Module, every: int = 1) -> None:
        if not isinstance(model, Module):
            raise TypeError(
                f"watch takes a module of tinygrad_norm.nn, got {type(model).__module__}."
                f"{type(model).__name__}"
            )
        if not any(True for _ in model.parameters()):
            raise ValueError(f"{type(model).__name__} has no parameters: there is nothing to watch in it")
        self.model, self.every = model, as_size(every, "every")
        self.rows: list[Row] = []
        self.steps = 0
        self.removed = False
        self._recorder: StepRecorder | None = None
        self._start_step()

    # -- watching

    def step(self) -> list[Row]:
        """End a step, right after the optimizer's; return the rows that it added, [] if it is not recorded.

        Raises:
            RuntimeError: if the step is to be recorded, but no layer ran, or no parameter has a gradient;
                inside a step that is captured as a CUDA graph; after `remove()`.
        """
        if self.removed:
            raise RuntimeError("this model is no longer watched: call tn.learn.watch(model) again")
        rows = [] if self._recorder is None else self._recorder.read(self.steps + 1)
        self.steps += 1
        self.rows += rows
        self._start_step()
        return rows

    def remove(self) -> None:
        """Stop watching: the model has no hooks of this recorder any more. `rows` stays."""
        self._detach()
        self.removed = True

    def _start_step(self) -> None:
        self._detach()
        if self.steps % self.every == 0:
            self._recorder = StepRecorder(self.model)

    def _detach(self) -> None:
        if self._recorder is not None:
            self._recorder.detach()
            self._recorder = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    # -- results

    def table(self) -> str:
        """Return the last recorded step as text, a line for each layer and parameter.

        Raises:
            ValueError: if no step was recorded.
        """
        return as_table(self._recorded(), layers_of(self.model))

    def save(self, path: str | Path) -> None:
        """Write all rows to a CSV file with the columns step, layer, quantity, value.

        Raises:
            ValueError: if no step was recorded.
            OSError: if the file cannot be written.
        """
        save_stats(Path(path), self._recorded())

    def plot(self, path: str | Path, title: str = "") -> None:
        """Draw all steps to a picture (PNG or SVG): a line for each layer, coloured from first to last.

        Raises:
            ValueError: if no step was recorded.
            RuntimeError: if matplotlib is not installed.
        """
        if not self.draw(path, title):
            raise RuntimeError("plots need matplotlib: pip install 'tinygrad_norm[plot]'")

    def draw(self, path: str | Path, title: str = "") -> bool:
        """As `plot`; without matplotlib, return False and write nothing."""
        return save_picture(Path(path), self._recorded(), self.model, title)

    def resume(self, path: str | Path, step: int) -> None:
        """Continue the recordings of the file `path` after `step` steps, without its rows of later steps.

        If there is no such file, nothing was recorded before.

        Raises:
            ValueError: if the file was not written by `save`, or `step` is below 0.
            OSError: if the file cannot be read.
        """
        self.steps = as_size(step, "step", 0)
        self.rows = [row for row in read_stats(Path(path)) if row[0] <= step]
        self._start_step()

    def _recorded(self) -> list[Row]:
        if not self.rows:
            raise ValueError("no step was recorded: call step() after each optimizer.step()")
        return self.rows
