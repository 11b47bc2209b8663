"""Optimizers on flat parameter buffers, learning rate schedules, parameters that decay, weights of losses.

`QKClip` bounds the scores of attention after each step.
"""

from . import lr_scheduler, swa_utils
from .adadelta import Adadelta
from .adagrad import Adagrad
from .adam import Adam, AdamW
from .adamax import Adamax
from .asgd import ASGD
from .gradnorm import GradNorm
from .lamb import LAMB
from .lars import LARS
from .lbfgs import LBFGS
from .muon import Muon
from .muon_adam import MuonWithAuxAdam, split_muon
from .nadam import NAdam
from .optimizer import Optimizer
from .qkclip import QKClip
from .radam import RAdam
from .rmsprop import RMSprop
from .rprop import Rprop
from .sgd import SGD
from .weight_decay import split_decay
