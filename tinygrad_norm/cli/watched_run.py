"""`tinygrad-norm train --watch`: the layers of a run, recorded in its folder as stats.csv and stats.png."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..learn import watch
from ..training import Run

RECORDS = 100
"""About how many steps of a run are recorded if it is not said which."""


@contextmanager
def watching(run: Run, every: int | None) -> Iterator[Callable[[Run], None]]:
    """Yield what is to be called after each step; write stats.csv and stats.png at the end, however it ends.

    Every `every` steps one is recorded; 0 records about `RECORDS` steps of the run, None nothing. stats.csv
    is also written before the checkpoint of each epoch, so that no row is missing when the run is resumed;
    rows of later steps are dropped then.

    Raises:
        ValueError: if the folder has another file of that name.
    """
    if every is None:
        yield lambda run: None
        return
    path, steps = run.out / "stats.csv", len(run.loader)
    watched = watch(run.model, every or max(1, run.config.epochs * steps // RECORDS))
    watched.resume(path, run.progress.epoch * steps + run.progress.step)

    def record(run: Run) -> None:
        watched.step()
        if run.progress.step == steps:
            watched.save(path)

    try:
        yield record
    finally:
        watched.remove()
        if watched.rows:
            watched.save(path)
            watched.draw(path.with_suffix(".png"), run.config.title)
