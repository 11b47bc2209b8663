"""LRScheduler: sets the learning rate of every parameter group, step by step."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from ...ops.arguments import as_number, as_size
from ..optimizer import Optimizer


class LRScheduler:
    """Base of every schedule: subclass and define `get_lr`.

    Creating a schedule sets the learning rates of step 0. Every `step()`, called after the optimizer's,
    sets those of the next step. `last_epoch` counts the steps, which may be epochs or batches. To resume,
    create optimizer and schedule as before and load the state of both: all later rates are the same bit
    for bit.

    Args:
        optimizer: the optimizer whose learning rates are set.
        last_epoch: -1 to begin. Otherwise the schedule begins at step last_epoch + 1, with the initial
            rates ("initial_lr") that another schedule left in the optimizer's groups. As in PyTorch,
            StepLR assumes that their "lr" is the rate of step last_epoch; LinearLR and CosineAnnealingLR
            assume that it is the rate of the step they begin at; the others set it from the initial rate.

    Raises:
        TypeError: if `optimizer` is not an Optimizer, or last_epoch is not an int.
        ValueError: if last_epoch is below -1, or if it is at least 0 and a group has no "initial_lr".
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        if is_new(optimizer, last_epoch, "initial_lr"):
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.begin(last_epoch + 1)

    def get_lr(self) -> list[float]:
        """Return the learning rate of every group at step `last_epoch`, given the current ones."""
        raise NotImplementedError(f"{type(self).__name__} must define get_lr")

    def first_lr(self) -> list[float]:
        """Return the learning rates of the step that the schedule begins at, given the current ones."""
        return self.get_lr()

    def begin(self, step: int = 0) -> None:
        """Set the learning rates of step `step`, starting from the current ones."""
        self.last_epoch = step
        self._apply(self.first_lr())

    def restart(self) -> None:
        """Set the learning rates of step 0, whatever the current ones are."""
        self._set(self.base_lrs)
        self.begin()

    def _set(self, lrs: list[float]) -> None:
        for group, lr in zip(self._groups(), lrs, strict=True):
            group["lr"] = lr

    def _groups(self) -> list[dict[str, Any]]:
        groups, made_for = self.optimizer.param_groups, len(self.base_lrs)
        if len(groups) != made_for:
            raise RuntimeError(
                f"this schedule was made for {made_for} parameter groups, the optimizer has {len(groups)} "
                "now: make a new schedule after add_param_group"
            )
        return groups

    def step(self, epoch: int | None = None) -> None:
        """Set the learning rates of the next step: call it after the optimizer's first step.

        Args:
            epoch: the step to go to, whatever the current rates are. PyTorch advises against it.

        Raises:
            RuntimeError: if groups were added after this schedule was created.
            TypeError, ValueError: if `epoch` is not an int of at least 0.
        """
        self._check_order()
        if epoch is None:
            self.advance()
        else:
            self._groups()
            self.last_epoch = as_size(epoch, "epoch", 0)
            self._apply(self.lr_from_base())

    def advance(self) -> None:
        """Set the learning rates of the next step."""
        self._groups()
        self.last_epoch += 1
        self._apply(self.get_lr())

    def lr_from_base(self) -> list[float]:
        """Return the learning rate of every group at step `last_epoch`, computed from the initial ones."""
        return self.get_lr()

    def _check_order(self) -> None:
        """Warn if the rates of step 0 are replaced before they were used."""
        optimizer = self.optimizer
        if self.last_epoch == 0 and not optimizer._stepped and type(optimizer).step is Optimizer.step:
            warnings.warn(
                "scheduler.step() was called before optimizer.step(): the first learning rate is never used. "
                "Call optimizer.step() first",
                stacklevel=3,
            )

    def _apply(self, lrs: list[float]) -> None:
        self._last_lr = lrs
        self._set(lrs)

    def get_last_lr(self) -> list[float]:
        """Return the learning rates that were set last, one for every group."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer, in plain numbers, lists and dicts."""
        return {name: value for name, value in self.__dict__.items() if name != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken. Load the optimizer's state too: it holds the rates.

        Raises:
            TypeError: if `state_dict` is not a dict.
            ValueError: if it is of another kind of schedule, or of an optimizer with other groups.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                "the state of a schedule is the dict that its state_dict() returned, got "
                f"{type(state_dict).__name__}"
            )
        own = self.state_dict()
        if state_dict.keys() != own.keys():
            raise ValueError(
                f"the state has {', '.join(state_dict) or 'nothing'}, {type(self).__name__} keeps "
                f"{', '.join(own)}: was it saved from another kind of schedule?"
            )
        if len(state_dict["base_lrs"]) != len(self.base_lrs):
            raise ValueError(
                f"the state has {len(state_dict['base_lrs'])} parameter groups, "
                f"the optimizer has {len(self.base_lrs)}"
            )
        self.__dict__.update(state_dict)


def check_optimizer(optimizer: Any) -> None:
    """Raise TypeError unless `optimizer` is an Optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"a schedule needs an Optimizer, got {type(optimizer).__name__}")


def is_new(optimizer: Optimizer, last_epoch: int, *entries: str) -> bool:
    """Return whether `last_epoch` is -1. If it is not, every group must have the `entries` of a schedule.

    Raises:
        TypeError: if last_epoch is not an int.
        ValueError: if it is below -1, or a group lacks an entry.
    """
    if as_size(last_epoch, "last_epoch", -1) == -1:
        return True
    for i, group in enumerate(optimizer.param_groups):
        missing = [name for name in entries if name not in group]
        if missing:
            raise ValueError(
                f"last_epoch={last_epoch} continues a schedule, but group {i} has no "
                f"{', '.join(missing)}: load the optimizer's state first, or begin with last_epoch=-1"
            )
    return False


def check_steps(name: str, value: int) -> None:
    """Raise TypeError unless the number of steps is a number, ValueError if it is below 1."""
    if as_number(value, name) < 1:
        raise ValueError(f"{name} must be at least 1 step, got {value}")
