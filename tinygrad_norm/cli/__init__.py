"""The command `tinygrad-norm`: one file per command; the function (or group) has the name of its file."""

from importlib.metadata import version
from typing import Annotated

import typer

from . import (
    bench,
    bench_distributed,
    compare,
    datasets,
    doctor,
    draw,
    evaluate,
    exercise,
    experiment,
    explain,
    explore,
    export,
    gradcheck,
    kernel,
    models,
    new,
    norms,
    pool,
    predict,
    prove,
    runs,
    train,
)
from .program import Program

app = Program(
    help="Normalization layers from scratch: train models, check gradients, draw graphs, measure speed.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",  # joins the lines of a paragraph
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tinygrad_norm {version('tinygrad_norm')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command(epilog=train.DEFAULTS)(train.train)
for command in (
    datasets.datasets,
    models.models,
    norms.norms,
    predict.predict,
    evaluate.evaluate,
    runs.runs,
    compare.compare,
    export.export,
    explain.explain,
    explore.explore,
    doctor.doctor,
    gradcheck.gradcheck,
    prove.prove,
    draw.draw,
    pool.pool,
    kernel.kernel,
):
    app.command()(command)
app.add_typer(bench.bench, name="bench")
app.add_typer(new.new, name="new")
app.add_typer(exercise.exercise, name="exercise")
app.add_typer(experiment.experiment, name="experiment")
