"""Optimizers on flat parameter buffers, learning rate schedules, and the choice of parameters that decay."""

from . import lr_scheduler
from .adam import Adam, AdamW
from .optimizer import Optimizer
from .sgd import SGD
from .weight_decay import split_decay
