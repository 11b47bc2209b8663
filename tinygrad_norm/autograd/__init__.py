"""The engine: tensors, functions, and the sweep that runs gradients back through them."""

from .function import Function
from .grad_mode import enable_grad, is_grad_enabled, no_grad
from .gradcheck import GradcheckError, gradcheck
from .graph import grad
from .tensor import Tensor
