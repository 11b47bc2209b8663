"""Optimizers on flat parameter buffers, learning rate schedules, parameters that decay, weights of losses."""

from . import lr_scheduler, swa_utils
from .adagrad import Adagrad
from .adam import Adam, AdamW
from .gradnorm import GradNorm
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .sgd import SGD
from .weight_decay import split_decay
