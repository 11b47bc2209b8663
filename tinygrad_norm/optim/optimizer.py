"""Optimizer: parameter groups, their flat buffers, and state that can be saved.

A subclass names its moments and defines one update on flat arrays. This file does everything else: which
parameters have a gradient, where they are in memory, how often each was updated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy

from ..autograd.grad_mode import enable_grad
from ..autograd.hooks import RemovableHandle
from ..autograd.memory import tick, writes
from ..autograd.tensor import Tensor
from ..backends import Array, backend_of, to_device
from ..backends.cpu.silence import silent
from ..backends.cuda.capture import Graph, current_graph
from ..ops.arguments import as_number, check_flags
from .flat_buffers import FlatBuffer, FlatGroup, Place, check_memory_not_shared
from .optimizer_state import read_entry, read_groups
from .parameter_groups import Parameters, as_groups, as_parameters, check_names

StepHook = Callable[["Optimizer", tuple[Any, ...], dict[str, Any]], Any]


class StepInfo(NamedTuple):
    """What changes from one update to the next. In a captured graph, step and lr are one-element GPU arrays.

    step    the number of this update, from 1; as a GPU array, the number of updates so far
    lr      the learning rate
    first   whether the moments are still empty
    shape   that of the parameter, if each is updated by itself
    """

    step: int | Array
    lr: float | Array
    first: bool
    shape: tuple[int, ...] = ()

    @property
    def number(self) -> Any:
        """The number of this update, from 1, also in a captured graph."""
        return self.step if isinstance(self.step, int) else self.step + 1


class Optimizer:
    """Base of every optimizer: `step()` updates the parameters by their gradients.

    Args:
        params: tensors to optimize, or dicts with "params" and the options of that group. A "name" is
            kept, saved and printed, and changes nothing.
        defaults: the options that a group has if it does not set them.

    A step skips a parameter that has no gradient or is frozen (`requires_grad=False`): it is not decayed,
    and its moments and its count of updates stay. PyTorch skips only parameters without a gradient, so it
    still moves one that is frozen but has a gradient. A parameter given twice in a group counts once. Other
    entries can be added to a group in `param_groups` later.

    Raises:
        TypeError: if params is not an iterable of floating-point tensors or of dicts.
        ValueError: if there are no parameters, a tensor is computed from others, a parameter is in two
            groups, parameters share memory, or an option is unknown or out of range.
    """

    _stepped = False  # whether step() was called: schedules look at it
    state_names: ClassVar[tuple[str, ...]] = ()  # all moments, and "step" if updates are counted
    number_names: ClassVar[tuple[str, ...]] = ()  # numbers of PyTorch's state, which follow from the step
    capturable: ClassVar[bool] = True  # whether a graph can hold the step: no number is computed on the CPU

    def __init__(self, params: Parameters, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self._layout: list[FlatGroup] = []
        self._pre_hooks: list[StepHook] = []
        self._post_hooks: list[StepHook] = []
        self._check(defaults)
        for group in as_groups(params):
            self._append_group(group)
        self._make_layout()

    # -- what a subclass defines

    def _check(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError or TypeError if an option is out of range."""
        raise NotImplementedError(f"{type(self).__name__} must define _check")

    def _moments(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of the moments that an update with these options uses."""
        raise NotImplementedError(f"{type(self).__name__} must define _moments")

    def _update(
        self,
        options: Mapping[str, Any],
        info: StepInfo,
        param: Array,
        grad: Array,
        moments: Sequence[Array],
        work: Array,
    ) -> None:
        """Update the flat arrays `param` and `moments` in place."""
        raise NotImplementedError(f"{type(self).__name__} must define _update")

    def _separately(self, options: Mapping[str, Any]) -> bool:
        """Return whether each parameter is updated by itself, because its shape or length matters."""
        return False

    def _begin_step(self) -> None:
        """Compute what the updates of one step have in common."""

    def _numbers(self, options: Mapping[str, Any], step: int) -> tuple[float, ...]:
        """Return the numbers `number_names` after `step` updates."""
        return ()

    # -- stepping

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: computes the loss again and calls backward; its result is returned.

        Raises:
            TypeError, ValueError: if a gradient that was assigned does not fit its parameter.
            RuntimeError: if a hook before the step returns something else than (args, kwargs) or None.
        """
        args: tuple[Any, ...] = (self,) if closure is None else (self, closure)
        kwargs: dict[str, Any] = {}
        for hook in [*self._pre_hooks]:
            changed = hook(self, args, kwargs)
            if changed is not None:
                if not isinstance(changed, tuple) or len(changed) != 2:
                    raise RuntimeError(
                        f"a hook before a step returns None or (args, kwargs), got {changed!r}"
                    )
                args, kwargs = changed
                closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        loss = self._take_step(closure)
        for hook in [*self._post_hooks]:
            hook(self, args, kwargs)
        return loss

    def _take_step(self, closure: Callable[[], Any] | None) -> Any:
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        self._stepped = True
        self._update_layout()
        with silent():  # infinity and NaN are results, as in PyTorch
            self._begin_step()
            for group, flat in zip(self.param_groups, self._layout, strict=True):
                for buffer in flat.buffers:
                    self._step_buffer(group, buffer)
        return loss

    def register_step_pre_hook(self, hook: StepHook) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` at the start of each step.

        The hook may change gradients. If it returns (args, kwargs), the step goes on with these. See
        `register_step_post_hook` for the rest.
        """
        return _register(self._pre_hooks, hook)

    def register_step_post_hook(self, hook: StepHook) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` at the end of each step.

        The hook may write to the parameters, to bring them back to where they must stay. As in PyTorch, args
        are those of `step`, the optimizer first. Returns a handle with `remove()`. Hooks are not part of the
        state.

        Raises:
            TypeError: if the hook cannot be called.
        """
        return _register(self._post_hooks, hook)

    def _step_buffer(self, group: dict[str, Any], buffer: FlatBuffer) -> None:
        names = self._moments(group)
        moments = [buffer.moment(name) for name in names]
        graph = current_graph() if backend_of(buffer.values).kernels == "cuda" else None
        if graph is not None and not self.capturable:
            raise RuntimeError(
                f"{type(self).__name__} computes its rates on the CPU in every step, which a graph cannot "
                "replay: step outside of the graph, or use Adam, AdamW or SGD"
            )
        runs = buffer.runs_with_gradient()
        separate = self._separately(group)
        for places in ([place] for run in runs for place in run) if separate else runs:
            step = places[0].updates + 1
            info = StepInfo(step, float(group["lr"]), step == 1)
            if graph is not None:
                info = self._step_info_in_memory(graph, group, buffer, places)
            if separate:
                info = info._replace(shape=places[0].values.shape)
            flat = buffer.values, buffer.gradients, *moments
            if len(places) < len(buffer.places):
                flat = tuple([array[places[0].start : places[-1].stop] for array in flat])
            param, grad, *used = flat
            target = group.get("decay_target", 0)
            if target:  # only the decay depends on where 0 is
                param -= target
            self._update(group, info, param, grad, used, buffer.work)
            if target:
                param += target
            if graph is None:
                _count_update(places, bool(names))
            else:
                graph.after_each_run(partial(_count_update, places, bool(names)))

    def _step_info_in_memory(
        self, graph: Graph, group: dict[str, Any], buffer: FlatBuffer, places: Sequence[Place]
    ) -> StepInfo:
        layout, like, step = self._layout, places[0].values, places[0].updates
        gradients = buffer.gradients

        def lr() -> float:
            same = self._layout is layout and buffer.gradients is gradients
            if not same or any(p.parameter.array is not p.values for p in places):
                raise RuntimeError(
                    "parameters, gradients or state of an optimizer have moved since its step was captured "
                    "(a state was loaded, data assigned, a group added, a gradient kept over a step outside "
                    "of the graph): make a new Graph"
                )
            return float(group["lr"])

        counted = "step" in self.state_names
        return StepInfo(
            graph.scalar(like, "int64", lambda: places[0].updates) if counted else step + 1,
            graph.scalar(like, "float64", lr),
            step == 0,
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set every gradient to None, or fill it with zeros."""
        if set_to_none is not True:
            check_flags(set_to_none=set_to_none)
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none:
                    parameter._grad = None
                elif parameter._grad is not None:
                    parameter._grad.zero_()

    # -- groups

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a dict with "params" and the options of the new group; the defaults fill the rest.

        Raises:
            TypeError, ValueError: as the constructor.
        """
        self._append_group(param_group)
        try:
            self._make_layout()
        except ValueError:
            self.param_groups.pop()
            raise

    def _append_group(self, param_group: dict[str, Any]) -> None:
        if not isinstance(param_group, dict):
            raise TypeError(f"a parameter group must be a dict, got {type(param_group).__name__}")
        if "params" not in param_group:
            raise ValueError('a parameter group needs "params": the tensors that its options apply to')
        check_names(param_group, self.defaults)
        group = {**self.defaults, **param_group, "params": as_parameters(param_group["params"])}
        self._check(group)
        if not math.isfinite(as_number(group.get("decay_target", 0), "decay_target")):
            raise ValueError(f"decay_target must be a finite number, got {group['decay_target']}")
        known = set(map(id, self._parameters()))
        if any(id(parameter) in known for parameter in group["params"]):
            raise ValueError("a parameter is in more than one group: it is not clear whose options apply")
        self.param_groups.append(group)

    def _parameters(self) -> list[Tensor]:
        return list(chain.from_iterable(group["params"] for group in self.param_groups))

    def _update_layout(self) -> None:
        """Make every parameter a view of its place, in a new layout if the old one no longer fits."""
        if len(self._layout) != len(self.param_groups):
            return self._make_layout()
        for flat, group in zip(self._layout, self.param_groups, strict=True):
            if not flat.adopt_parameters(group["params"]):
                return self._make_layout()
        return None

    def _make_layout(self, included: frozenset[int] = frozenset()) -> None:
        previous, parameters = self._places(), self._parameters()
        moved = [p for p in parameters if id(p) not in previous or p.array is not previous[id(p)][1].values]
        check_memory_not_shared(moved, parameters)
        self._layout = [FlatGroup(group["params"], previous, included) for group in self.param_groups]

    def _places(self) -> dict[int, tuple[FlatBuffer, Place]]:
        return {
            id(place.parameter): (buffer, place) for flat in self._layout for buffer, place in flat.places()
        }

    # -- state

    @property
    def state(self) -> Mapping[Tensor, Mapping[str, Tensor]]:
        """The moments of every parameter updated so far, by name, sharing memory with the optimizer."""
        self._update_layout()
        states: dict[Tensor, Mapping[str, Tensor]] = {}
        for group, flat_group in zip(self.param_groups, self._layout, strict=True):
            for buffer, place in flat_group.places():
                if place.updates:
                    state = {"step": Tensor(numpy.array(place.updates))} if "step" in self.state_names else {}
                    numbers = self._numbers(group, place.updates)
                    state |= {
                        name: Tensor(numpy.array(number))
                        for name, number in zip(self.number_names, numbers, strict=True)
                    }
                    state |= {name: Tensor._wrap(place.view(flat)) for name, flat in buffer.moments.items()}
                    states[place.parameter] = MappingProxyType(state)
        return MappingProxyType(states)

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything but the parameters' values, in PyTorch's form.

        "state" holds the moments of each parameter by its number, counted through all groups;
        "param_groups" holds the options, with these numbers as "params".
        """
        numbers = {id(parameter): i for i, parameter in enumerate(self._parameters())}
        return {
            "state": {
                numbers[id(parameter)]: {
                    name: Tensor._wrap(value.array.copy()) for name, value in state.items()
                }
                for parameter, state in self.state.items()
            },
            "param_groups": [
                {**group, "params": [numbers[id(parameter)] for parameter in group["params"]]}
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load moments and options that `state_dict` returned, here or in PyTorch.

        With the same parameters and gradients, the following steps are the same bit for bit. Nothing is
        changed unless everything fits.

        Raises:
            TypeError: if `state_dict` is not the state of an optimizer.
            ValueError: if its groups, options, moments or shapes do not fit this optimizer.
        """
        saved_groups = read_groups(state_dict, self.param_groups, self.defaults)
        state = {int(number): entry for number, entry in state_dict["state"].items()}
        states: list[tuple[Tensor, dict[str, Array]]] = []
        for own, saved in zip(self.param_groups, saved_groups, strict=True):
            self._check(saved)
            needed = {*self._moments(saved), *({"step"} & set(self.state_names))}
            for number, parameter in zip(saved["params"], own["params"], strict=True):
                known = dict.fromkeys(self.state_names, parameter.shape) | dict.fromkeys(
                    self.number_names, ()
                )
                entry = read_entry(state.pop(number, {}), number, needed, known)
                if entry:
                    states.append((parameter, entry))
        if state:
            raise ValueError(f"the state has parameters {sorted(state)}, which are in none of its groups")
        for own, saved in zip(self.param_groups, saved_groups, strict=True):
            own.update({name: value for name, value in saved.items() if name != "params"})
        self._restore(states)

    def _restore(self, states: Sequence[tuple[Tensor, dict[str, Array]]]) -> None:
        self._make_layout(frozenset(id(parameter) for parameter, _ in states))
        places = self._places()
        for buffer, place in places.values():
            place.updates = 0
            buffer.moments.clear()
        for parameter, entry in states:
            buffer, place = places[id(parameter)]
            place.updates = int(entry["step"]) if "step" in entry else 1
            for name, array in entry.items():  # in their order, so that a state that is saved again is equal
                if name != "step" and name not in self.number_names:
                    place.view(buffer.moment(name))[...] = to_device(array, parameter.device)

    def __getstate__(self) -> dict[str, Any]:
        states = [(p, {name: t.array for name, t in state.items()}) for p, state in self.state.items()]
        return {**self.__dict__, "_layout": states}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__dict__.update({"_pre_hooks": [], **saved}, _layout=[])
        self._restore(saved["_layout"])

    def __repr__(self) -> str:
        lines = [
            f"  {len(group['params'])} parameters, "
            + ", ".join(f"{name}={value}" for name, value in group.items() if name != "params")
            for group in self.param_groups
        ]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


def _register(hooks: list[StepHook], hook: StepHook) -> RemovableHandle:
    if not callable(hook):
        raise TypeError(f"a hook of a step is a function (optimizer, args, kwargs), got {hook!r}")
    return RemovableHandle(hooks, hook)


def _count_update(places: Sequence[Place], counted: bool) -> None:
    now = tick()
    for place in places:
        parameter = place.parameter
        (parameter.memory or parameter._shared_memory()).written = now
        place.updates += counted
    writes.latest = now
