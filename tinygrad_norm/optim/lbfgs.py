"""L-BFGS: Newton's method with an inverse Hessian that is known from the last gradients only.

    g = dL/dθ over all parameters, end to end
    s = θ_new - θ, y = g_new - g        the last `history_size` pairs with y·s > 0
    d = -H·g                            H from the pairs, so that H·y = s for the last
    θ ← θ + t·d                         t = lr, or from a line search

H is never formed. Each pair updates it by H ← (1 - ρ·s·yᵀ)·H·(1 - ρ·y·sᵀ) + ρ·s·sᵀ, ρ = 1/(y·s), from H₀ =
(y·s)/(y·y)·1 on. Multiplying -g by these factors takes two loops over the pairs: from the last to the first
for the right-hand factors, and back for the left-hand ones.

The gradient must be that of a function: of all data, without dropout. Of gradients of other batches, y
would be mostly noise.

Liu, Nocedal 1989, "On the limited memory BFGS method for large scale optimization".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy

from ..autograd.grad_mode import enable_grad, no_grad
from ..autograd.tensor import Tensor
from ..backends import Array, namespace, to_device
from ..backends.cpu.silence import silent
from ..module_state import state_array
from ..ops.arguments import as_size
from .optimizer import Optimizer
from .optimizer_state import read_groups
from .parameter_groups import Parameters, check_non_negative
from .wolfe import Point, strong_wolfe

_VECTORS, _LISTS = ("d", "prev_flat_grad"), ("old_dirs", "old_stps")
_EMPTY: dict[str, Any] = {"func_evals": 0, "n_iter": 0}


class LBFGS(Optimizer):
    """L-BFGS for functions that are the same at every call. A step is up to `max_iter` iterations.

    Args:
        params: tensors, or one group.
        lr: the step's length in units of Newton's step; with a line search, the first that is tried.
        max_iter: iterations per step.
        max_eval: evaluations of the closure per step; by default max_iter·5/4.
        tolerance_grad: a step ends if no element of the gradient is larger.
        tolerance_change: a step ends if no element moves farther, or the loss changes by less.
        history_size: the number of pairs that are kept.
        line_search_fn: None or "strong_wolfe".

    Raises:
        TypeError, ValueError: as Optimizer, and if there are several groups or line_search_fn is unknown.

    Source: Liu, Nocedal 1989.
    """

    state_names = ("func_evals", "n_iter", *_VECTORS, *_LISTS, "t", "ro", "H_diag", "prev_loss")

    def __init__(
        self,
        params: Parameters,
        lr: float = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": as_size(max_iter, "max_iter") * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        self._memory = dict(_EMPTY)
        super().__init__(params, defaults)

    def _check(self, options: Mapping[str, Any]) -> None:
        check_non_negative(options, "lr", "tolerance_grad", "tolerance_change")
        for name in ("max_iter", "max_eval", "history_size"):
            as_size(options[name], name)
        if options["line_search_fn"] not in (None, "strong_wolfe"):
            raise ValueError(f'line_search_fn is None or "strong_wolfe", got {options["line_search_fn"]!r}')

    def _moments(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return ()

    def _append_group(self, param_group: dict[str, Any]) -> None:
        if self.param_groups:
            raise ValueError("LBFGS takes one group of parameters: a direction in all of them has one length")
        super()._append_group(param_group)

    # -- stepping

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move the parameters by up to `max_iter` iterations; return the loss before.

        Args:
            closure: sets the gradients to None, computes the loss and calls backward; it returns the loss.

        Raises:
            TypeError: if there is no closure, or it does not return a number.
        """
        return super().step(closure)

    def _take_step(self, closure: Callable[[], Any] | None) -> Any:
        if not callable(closure):
            raise TypeError(
                "LBFGS.step needs a closure: a function that calls zero_grad, computes the loss, calls "
                f"backward and returns the loss; got {closure!r}"
            )
        self._stepped = True
        self._update_layout()
        with silent():
            return self._minimize(self.param_groups[0], closure)

    def _minimize(self, options: Mapping[str, Any], closure: Callable[[], Any]) -> Any:
        memory, max_eval, least = self._memory, options["max_eval"], float(options["tolerance_change"])
        result, loss, g = self._evaluate(closure)
        evals = 1
        if _largest(g) <= options["tolerance_grad"]:
            memory["func_evals"] += evals
            return result
        for iteration in range(1, options["max_iter"] + 1):
            memory["n_iter"] += 1
            d = self._direction(g, options["history_size"])
            t = float(options["lr"])
            if memory["n_iter"] == 1:
                t *= min(1.0, 1 / float(abs(g).sum()))
            slope, before = float(g @ d), loss
            memory.update(d=d, t=t, prev_flat_grad=g, prev_loss=loss)
            if slope > -least:
                break
            start = [p.array.copy() for p in self.param_groups[0]["params"]]
            if options["line_search_fn"]:

                def at(t: float, d: Array = d, start: list[Array] = start) -> Point:
                    self._move(start, t, d)
                    _, value, gradient = self._evaluate(closure)
                    return Point(t, math.inf if math.isnan(value) else value, gradient, float(gradient @ d))

                smallest = least / _largest(d)
                found, used = strong_wolfe(at, Point(0.0, loss, g, slope), t, smallest, max_eval - evals)
                t, loss, g = found.t, found.loss, found.gradient
                self._move(start, t, d)
                evals += used
            else:
                self._move(start, t, d)
                if iteration < options["max_iter"]:
                    _, loss, g = self._evaluate(closure)
                    evals += 1
            memory["t"] = t
            flat = _largest(g) <= options["tolerance_grad"]
            if evals >= max_eval or flat or t * _largest(d) <= least or abs(loss - before) < least:
                break
        memory["func_evals"] += evals
        return result

    def _direction(self, g: Array, history_size: int) -> Array:
        """Return -H·g, after the pair of the last step was added to the history."""
        memory = self._memory
        if memory["n_iter"] == 1:
            memory.update(old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
            return -g
        y, s = g - memory["prev_flat_grad"], memory["d"] * memory["t"]
        curvature = float(y @ s)
        if curvature > 1e-10:
            memory["H_diag"] = curvature / float(y @ y)
            for name, new in (("old_dirs", y), ("old_stps", s), ("ro", 1 / curvature)):
                memory[name] = [*memory[name], new][-history_size:]
        pairs = list(zip(memory["old_dirs"], memory["old_stps"], memory["ro"], strict=True))
        d, used = -g, []
        for y, s, ro in reversed(pairs):
            used.append(ro * float(s @ d))
            d = d - used[-1] * y
        d = d * memory["H_diag"]
        for (y, s, ro), alpha in zip(pairs, reversed(used), strict=True):
            d = d + (alpha - ro * float(y @ d)) * s
        return d

    def _evaluate(self, closure: Callable[[], Any]) -> tuple[Any, float, Array]:
        """Return what the closure returns, as a number too, and the gradient of all parameters."""
        with enable_grad():
            result = closure()
        try:
            loss = float(result)
        except (TypeError, ValueError) as error:
            raise TypeError(f"the closure of LBFGS must return the loss, got {result!r}") from error
        parts = []
        for p in self.param_groups[0]["params"]:
            dtype = numpy.promote_types(p.dtype, numpy.float32)
            if p.grad is None or not p.requires_grad:
                parts.append(namespace(p.array).zeros(p.array.size, dtype))
            else:
                parts.append(p.grad.array.astype(dtype).reshape(-1))
        return result, loss, namespace(parts[0]).concatenate(parts)

    def _move(self, start: list[Array], t: float, d: Array) -> None:
        position = 0
        with no_grad():
            for p, array in zip(self.param_groups[0]["params"], start, strict=True):
                part = d[position : position + array.size].reshape(array.shape)
                position += array.size
                if p.requires_grad:
                    p.copy_(array + t * part)

    # -- state

    @property
    def state(self) -> Mapping[Tensor, Mapping[str, Any]]:
        """What is remembered for all parameters together, by PyTorch's names, at the first of them."""
        memory = self._memory
        if not memory["func_evals"]:
            return MappingProxyType({})
        saved = {name: _tensors(value) for name, value in memory.items()}
        return MappingProxyType({self.param_groups[0]["params"][0]: MappingProxyType(saved)})

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything but the parameters' values, in PyTorch's form, see Optimizer."""
        group = self.param_groups[0]
        return {
            "state": {i: dict(entry) for i, entry in enumerate(self.state.values())},
            "param_groups": [{**group, "params": list(range(len(group["params"])))}],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned, here or in PyTorch; nothing changes unless everything fits.

        Raises:
            TypeError: if `state_dict` is not the state of an optimizer.
            ValueError: if its options or vectors do not fit this optimizer.
        """
        (saved,) = read_groups(state_dict, self.param_groups, self.defaults)
        self._check(saved)
        state = {int(number): entry for number, entry in state_dict["state"].items()}
        if state.keys() - {0}:
            raise ValueError(f"LBFGS has one state, at parameter 0, got parameters {sorted(state)}")
        memory = self._read(state[0]) if state else dict(_EMPTY)
        group = self.param_groups[0]
        group.update({name: value for name, value in saved.items() if name != "params"})
        self._memory = memory

    def _read(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        missing = [name for name in _EMPTY if name not in entry]
        unknown = [name for name in entry if name not in (*self.state_names, "al")]
        if missing or unknown:
            raise ValueError(
                f"the state has {', '.join(entry)}, LBFGS keeps {', '.join(self.state_names)}: was it saved "
                "from another optimizer?"
            )
        memory: dict[str, Any] = {}
        for name, value in entry.items():
            if name in _VECTORS:
                memory[name] = self._vector(name, value)
            elif name in _LISTS:
                memory[name] = [self._vector(name, part) for part in value]
            elif name == "ro":
                memory[name] = [float(part) for part in value]
            elif name != "al":  # the numbers of the last loop over the pairs
                memory[name] = int(value) if name in _EMPTY else float(value)
        return memory

    def _vector(self, name: str, value: Any) -> Array:
        params = self.param_groups[0]["params"]
        array, size = state_array(value), sum(p.array.size for p in params)
        if array.shape != (size,):
            raise ValueError(f"{name} has shape {array.shape}, expected ({size},): was it another model's?")
        dtype = numpy.result_type(numpy.float32, *(p.dtype for p in params))
        return to_device(array, params[0].device).astype(dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_layout": []}


def _largest(x: Array) -> float:
    return float(abs(x).max()) if x.size else 0.0


def _tensors(value: Any) -> Any:
    if isinstance(value, list):
        return [_tensors(entry) for entry in value]
    return value if isinstance(value, int | float) else Tensor._wrap(value.copy())
