"""Adam: every element of a parameter gets its own step length, from the usual size of its gradient.

    g = dL/dθ + λ·θ                     Adam; AdamW: g = dL/dθ, and θ ← θ - lr·λ·θ separately
    m ← β₁·m + (1 - β₁)·g               a mean of the gradient over about 1/(1 - β₁) steps
    v ← β₂·v + (1 - β₂)·g²              the same of its square
    θ ← θ - lr·m̂/(√v̂ + eps)             m̂ = m/(1 - β₁ᵗ), v̂ = v/(1 - β₂ᵗ), t = 1, 2, …

Both means start at 0. After t steps m = (1 - β₁)·Σᵢ β₁ᵗ⁻ⁱ·gᵢ. If all gᵢ were equal to g, the geometric
sum would give m = (1 - β₁ᵗ)·g: dividing by 1 - β₁ᵗ makes m̂ = g, and v̂ = g² in the same way.

Multiplying numerator and denominator by √(1 - β₂ᵗ) leaves two numbers per step and no pass over v̂:

    lr·m̂/(√v̂ + eps) = a·m/(√v + e)      a = lr·√(1 - β₂ᵗ)/(1 - β₁ᵗ)      e = eps·√(1 - β₂ᵗ)

Kingma, Ba 2015, arXiv:1412.6980. amsgrad divides by the largest v so far, so that a step length never
grows again: Reddi, Kale, Kumar 2018, arXiv:1904.09237. AdamW: Loshchilov, Hutter 2019, arXiv:1711.05101.

Insight: a gradient multiplied by 1000 gives the same step, as |m̂|/√v̂ is about 1 or less. That is why
weight decay inside g is divided away together with it (Adam), and why AdamW keeps the two separate.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy

from ..backends import Array, kernel, namespace
from ..backends.cpu.loops import Loop
from ..backends.cpu.sums import scalar
from ..backends.cuda.launch import CudaSource, packs, wide_empty
from ..backends.float_info import finfo
from ..ops.arguments import check_flags
from .flat_buffers import flat_blocks, run_flat
from .optimizer import Optimizer, StepInfo
from .parameter_groups import Parameters, check_betas, check_non_negative

_kernels = CudaSource(__file__)


@kernel
def adam_step(
    param: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array | None,
    work: Array,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> None:
    """Update the flat arrays `param`, `exp_avg` (m), `exp_avg_sq` (v) and its maximum in place, by one step.

    `step` is t; `decoupled` is AdamW's weight decay. `work` is scratch memory, whose dtype the update uses.
    """
    xp = namespace(param)
    beta1, beta2 = betas
    a, e = _rates(step, lr, betas, eps, work.dtype)
    for p, g, m, v, largest in flat_blocks(param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq):
        s, t = work[0, : p.size], work[1, : p.size]
        theta, g = p.astype(s.dtype, copy=False), g.astype(s.dtype, copy=False)
        if maximize:
            g = xp.negative(g, out=t)
        if weight_decay and decoupled:
            theta *= 1 - lr * weight_decay
        elif weight_decay:
            xp.multiply(theta, weight_decay, out=s)
            g = xp.add(g, s, out=t)
        m *= scalar(beta1, m)
        m += xp.multiply(g, scalar(1 - beta1, m), out=s)
        xp.multiply(g, g, out=s)
        s *= scalar(1 - beta2, v)
        v *= scalar(beta2, v)
        v += s
        xp.sqrt(v if largest is None else xp.maximum(largest, v, out=largest), out=s)
        s += e
        xp.divide(m, s, out=s)
        s *= a
        theta -= s
        if theta is not p:
            p[...] = theta


def adam_step_loop(
    param: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array | None,
    a: float,
    e: float,
    beta1: float,
    beta2: float,
    new1: float,
    new2: float,
    inside: float,
    shrink: float,
    maximize: bool,
) -> None:
    """All elements in one pass: λ is `inside` for Adam, and θ is multiplied by `shrink` for AdamW.

    `new1` and `new2` are 1 - β₁ and 1 - β₂: if they were computed here, the compiler might reorder the sum
    β₂·v + (1 - β₂)·g², and lose digits.
    """
    real, m, v = param.dtype.type, exp_avg, exp_avg_sq
    step, least, decay, kept = real(a), real(e), real(inside), real(shrink)
    b1, b2, c1, c2 = real(beta1), real(beta2), real(new1), real(new2)
    for i in range(param.size):
        theta, g = param[i], grad[i]
        if maximize:
            g = -g
        if inside:
            g += decay * theta
        m[i] = b1 * m[i] + c1 * g
        v[i] = b2 * v[i] + c2 * (g * g)
        largest = v[i]
        if max_exp_avg_sq is not None:
            if largest > max_exp_avg_sq[i] or largest != largest:  # NaN is the largest, as in NumPy
                max_exp_avg_sq[i] = largest
            largest = max_exp_avg_sq[i]
        param[i] = kept * theta - step * (m[i] / (numpy.sqrt(largest) + least))


_loop = Loop(adam_step_loop)


@adam_step.cpu
def adam_step_cpu(
    param: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array | None,
    work: Array,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> Any:
    """One loop: every array is read once and written once."""
    beta1, beta2 = betas
    a, e = _rates(step, lr, betas, eps, param.dtype)
    inside, shrink = (0.0, 1 - lr * weight_decay) if decoupled else (weight_decay, 1.0)
    numbers = a, e, beta1, beta2, 1 - beta1, 1 - beta2, inside, shrink, maximize
    return run_flat(_loop, (param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq), *numbers)


@adam_step.cuda
def adam_step_cuda(
    param: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array | None,
    work: Array,
    *,
    step: int | Array,
    lr: float | Array,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> None:
    """One kernel: every array is read once and written once.

    If the step is captured and replayed, `step` and `lr` are one-element arrays, int64 and float64: a
    second kernel then counts the step, and nothing depends on the host.
    """
    beta1, beta2 = betas
    least, outside = _smallest_normal(work.dtype), weight_decay if decoupled else 0.0
    if isinstance(step, int):
        rates, (a, e), shrink = None, _rates(step, lr, betas, eps, work.dtype), 1 - lr * outside
    else:
        rates, a, e, shrink = wide_empty(param, 3), 0.0, 0.0, 0.0
        given = step, lr, beta1, beta2, eps, least, outside, rates
        _kernels.launch("adam_rates", param.dtype, (), 1, 1, given)
    vector, blocks = packs(param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq)
    arrays = param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, rates
    inside = weight_decay - outside
    numbers = param.size, a, e, shrink, beta1, beta2, 1 - beta1, 1 - beta2, inside, maximize
    _kernels.launch("adam_step", param.dtype, (vector,), blocks, 256, (*arrays, *numbers))


def _rates(
    step: int, lr: Any, betas: tuple[float, float], eps: float, dtype: numpy.dtype
) -> tuple[float, float]:
    """Return a and e of θ ← θ - a·m/(√v + e), with both corrections of the bias in them."""
    root = math.sqrt(1 - betas[1] ** step)
    # With eps = 0, a gradient that is always 0 would divide 0 by 0.
    return lr * root / (1 - betas[0] ** step), max(eps * root, _smallest_normal(dtype))


@functools.cache
def _smallest_normal(dtype: numpy.dtype) -> float:
    return float(finfo(dtype).tiny)


class Adam(Optimizer):
    """Adam: steps of about lr in every element, whatever the size of its gradient.

    Args:
        params: tensors, or groups.
        lr: the step's length, in units of the parameter.
        betas: the fractions kept per step of the mean gradient and of the mean squared gradient.
        eps: added to the root of the mean square, in units of the gradient.
        weight_decay: this fraction of the parameter is added to its gradient.
        amsgrad: divide by the largest mean square so far.
        maximize: maximize the objective instead of minimizing it.

    Raises:
        TypeError, ValueError: as Optimizer, and if betas are outside of [0, 1).

    Source: Kingma, Ba 2015, arXiv:1412.6980.
    """

    state_names = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    decoupled: ClassVar[bool] = False  # whether weight decay bypasses the means

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, options: Mapping[str, Any]) -> None:
        check_non_negative(options, "lr", "eps", "weight_decay")
        check_flags(amsgrad=options["amsgrad"], maximize=options["maximize"])
        check_betas(options)

    def _moments(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if options["amsgrad"] else ()))

    def _update(
        self,
        options: Mapping[str, Any],
        info: StepInfo,
        param: Array,
        grad: Array,
        moments: Sequence[Array],
        work: Array,
    ) -> None:
        beta1, beta2 = options["betas"]
        adam_step(
            param,
            grad,
            moments[0],
            moments[1],
            moments[2] if len(moments) == 3 else None,
            work,
            step=info.step,
            lr=info.lr,
            betas=(float(beta1), float(beta2)),
            eps=float(options["eps"]),
            weight_decay=float(options["weight_decay"]),
            decoupled=self.decoupled,
            maximize=options["maximize"],
        )


class AdamW(Adam):
    """Adam with decoupled weight decay: in each step θ shrinks by the fraction lr·weight_decay of itself.

    Arguments and errors as Adam. Source: Loshchilov, Hutter 2019, arXiv:1711.05101.
    """

    decoupled = True

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
