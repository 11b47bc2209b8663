"""Which parameters decay: matrices and filters do, biases and the weights of normalizations do not.

Weight decay pulls a weight toward 0. For a matrix that is a preference for smooth functions. But the neutral
value of a normalization's weight is 1, and a bias may need any value: decay would pull them away from it. If
they are to decay, the weight's target can be 1.

Insight: scaling a matrix right before a normalization does not change the output, so decay cannot make
that function smoother. It keeps ‖W‖ small, and as the gradient grows like 1/‖W‖, it keeps the *effective*
learning rate lr/‖W‖² up (van Laarhoven 2017, arXiv:1706.05350).
"""

from __future__ import annotations

from typing import Any

from ..autograd.tensor import Tensor
from ..module import Module
from ..nn.convolution.wsconv import ScaledWSConv2d
from ..nn.utils.parametrize import ParametrizationList
from ..normalization import GlobalResponseNorm, WeightNorm
from ..normalization.core.running_stats import RunningNorm


def split_decay(
    module: Module, weight_decay: float, *, norm_decay: float = 0.0, norm_target: float = 1.0
) -> list[dict[str, Any]]:
    """Return parameter groups: the first decays by `weight_decay`, the second does not.

    The second has every parameter with fewer than two axes (biases, weights of normalizations, scalars),
    the weight and bias of normalizations over several axes (LayerNorm, RMSNorm), gains of weights
    (ScaledWSConv2d), and the lengths g of weight_norm. Frozen parameters are in the groups too, each of them
    once.

    With `norm_decay`, the weights and biases of normalizations are in two groups of their own, which decay by
    that much: weights and gains toward `norm_target`, biases and FilterResponseNorm2d's tau toward 0. Their
    other parameters do not decay: the lengths g of ScaleNorm, FixNorm and weight_norm, DynamicTanh's alpha,
    and GlobalResponseNorm's weight, whose neutral value is 0.

    A zero-centered weight, as RMSNorm(zero_centered=True) has, scales by 1 + weight. Those are in a fifth
    group, if there are any, and decay toward `norm_target` - 1: the scale goes where that of the others goes.
    """
    of_norms = {
        id(parameter): name
        for layer in module.modules()
        if type(layer).__module__.startswith(_NORMALIZATION) or hasattr(layer, "normalized_shape")
        for name, parameter in layer.named_parameters(recurse=False)
    }
    for layer in module.modules():
        if isinstance(layer, ScaledWSConv2d):
            of_norms[id(layer.gain)] = "gain"
        elif isinstance(layer, ParametrizationList) and isinstance(layer[0], WeightNorm):
            of_norms[id(layer.original0)] = "g"
        elif isinstance(layer, GlobalResponseNorm):
            of_norms[id(layer.weight)] = "neutral at 0"
        elif getattr(layer, "neutral_weight", 1.0) == 0 and layer.weight is not None:
            of_norms[id(layer.weight)] = "zero-centered"
    groups: dict[str, list[Tensor]] = {name: [] for name in _GROUPS}
    for parameter in module.parameters():
        name = of_norms.get(id(parameter), "")
        if norm_decay and name.endswith(("weight", "gain")):
            groups["weights"].append(parameter)
        elif norm_decay and name.endswith(("bias", "tau")):
            groups["biases"].append(parameter)
        elif norm_decay and name == "zero-centered":
            groups["zero-centered"].append(parameter)
        else:
            groups["undecayed" if name or parameter.ndim < 2 else "decayed"].append(parameter)
    split = [
        {"params": groups["decayed"], "weight_decay": weight_decay},
        {"params": groups["undecayed"], "weight_decay": 0.0},
    ]
    if norm_decay:
        weights = {"params": groups["weights"], "weight_decay": norm_decay, "decay_target": norm_target}
        split += [weights, {"params": groups["biases"], "weight_decay": norm_decay}]
    if centered := groups["zero-centered"]:
        split.append({"params": centered, "weight_decay": norm_decay, "decay_target": norm_target - 1})
    return split


_GROUPS = ("decayed", "undecayed", "weights", "biases", "zero-centered")
_NORMALIZATION = RunningNorm.__module__.partition(".core.")[0]
