"""LambdaLR and MultiplicativeLR: the learning rate, or its change in a step, as any function of the step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..optimizer import Optimizer
from .base import LRScheduler, check_optimizer


class LambdaLR(LRScheduler):
    """Set the learning rate to the initial one times `lr_lambda(t)`; a list has one function per group.

    Functions are not saved: create the schedule with the same functions before loading its state. The
    attributes of a callable object are saved and loaded.

    Raises:
        TypeError: if `optimizer` is not an Optimizer.
        ValueError: if the number of functions is not the number of groups.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        groups = optimizer.param_groups
        self.lr_lambdas = [lr_lambda] * len(groups) if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != len(groups):
            raise ValueError(f"{len(self.lr_lambdas)} functions for {len(groups)} parameter groups")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [base * f(self.last_epoch) for f, base in zip(self.lr_lambdas, self.base_lrs, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer and the functions; of callable objects, their attributes."""
        return {**super().state_dict(), "lr_lambdas": [_attributes(f) for f in self.lr_lambdas]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken. Load the optimizer's state too: it holds the rates.

        Raises:
            TypeError, ValueError: see LRScheduler.load_state_dict.
        """
        functions = self.lr_lambdas
        saved: Any = [None] * len(functions)  # what a state without this entry has
        if isinstance(state_dict, Mapping):
            saved = state_dict.get("lr_lambdas", saved)
            state_dict = {**state_dict, "lr_lambdas": saved}
        if len(saved) != len(functions):
            raise ValueError(f"the state has {len(saved)} functions, this schedule {len(functions)}")
        super().load_state_dict(state_dict)
        self.lr_lambdas = functions
        for function, attributes in zip(functions, saved, strict=True):
            if attributes is not None:
                function.__dict__.update(attributes)


class MultiplicativeLR(LambdaLR):
    """Multiply the learning rate by `lr_lambda(t)` at each step t ≥ 1; a list has one function per group.

    Functions are not saved, see LambdaLR.

    Raises:
        TypeError: if `optimizer` is not an Optimizer.
        ValueError: if the number of functions is not the number of groups.
    """

    def get_lr(self) -> list[float]:
        rates = [group["lr"] for group in self.optimizer.param_groups]
        if self.last_epoch == 0:
            return rates
        return [lr * f(self.last_epoch) for f, lr in zip(self.lr_lambdas, rates, strict=True)]

    def lr_from_base(self) -> list[float]:
        steps = range(1, self.last_epoch + 1)
        return [
            base * math.prod(map(f, steps)) for f, base in zip(self.lr_lambdas, self.base_lrs, strict=True)
        ]


def _attributes(function: Any) -> dict[str, Any] | None:
    """Return a copy of the attributes of a callable object; None for a function or method."""
    return None if inspect.isroutine(function) else dict(getattr(function, "__dict__", {}))
