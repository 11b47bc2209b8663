"""The activations that are also methods of Tensor, as in PyTorch: x.relu(), x.softmax(dim) and others."""

from ...autograd.tensor import Tensor
from .rectifiers import prelu, relu
from .softmax import log_softmax, softmax

for _function in (relu, prelu, softmax, log_softmax):
    setattr(Tensor, _function.__name__, _function)
