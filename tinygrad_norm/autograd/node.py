"""Node: one recorded call, as the tensors that it made and the sweep know it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..backends import Array, namespace
from .memory import Memory


class Node:
    """What the graph keeps of one call: its inputs, its time, and what its backward reads.

    A `Function` is a node with a forward and a backward.
    """

    inputs: tuple[Any, ...]  # tensors, None and Python numbers; none once the graph is freed
    needs: list[bool]  # which inputs need a gradient
    created_at: int  # by the clock of memory.py: later than the calls that made the inputs
    options: Mapping[str, Any] | None = MappingProxyType({})  # of the call; None once the graph is freed
    saved: Any = ()  # the arrays that backward reads: a tuple; None once they are freed
    outputs: list[tuple[tuple[int, ...], Any] | None] | None = None
    """None if there is one output; else (shape, dtype) of each, None if no gradient flows through it."""
    hooks: dict[int, list[Any]] | None = None  # by output
    retained: bool = False  # whether a backward has run that retained the graph
    saved_outputs: tuple[Memory, ...] = ()  # the memory of outputs that backward reads and users may write

    @property
    def backward_ran(self) -> bool:
        """Whether a backward has run, with or without retain_graph."""
        return self.retained or self.freed

    @property
    def freed(self) -> bool:
        """Whether a backward without retain_graph has run: what forward saved, and the inputs, are gone."""
        return self.saved is None

    @property
    def name(self) -> str:
        """The function's name as graphs and messages show it: without a trailing "Function"."""
        return type(self).__name__.removesuffix("Function")

    def guard_output(self, array: Array, memory: Memory) -> None:
        """Remember the memory of an output that backward reads, from the time it can be written to."""
        if any(same_memory(saved, array) for saved in self.saved_arrays()):
            self.saved_outputs = (*self.saved_outputs, memory)

    def saved_arrays(self) -> tuple[Any, ...]:
        """Return what forward saved; nothing once it is freed.

        Raises:
            TypeError: unless it is a tuple: arrays in any other container cannot be tracked.
        """
        if self.saved is not None and type(self.saved) is not tuple:
            raise TypeError(
                f"{self.name}.forward set self.saved to a {type(self.saved).__name__}, not a tuple: "
                "self.saved = (x,), with the comma"
            )
        return self.saved or ()


def same_memory(a: Any, b: Array) -> bool:
    """Return whether `a` is an array that may share memory with `b`."""
    return type(a) is type(b) and bool(namespace(b).may_share_memory(a, b))
