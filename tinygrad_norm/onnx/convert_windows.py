"""Converters of convolutions, pools and padding."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy

from ..nn.convolution.conv import ConvFunction
from ..nn.convolution.convtranspose import ConvTransposeFunction
from ..nn.pooling.adaptivepool import AdaptiveAvgPoolFunction, AdaptiveMaxPoolFunction
from ..nn.pooling.avgpool import AvgPoolFunction, window_weights
from ..nn.pooling.maxpool import MaxPoolFunction
from ..nn.windows.padding import PadFunction
from .converters import converts
from .graph_builder import GraphBuilder, Name, fail
from .sizes import Call, Size


@converts(ConvFunction)
def _conv(g: GraphBuilder, call: Call) -> Name:
    windows = call.options["windows"]
    return g.op(
        "Conv",
        *call.inputs,
        kernel_shape=windows.kernel,
        strides=windows.stride,
        dilations=windows.dilation,
        pads=[*windows.before, *windows.after],
        group=call.options["groups"],
    )


@converts(ConvTransposeFunction)
def _conv_transpose(g: GraphBuilder, call: Call) -> Name:
    windows, x = call.options["windows"], call.inputs[0]
    if any(isinstance(size, Size) for size in x.shape[2:]):
        raise fail(call, "the spatial axes must have fixed sizes: leave them out of dynamic_axes")
    left = [
        S - (s * (n - 1) + extent - a - b)
        for S, s, n, extent, a, b in zip(
            call.options["space"],
            windows.stride,
            x.shape[2:],
            windows.extent,
            windows.before,
            windows.after,
            strict=True,
        )
    ]
    after = [b - min(extra, 0) for b, extra in zip(windows.after, left, strict=True)]
    return g.op(
        "ConvTranspose",
        *call.inputs,
        kernel_shape=windows.kernel,
        strides=windows.stride,
        dilations=windows.dilation,
        pads=[*windows.before, *after],
        output_padding=[max(extra, 0) for extra in left],
        group=call.options["groups"],
    )


@converts(MaxPoolFunction)
def _max_pool(g: GraphBuilder, call: Call) -> Name | list[Name]:
    windows = call.options["windows"]
    geometry: dict[str, Any] = {
        "kernel_shape": windows.kernel,
        "strides": windows.stride,
        "dilations": windows.dilation,
        "pads": [*windows.before, *windows.after],
    }
    if not call.options["indices"]:
        return g.op("MaxPool", call.inputs[0], **geometry)
    y, index = g.op("MaxPool", call.inputs[0], outputs=2, **geometry)
    return [y, _within_plane(g, call, index)]


def _within_plane(g: GraphBuilder, call: Call, index: Name) -> Name:
    """Return positions in the plane, from ONNX's in the whole tensor."""
    space = call.inputs[0].shape[2:]
    if any(isinstance(size, Size) for size in space):
        raise fail(
            call, "with indices, the spatial axes must have fixed sizes: leave them out of dynamic_axes"
        )
    return g.op("Mod", index, g.constant(numpy.array(prod(space), numpy.int64)))


@converts(AvgPoolFunction)
def _avg_pool(g: GraphBuilder, call: Call) -> Name:
    """The mean over each window with its padding; where windows count otherwise, times a constant."""
    windows, space = call.options["windows"], call.inputs[0].shape[2:]
    geometry: dict[str, Any] = {"kernel_shape": windows.kernel, "strides": windows.stride}
    pads = [*windows.before, *windows.after]
    y_of: dict[str, Any] = {"pads": pads, "count_include_pad": int(any(pads))}
    if any(isinstance(size, Size) for size in space):
        if call.options["divisor"] is not None or (any(pads) and not call.options["padded"]):
            raise fail(call, "the spatial axes must have fixed sizes: leave them out of dynamic_axes")
        return g.op("AveragePool", call.inputs[0], **geometry, **y_of)
    weights = window_weights(windows, space, call.options["padded"], call.options["divisor"])
    scale = weights * prod(windows.kernel)
    if any(pads) and not numpy.allclose(scale, 1):
        alone = window_weights(windows, space, False, None)
        if numpy.allclose(weights, alone):
            return g.op("AveragePool", call.inputs[0], **geometry, pads=pads, count_include_pad=0)
    y = g.op("AveragePool", call.inputs[0], **geometry, **y_of)
    if numpy.allclose(scale, 1):
        return y
    return g.op("Mul", y, g.constant(scale.astype(call.outputs[0].dtype), name="scale"))


def _divides(opset: int, inputs: Sequence[Any], options: dict[str, Any]) -> bool:
    """Accept windows of one size."""
    space = inputs[0].shape[2:]
    return not any(S % P for S, P in zip(space, options["count"], strict=True))


@converts(AdaptiveAvgPoolFunction, AdaptiveMaxPoolFunction, accepts=_divides)
def _adaptive_pool(g: GraphBuilder, call: Call) -> Name | list[Name]:
    kind = "Average" if call.function is AdaptiveAvgPoolFunction else "Max"
    space, count = call.inputs[0].shape[2:], call.options["count"]
    indices = call.options.get("indices", False)
    if all(P == 1 for P in count) and not indices:
        return g.op(f"Global{kind}Pool", call.inputs[0])
    if any(isinstance(size, Size) for size in space):
        raise fail(call, "the spatial axes must have fixed sizes: leave them out of dynamic_axes")
    kernel = [S // P for S, P in zip(space, count, strict=True)]
    if not indices:
        return g.op(f"{kind}Pool", call.inputs[0], kernel_shape=kernel, strides=kernel)
    y, index = g.op("MaxPool", call.inputs[0], outputs=2, kernel_shape=kernel, strides=kernel)
    return [y, _within_plane(g, call, index)]


_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _has_mode(opset: int, inputs: Sequence[Any], options: dict[str, Any]) -> bool:
    return opset >= 19 or options["mode"] != "circular"


@converts(PadFunction, accepts=_has_mode)
def _pad(g: GraphBuilder, call: Call) -> Name:
    widths = call.options["widths"]
    pads = g.sizes([before for before, _ in widths] + [after for _, after in widths])
    mode = call.options["mode"]
    fill = g.cast(call.options["value"], call.outputs[0].dtype) if mode == "constant" else None
    return g.op("Pad", call.inputs[0], pads, fill, mode=_MODES[mode])
