"""Reading the state of a module: everything is checked before anything is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .autograd.tensor import Tensor
from .backends import Array, asarray
from .backends.cpu.silence import silent


class IncompatibleKeys(NamedTuple):
    """The names that `load_state_dict(strict=False)` missed, and those it did not expect."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def state_array(value: Any) -> Array:
    """Return a saved tensor, array or list as an array of numbers.

    Raises:
        ValueError: if it does not hold real numbers or bools: text, dates, lists of unequal lengths.
    """
    try:
        array = asarray(value.array if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"a {type(value).__name__}, which is not an array of numbers ({error})") from error
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise ValueError(f"values of dtype {array.dtype}, which are not real numbers")
    return array


def load_state(
    own: Mapping[str, Tensor],
    state: Mapping[str, Any],
    strict: bool,
    module: str,
    assign: Callable[[str, Any], None] | None = None,
) -> IncompatibleKeys:
    """Copy `state` into the tensors `own`, if all of it fits; return the names that only one of them has.

    If given, `assign(name, value)` is called instead of copying.

    Raises:
        RuntimeError: see Module.load_state_dict.
    """
    missing = [name for name in own if name not in state and not _is_optional(name)]
    unexpected = [name for name in state if name not in own and not _is_frozen(name, own)]
    problems = []
    if strict and missing:
        problems.append(f"missing: {', '.join(missing)}")
    if strict and unexpected:
        problems.append(f"unexpected: {', '.join(map(str, unexpected))}")
    arrays = {}
    for name, tensor in own.items():
        if name in state:
            try:
                array = arrays[name] = state_array(state[name])
            except ValueError as error:
                problems.append(f"{name}: the state has {error}")
                continue
            if array.shape != tensor.shape:
                problems.append(f"{name}: the state has shape {array.shape}, the module {tensor.shape}")
            if assign is not None and tensor.is_floating_point() != (array.dtype.kind == "f"):
                problems.append(f"{name}: the state has dtype {array.dtype}, the module {tensor.dtype}")
            if assign is None and not getattr(tensor.array.flags, "writeable", True):
                problems.append(f"{name}: the module's array is read-only; make the parameter from a copy")
    if problems:
        raise RuntimeError(
            f"the state does not fit {module}; was it saved from another architecture?\n  "
            + "\n  ".join(problems)
        )
    with silent():
        for name, array in arrays.items():
            if assign is None:
                own[name].copy_(array)
            else:
                assign(name, state[name] if isinstance(state[name], Tensor) else array)
    return IncompatibleKeys(missing, unexpected)


def _is_optional(name: str) -> bool:
    """Return whether a state may lack the entry, as older files of a BatchNorm lack its count of batches."""
    return name.rpartition(".")[2] == "num_batches_tracked"


def _is_frozen(name: str, own: Mapping[str, Tensor]) -> bool:
    """Return whether the entry is the count of batches for a FrozenBatchNorm2d, which has none."""
    layer, _, last = str(name).rpartition("num_batches_tracked")
    return not last and f"{layer}running_mean" in own
