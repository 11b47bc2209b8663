"""Time a training step of a small network (forward, loss, backward, optimizer), and the tape alone."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array
from .network_baselines import programs, to_eager
from .timing import best_times, torch_if_installed, with_default_malloc

BATCH = 64


@dataclass(frozen=True)
class Row:
    """A program's best time in seconds for a step, and the loss before the first step.

    `to_eager` is that time divided by PyTorch eager's, None without PyTorch; `to_eager_default_malloc` is
    the same with a malloc that returns freed memory to the system.
    """

    program: str
    seconds: float
    first_loss: float
    to_eager: float | None
    to_eager_default_malloc: float | None


def measure(seconds: float) -> list[Row]:
    """Time a step of every program, `seconds` in total, and as long again with the default malloc."""
    steps = contestants()
    first = {name: function() for name, function in steps.items()}
    times = best_times(steps, seconds)
    ratios = to_eager(times)
    by_default = with_default_malloc(ratios_to_eager, seconds) if ratios else {}
    return [
        Row(name, time, first[name], ratios.get(name), by_default.get(name)) for name, time in times.items()
    ]


def ratios_to_eager(seconds: float) -> dict[str, float]:
    """Return each program's time for a step divided by PyTorch eager's."""
    return to_eager(best_times(contestants(), seconds))


def contestants() -> dict[str, Callable[[], float]]:
    """Return the steps to compare, all from the same weights and on the same batch of 64."""
    rng = numpy.random.default_rng(0)
    images, labels = rng.random((BATCH, 64), numpy.float32), rng.integers(0, 10, BATCH)
    return {
        name: partial(program.step, program.tensor(images), program.tensor(labels))
        for name, program in programs().items()
    }


class Nothing(Function):
    """y = x · dx = dy"""

    def forward(self, x: Array) -> Array:
        return x

    def backward(self, dy: Array) -> Gradients:
        return dy


def tape_times(seconds: float, length: int = 100) -> dict[str, float]:
    """Return the seconds that recording an op costs beyond its arithmetic, forward and backward.

    For tinygrad_norm, it is measured on a chain of ops that do nothing; for PyTorch, on a chain of views,
    which do almost nothing.
    """
    x = Tensor(numpy.ones((), numpy.float32), requires_grad=True)

    def ours() -> None:
        y = x
        for _ in range(length):
            y = Nothing.apply(y)
        y.backward()

    chains: dict[str, Callable[[], None]] = {"tinygrad_norm": ours}
    torch = torch_if_installed()
    if torch is not None:
        chains["PyTorch"] = partial(_torch_chain, torch.ones((), requires_grad=True), length)
    return {name: time / length for name, time in best_times(chains, seconds).items()}


def _torch_chain(x: object, length: int) -> None:
    y = x
    for _ in range(length):
        y = y.view(())  # type: ignore[attr-defined]
    y.backward()  # type: ignore[attr-defined]
