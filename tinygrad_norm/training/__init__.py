"""Train a small model end to end. `tinygrad-norm train` uses this package; scripts can too.

    run = Run(Config(dataset="digits", model="mlp", norm="batch"), out="runs/first")
    run.train()
    run.figures()["test"]["accuracy"]
    load_run("runs/first").predict(images)

`Run` also takes a dataset, a model, a loss and metrics of one's own.
"""

from .config import OPTIMIZERS, Config
from .finished_run import FinishedRun, load_run
from .models import IMAGE_MODELS, TEXT_MODELS
from .norm_choices import NORMS
from .norm_grid import NormGrid
from .recipes import DATASETS
from .run import Diverged, Interrupted, Run
