"""The command `tinygrad-norm`: one file a command, which is the function (or group) named like its file."""

import typer

from . import bench, draw, gradcheck, kernel, train

app = typer.Typer(
    help="Normalization in deep learning, from scratch: train it, check its gradients, look inside.",
    no_args_is_help=True,
    add_completion=False,
)
for command in (train.train, gradcheck.gradcheck, draw.draw, kernel.kernel):
    app.command()(command)
app.add_typer(bench.bench, name="bench")
