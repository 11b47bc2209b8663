"""Data-dependent initialization: one batch sets the length and the bias of every weight-normalized layer.

    t = g·(v·x)/‖v‖ + b   μ, σ = mean and standard deviation of t over the batch, per output
    g ← g/σ   b ← (b - μ)/σ   so that t has mean 0 and variance 1

Layer by layer: each is set as the batch comes by, so the next one sees outputs that are normalized already.
It is what batch normalization would do to this batch, but only once. Weight normalization itself does not
look at the data; a deep network whose layers all shrink or stretch their inputs learns late, or not at all.

Salimans, Kingma 2016, arXiv:1602.07868, section 3.
"""

from typing import Any

import numpy

from ...autograd.grad_mode import no_grad
from ...autograd.tensor import Tensor
from ...backends import asarray, to_numpy
from ...module import Module
from ...normalization import WeightNorm
from ..convolution.convnd import ConvNd
from ..linear import Linear
from .parametrize import is_parametrized
from .plain_layers import is_plain


@no_grad()
def data_dependent_init_(module: Module, *inputs: Any, **options: Any) -> Module:
    """Set g and the bias of each weight-normalized layer by one batch; return the module.

    `module(*inputs, **options)` is run once, in the mode that it is in. Every Linear layer and convolution
    with weight_norm in it is set at its first call: over the samples and positions of this batch, each of its
    outputs then has mean 0 (if it has a bias) and variance 1. An output that is the same for the whole batch
    keeps its g. Directions do not change, nor do layers without weight_norm.

    Args:
        module: the network.
        inputs: a batch, as the network takes it.
        options: its keyword arguments.

    Raises:
        ValueError: if no layer has weight_norm; if a layer does not have one g for each output, has another
            parametrization after it, or a forward of its own (CosineLinear, WSConv2d), whose outputs need
            not grow with g; if an output has a single value, or one that is not finite.

    Source: Salimans, Kingma 2016, arXiv:1602.07868, section 3.
    """
    layers = [layer for layer in module.modules() if _is_weight_normalized(layer)]
    if not layers:
        raise ValueError(
            "data_dependent_init_ needs a module with weight-normalized Linear layers or convolutions: apply "
            "nn.utils.parametrizations.weight_norm to them first"
        )
    for layer in layers:
        _check_one_g_per_output(layer)
    try:
        for layer in layers:
            layer.forward = _setting_first(layer)  # type: ignore[method-assign]
        module(*inputs, **options)
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)
    return module


def _is_weight_normalized(layer: Module) -> bool:
    known = isinstance(layer, Linear | ConvNd) and is_parametrized(layer, "weight")
    return known and isinstance(layer.parametrizations.weight[0], WeightNorm)


def _check_one_g_per_output(layer: Module) -> None:
    parametrizations, name = layer.parametrizations.weight, type(layer).__name__
    if not is_plain(layer):
        raise ValueError(
            f"data_dependent_init_ sets the lengths of weights, but {name} has a forward of its own, whose "
            "outputs need not grow with them: remove weight_norm from it"
        )
    if len(parametrizations) > 1:
        raise ValueError(
            f"data_dependent_init_ sets the lengths of weights, but {name} has "
            f"{type(parametrizations[1]).__name__} after its weight_norm: register that one later"
        )
    transposed = isinstance(layer, ConvNd) and layer.transposed
    g, axis, outputs = parametrizations.original0, int(transposed), _outputs(layer)
    if g.ndim <= axis or g.shape[axis] != outputs or g.numel() != outputs:
        raise ValueError(
            f"data_dependent_init_ needs one g for each of the {outputs} outputs of {name}, on axis {axis}, "
            f"got g of shape {g.shape}: use weight_norm(layer, dim={axis})"
        )


def _outputs(layer: Module) -> int:
    return layer.out_features if isinstance(layer, Linear) else layer.out_channels


def _setting_first(layer: Module) -> Any:
    forward = layer.forward

    def set_then_run(input: Tensor) -> Tensor:
        layer.__dict__.pop("forward")
        _set(layer, forward(input))
        return forward(input)

    return set_then_run


def _set(layer: Module, t: Tensor) -> None:
    """Set g and b from t, the outputs that the layer has with the old ones."""
    axis = t.ndim - 1 if isinstance(layer, Linear) else t.ndim - len(layer.kernel_size) - 1
    values = numpy.moveaxis(to_numpy(t.array), axis, 0).reshape(_outputs(layer), -1).astype(numpy.float64)
    name = type(layer).__name__
    if values.shape[1] < 2 and len(values):
        raise ValueError(
            f"data_dependent_init_ needs several values of each output, {name} returned shape {t.shape}: "
            "give it a larger batch"
        )
    mean, std = values.mean(1), values.std(1)
    if not numpy.isfinite(std).all():
        raise ValueError(f"data_dependent_init_: outputs of {name} are not finite for this batch")
    std[std <= 1e-6 * abs(mean)] = 1.0  # only rounding, or nothing at all
    g, bias = layer.parametrizations.weight.original0, layer.bias
    _divide(g, 0.0, std)
    if bias is not None:
        _divide(bias, mean, std)


def _divide(parameter: Tensor, minus: Any, by: numpy.ndarray) -> None:
    flat = to_numpy(parameter.array).reshape(-1).astype(numpy.float64)
    parameter.copy_(Tensor(asarray(((flat - minus) / by).astype(parameter.dtype).reshape(parameter.shape))))
