"""Read the saved state of an optimizer: its groups and moments, checked against the one that loads them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..backends import Array
from ..module_state import state_array


def read_groups(
    state_dict: Mapping[str, Any], groups: Sequence[Mapping[str, Any]], defaults: Mapping[str, Any]
) -> Sequence[Mapping[str, Any]]:
    """Return the saved groups, which must have the sizes of `groups` and the options of `defaults`.

    Raises:
        TypeError: if `state_dict` is not the state of an optimizer.
        ValueError: if it does not fit; the message names the difference.
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            "the state of an optimizer is the dict that its state_dict() returned, got "
            f"{type(state_dict).__name__}"
        )
    missing = [key for key in ("state", "param_groups") if key not in state_dict]
    if missing:
        raise ValueError(
            f"{' and '.join(missing)} missing: the state of an optimizer has state and param_groups, "
            f"got {sorted(map(str, state_dict))}"
        )
    state, saved_groups = state_dict["state"], state_dict["param_groups"]
    if not isinstance(state, Mapping) or not isinstance(saved_groups, list | tuple):
        raise TypeError(
            f"the state of an optimizer has a dict state and a list param_groups, got {type(state).__name__} "
            f"and {type(saved_groups).__name__}"
        )
    if not all(isinstance(entry, Mapping) for entry in (*state.values(), *saved_groups)):
        raise TypeError("every entry of state and param_groups in the state of an optimizer is a dict")
    if not all("params" in group for group in saved_groups):
        raise ValueError('a saved parameter group has no "params": was it edited?')
    sizes, saved_sizes = ([len(group["params"]) for group in g] for g in (groups, saved_groups))
    if sizes != saved_sizes:
        raise ValueError(
            f"the state has groups of {saved_sizes} parameters, this optimizer has groups of {sizes}: "
            "was it saved from another model, or with other groups?"
        )
    missing = sorted({name for group in saved_groups for name in defaults if name not in group})
    if missing:
        raise ValueError(
            f"the state lacks the options {', '.join(missing)}: was it saved from another optimizer?"
        )
    return saved_groups


def read_entry(
    entry: Mapping[str, Any], number: int, needed: Collection[str], known: Mapping[str, tuple[int, ...]]
) -> dict[str, Array]:
    """Return the arrays saved for one parameter, by name; empty if nothing was saved.

    `known` has the names that there may be, and their shapes; a step has no axes.

    Raises:
        ValueError: if arrays are missing or unknown, do not have the shape in `known`, or are not numbers.
    """
    arrays = {}
    for name, value in entry.items():
        if value is not None:
            try:
                arrays[name] = state_array(value)
            except ValueError as error:
                raise ValueError(f"parameter {number}: {name} has {error}") from error
    if not arrays:
        return arrays
    if not set(needed) <= arrays.keys() <= known.keys():
        raise ValueError(
            f"parameter {number}: the state has {', '.join(arrays)}, this optimizer keeps "
            f"{', '.join(known)}: was it saved from another optimizer?"
        )
    for name, array in arrays.items():
        shape = () if name == "step" else known[name]
        if array.shape != shape:
            raise ValueError(
                f"parameter {number}: {name} has shape {array.shape}, expected {shape}: "
                "was the state saved from another model?"
            )
    if "step" in arrays and not arrays["step"] >= 1:
        raise ValueError(f"parameter {number}: step must be at least 1, got {arrays['step']}")
    return arrays
