"""Learning rate schedules: make one from an optimizer, call `step()` after every epoch or every batch."""

from .base import LRScheduler
from .chainable import CosineAnnealingLR, LinearLR, StepLR
from .fixed import LambdaLR
from .onecycle import OneCycleLR
from .sequential import SequentialLR
