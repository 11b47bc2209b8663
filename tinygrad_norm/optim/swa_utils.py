"""Averages of a model's parameters over training steps, and the learning rate for it.

    averaged = AveragedModel(model)                     # the mean of all models given to it
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    ... after some steps: averaged.update_parameters(model)
    update_bn(loader, averaged)                         # running statistics for the averaged weights

Steps of SGD with a constant rate wander around a minimum; the mean of the places they visit is closer to it.
Running statistics of BatchNorm belong to the weights they were measured with: those of the average have to be
measured again.

Izmailov, Podoprikhin, Garipov, Vetrov, Wilson 2018, arXiv:1803.05407.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.grad_mode import no_grad
from ..autograd.tensor import Tensor
from ..module import Module
from ..nn.utils.population import update_bn as update_bn
from ..ops import tensor
from ..ops.arguments import as_number, as_size, check_flags
from .lr_scheduler.base import LRScheduler, check_optimizer
from .lr_scheduler.onecycle import per_group
from .optimizer import Optimizer

AvgFn = Callable[[Tensor, Tensor, Any], Tensor]
"""Returns the new average from the old one, the model's parameter and the number of models so far."""

MultiAvgFn = Callable[[Sequence[Tensor], Sequence[Tensor], Any], None]
"""Overwrites the averages, given all of them, the model's parameters and the number of models so far."""


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAvgFn:
    """Return the exponential moving average for `multi_avg_fn`: mean ← decay·mean + (1 − decay)·parameter.

    Raises:
        ValueError: if decay is outside of [0, 1].
    """
    average = get_ema_avg_fn(decay)
    return lambda means, params, number: _one_by_one(average, means, params, number)


def get_swa_multi_avg_fn() -> MultiAvgFn:
    """Return the plain average for `multi_avg_fn`: mean ← mean + (parameter − mean)/(number + 1)."""
    average = get_swa_avg_fn()
    return lambda means, params, number: _one_by_one(average, means, params, number)


def get_ema_avg_fn(decay: float = 0.999) -> AvgFn:
    """Return the exponential moving average for `avg_fn`.

    Raises:
        ValueError: if decay is outside of [0, 1].
    """
    if not 0 <= as_number(decay, "decay") <= 1:
        raise ValueError(f"decay must be between 0 and 1, got {decay}")
    return lambda mean, param, number: mean * decay + param * (1 - decay)


def get_swa_avg_fn() -> AvgFn:
    """Return the plain average for `avg_fn`."""
    return lambda mean, param, number: mean + (param - mean) / (number + 1)


def _one_by_one(average: AvgFn, means: Sequence[Tensor], params: Sequence[Tensor], number: Any) -> None:
    for mean, param in zip(means, params, strict=True):
        mean.copy_(average(mean, param, number))


class AveragedModel(Module):
    """A copy of `model` whose parameters are an average of those given to `update_parameters`.

    Args:
        model: a module; it is copied, and is not changed.
        device: where the copy lies; None for where the model is.
        avg_fn: computes one average; by default the plain average.
        multi_avg_fn: computes all averages at once; at most one of the two.
        use_buffers: average floating-point buffers too; otherwise buffers are those of the last model.

    Raises:
        TypeError: if `model` is not a Module.
        ValueError: if avg_fn and multi_avg_fn are both given.
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: str | None = None,
        avg_fn: AvgFn | None = None,
        multi_avg_fn: MultiAvgFn | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        check_flags(use_buffers=use_buffers)
        if not isinstance(model, Module):
            raise TypeError(f"AveragedModel takes a Module, got {type(model).__name__}")
        if avg_fn is not None and multi_avg_fn is not None:
            raise ValueError("give avg_fn or multi_avg_fn, not both")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module.to(device)
        self.register_buffer("n_averaged", tensor(0))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the averaged model."""
        return self.module(*args, **kwargs)

    @no_grad()
    def update_parameters(self, model: Module) -> None:
        """Add the parameters of `model` to the average; the first time, copy them.

        Raises:
            ValueError: if the model has other parameters or buffers than the copy.
        """
        own, new = self._averaged(self.module), self._averaged(model)
        if [x.shape for x in own] != [x.shape for x in new]:
            raise ValueError("the model has other parameters than the one that is averaged")
        number = int(self.n_averaged.item())
        if number == 0:
            for mean, value in zip(own, new, strict=True):
                mean.copy_(value)
        elif self.multi_avg_fn is not None:
            self.multi_avg_fn(own, new, number)
        else:
            _one_by_one(self.avg_fn or get_swa_avg_fn(), own, new, number)
        if not self.use_buffers:
            for mean, value in zip(self.module.buffers(), model.buffers(), strict=True):
                mean.copy_(value)
        self.n_averaged.copy_(self.n_averaged + 1)

    def _averaged(self, model: Module) -> list[Tensor]:
        buffers = list(model.buffers()) if self.use_buffers else []
        return [x.detach() for x in (*model.parameters(), *buffers)]


class SWALR(LRScheduler):
    """Go to the learning rate `swa_lr` in `anneal_epochs` steps, then stay.

    Args:
        optimizer: the optimizer whose learning rates are set.
        swa_lr: the rate at the end, or one for each group.
        anneal_epochs: the number of steps; with 0, the rate is there at the first step.
        anneal_strategy: "cos" or "linear", the curve.
        last_epoch: as in LRScheduler.

    Raises:
        TypeError: if `optimizer` is not an Optimizer.
        ValueError: if anneal_strategy is unknown, anneal_epochs is negative, or a list does not have one
            entry per group.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | Sequence[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f'anneal_strategy must be "cos" or "linear", got {anneal_strategy!r}')
        self.anneal_strategy = anneal_strategy
        self.anneal_epochs = as_size(anneal_epochs, "anneal_epochs", 0)
        for group, lr in zip(optimizer.param_groups, per_group("swa_lr", swa_lr, optimizer), strict=True):
            group["swa_lr"] = lr
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        step = self.last_epoch if self.anneal_epochs else max(1, self.last_epoch)
        before, now = self._fraction(step - 1), self._fraction(step)
        lrs = []
        for group in self.optimizer.param_groups:
            end = group["swa_lr"]
            # The rate that the others would have set: a change in the meantime stays in it.
            start = end if before == 1 else (group["lr"] - before * end) / (1 - before)
            lrs.append(end * now + start * (1 - now))
        return lrs

    def _fraction(self, step: int) -> float:
        t = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return (1 - math.cos(math.pi * t)) / 2 if self.anneal_strategy == "cos" else t
