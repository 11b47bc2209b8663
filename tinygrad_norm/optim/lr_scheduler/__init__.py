"""Learning rate schedules: create one for an optimizer, call `step()` after every epoch or every batch."""

from .base import LRScheduler
from .chainable import CosineAnnealingLR, LinearLR, StepLR
from .cyclic import CyclicLR
from .decaying import ConstantLR, ExponentialLR, MultiStepLR, PolynomialLR
from .lambda_lr import LambdaLR, MultiplicativeLR
from .onecycle import OneCycleLR
from .plateau import ReduceLROnPlateau
from .restarts import CosineAnnealingWarmRestarts
from .sequential import ChainedScheduler, SequentialLR
