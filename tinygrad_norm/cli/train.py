"""`tinygrad-norm train`: train a small model on real data, with progress, results and Ctrl-C."""

import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .. import distributed
from ..backends import use_backend
from ..nn.attention.qknorm import QK_NORMS
from ..training import (
    IMAGE_MODELS,
    NORMS,
    OPTIMIZERS,
    TEXT_MODELS,
    Config,
    NormGrid,
    Run,
    recipes,
)
from ..training.config import AUGMENTATIONS, SCALES
from ..training.norm_choices import folder_name
from ..training.older_settings import RENAMED
from ..training.recipes import PLACES
from .errors import ctrl_c_ends_all, exit_with
from .live_curves import live_curves
from .out_folder import folder_for
from .progress import train_with_progress
from .train_norms import train_norms
from .train_report import describe, exit_on_ctrl_c, report
from .train_resume import check_no_settings, config_of

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


def _now_placement(value: str | None) -> None:
    """Refuse --residual, which older versions had."""
    if value is not None:
        renamed = RENAMED.get(value, value)
        exit_with(f"--residual is called --placement now: pass --placement {renamed}")


@ctrl_c_ends_all()
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
    placement: Annotated[
        str | None,
        typer.Option(
            help="In a transformer, normalize before each sublayer (pre, the default), after the sum (post), "
            f"before and after the sublayer (peri), or one of {', '.join(list(PLACES)[3:])}."
        ),
    ] = None,
    residual: Annotated[str | None, typer.Option(hidden=True, callback=_now_placement)] = None,
    qk_norm: Annotated[
        str | None,
        typer.Option(
            help=f"In a transformer, normalize queries and keys: none (default), {', '.join(QK_NORMS)}."
        ),
    ] = None,
    softcap: Annotated[
        float | None,
        typer.Option(help="In a transformer, cap attention's scores s softly: c·tanh(s/c) with this c."),
    ] = None,
    scale_init: Annotated[
        str | None,
        typer.Option(
            help="What residual branches are multiplied by (resnet, convnext, transformer): none (default), "
            "or a learned scale: layerscale, rezero, skipinit; fixup for the resnet with --norm none."
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
            "adamw, muon and lamb, 1e-4 for lars, else 0)."
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
    explore: Annotated[
        bool,
        typer.Option(
            "--explore",
            help="Show the curves in the browser while it trains, those of several norms and seeds together; "
            "then the explorer, until the page is closed or Ctrl-C.",
        ),
    ] = False,
) -> None:
    """Train a model on DATASET. Print its test accuracy; for text, bits per character and a sample.

    Writes metrics.csv, curves.png, model.safetensors, config.json and a checkpoint to the output folder.
    Ctrl-C saves and stops. --resume continues, with the same results as a run that was not stopped. --watch
    records what happens in every layer.
    """
    every = watch_every or (0 if watch else None)
    grid: NormGrid | None = None
    try:
        group = distributed.init(None if backend is None else partial(use_backend, backend))
        console = Console(quiet=group.rank > 0)
        several = seeds > 1 or len(norm or ()) > 1 or (resume is not None and (resume / "grid.json").exists())
        if several and group.size > 1:
            raise ValueError("mpiexec trains one norm with one seed at a time: start it once for each")
        if explore and group.size > 1:
            raise ValueError("--explore shows the training of one process: leave it out under mpiexec")
        if resume is not None and (resume / "grid.json").exists():
            check_no_settings(context, resume)
            grid = NormGrid.load(resume, threads)
        elif resume is not None:
            run = Run(config_of(context, resume), resume, resume=True, threads=threads)
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
                placement=placement,
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
                scale_init=scale_init,
                softcap=softcap,
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
        _train_grid(console, grid, every, explore)
        return
    describe(console, run)
    if every is None and (run.out / "stats.csv").exists():
        console.print("stats.csv and stats.png are not continued without --watch")
    started = time.perf_counter()
    with live_curves(console, run, explore) as curves, exit_on_ctrl_c(console, run):
        try:
            train_with_progress(console, run, every if run.ranks.first else None, curves)
            report(console, run, time.perf_counter() - started)
        except OSError as error:
            message = f"cannot write the results to {run.out}: {error.strerror}"
            exit_with(message if error.strerror else str(error))
        except (ValueError, RuntimeError) as error:
            exit_with(str(error))


def _train_grid(console: Console, grid: NormGrid, watch_every: int | None, explore: bool) -> None:
    with live_curves(console, grid, explore) as curves:
        try:
            finished = train_norms(console, grid, watch_every, curves)
        except OSError as error:
            message = f"cannot write the results to {grid.out}: {error.strerror}"
            exit_with(message if error.strerror else str(error))
        except (ValueError, RuntimeError) as error:
            exit_with(str(error))
        if not finished:
            raise typer.Exit(130)
