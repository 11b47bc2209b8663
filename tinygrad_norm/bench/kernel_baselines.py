"""The baselines of the GPU benchmark: PyTorch and Triton on the same memory."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy

from ..backends import Array
from .gpu_data import Data
from .gpu_ops import SUBJECTS, Call, Calls, Op, Optimizer

COMPILED = "torch.compile"
"""The baseline that takes seconds to prepare."""
Maker = Callable[[str, Data], Calls | None]
"""From name and data to the calls to time; None if there is no such op."""


def baselines() -> dict[str, Maker]:
    """Return the available baselines: PyTorch if it sees a GPU, and with Triton the compiled ones, last."""
    try:
        import torch
    except ImportError:
        return {}
    if not torch.cuda.is_available():
        return {}
    found: dict[str, Maker] = {"PyTorch eager": torch_calls}
    if importlib.util.find_spec("triton") is not None:
        found |= {"Triton": triton_calls, COMPILED: functools.partial(torch_calls, compiled=True)}
    return found


def torch_calls(name: str, data: Data, *, compiled: bool = False) -> Calls:
    """Return PyTorch's calls of the subject `name`, eager or compiled, where the data is."""
    import torch
    from torch._functorch import config

    subject = SUBJECTS[name]
    # PyTorch silently stops compiling after eight sizes or ops: reset the count.
    torch.compiler.reset()
    # Backward is called more than once, which donated buffers do not allow.
    with config.patch(donated_buffer=False):
        if isinstance(subject, Op):
            return _torch_op(subject, data, compiled)
        return _torch_optimizer(subject, data, compiled)


def triton_calls(name: str, data: Data) -> Calls | None:
    """Return the calls of the Triton kernels for the subject `name`, if there are any."""
    from .triton_kernels import FUNCTIONS

    if name not in FUNCTIONS:
        return None
    forward, backward = FUNCTIONS[name]
    calls: dict[str, list[Call]] = {"forward": [], "backward": []}
    for i, inputs in enumerate(data.inputs):
        xs = [_tensor(x) for x in inputs]
        y, *saved = forward(*xs)
        (dy,) = data.dys(i, tuple(y.shape))
        calls["forward"].append(functools.partial(forward, *xs))
        calls["backward"].append(functools.partial(backward, _tensor(dy), *saved))
    return calls


def _torch_op(op: Op, data: Data, compiled: bool) -> Calls:
    import torch

    function = functools.partial(op.torch, torch.nn.functional)
    call: Any = torch.compile(function, fullgraph=True, dynamic=False) if compiled else function
    calls: dict[str, list[Call]] = {"forward": [], "backward": []}
    for i, inputs in enumerate(data.inputs):
        xs = [_tensor(x).requires_grad_(wanted) for x, wanted in zip(inputs, data.wanted, strict=True)]
        result = call(*xs)
        ys = result if isinstance(result, tuple) else (result,)
        dys = [_tensor(dy) for dy in data.dys(i, *(tuple(y.shape) for y in ys))]
        leaves = [x for x in xs if x.requires_grad]
        backward = functools.partial(torch.autograd.grad, ys, leaves, dys, retain_graph=True)
        backward()
        calls["forward"].append(functools.partial(call, *xs))
        calls["backward"].append(backward)
    return calls


def _torch_optimizer(optimizer: Optimizer, data: Data, compiled: bool) -> Calls:
    import torch

    param = _tensor(data.inputs[0][0]).clone().requires_grad_()
    (dy,) = data.dys(0, tuple(param.shape))
    param.grad = _tensor(dy)
    # In eager mode PyTorch's fused kernel is the fastest; in compiled mode the compiler fuses.
    made = optimizer.torch(torch.optim, [param], **({} if compiled else {"fused": True}))
    step = torch.compile(made.step) if compiled else made.step
    step()
    return {"step": [step]}


def _tensor(x: Array) -> Any:
    """Return the array as a PyTorch tensor of the same memory. DLPack has no bfloat16 in CuPy and NumPy."""
    import torch

    if x.dtype.name == "bfloat16":
        return torch.from_dlpack(x.view(numpy.uint16)).view(torch.bfloat16)
    return torch.from_dlpack(x)
