"""`tinygrad-norm train`: a small model on real data, from the weights' first draw to what it has learned."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..backends import use_backend
from ..training import IMAGE_MODELS, NORMS, OPTIMIZERS, TEXT_MODELS, Config, Interrupted, Run
from ..training.task import Figures

RECIPE = "(default: what suits the model)"


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
        Path | None, typer.Option(help="Folder for the results (default: a new one below runs/).")
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
            _refuse_options_beside_resume(context)
            if not (resume / "config.json").exists():
                raise ValueError(f"{resume} holds no run: nothing to resume")
            run = Run(Config.load(resume / "config.json"), resume, resume=True)
        else:
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
    except (ValueError, RuntimeError, OSError) as error:
        _stop(console, str(error))
    _describe(console, run)
    started = time.perf_counter()
    try:
        _train_with_progress(console, run)
    except Interrupted:
        console.print(f"Stopped by Ctrl-C; everything is saved in {run.out}.")
        console.print(f"Continue with: tinygrad-norm train --resume {run.out}")
        raise typer.Exit(130) from None
    except (ValueError, RuntimeError, OSError) as error:
        _stop(console, str(error))
    _report(console, run, time.perf_counter() - started)


def _refuse_options_beside_resume(context: typer.Context) -> None:
    def was_given(name: str) -> bool:
        source = context.get_parameter_source(name)
        return source is not None and source.name == "COMMANDLINE"

    given = [name for name in context.params if name not in ("resume", "backend") and was_given(name)]
    if given:
        names = ", ".join(
            given if given == ["dataset"] else [f"--{name.replace('_', '-')}" for name in given]
        )
        raise ValueError(f"--resume continues a run as it was begun: leave out {names}")


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
    if run.progress.epoch or run.progress.step:
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

        def on_step(run: Run) -> None:
            numbers = _told(run.task.figures(run.progress.sums))
            bar.update(task, advance=1, description=f"epoch {run.progress.epoch + 1}", numbers=numbers)

        def on_epoch(run: Run) -> None:
            console.print(_told_epoch(run), soft_wrap=True)

        run.train(on_step, on_epoch)


def _told(figures: Figures) -> str:
    return "  ".join(
        f"accuracy {value:.1%}" if name == "accuracy" else f"{name.replace('_', ' ')} {value:.4f}"
        for name, value in figures.items()
    )


def _told_epoch(run: Run) -> str:
    row = run.progress.history[-1]
    train, validation = (
        _told({name: row[f"{part}_{name}"] for name in run.task.figure_names})
        for part in ("train", "validation")
    )
    return f"epoch {row['epoch']:>3}/{run.config.epochs}  {train}  validation {validation}"


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
    console.print(f"results in {run.out}", highlight=False)


def _stop(console: Console, message: str) -> None:
    Console(stderr=True).print(
        f"error: {message}", style="bold red", markup=False, highlight=False, soft_wrap=True
    )
    sys.exit(2)
