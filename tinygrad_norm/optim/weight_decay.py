"""Which parameters decay: matrices and filters do, biases and the weights of normalizations do not.

Weight decay pulls a weight toward 0. For a matrix that is a preference for smooth functions. But the neutral
value of a normalization's weight is 1, and a bias may need any value: decay would pull them away from it.

Insight: scaling a matrix right before a normalization does not change the output, so decay cannot make
that function smoother. It keeps ‖W‖ small, and as the gradient grows like 1/‖W‖, it keeps the *effective*
learning rate lr/‖W‖² up (van Laarhoven 2017, arXiv:1706.05350).
"""

from __future__ import annotations

from typing import Any

from ..autograd.tensor import Tensor
from ..module import Module


def split_decay(module: Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return two parameter groups: the first decays by `weight_decay`, the second does not.

    The second has every parameter with fewer than two axes (biases, weights of normalizations, scalars),
    and the weight and bias of normalizations over several axes (LayerNorm, RMSNorm). Frozen parameters are
    in the groups too, each of them once.
    """
    norms = [layer for layer in module.modules() if hasattr(layer, "normalized_shape")]
    of_norms = {id(parameter) for norm in norms for parameter in norm.parameters(recurse=False)}
    decayed: list[Tensor] = []
    undecayed: list[Tensor] = []
    for parameter in module.parameters():
        exempt = parameter.ndim < 2 or id(parameter) in of_norms
        (undecayed if exempt else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": undecayed, "weight_decay": 0.0},
    ]
