"""SGD: steps down the gradient, with the momentum of a heavy ball.

    g = dL/dθ + λ·θ                     λ: weight_decay, an L2 penalty λ/2·‖θ‖² added to L
    b ← g                               in the first update
    b ← μ·b + (1 - d)·g                 later; μ: momentum, d: dampening
    θ ← θ - lr·g                        without momentum
    θ ← θ - lr·b                        heavy ball
    θ ← θ - lr·(g + μ·b)                Nesterov

With a constant gradient g, b approaches (1 + μ + μ² + …)·g = g/(1 - μ): momentum 0.9 makes steps ten
times as long where the gradient keeps its sign, and cancels them where it changes sign.

Nesterov takes the gradient at the point θ - lr·μ·b that the ball will roll to. Written for that point,
φ = θ - lr·μ·b, the two lines b' = μ·b + g(φ), θ' = θ - lr·b' become
φ' = θ' - lr·μ·b' = φ - lr·(g(φ) + μ·b'): the form above, whose parameters are φ.

Robbins, Monro 1951, "A Stochastic Approximation Method". Polyak 1964, "Some methods of speeding up the
convergence of iteration methods". Nesterov 1983; the form with a momentum buffer: Sutskever, Martens,
Dahl, Hinton 2013, "On the importance of initialization and momentum in deep learning".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..backends import Array, kernel, namespace
from ..backends.cpu.loops import Loop
from ..backends.cuda.launch import CudaSource, packs
from ..ops.arguments import as_number, check_flags
from .flat_buffers import flat_blocks, run_flat
from .optimizer import Optimizer, StepInfo
from .parameter_groups import Parameters, check_non_negative

_kernels = CudaSource(__file__)


@kernel
def sgd_step(
    param: Array,
    grad: Array,
    momentum_buffer: Array | None,
    work: Array,
    *,
    first: bool,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    """Update the flat arrays `param` and `momentum_buffer` (None without momentum) in place, by one step.

    `first`: the buffer is still empty. `work` is scratch memory, whose dtype the update uses.
    """
    xp = namespace(param)
    for p, g, b in flat_blocks(param, grad, momentum_buffer):
        s, t = work[0, : p.size], work[1, : p.size]
        theta, g = p.astype(s.dtype, copy=False), g.astype(s.dtype, copy=False)
        if maximize:
            g = xp.negative(g, out=t)
        if weight_decay:
            xp.multiply(theta, weight_decay, out=s)
            g = xp.add(g, s, out=t)
        if b is not None:
            if first:
                b[...] = g
            else:
                b *= momentum
                b += xp.multiply(g, 1 - dampening, out=s) if dampening else g
            if nesterov:
                xp.multiply(b, momentum, out=s)
                g = xp.add(g, s, out=s)
            else:
                g = b
        theta -= xp.multiply(g, lr, out=s)
        if theta is not p:
            p[...] = theta


def sgd_step_loop(
    param: Array,
    grad: Array,
    momentum_buffer: Array | None,
    lr: float,
    momentum: float,
    undamped: float,
    weight_decay: float,
    first: bool,
    nesterov: bool,
    maximize: bool,
) -> None:
    """All elements in one pass; `undamped` is 1 - d."""
    real = param.dtype.type
    rate, mu, gain, decay = real(lr), real(momentum), real(undamped), real(weight_decay)
    for i in range(param.size):
        theta, g = param[i], grad[i]
        if maximize:
            g = -g
        if weight_decay:
            g += decay * theta
        if momentum_buffer is not None:
            b = g if first else mu * momentum_buffer[i] + gain * g
            momentum_buffer[i] = b
            g = g + mu * b if nesterov else b
        param[i] = theta - rate * g


_loop = Loop(sgd_step_loop)


@sgd_step.cpu
def sgd_step_cpu(
    param: Array,
    grad: Array,
    momentum_buffer: Array | None,
    work: Array,
    *,
    first: bool,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> Any:
    """One loop: every array is read once and written once."""
    numbers = lr, momentum, 1.0 - dampening, weight_decay, first, nesterov, maximize
    return run_flat(_loop, (param, grad, momentum_buffer), *numbers)


@sgd_step.cuda
def sgd_step_cuda(
    param: Array,
    grad: Array,
    momentum_buffer: Array | None,
    work: Array,
    *,
    first: bool,
    lr: float | Array,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    """One kernel: every array is read once and written once.

    If the step is captured and replayed, `lr` is a one-element float64 array.
    """
    lr_in_memory, lr = (None, lr) if isinstance(lr, float) else (lr, 0.0)
    vector, blocks = packs(param, grad, momentum_buffer)
    numbers = param.size, lr, momentum, 1 - dampening, weight_decay, first, nesterov, maximize
    args = param, grad, momentum_buffer, lr_in_memory, *numbers
    _kernels.launch("sgd_step", param.dtype, (vector,), blocks, 256, args)


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum, Nesterov's momentum and weight decay.

    Args:
        params: tensors, or groups.
        lr: the step's length, in units of parameter per gradient.
        momentum: the fraction of the last step that is taken again.
        dampening: the fraction of the gradient that momentum leaves out, except in the first step.
        weight_decay: this fraction of the parameter is added to its gradient.
        nesterov: take the gradient at the point that momentum leads to; needs momentum and no dampening.
        maximize: maximize the objective instead of minimizing it.

    Raises:
        TypeError, ValueError: as Optimizer, and if nesterov is used without momentum or with dampening.

    Source: Sutskever, Martens, Dahl, Hinton 2013.
    """

    state_names = ("momentum_buffer",)

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, options: Mapping[str, Any]) -> None:
        check_non_negative(options, "lr", "momentum", "weight_decay")
        as_number(options["dampening"], "dampening")
        check_flags(nesterov=options["nesterov"], maximize=options["maximize"])
        if options["nesterov"] and (options["momentum"] == 0 or options["dampening"] != 0):
            raise ValueError(
                f"nesterov needs momentum above 0 and dampening 0, got momentum={options['momentum']}, "
                f"dampening={options['dampening']}"
            )

    def _moments(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if options["momentum"] else ()

    def _update(
        self,
        options: Mapping[str, Any],
        info: StepInfo,
        param: Array,
        grad: Array,
        moments: Sequence[Array],
        work: Array,
    ) -> None:
        sgd_step(
            param,
            grad,
            moments[0] if moments else None,
            work,
            first=info.first,
            lr=info.lr,
            momentum=float(options["momentum"]),
            dampening=float(options["dampening"]),
            weight_decay=float(options["weight_decay"]),
            nesterov=options["nesterov"],
            maximize=options["maximize"],
        )
