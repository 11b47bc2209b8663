"""Time a training step of small networks (forward, loss, backward, optimizer), and the tape alone."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import numpy

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array
from ..suggestions import did_you_mean
from .benchmark_network import NETWORKS, Network
from .network_baselines import COMPILED_PROGRAMS, programs, to_eager
from .rungs import on_rung
from .timing import best_times, torch_if_installed, with_default_malloc


@dataclass(frozen=True)
class Row:
    """A program's best time in seconds for a step of a network, and the loss before the first step.

    `to_eager` is that time divided by PyTorch eager's, None without PyTorch; `to_eager_default_malloc` is
    the same with a malloc that returns freed memory to the system, None for programs that are compiled as a
    whole: that would take too long again.
    """

    network: str
    program: str
    seconds: float
    first_loss: float
    to_eager: float | None
    to_eager_default_malloc: float | None


def networks_named(names: Sequence[str]) -> list[Network]:
    """Return the networks of these names, or all.

    Raises:
        ValueError: if there is no such network.
    """
    for name in names:
        if name not in NETWORKS:
            hint = did_you_mean(name, NETWORKS)
            raise ValueError(f"no network {name!r}: choose one of {', '.join(NETWORKS)}{hint}")
    return [NETWORKS[name] for name in names or NETWORKS]


def measure(network: Network, seconds: float) -> list[Row]:
    """Time a step of every program, `seconds` in total, and as long again with the default malloc."""
    steps, rungs = contestants(network, ())
    first = {}
    for name, function in steps.items():
        with on_rung(rungs[name]):
            first[name] = function()  # compiles
    times = best_times(steps, seconds, rungs)
    ratios = to_eager(times)
    by_default = with_default_malloc(ratios_to_eager, network.name, seconds) if ratios else {}
    return [
        Row(network.title, name, time, first[name], ratios.get(name), by_default.get(name))
        for name, time in times.items()
    ]


def ratios_to_eager(name: str, seconds: float) -> dict[str, float]:
    """Return the time for a step of each program divided by PyTorch eager's, without `COMPILED_PROGRAMS`."""
    steps, rungs = contestants(NETWORKS[name], COMPILED_PROGRAMS)
    return to_eager(best_times(steps, seconds, rungs))


def contestants(
    network: Network, without: Collection[str]
) -> tuple[dict[str, Callable[[], float]], dict[str, str]]:
    """Return the steps to compare, all from the same weights and on the same batch, and their rungs."""
    inputs, labels = network.batch()
    found = {name: program for name, program in programs(network).items() if name not in without}
    steps: dict[str, Callable[[], float]] = {
        name: partial(program.step, program.tensor(inputs), program.tensor(labels))
        for name, program in found.items()
    }
    return steps, {name: program.rung for name, program in found.items()}


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
