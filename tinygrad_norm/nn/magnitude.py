"""Layers that keep the magnitude of what passes them (EDM2): variance 1 in, variance 1 out, no statistics.

    mp_silu   silu(x)/0.596                         0.596 is the root mean square of silu(z), z normal
    mp_sum    ((1 - t)·a + t·b)/√((1 - t)² + t²)    of independent a and b with variance 1
    MPConv2d  conv(x, w/(eps + ρ)/√n)               derived in normalization/weight/magnitudepreserving.py

Karras, Aittala, Lehtinen, Hellsten, Aila, Laine 2023, arXiv:2312.02696.
"""

import numpy

from ..autograd.grad_mode import no_grad
from ..autograd.memory import Memory
from ..autograd.tensor import Tensor
from ..backends.cuda.capture import current_graph
from ..module import Module, Parameter
from ..normalization.weight.magnitudepreserving import magnitude_preserving_weight
from ..ops import lerp
from ..ops.arguments import as_number, as_size
from ..ops.checks import check_channels, check_eps, check_input
from . import init
from .activation.gated import silu
from .convolution.conv import conv2d
from .windows.sliding_view import Sizes, as_tuple

SILU_OF_NORMAL = 0.596


def mp_silu(input: Tensor) -> Tensor:
    """Return silu(input)/0.596, whose mean square is 1 if input is normal with variance 1.

    Source: Karras et al. 2023, arXiv:2312.02696.
    """
    return silu(input) / SILU_OF_NORMAL


def mp_sum(a: Tensor, b: Tensor, t: float = 0.5) -> Tensor:
    """Return ((1 - t)·a + t·b)/√((1 - t)² + t²): variance 1 if a and b are independent and have variance 1.

    Args:
        a: any shape.
        b: of the same shape, or one that broadcasts.
        t: the share of b, from 0 to 1.

    Raises:
        ValueError: if t is outside 0 to 1.

    Source: Karras et al. 2023, arXiv:2312.02696.
    """
    if not 0 <= as_number(t, "t") <= 1:
        raise ValueError(f"mp_sum takes a share t from 0 to 1, got {t}")
    check_input(a, "mp_sum")
    check_input(b, "mp_sum")
    return lerp(a, b, t) / ((1 - t) ** 2 + t**2) ** 0.5


class MPConv2d(Module):
    """Convolution whose weight has length 1 for each output, and is set to that length before each step.

    In training, forward first sets the parameter to weight/(eps + root mean square), in place, if it was
    written to since: forced weight normalization. The weight that convolves is magnitude_preserving_weight of
    it, also in evaluation. There is no bias.

    Args:
        padding: zeros on each side of the last two axes.
        eps: added to the root mean square.

    Raises:
        ValueError: if a size is below 1, or eps is negative.

    Source: Karras et al. 2023, arXiv:2312.02696.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, padding: Sizes = 0, eps: float = 1e-4
    ) -> None:
        super().__init__()
        check_eps(eps)
        self.in_channels = as_size(in_channels, "in_channels")
        self.out_channels = as_size(out_channels, "out_channels")
        self.kernel_size = as_tuple(kernel_size, 2, "kernel_size", 1)
        self.padding, self.eps = as_tuple(padding, 2, "padding", 0), eps
        self.weight = Parameter(numpy.empty((out_channels, in_channels, *self.kernel_size), numpy.float32))
        init.normal_(self.weight)
        self._forced: tuple[Memory, int] | None = None  # the memory and time in which the length was set

    def forward(self, input: Tensor) -> Tensor:
        check_channels(input, "MPConv2d", self.in_channels)
        if self.training:
            self._force()
        return conv2d(input, magnitude_preserving_weight(self.weight, self.eps), padding=self.padding)

    def _force(self) -> None:
        """Set the length of the weight, unless that was done: a second use may not change what is saved."""
        memory, graph = self.weight._shared_memory(), current_graph()
        memory.check_for_writes()
        name = f"the weight of MPConv2d {id(self)}"
        in_each_replay = graph is not None and name not in graph.kept  # what happened before is not replayed
        if self._forced == (memory, memory.written) and not in_each_replay:
            return
        with no_grad():
            fan_in = self.weight.numel() // self.out_channels
            self.weight.copy_(magnitude_preserving_weight(self.weight, self.eps) * fan_in**0.5)
        self._forced = memory, memory.written
        if graph is not None:
            graph.kept[name] = True

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, padding={self.padding}"
        )
