"""`tinygrad-norm train`: a small model on real data, from the weights' first draw to the test accuracy."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..backends import use_backend
from ..training import MODELS, NORMS, Config, Interrupted, Run
from ..training.config import OPTIMIZERS

DEFAULT = Config()


def train(
    context: typer.Context,
    dataset: Annotated[
        str, typer.Argument(help="digits (scikit-learn's), or idx (MNIST's file format, with --data-dir).")
    ] = DEFAULT.dataset,
    model: Annotated[str, typer.Option(help=f"One of {', '.join(MODELS)}.")] = DEFAULT.model,
    norm: Annotated[str, typer.Option(help=f"One of {', '.join(NORMS)}.")] = DEFAULT.norm,
    epochs: Annotated[int, typer.Option(help="Passes over the training set.")] = DEFAULT.epochs,
    lr: Annotated[float, typer.Option(help="First learning rate; a cosine takes it to 0.")] = DEFAULT.lr,
    batch_size: Annotated[int, typer.Option(help="Samples per step.")] = DEFAULT.batch_size,
    optimizer: Annotated[str, typer.Option(help=f"One of {', '.join(OPTIMIZERS)}.")] = DEFAULT.optimizer,
    seed: Annotated[int, typer.Option(help="Of weights, batches and split.")] = DEFAULT.seed,
    data_dir: Annotated[str | None, typer.Option(help="Folder of IDX files, for the dataset idx.")] = None,
    backend: Annotated[
        str | None, typer.Option(help="numpy or cupy [default: TINYGRAD_NORM_BACKEND, else numpy].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results [default: a new one below runs/].")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the run in this folder.")] = None,
) -> None:
    """Train a model on DATASET and print its test accuracy.

    Writes metrics.csv, curves.png, model.safetensors, config.json and a checkpoint to the folder.
    Ctrl-C saves and stops; --resume continues with the numbers of a run that was never stopped.
    """
    console = Console()
    try:
        if backend is not None:
            use_backend(backend)
        if resume is not None:
            _refuse_options_beside_resume(context)
            run = Run(Config.load(resume / "config.json"), resume, resume=True)
        else:
            config = Config(dataset, model, norm, epochs, lr, batch_size, optimizer, seed, data_dir)
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
    except RuntimeError as error:
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
    config, dataset = run.config, run.dataset
    parameters = sum(p.numel() for p in run.model.parameters())
    console.print(
        f"{config.model} with {config.norm} normalization, {parameters:,} parameters, "
        f"on {len(dataset.train)} training images of {dataset.name} "
        f"({len(dataset.validation)} validation, {len(dataset.test)} test)"
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
            now = run.progress
            numbers = f"loss {now.loss_sum / now.seen:.4f}  accuracy {now.correct / now.seen:.1%}"
            bar.update(task, advance=1, description=f"epoch {now.epoch + 1}", numbers=numbers)

        def on_epoch(run: Run) -> None:
            if not console.is_terminal:
                row = run.progress.history[-1]
                console.print(
                    f"epoch {row['epoch']:>3}/{run.config.epochs}  "
                    f"loss {row['train_loss']:.4f}  accuracy {row['train_accuracy']:.1%}  "
                    f"validation loss {row['validation_loss']:.4f}  accuracy {row['validation_accuracy']:.1%}",
                    soft_wrap=True,
                )

        run.train(on_step, on_epoch)


def _report(console: Console, run: Run, seconds: float) -> None:
    last = run.progress.history[-1]
    test_loss, test_accuracy = run.test()
    table = Table("", "loss", "accuracy", title=f"after epoch {last['epoch']} ({seconds:.1f} s)")
    for part in ("train", "validation"):
        table.add_row(part, f"{last[f'{part}_loss']:.4f}", f"{last[f'{part}_accuracy']:.2%}")
    table.add_row("test", f"{test_loss:.4f}", f"{test_accuracy:.2%}")
    console.print(table)
    console.print(f"test accuracy: {test_accuracy:.2%}", highlight=False)
    if not (run.out / "curves.png").exists():
        console.print("curves.png was not drawn: pip install 'tinygrad_norm[plot]'", markup=False)
    console.print(f"results in {run.out}", highlight=False)


def _stop(console: Console, message: str) -> None:
    Console(stderr=True).print(f"error: {message}", style="bold red", markup=False, highlight=False)
    sys.exit(2)
