"""Optimizers on flat parameter buffers, learning rate schedules, and which parameters decay."""

from . import lr_scheduler
from .adam import Adam, AdamW
from .decay import split_decay
from .optimizer import Optimizer
from .sgd import SGD
