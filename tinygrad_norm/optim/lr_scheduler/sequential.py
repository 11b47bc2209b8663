"""Schedules one after the other, as in warm-up and then decay; and several at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from ..optimizer import Optimizer
from .base import LRScheduler, check_optimizer


class SequentialLR(LRScheduler):
    """Follow the first schedule, and from each milestone on the next one, from its own step 0.

    Args:
        optimizer: the optimizer of all `schedulers`.
        schedulers: at least one.
        milestones: the steps at which the next schedule begins, increasing; one fewer than schedulers.

    Raises:
        TypeError: if `optimizer` is not an Optimizer.
        ValueError: if a schedule is of another optimizer or past its step 0, or the milestones do not fit.
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]
    ) -> None:
        check_optimizer(optimizer)
        if not schedulers or len(milestones) != len(schedulers) - 1:
            raise ValueError(
                "milestones lie between schedules, one fewer than these: "
                f"got {len(schedulers)} schedules and {len(milestones)} milestones"
            )
        if list(milestones) != sorted(set(milestones)):
            raise ValueError(f"milestones must increase, got {list(milestones)}")
        if any(scheduler.optimizer is not optimizer for scheduler in schedulers):
            raise ValueError("all schedules must belong to the optimizer that is given")
        for i, scheduler in enumerate(schedulers):
            if scheduler.last_epoch:
                raise ValueError(
                    f"schedules in a row begin at their own step 0, number {i} is at {scheduler.last_epoch}: "
                    "create them without last_epoch; to resume, load the state of the SequentialLR"
                )
        self._schedulers, self._milestones = list(schedulers), list(milestones)
        super().__init__(optimizer)

    def begin(self, step: int = 0) -> None:
        self.last_epoch = step
        self._set([float(group["initial_lr"]) for group in self.optimizer.param_groups])
        self._follow(self._current().begin)

    def step(self, epoch: int | None = None) -> None:
        """Set the learning rates of the next step: call it after the optimizer's first step.

        Raises:
            RuntimeError: if groups were added after this schedule was created.
            TypeError: if an epoch is given: a schedule in the row would not know its own.
        """
        if epoch is not None:
            raise TypeError(f"SequentialLR steps one by one, got epoch={epoch!r}: call step() without it")
        self._check_order()
        self.advance()

    def advance(self) -> None:
        self.last_epoch += 1
        scheduler = self._current()
        self._follow(scheduler.restart if self.last_epoch in self._milestones else scheduler.advance)

    def _current(self) -> LRScheduler:
        return self._schedulers[bisect_right(self._milestones, self.last_epoch)]

    def _follow(self, step: Any) -> None:
        step()
        self._last_lr = self._current().get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer, with the state of every schedule."""
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken. Load the optimizer's state too: it holds the rates."""
        schedulers = self._schedulers
        super().load_state_dict(state_dict)
        self._schedulers = schedulers
        for scheduler, state in zip(schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)


class ChainedScheduler(LRScheduler):
    """Step several schedules of one optimizer together: each multiplies the rate that the others left.

    Args:
        schedulers: at least one.
        optimizer: the optimizer of all `schedulers`; by default that of the first.

    Raises:
        TypeError: if `schedulers` are not schedules.
        ValueError: if there are none, or they have different optimizers.
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        schedules = list(schedulers)
        if not schedules:
            raise ValueError("ChainedScheduler needs at least one schedule, got none")
        if not all(isinstance(scheduler, LRScheduler) for scheduler in schedules):
            raise TypeError("ChainedScheduler takes a list of schedules")
        self.optimizer = schedules[0].optimizer if optimizer is None else optimizer
        check_optimizer(self.optimizer)
        if any(scheduler.optimizer is not self.optimizer for scheduler in schedules):
            raise ValueError("all schedules must belong to one optimizer")
        self._schedulers = schedules
        self.base_lrs = schedules[-1].base_lrs
        self.last_epoch = 0
        self._last_lr = schedules[-1].get_last_lr()

    def step(self, epoch: int | None = None) -> None:
        """Set the learning rates of the next step: call it after the optimizer's first step.

        Raises:
            RuntimeError: if groups were added after a schedule was created.
            TypeError: if an epoch is given.
        """
        if epoch is not None:
            raise TypeError(f"ChainedScheduler steps one by one, got epoch={epoch!r}: call step() without it")
        for scheduler in self._schedulers:
            scheduler.step()
        self.last_epoch += 1
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer, with the state of every schedule."""
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken. Load the optimizer's state too: it holds the rates."""
        schedulers = self._schedulers
        super().load_state_dict(state_dict)
        self._schedulers = schedulers
        for scheduler, state in zip(schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)
