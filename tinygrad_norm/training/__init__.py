"""Training a small model end to end: what `tinygrad-norm train` runs, for scripts too.

run = Run(Config(dataset="digits", model="mlp", norm="batch"), out="runs/first")
run.train()
"""

from .config import Config
from .models import MODELS, NORMS, build_model
from .run import Interrupted, Run
