"""`tinygrad-norm train`: a small model on real data, from the weights' first draw to what it has learned."""

import dataclasses
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..backends import use_backend
from ..training import IMAGE_MODELS, NORMS, OPTIMIZERS, TEXT_MODELS, Config, Interrupted, Run, recipes
from ..training.task import Figures

RECIPE = "(default: see below)"
DEFAULTS = "\n\n".join(
    ["Defaults on images:", *recipes.describe(recipes.IMAGES), "on text:", *recipes.describe(recipes.TEXT)]
)
PLAIN_INTERVAL = 10.0
"""Seconds from one line to the next where no bar can be drawn."""


def train(
    context: typer.Context,
    dataset: Annotated[
        str,
        typer.Argument(
            help="digits (scikit-learn's), idx (MNIST's file format, with --data-dir), or text (with --file)."
        ),
    ] = "digits",
    model: Annotated[
        str | None,
        typer.Option(
            help=f"One of {', '.join(IMAGE_MODELS)}; for text {' or '.join(TEXT_MODELS)} "
            "(default: mlp, for text transformer). The sequence models read an image row by row."
        ),
    ] = None,
    norm: Annotated[str | None, typer.Option(help=f"One of {', '.join(NORMS)} {RECIPE}.")] = None,
    norm_first: Annotated[
        bool | None,
        typer.Option(
            "--norm-first/--no-norm-first",
            help="In a transformer, normalize before each step (pre-LN) or behind it (post-LN) "
            "(default: before).",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help=f"Passes over the training set {RECIPE}.")] = None,
    lr: Annotated[
        float | None, typer.Option(help=f"Highest learning rate; a cosine takes it to 0 {RECIPE}.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help=f"Samples per step, for text windows {RECIPE}.")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help=f"One of {', '.join(OPTIMIZERS)} {RECIPE}.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, batches, split and sample.")] = 0,
    data_dir: Annotated[str | None, typer.Option(help="Folder of IDX files, for the dataset idx.")] = None,
    file: Annotated[
        str | None,
        typer.Option(help="A text in UTF-8, for the dataset text (default: Python's pydoc_data.topics)."),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="numpy, cupy or emulator (default: TINYGRAD_NORM_BACKEND, else numpy).")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the results (default: a new one below runs/)."),
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the run in this folder.")] = None,
) -> None:
    """Train a model on DATASET; print its test accuracy, or its bits per character and a sample of text.

    Writes metrics.csv, curves.png, model.safetensors, config.json and a checkpoint to the folder.
    Ctrl-C saves and stops; --resume continues with the numbers of a run that was never stopped.
    """
    console = Console()
    try:
        if backend is not None:
            use_backend(backend)
        if resume is not None:
            run = Run(_config_of(context, resume), resume, resume=True)
        else:
            _refuse_a_path(dataset)
            config = Config(
                dataset,
                model,
                norm,
                epochs,
                lr,
                batch_size,
                optimizer,
                seed,
                data_dir=data_dir,
                file=file,
                norm_first=norm_first,
            )
            run = Run(config, _new_folder(config, out))
    except OSError as error:
        _stop(f"{error.filename} cannot be read: {error.strerror}" if error.strerror else str(error))
    except (ValueError, RuntimeError) as error:
        _stop(str(error))
    _describe(console, run)
    started = time.perf_counter()
    with _told_when_stopped(console, run):
        try:
            _train_with_progress(console, run)
        except OSError as error:
            written = f"the results cannot be written in {run.out}: {error.strerror}"
            _stop(written if error.strerror else str(error))
        except (ValueError, RuntimeError) as error:
            _stop(str(error))
        _report(console, run, time.perf_counter() - started)


@contextmanager
def _told_when_stopped(console: Console, run: Run) -> Iterator[None]:
    """After Ctrl-C, say what is saved, and exit."""
    try:
        yield
    except Interrupted:
        saved = "everything is saved"
    except KeyboardInterrupt:  # a second one, or one behind the last epoch
        epochs = run.config.epochs
        done = f"all {epochs}" if run.saved_epochs == epochs else f"{run.saved_epochs} of {epochs}"
        saved = f"{done} epochs are saved"
    else:
        return
    if run.saved_epochs is None:
        console.print("Stopped by Ctrl-C before anything was saved.")
    else:
        console.print(f"Stopped by Ctrl-C; {saved} in {run.out}.", markup=False, soft_wrap=True)
        console.print(f"Continue with: tinygrad-norm train --resume {run.out}", markup=False, soft_wrap=True)
    raise typer.Exit(130)


def _config_of(context: typer.Context, folder: Path) -> Config:
    """Return the config of the run in `folder`, from which no option that was given may differ."""
    if folder.is_file():
        raise ValueError(f"{folder} is a file: --resume names the folder of a run")
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder} holds no run: nothing to resume")
    config = Config.load(folder / "config.json")
    begun = dataclasses.asdict(config) | {"out": folder}
    for name, value in context.params.items():
        source = context.get_parameter_source(name)
        given = name in begun and source is not None and source.name == "COMMANDLINE"
        if given and value != begun[name]:
            what = "the dataset" if name == "dataset" else f"--{name.replace('_', '-')}"
            why = "its learning rate falls to 0 over all epochs" if name == "epochs" else "it is another run"
            raise ValueError(
                f"{folder} was begun with {what} {begun[name]} and cannot continue with {value}, as {why}: "
                f"leave out {what}, or begin a new run without --resume"
            )
    return config


def _refuse_a_path(dataset: str) -> None:
    path = Path(dataset)
    if dataset not in recipes.DATASETS and path.exists():
        meant = f"idx --data-dir {path}" if path.is_dir() else f"text --file {path}"
        raise ValueError(f"{path} is no dataset: did you mean {meant}?")


def _new_folder(config: Config, out: Path | None) -> Path:
    if out is not None:
        if out.exists() and not out.is_dir():
            raise ValueError(f"{out} is a file: --out names a folder for the results")
        if (out / "checkpoint.safetensors").exists():
            raise ValueError(
                f"{out} holds a run already: continue it with --resume {out}, or name another --out"
            )
        return out
    base = Path("runs") / f"{config.dataset}-{config.model}-{config.norm}"
    folder, n = base, 1
    while folder.exists():
        n += 1
        folder = base.with_name(f"{base.name}-{n}")
    return folder


def _describe(console: Console, run: Run) -> None:
    config = run.config
    norm = "no normalization" if config.norm == "none" else f"{config.norm} normalization"
    if config.norm_first is not None:
        norm += " before each step" if config.norm_first else " behind each step"
    parameters = sum(p.numel() for p in run.model.parameters())
    console.print(
        f"{config.model} with {norm}, {parameters:,} parameters, on {run.task.describe()}", markup=False
    )
    console.print(
        f"epochs {config.epochs}, lr {config.lr:g}, batch size {config.batch_size}, {config.optimizer}, "
        f"seed {config.seed}"
    )
    if run.finished:
        console.print(
            f"already finished ({run.progress.epoch} of {config.epochs} epochs):\n"
            "the learning rate has fallen to 0, and for more epochs a new run must begin",
            soft_wrap=True,
        )
    elif run.progress.epoch or run.progress.step:
        console.print(f"continuing after epoch {run.progress.epoch}, step {run.progress.step}")


def _train_with_progress(console: Console, run: Run) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(),
    )
    steps = len(run.loader)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        done = run.progress.epoch * steps + run.progress.step
        task = bar.add_task("training", total=run.config.epochs * steps, completed=done, numbers="")
        told = time.monotonic()

        def on_step(run: Run) -> None:
            nonlocal told
            numbers, epoch = _told(run.task.figures(run.progress.sums)), f"epoch {run.progress.epoch + 1}"
            bar.update(task, advance=1, description=epoch, numbers=numbers)
            if bar.disable and time.monotonic() - told >= PLAIN_INTERVAL:
                console.print(f"{epoch}, step {run.progress.step}/{steps}  {numbers}", soft_wrap=True)
                told = time.monotonic()

        def on_epoch(run: Run) -> None:
            nonlocal told
            console.print(_told_epoch(run), soft_wrap=True)
            told = time.monotonic()

        run.train(on_step, on_epoch)


def _told(figures: Figures) -> str:
    return "  ".join(
        f"accuracy {value:.1%}" if name == "accuracy" else f"{name.replace('_', ' ')} {value:.4f}"
        for name, value in figures.items()
    )


def _told_epoch(run: Run) -> str:
    row, (cost, accuracy) = run.progress.history[-1], run.task.figure_names
    train = _told({name: row[f"train_{name}"] for name in (cost, accuracy)})
    validation = f"{row[f'validation_{cost}']:.4f}  {row[f'validation_{accuracy}']:.1%}"
    epochs = str(run.config.epochs)
    return f"epoch {row['epoch']:>{len(epochs)}}/{epochs}  {train}  validation {validation}"


def _report(console: Console, run: Run, seconds: float) -> None:
    figures = run.figures()
    columns = [name.replace("_", " ") for name in run.task.figure_names]
    table = Table("", *columns, title=f"after epoch {run.progress.epoch} ({seconds:.1f} s)")
    for part, (cost, accuracy) in ((part, values.values()) for part, values in figures.items()):
        table.add_row(part, f"{cost:.4f}", f"{accuracy:.2%}")
    console.print(table)
    console.out(run.task.conclude(figures), highlight=False)
    if not (run.out / "curves.png").exists():
        console.print("curves.png was not drawn: pip install 'tinygrad_norm[plot]'", markup=False)
    console.print(f"results in {run.out}", markup=False, highlight=False, soft_wrap=True)


def _stop(message: str) -> NoReturn:
    Console(stderr=True).print(
        f"error: {message}", style="bold red", markup=False, highlight=False, soft_wrap=True
    )
    sys.exit(2)
