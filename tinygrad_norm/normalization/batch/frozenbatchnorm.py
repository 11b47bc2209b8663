"""Batch normalization whose statistics, weight and bias are all constants: torchvision's FrozenBatchNorm2d.

    x (N, C, H, W)   r = 1/√(v + eps)   y = w·r·(x - m) + b      m, v, w and b are buffers (C,)

Detectors are trained on a few large images at a time, too few for statistics, from a classifier that has good
ones. So these are kept, in training too, and with them the weight and bias.

Backward, derived in fixednorm.py: only the straight path is left, and nothing here learns:

    dx = r·w·dy

Insight: a sample is normalized alike whatever else is in the batch, and even a batch of one class does no
harm. But nothing adapts either, if the data come from elsewhere.
"""

import numpy

from ...autograd.tensor import Tensor
from ...module import Module
from ...ops.arguments import as_size
from ...ops.checks import check_channels, check_eps
from .batchnorm import batch_norm


class FrozenBatchNorm2d(Module):
    """Batch normalization of (N, C, H, W) by fixed statistics, weight and bias, in training too.

    All four are buffers as in torchvision: `weight` (ones), `bias` (zeros), `running_mean` (zeros) and
    `running_var` (ones). It loads the state of a BatchNorm2d, whose num_batches_tracked is left out.
    """

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        check_eps(eps)
        self.num_features, self.eps = as_size(num_features, "num_features"), eps
        for name, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            self.register_buffer(name, Tensor(numpy.full(num_features, value, numpy.float32)))

    def forward(self, input: Tensor) -> Tensor:
        check_channels(input, "FrozenBatchNorm2d", self.num_features)
        if input.ndim != 4:
            raise ValueError(f"FrozenBatchNorm2d takes a 4-d input (N, C, H, W), got shape {input.shape}")
        return batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"
