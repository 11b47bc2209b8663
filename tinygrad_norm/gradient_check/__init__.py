"""Gradient checking: is a hand-derived backward the derivative of its forward?

`check` compares two Jacobians: `analytic` runs backward, `numeric` takes finite differences along the
directions of `probing`. `jacobian` says where they differ, `failure_report` says so in words, and `mistakes`
recognizes the cause. `second` checks second derivatives, and `registered` checks every registered op.
"""

import sys

from . import check, error, registered
from .check import gradcheck
from .error import GradcheckError
from .second import gradgradcheck

# Module names that other code imports: PyTorch's for gradcheck, and earlier ones.
sys.modules["tinygrad_norm.autograd.gradcheck"] = check
sys.modules["tinygrad_norm.autograd.errors"] = error
sys.modules["tinygrad_norm.learn.check"] = registered
