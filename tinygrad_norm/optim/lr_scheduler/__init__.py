"""Learning rate schedules: create one for an optimizer, call `step()` after every epoch or every batch."""

from .base import LRScheduler
from .chainable import CosineAnnealingLR, LinearLR, StepLR
from .lambda_lr import LambdaLR
from .onecycle import OneCycleLR
from .sequential import SequentialLR
