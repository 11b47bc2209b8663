"""Parameter groups: check the tensors, groups and options that an optimizer is given."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..autograd.tensor import Tensor
from ..module import Module
from ..ops.arguments import as_number
from ..suggestions import unknown

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]]
"""Tensors, or dicts with "params" (tensors), the options of that group, and optionally a "name".

Weight decay pulls the parameters of a group toward its "decay_target", a number; without one, toward 0.
"""

_SCHEDULED = ("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr")
"""The entries that learning rate schedules add to a group."""


def as_groups(params: Any) -> list[dict[str, Any]]:
    """Return `params` as a list of groups.

    Raises:
        TypeError: if `params` is not an iterable of tensors or of dicts.
        ValueError: if it is empty.
    """
    if isinstance(params, Module):
        raise TypeError(
            f"an optimizer takes parameters, got the module {type(params).__name__}: pass .parameters()"
        )
    if isinstance(params, Tensor | Mapping) or not isinstance(params, Iterable):
        raise TypeError(
            f"an optimizer takes an iterable of tensors or of groups, got {_name(params)}: "
            "pass module.parameters(), or a list"
        )
    if isinstance(params, set | frozenset):
        raise TypeError(
            "an optimizer takes parameters in order, and a set has none: its state could not be loaded in "
            "another run. Pass a list"
        )
    entries = list(params)
    if not entries:
        raise ValueError("no parameters to optimize: params is empty (a generator is empty the second time)")
    return entries if isinstance(entries[0], dict) else [{"params": entries}]


def as_parameters(params: Any) -> list[Tensor]:
    """Return the tensors of one group as a list, without repetitions.

    Raises:
        TypeError: if `params` is not an ordered collection of floating-point tensors.
        ValueError: if a tensor was computed from others.
    """
    if isinstance(params, Tensor):
        params = [params]
    if isinstance(params, set | frozenset):
        raise TypeError(
            "an optimizer takes parameters in order, and a set has none: its state could not be loaded in "
            "another run. Pass a list"
        )
    if isinstance(params, Mapping | Module) or not isinstance(params, Iterable):
        raise TypeError(f'"params" of a group must be a tensor or a list of tensors, got {_name(params)}')
    distinct: dict[int, Tensor] = {}
    for i, parameter in enumerate(params):
        if not isinstance(parameter, Tensor):
            advice = ": pass parameters(), not named_parameters()" if isinstance(parameter, tuple) else ""
            raise TypeError(f"an optimizer takes tensors, entry {i} is {_name(parameter)}{advice}")
        if not parameter.is_floating_point():
            raise TypeError(
                f"entry {i} (shape {parameter.shape}) has dtype {parameter.dtype}: only floating-point "
                "tensors have a gradient. Convert it with .float(), or leave it out"
            )
        if not parameter.is_leaf:
            raise ValueError(
                f"entry {i} (shape {parameter.shape}) was computed from other tensors: only leaves can be "
                "optimized. Pass the tensors it was computed from, or its detach().requires_grad_()"
            )
        distinct.setdefault(id(parameter), parameter)
    return list(distinct.values())


def check_names(group: Mapping[str, Any], options: Collection[str]) -> None:
    """Raise ValueError if a group has an entry that is not an option, "params", "name" or "decay_target"."""
    for name in group:
        if name not in ("params", "name", "decay_target", *options, *_SCHEDULED):
            raise ValueError(unknown("option of a parameter group", name, options))


def check_non_negative(options: Mapping[str, Any], *names: str) -> None:
    """Raise TypeError unless these options are numbers, ValueError unless they are finite and at least 0."""
    for name in names:
        if not 0 <= as_number(options[name], name) < math.inf:
            raise ValueError(f"{name} must be a finite number of at least 0, got {options[name]}")


def check_pair(options: Mapping[str, Any], name: str) -> None:
    """Raise TypeError unless the option is two numbers, ValueError unless both are finite and at least 0."""
    pair = options[name]
    if not (isinstance(pair, tuple | list) and len(pair) == 2):
        raise TypeError(f"{name} must be two numbers, got {pair!r}")
    named = {f"{name}[0]": pair[0], f"{name}[1]": pair[1]}
    check_non_negative(named, *named)


def check_no_decay_target(options: Mapping[str, Any], name: str) -> None:
    """Raise ValueError if a group decays toward another number than 0: `name` compares lengths from 0."""
    if options.get("decay_target", 0):
        raise ValueError(
            f"{name} sets steps by the length of a parameter from 0, but a group has decay_target="
            f"{options['decay_target']}: leave it out"
        )


def check_betas(options: Mapping[str, Any]) -> None:
    """Raise TypeError unless "betas" are two numbers, ValueError unless both are in [0, 1)."""
    check_pair(options, "betas")
    if not all(beta < 1 for beta in options["betas"]):
        raise ValueError(
            f"betas must be below 1, got {tuple(options['betas'])}: at 1 the means would never change"
        )


def _name(value: Any) -> str:
    return f"one {type(value).__name__}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
