"""The baselines of the GPU benchmark: PyTorch and Triton on the same arrays."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy

from ..registry import Case
from .gpu_ops import SUBJECTS, Call, Calls, Op, Optimizer, drawn_dy, typed

Maker = Callable[[str, Case, numpy.dtype, int], Calls | None]
"""From name, case, dtype and number of buffers to the calls to time; None if there is no such op."""


def baselines() -> dict[str, Maker]:
    """Return the available baselines: PyTorch if it sees a GPU, and with Triton the compiled ones."""
    try:
        import torch
    except ImportError:
        return {}
    if not torch.cuda.is_available():
        return {}
    found: dict[str, Maker] = {"PyTorch eager": torch_calls}
    if importlib.util.find_spec("triton") is not None:
        found |= {"torch.compile": functools.partial(torch_calls, compiled=True), "Triton": triton_calls}
    return found


def torch_calls(
    name: str, case: Case, dtype: numpy.dtype, copies: int, *, compiled: bool = False, device: str = "cuda"
) -> Calls:
    """Return PyTorch's calls of the subject `name`, eager or compiled, on `device`."""
    import torch
    from torch._functorch import config

    subject = SUBJECTS[name]
    # PyTorch silently stops compiling after eight sizes or ops: reset the count.
    torch.compiler.reset()
    # Backward is called more than once, which donated buffers do not allow.
    with config.patch(donated_buffer=False):
        if isinstance(subject, Op):
            return _torch_op(subject, case, dtype, copies, compiled, device)
        return _torch_optimizer(subject, case, dtype, compiled, device)


def triton_calls(
    name: str, case: Case, dtype: numpy.dtype, copies: int, device: str = "cuda"
) -> Calls | None:
    """Return the calls of the Triton kernels for the subject `name`, if there are any."""
    from .triton_kernels import FUNCTIONS

    if name not in FUNCTIONS:
        return None
    forward, backward = FUNCTIONS[name]
    calls: dict[str, list[Call]] = {"forward": [], "backward": []}
    for _ in range(copies):
        xs = [_tensor(values, dtype, device) for values, _ in typed(case, numpy.float64)]
        y, *saved = forward(*xs)
        dy = _tensor(drawn_dy(tuple(y.shape)), dtype, device)
        calls["forward"].append(functools.partial(forward, *xs))
        calls["backward"].append(functools.partial(backward, dy, *saved))
    return calls


def _torch_op(op: Op, case: Case, dtype: numpy.dtype, copies: int, compiled: bool, device: str) -> Calls:
    import torch

    function = functools.partial(op.torch, torch.nn.functional)
    call: Any = torch.compile(function, fullgraph=True, dynamic=False) if compiled else function
    calls: dict[str, list[Call]] = {"forward": [], "backward": []}
    for _ in range(copies):
        xs = [
            _tensor(values, dtype, device).requires_grad_(wanted)
            for values, wanted in typed(case, numpy.float64)
        ]
        result = call(*xs)
        ys = result if isinstance(result, tuple) else (result,)
        dys = [_tensor(drawn_dy(tuple(y.shape), k), dtype, device) for k, y in enumerate(ys)]
        leaves = [x for x in xs if x.requires_grad]
        backward = functools.partial(torch.autograd.grad, ys, leaves, dys, retain_graph=True)
        backward()
        calls["forward"].append(functools.partial(call, *xs))
        calls["backward"].append(backward)
    return calls


def _torch_optimizer(
    optimizer: Optimizer, case: Case, dtype: numpy.dtype, compiled: bool, device: str
) -> Calls:
    import torch

    ((values, _),) = typed(case, numpy.float64)
    param = _tensor(values, dtype, device).requires_grad_()
    param.grad = _tensor(drawn_dy(values.shape), dtype, device)
    # In eager mode PyTorch's fused kernel is the fastest; in compiled mode the compiler fuses.
    made = optimizer.torch(torch.optim, [param], **({} if compiled else {"fused": True}))
    step = torch.compile(made.step) if compiled else made.step
    step()
    return {"step": [step]}


def _tensor(values: numpy.ndarray, dtype: numpy.dtype, device: str) -> Any:
    import torch

    tensor = torch.tensor(values, device=device)
    return tensor.to(getattr(torch, dtype.name)) if tensor.is_floating_point() else tensor
