"""`tinygrad-norm train`: train a small model on real data, with progress, results and Ctrl-C."""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from .. import distributed
from ..backends import use_backend
from ..data.sources import locate
from ..training import (
    IMAGE_MODELS,
    NORMS,
    OPTIMIZERS,
    TEXT_MODELS,
    Config,
    Interrupted,
    NormGrid,
    Run,
    recipes,
)
from ..training.config import AUGMENTATIONS, SCALES, as_augmentations
from ..training.norm_choices import folder_name
from ..training.task import format_figure
from .errors import exit_with
from .out_folder import folder_for
from .progress import backend_line, train_with_progress
from .train_norms import train_norms

RECIPE = "(default: see below)"
DEFAULTS = "\n\n".join(
    [
        "Defaults for images and tables:",
        *recipes.describe(recipes.IMAGES),
        "For regression (sine, --target), mlp and cnn: layer normalization.",
        "Defaults for text:",
        *recipes.describe(recipes.TEXT),
    ]
)


def train(
    context: typer.Context,
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help=f"{', '.join(recipes.DATASETS)}; or a path: a folder of images by class or of IDX files, "
            "an .npz file, a .csv table, a .txt file.",
        ),
    ] = "digits",
    model: Annotated[
        str | None,
        typer.Option(
            help=f"One of {', '.join(IMAGE_MODELS)}; for text, {' or '.join(TEXT_MODELS)} "
            "(default: mlp; for text, transformer). Sequence models read an image row by row."
        ),
    ] = None,
    norm: Annotated[
        list[str] | None,
        typer.Option(
            help=f"One of {', '.join(NORMS)} {RECIPE}, with options as in group:groups=4 (listed by "
            "tinygrad-norm norms NAME). Given more than once, all of them are trained and compared in a "
            "table and a plot."
        ),
    ] = None,
    residual: Annotated[
        str | None,
        typer.Option(
            help="In a transformer, normalize before each sublayer (pre, the default), after it (post), "
            "before and after it (sandwich), or after it as DeepNorm (deep)."
        ),
    ] = None,
    qk_norm: Annotated[
        str | None,
        typer.Option(
            help="In a transformer, normalize queries and keys: none (default), l2 (QKNorm), layer or rms."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help=f"Passes over the training set {RECIPE}.")] = None,
    lr: Annotated[float | None, typer.Option(help=f"Highest learning rate {RECIPE}.")] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="How the learning rate goes on after the warm-up: cosine (default) or linear, down to 0; "
            "step, a factor of 10 after each third of the steps; or constant."
        ),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option(help=f"Fraction of all steps over which the learning rate rises, as in 0.05 {RECIPE}."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help=f"Samples per step; for text, windows per step {RECIPE}.")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help=f"One of {', '.join(OPTIMIZERS)} {RECIPE}.")] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(
            help="How strongly weights decay; not biases or the weights of normalizations (default: 0.01 for "
            "adamw, else 0)."
        ),
    ] = None,
    clip_grad: Annotated[
        float | None,
        typer.Option(help=f"Clip gradients before each step to this --clip-mode; 0: do not {RECIPE}."),
    ] = None,
    clip_mode: Annotated[
        str | None,
        typer.Option(
            help="norm (default), of all gradients together; value, of each; or agc: adaptive, --clip-grad "
            "is a fraction of the weights' norm."
        ),
    ] = None,
    augment: Annotated[
        str,
        typer.Option(
            help=f"Random changes of the training inputs, separated by commas: {', '.join(AUGMENTATIONS)}. "
            "shift (by up to 1/8 of the size) and flip (left to right) are for images."
        ),
    ] = "",
    early_stop: Annotated[
        int | None,
        typer.Option(
            help="Stop after so many epochs without a better validation cost, and keep the best weights "
            "(default: train all epochs).",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed for weights, batches, split and text sample.")] = 0,
    seeds: Annotated[
        int,
        typer.Option(help="Train with so many seeds, from --seed on, and print means and deviations.", min=1),
    ] = 1,
    data_dir: Annotated[str | None, typer.Option(help="Folder of IDX files, for the dataset idx.")] = None,
    file: Annotated[
        str | None,
        typer.Option(help="UTF-8 text file, for the dataset text (default: Python's pydoc_data.topics)."),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            help=f"How inputs are scaled: {', '.join(SCALES)} (default: image for images, else standard)."
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(help="In a table, the column with the classes.")] = None,
    target: Annotated[
        str | None, typer.Option(help="In a table, the column with the numbers to predict.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Scale the images of a folder to this height and width.", min=1)
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="numpy, cupy (a GPU) or emulator (CUDA kernels on the CPU) "
            "(default: TINYGRAD_NORM_BACKEND, else numpy)."
        ),
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads for BLAS and large normalizations.", min=1)] = 1,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the results (default: a new folder in runs/)."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Continue the run in this folder, with its settings.")
    ] = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Record activations, gradients and updates of every layer; writes stats.csv and stats.png.",
        ),
    ] = False,
    watch_every: Annotated[
        int | None,
        typer.Option(help="Watch, and record every so many steps (default: about 100 of the run).", min=1),
    ] = None,
) -> None:
    """Train a model on DATASET. Print its test accuracy; for text, bits per character and a sample.

    Writes metrics.csv, curves.png, model.safetensors, config.json and a checkpoint to the output folder.
    Ctrl-C saves and stops. --resume continues, with the same results as a run that was not stopped. --watch
    records what happens in every layer.
    """
    every = watch_every or (0 if watch else None)
    grid: NormGrid | None = None
    try:
        if backend is not None:
            use_backend(backend)
        group = distributed.init()
        console = Console(quiet=group.rank > 0)
        several = seeds > 1 or len(norm or ()) > 1 or (resume is not None and (resume / "grid.json").exists())
        if several and group.size > 1:
            raise ValueError("mpiexec trains one norm with one seed at a time: start it once for each")
        if resume is not None and (resume / "grid.json").exists():
            _check_no_settings(context, resume)
            grid = NormGrid.load(resume, threads)
        elif resume is not None:
            run = Run(_config_of(context, resume), resume, resume=True, threads=threads)
        else:
            config = Config(
                dataset,
                model,
                norm[0] if norm else None,
                epochs,
                lr,
                batch_size,
                optimizer,
                seed,
                data_dir=data_dir,
                file=file,
                residual=residual,
                scale=scale,
                label=label,
                target=target,
                size=size,
                schedule=schedule,
                warmup=warmup,
                weight_decay=weight_decay,
                augment=augment,
                early_stop=early_stop,
                clip_grad=clip_grad,
                clip_mode=clip_mode,
                qk_norm=qk_norm,
            )
            norms = norm or [config.norm]
            if len(norms) > 1 or seeds > 1:
                kind = "norms" if len(norms) > 1 else f"{folder_name(config.norm)}-seeds"
                with folder_for(config, out, kind) as folder:
                    grid = NormGrid(config, norms, seeds, folder, threads=threads)
            else:
                with folder_for(config, out) if group.rank == 0 else nullcontext() as folder:
                    run = Run(config, group.all_gather_object(folder)[0], threads=threads)
    except OSError as error:
        exit_with(f"{error.filename} cannot be read: {error.strerror}" if error.strerror else str(error))
    except (ValueError, RuntimeError) as error:
        exit_with(str(error))
    if grid is not None:
        _train_grid(console, grid, every)
        return
    _describe(console, run)
    if every is None and (run.out / "stats.csv").exists():
        console.print("stats.csv and stats.png are not continued without --watch")
    started = time.perf_counter()
    with _exit_on_ctrl_c(console, run):
        try:
            train_with_progress(console, run, every if run.ranks.first else None)
        except OSError as error:
            message = f"cannot write the results to {run.out}: {error.strerror}"
            exit_with(message if error.strerror else str(error))
        except (ValueError, RuntimeError) as error:
            exit_with(str(error))
        _report(console, run, time.perf_counter() - started)


@contextmanager
def _exit_on_ctrl_c(console: Console, run: Run) -> Iterator[None]:
    """After Ctrl-C, print what is saved, and exit."""
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
        console.print("Stopped by Ctrl-C before anything was saved.")
    else:
        console.print(f"Stopped by Ctrl-C; {saved} in {run.out}.", markup=False, soft_wrap=True)
        console.print(f"Continue with: tinygrad-norm train --resume {run.out}", markup=False, soft_wrap=True)
    raise typer.Exit(130)


def _train_grid(console: Console, grid: NormGrid, watch_every: int | None) -> None:
    try:
        finished = train_norms(console, grid, watch_every)
    except OSError as error:
        message = f"cannot write the results to {grid.out}: {error.strerror}"
        exit_with(message if error.strerror else str(error))
    except (ValueError, RuntimeError) as error:
        exit_with(str(error))
    if not finished:
        raise typer.Exit(130)


def _given(context: typer.Context) -> set[str]:
    """Return the names of the options and arguments on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def _check_no_settings(context: typer.Context, folder: Path) -> None:
    """Raise ValueError if an option was given that a grid in `folder` cannot take when it continues."""
    for name in sorted(_given(context) - {"resume", "threads", "backend", "watch", "watch_every"}):
        what = "the dataset" if name == "dataset" else f"--{name.replace('_', '-')}"
        raise ValueError(
            f"{folder} holds several runs and continues with their settings: leave out {what}. To add norms "
            f"or seeds, repeat the first command with --out {folder}"
        )


def _config_of(context: typer.Context, folder: Path) -> Config:
    """Return the config of the run in `folder`; raise ValueError if a given option differs from it."""
    if folder.is_file():
        raise ValueError(f"{folder} is a file: pass the folder of a run to --resume")
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder} has no config.json: there is no run to resume")
    config = Config.load(folder / "config.json")
    original = dataclasses.asdict(config) | {"out": folder, "seeds": 1}
    given = _given(context)
    values = context.params | {"augment": as_augmentations(context.params["augment"])}
    values["norm"] = ", ".join(values["norm"] or ())
    if "dataset" in given:
        values["dataset"], values["file"] = locate(values["dataset"], values["file"])
        given |= {"file"} if values["file"] is not None else set()
    for name, value in values.items():
        if name in given & set(original) and value != original[name]:
            what = "the dataset" if name == "dataset" else f"--{name.replace('_', '-')}"
            why = (
                "because its learning rate depends on it"
                if name == "epochs"
                else "because that is another run"
            )
            raise ValueError(
                f"{folder} was started with {what} {original[name]} and cannot continue with {value}, {why}: "
                f"leave out {what}, or start a new run without --resume"
            )
    return config


def _describe(console: Console, run: Run) -> None:
    config = run.config
    norm = config.norm_in_words
    norm += f" {recipes.PLACES['pre']}" if config.residual == "pre" else ""
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


def _report(console: Console, run: Run, seconds: float) -> None:
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
