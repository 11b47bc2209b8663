"""One number for a whole residual branch: ReZero, SkipInit, and the scalars of Fixup.

    f the output of a branch   α one learned number
    z = x + α·f

    ReZero     α = 0 at first
    SkipInit   α = 0 at first, or 1/√blocks
    Fixup      α = 1 at first, and a bias b = 0 before each layer: see fixup.py

ReZero: Bachlechner et al. 2020, arXiv:2003.04887. SkipInit: De, Smith 2020, arXiv:2002.10444.

Backward, from dz = dL/dz: the sum passes dz on to both terms.

    straight    dx gets dz as it is
    through f   df = α·dz
    to α        dα = Σ dz·f over all entries

    dx = dz + J(f)ᵀ·(α·dz)         J(f) the derivative of the branch

At α = 0 the network is the identity, and the gradients of all weights within f are exactly 0 in the first
step. dα is not: it moves first, and then the weights follow.

Insight: in a network with batch normalization, the n-th block adds about 1 to a stream of variance n, so it
is small beside it: its share is 1/√n. Here the share is a number that says so. With α = 1/√blocks, all
branches together add about the variance of one.
"""

import math

import numpy

from ...autograd.tensor import Tensor
from ...module import Module, Parameter
from ...ops.arguments import as_finite, as_size


class ScalarMultiplier(Module):
    """Multiply the input by one learned number, `alpha`, of shape ().

    Args:
        init_value: of alpha.

    Raises:
        TypeError: if init_value is not a number.
        ValueError: if it is not finite.

    With the default of 1 it is the multiplier of a Fixup branch.
    Source: Zhang, Dauphin, Ma 2019, arXiv:1901.09321.
    """

    def __init__(self, init_value: float = 1.0) -> None:
        super().__init__()
        self.alpha = Parameter(numpy.array(as_finite(init_value, "init_value"), numpy.float32))

    def forward(self, input: Tensor) -> Tensor:
        return input * self.alpha


class ReZero(ScalarMultiplier):
    """Multiply the output of a residual branch by one learned number, `alpha`, which is 0 at first.

    Source: Bachlechner, Majumder, Mao, Cottrell, McAuley 2020, arXiv:2003.04887.
    """

    def __init__(self) -> None:
        super().__init__(0.0)


class SkipInit(ScalarMultiplier):
    """Multiply the output of a residual branch by one learned number, `alpha`: 0 or 1/√blocks at first.

    Args:
        blocks: the number of residual blocks of the network, for 1/√blocks; None is 0.

    Raises:
        TypeError: if blocks is neither an integer nor None.
        ValueError: if blocks is below 1.

    Source: De, Smith 2020, arXiv:2002.10444.
    """

    def __init__(self, blocks: int | None = None) -> None:
        super().__init__(0.0 if blocks is None else 1 / math.sqrt(as_size(blocks, "blocks")))


class ScalarBias(Module):
    """Add one learned number to the input: `bias`, of shape (), which is 0 at first.

    In a Fixup branch one stands before each weight layer and each activation.
    Source: Zhang, Dauphin, Ma 2019, arXiv:1901.09321.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bias = Parameter(numpy.zeros((), numpy.float32))

    def forward(self, input: Tensor) -> Tensor:
        return input + self.bias
