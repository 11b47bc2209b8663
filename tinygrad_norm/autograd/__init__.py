"""The engine: tensors, functions, and the sweep that runs gradients back through them."""

from importlib import import_module
from typing import Any

from .function import Function
from .grad_mode import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from .sweep import grad
from .tensor import Tensor


def __getattr__(name: str) -> Any:
    """Find gradcheck where PyTorch has it; it is a package of its own, above the engine."""
    if name in ("gradcheck", "GradcheckError"):
        return getattr(import_module("tinygrad_norm.gradient_check"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
