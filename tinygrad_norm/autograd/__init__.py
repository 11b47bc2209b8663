"""The engine: tensors, functions, and the sweep that runs gradients back through them."""

from .errors import GradcheckError
from .function import Function
from .grad_mode import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from .gradcheck import gradcheck
from .graph import grad
from .tensor import Tensor
