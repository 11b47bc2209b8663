"""What `tinygrad-norm train` prints before and after training, and after Ctrl-C."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.table import Table

from ..training import Interrupted, Run, recipes
from ..training.task import format_figure
from .progress import backend_line


def describe(console: Console, run: Run) -> None:
    """Print the settings, the model and the data of a run that is about to train."""
    config = run.config
    norm = config.norm_in_words
    norm += f" {recipes.PLACES['pre']}" if config.placement == "pre" else ""
    norm += config.details
    size = run.ranks.group.size
    console.print(backend_line(run.threads) + (f", {size} processes" if size > 1 else ""))
    parameters = sum(p.numel() for p in run.model.parameters())
    console.print(
        f"{config.model} with {norm}, {parameters:,} parameters, on {run.task.describe()}", markup=False
    )
    console.print(
        f"epochs {config.epochs}, lr {config.lr:g}, batch size {config.batch_size}, {config.optimizer}, "
        f"seed {config.seed}"
    )
    extras = [f"augment {', '.join(config.augment)}"] if config.augment else []
    extras += [f"early stop {config.early_stop}"] if config.early_stop else []
    extras += [f"clip {config.clip_mode} {config.clip_grad:g}"] if config.clip_grad else []
    console.print(
        f"schedule {config.schedule}, warm-up {config.warmup:.0%}, weight decay {config.weight_decay:g}"
        f"{''.join(f', {extra}' for extra in extras)}"
    )
    if run.finished:
        console.print(
            f"already finished ({run.progress.epoch} of {config.epochs} epochs): "
            "for more epochs, start a new run",
            soft_wrap=True,
        )
    elif run.progress.epoch or run.progress.step:
        console.print(f"continuing after epoch {run.progress.epoch}, step {run.progress.step}")


def report(console: Console, run: Run, seconds: float) -> None:
    """Print the figures of a run that took `seconds`, and where its files are."""
    figures = run.figures()
    columns = [name.replace("_", " ") for name in run.task.figure_names]
    best = f", the best of {run.progress.epoch}" if run.config.early_stop else ""
    table = Table("", *columns, title=f"after epoch {run.kept_epoch}{best} ({seconds:.1f} s)")
    for part, values in figures.items():
        table.add_row(part, *(format_figure(name, value) for name, value in values.items()))
    console.print(table)
    console.out(run.task.conclude(figures), highlight=False)
    for data, picture in (("metrics.csv", "curves.png"), ("stats.csv", "stats.png")):
        if (run.out / data).exists() and not (run.out / picture).exists():
            console.print(f"{picture} was not drawn: pip install 'tinygrad_norm[plot]'", markup=False)
    console.print(f"results in {run.out}", markup=False, highlight=False, soft_wrap=True)
    if (run.out / "stats.csv").exists():
        watched = " and ".join(name for name in ("stats.png", "stats.csv") if (run.out / name).exists())
        console.print(f"its layers in {run.out / watched}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def exit_on_ctrl_c(console: Console, run: Run) -> Iterator[None]:
    """After Ctrl-C in the body, print what is saved, and exit; of several processes, end all."""
    try:
        yield
    except Interrupted:
        saved = "everything is saved"
    except KeyboardInterrupt:  # a second Ctrl-C, or one after the last epoch
        epochs = run.config.epochs
        done = f"all {epochs}" if run.saved_epochs == epochs else f"{run.saved_epochs} of {epochs}"
        saved = f"{done} epochs are saved"
    else:
        return
    if run.saved_epochs is None:
        lines = ["Stopped by Ctrl-C before anything was saved."]
    else:
        lines = [
            f"Stopped by Ctrl-C; {saved} in {run.out}.",
            f"Continue with: tinygrad-norm train --resume {run.out}",
        ]
    if run.ranks.several:
        run.ranks.group.end("\n".join(lines), status=130)
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    raise typer.Exit(130)
