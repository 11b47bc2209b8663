"""`python -m tinygrad_norm` is `tinygrad-norm`."""

from .cli import app

app(prog_name="tinygrad-norm")
