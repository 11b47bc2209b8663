"""The engine: tensors, functions, and the sweep that runs gradients back through them.

Read in this order: tensor.py, function.py, differentiation.py, sweep.py. Beside them are `recorded_sweep`
(second derivatives), `paths`, `node` (what the graph keeps of a call), `memory` and `guards` (writes in
place, and what can go wrong in a Function), `accumulation` (into `.grad`), `several` (roots at once),
`hooks`, `leaf_hooks`, `conversion`, `dtype_methods`, `numpy_protocol`, `dlpack_protocol` and
`grad_mode`.
"""

from importlib import import_module
from typing import Any

from . import conversion, differentiation, dlpack_protocol, dtype_methods, hooks, leaf_hooks, numpy_protocol
from .differentiation import grad
from .dlpack_protocol import from_dlpack
from .function import Function
from .grad_mode import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .several import backward
from .tensor import Tensor

# Methods of Tensor whose files import Tensor, so that no imports go in a circle.
for _file, _names in {
    differentiation: ("backward",),
    hooks: ("register_hook", "retain_grad"),
    leaf_hooks: ("register_post_accumulate_grad_hook",),
    conversion: ("to", "cpu", "cuda"),
    dtype_methods: ("type", "double", "float", "half", "long", "int", "short", "char", "byte", "bool"),
}.items():
    for _name in _names:
        setattr(Tensor, _name, getattr(_file, _name))
for _name in ("array", "array_ufunc", "array_function"):
    setattr(Tensor, f"__{_name}__", getattr(numpy_protocol, _name))
Tensor.__dlpack__, Tensor.__dlpack_device__ = dlpack_protocol.dlpack, dlpack_protocol.device  # type: ignore[attr-defined]


def __getattr__(name: str) -> Any:
    """Find what PyTorch has here and stands above the engine: gradcheck and `functional`."""
    if name in ("gradcheck", "gradgradcheck", "GradcheckError"):
        return getattr(import_module("tinygrad_norm.gradient_check"), name)
    if name == "errors":
        return import_module("tinygrad_norm.gradient_check.error")
    if name == "functional":
        return import_module("tinygrad_norm.ops.derivatives")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
