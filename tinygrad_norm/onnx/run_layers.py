"""Operators of loaded files: convolutions, pools, normalizations, attention and recurrent layers."""

import math
from typing import Any

import numpy

from .. import ops
from ..autograd.tensor import Tensor
from ..nn import functional
from ..nn.attention.scaleddotproduct import scaled_dot_product_attention
from ..nn.convolution.conv import ConvFunction
from ..nn.pooling.avgpool import AvgPoolFunction
from ..nn.pooling.maxpool import MaxPoolFunction
from ..nn.recurrent.gru import gru_layer
from ..nn.recurrent.lstm import lstm_layer
from ..nn.recurrent.rnn import rnn_layer
from ..nn.windows.padding import PadFunction, pad
from ..nn.windows.sliding_view import Windows
from ..ops.masking import where
from .running import Node, ints, runs

_CONV_TRANSPOSE: dict[int, Any] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def _windows(node: Node, x: Tensor, kernel: Any) -> Windows:
    """Return the geometry of a node's windows on x (N, C, *S)."""
    S, n = x.shape[2:], x.ndim - 2
    stride, dilation = tuple(node.get("strides", (1,) * n)), tuple(node.get("dilations", (1,) * n))
    pads = list(node.get("pads", (0,) * 2 * n))
    before, after = pads[:n], pads[n:]
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    auto = node.get("auto_pad", b"NOTSET").decode()
    if auto.startswith("SAME"):
        total = [max((-(-s // t) - 1) * t + e - s, 0) for s, t, e in zip(S, stride, extent, strict=True)]
        small, large = [p // 2 for p in total], [p - p // 2 for p in total]
        before, after = (small, large) if auto == "SAME_UPPER" else (large, small)
    if node.get("ceil_mode", 0):
        for i in range(n):
            over = (S[i] + before[i] + after[i] - extent[i]) % stride[i]
            more = stride[i] - over if over else 0
            count = (S[i] + before[i] + after[i] + more - extent[i]) // stride[i]
            if more and count * stride[i] < S[i] + before[i]:  # a window must begin inside
                after[i] += more
    return Windows(tuple(kernel), stride, dilation, tuple(before), tuple(after))


@runs("Conv")
def _conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    windows = _windows(node, x, weight.shape[2:])
    return ConvFunction.apply(x, weight, bias, windows=windows, groups=node.get("group", 1))


@runs("ConvTranspose")
def _conv_transpose(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    n, kernel = x.ndim - 2, weight.shape[2:]
    stride, dilation = tuple(node.get("strides", (1,) * n)), tuple(node.get("dilations", (1,) * n))
    pads, extra = list(node.get("pads", (0,) * 2 * n)), list(node.get("output_padding", (0,) * n))
    whole = [
        s * (size - 1) + d * (k - 1) + 1
        for s, size, d, k in zip(stride, x.shape[2:], dilation, kernel, strict=True)
    ]
    auto, wanted = node.get("auto_pad", b"NOTSET").decode(), node.get("output_shape")
    if auto.startswith("SAME") and wanted is None:
        wanted = [size * s for size, s in zip(x.shape[2:], stride, strict=True)]
    if wanted is not None:
        total = [w + e - out for w, e, out in zip(whole, extra, list(wanted)[-n:], strict=True)]
        half = [t // 2 for t in total]
        rest = [t - h for t, h in zip(total, half, strict=True)]
        pads = [*half, *rest] if auto == "SAME_UPPER" else [*rest, *half]
    y = _CONV_TRANSPOSE[n](x, weight, None, stride, 0, 0, node.get("group", 1), dilation)
    widths: list[int] = []
    for i in reversed(range(n)):
        widths += [-pads[i], extra[i] - pads[n + i]]
    y = pad(y, widths) if any(widths) else y
    return y if bias is None else y + bias.reshape(-1, *(1,) * n)


@runs("MaxPool")
def _max_pool(node: Node, x: Tensor) -> Any:
    windows = _windows(node, x, node.get("kernel_shape"))
    if len(node.outputs) == 1:
        return MaxPoolFunction.apply(x, windows=windows, indices=False)
    if node.get("storage_order", 0):
        raise node.fail("storage_order=1 is not supported")
    y, index = MaxPoolFunction.apply(x, windows=windows, indices=True)
    N, C, plane = *x.shape[:2], int(numpy.prod(x.shape[2:]))
    starts = numpy.arange(N * C).reshape(N, C, *(1,) * (x.ndim - 2)) * plane
    return y, Tensor(index.numpy() + starts)


@runs("AveragePool")
def _average_pool(node: Node, x: Tensor) -> Tensor:
    windows = _windows(node, x, node.get("kernel_shape"))
    if any(d != 1 for d in windows.dilation):
        raise node.fail("dilations are not supported")
    padded = bool(node.get("count_include_pad", 0))
    if padded and any((*windows.before, *windows.after)):  # what ceil_mode adds beyond is not counted
        n = x.ndim - 2
        pads = list(node.get("pads", (0,) * 2 * n))
        widths: list[int] = []
        for i in reversed(range(n)):
            widths += [pads[i], pads[n + i]]
        x, left = pad(x, widths), [a - p for a, p in zip(windows.after, pads[n:], strict=True)]
        windows, padded = windows._replace(before=(0,) * n, after=tuple(left)), False
    return AvgPoolFunction.apply(x, windows=windows, padded=padded, divisor=None)


@runs("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(node: Node, x: Tensor) -> Tensor:
    space = tuple(range(2, x.ndim))
    if node.kind == "GlobalMaxPool":
        return ops.amax(x, space, keepdim=True)
    return ops.mean(x, space, keepdim=True)


@runs("Pad")
def _pad(
    node: Node, x: Tensor, pads: Tensor, fill: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    given = ints(pads)
    dims = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in ints(axes)]
    widths = [(0, 0)] * x.ndim
    for i, dim in enumerate(dims):
        widths[dim] = given[i], given[len(dims) + i]
    mode = {"edge": "replicate", "wrap": "circular"}.get(name := node.get("mode", b"constant").decode(), name)
    value = 0.0 if fill is None else fill.item()
    return PadFunction.apply(x, widths=tuple(widths), mode=mode, value=value)


# -- weighted sums and normalizations


@runs("Gemm")
def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    a = a.mT if node.get("transA", 0) else a
    if node.get("transB", 0) and alpha == beta == 1 and (c is None or c.shape == (b.shape[0],)):
        return functional.linear(a, b, c)
    y = a @ (b.mT if node.get("transB", 0) else b)
    y = y if alpha == 1 else y * alpha
    return y if c is None else y + (c if beta == 1 else c * beta)


@runs("BatchNormalization")
def _batch_norm(node: Node, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    if node.get("training_mode", 0):
        raise node.fail("training_mode=1 is not supported: export the model in evaluation mode")
    momentum = 1 - node.get("momentum", 0.9)
    return functional.batch_norm(
        x, mean, var, weight, bias, node.training(), momentum, node.get("epsilon", 1e-5)
    )


@runs("InstanceNormalization")
def _instance_norm(node: Node, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.instance_norm(x, weight=weight, bias=bias, eps=node.get("epsilon", 1e-5))


@runs("LayerNormalization")
def _layer_norm(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    shape, eps = x.shape[node.get("axis", -1) :], node.get("epsilon", 1e-5)
    weight, bias = _as_shape(weight, shape), None if bias is None else _as_shape(bias, shape)
    y = functional.layer_norm(x, shape, weight, bias, eps)
    if len(node.outputs) == 1:
        return y
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    var, mean = ops.var_mean(x, axes, correction=0, keepdim=True)
    return (y, mean, (var + eps) ** -0.5)[: len(node.outputs)]


def _as_shape(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return x if x.shape == shape else ops.broadcast_to(x, shape)


@runs("RMSNormalization")
def _rms_norm(node: Node, x: Tensor, weight: Tensor) -> Tensor:
    shape = x.shape[node.get("axis", -1) :]
    return functional.rms_norm(x, shape, _as_shape(weight, shape), node.get("epsilon", 1e-5))


@runs("GroupNormalization")
def _group_norm(node: Node, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    groups, eps = node.get("num_groups"), node.get("epsilon", 1e-5)
    if node.opset < 21:  # one weight for each group
        each = x.shape[1] // groups
        weight, bias = (t.unsqueeze(1).expand(groups, each).reshape(-1) for t in (weight, bias))
    return functional.group_norm(x, groups, weight, bias, eps)


@runs("LRN")
def _lrn(node: Node, x: Tensor) -> Tensor:
    size = node.get("size")
    if size % 2 == 0:
        raise node.fail("windows of an even size are not supported")
    return functional.local_response_norm(
        x, size, node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0)
    )


@runs("LpNormalization")
def _lp_normalization(node: Node, x: Tensor) -> Tensor:
    return functional.normalize(x, float(node.get("p", 2)), node.get("axis", -1), 1e-12)


@runs("MeanVarianceNormalization")
def _mean_variance(node: Node, x: Tensor) -> Tensor:
    axes = tuple(node.get("axes", (0, 2, 3)))
    centered = x - ops.mean(x, axes, keepdim=True)
    return centered / (ops.mean(centered * centered, axes, keepdim=True).sqrt() + 1e-9)


_ATTENTION = {"scale", "is_causal", "q_num_heads", "kv_num_heads"}


@runs("Attention")
def _attention(node: Node, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *more: Any) -> Tensor:
    others = sorted(name for name, value in node.attributes.items() if value and name not in _ATTENTION)
    if more or len(node.outputs) > 1 or others:
        raise node.fail(
            "a cache, several outputs and {} are not supported".format(", ".join(others) or "lengths")
        )
    flat = q.ndim == 3
    if flat:
        q, k, v = (_heads(x, node.get(f"{which}_num_heads")) for x, which in ((q, "q"), (k, "kv"), (v, "kv")))
    causal = bool(node.get("is_causal", 0))
    if causal and mask is not None:
        later = ops.tril(Tensor(numpy.ones((q.shape[2], k.shape[2]), bool)))
        mask = ops.logical_and(mask, later) if mask.dtype.kind == "b" else where(later, mask, -math.inf)
        causal = False
    y = scaled_dot_product_attention(
        q, k, v, mask, is_causal=causal, scale=node.get("scale"), enable_gqa=q.shape[1] != k.shape[1]
    )
    return y.transpose(1, 2).flatten(2) if flat else y


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(2, (heads, x.shape[2] // heads)).transpose(1, 2)


# -- recurrent layers: see convert_layers for the order of the gates

_BACK = {"RNN": (0,), "LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2)}
_LAYERS: dict[str, Any] = {"RNN": rnn_layer, "LSTM": lstm_layer, "GRU": gru_layer}


@runs("RNN", "LSTM", "GRU")
def _recurrent(
    node: Node, x: Tensor, W: Tensor, R: Tensor, B: Any = None, lengths: Any = None, *more: Any
) -> Any:
    _check_recurrent(node, more)
    kind, order, directions = node.kind, _BACK[node.kind], W.shape[0]
    options: dict[str, Any] = {"lengths": lengths}
    if kind == "RNN":
        options["nonlinearity"] = node.get("activations", [b"Tanh"])[0].decode().lower()
    x = x.transpose(0, 1) if node.get("layout", 0) else x
    ys, states = [], []
    for d in range(directions):
        weights = [_gates(t[d], order) for t in (W, R)]
        biases = [None, None] if B is None else [_gates(part, order) for part in ops.chunk(B[d], 2)]
        first = [state[d] for state in more if state is not None]
        hx: Any = None if not first else first[0] if kind != "LSTM" else _pair(first, x, R)
        reverse = node.get("direction", b"forward") == b"reverse" or d == 1
        if kind == "GRU" and not node.get("linear_before_reset", 0):
            bias = None if B is None else B[d]
            y, *last = _reset_first(node, x, hx, W[d], R[d], bias, lengths, reverse)
        else:
            y, *last = _LAYERS[kind](x, hx, *weights, *biases, reverse=reverse, **options)
        ys.append(y)
        states.append(last)
    y = ops.stack(ys, 1)
    ends = [ops.stack(parts) for parts in zip(*states, strict=True)]
    if node.get("layout", 0):
        y, ends = y.permute((2, 0, 1, 3)), [end.transpose(0, 1) for end in ends]
    return (y, *ends)[: len(node.outputs)]


def _pair(states: list[Tensor], x: Tensor, R: Tensor) -> tuple[Tensor, Tensor]:
    zeros = Tensor(numpy.zeros((x.shape[1], R.shape[2]), x.dtype))
    return states[0], states[1] if len(states) > 1 else zeros


def _gates(weight: Tensor, order: tuple[int, ...]) -> Tensor:
    parts = ops.chunk(weight, len(order))
    return ops.cat([parts[i] for i in order])


def _check_recurrent(node: Node, more: Any) -> None:
    activations = [name.decode() for name in node.get("activations", ())]
    usual = {"RNN": ["Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}[node.kind]
    plain = (
        not activations
        or activations[: len(usual)] == usual
        or (node.kind, activations[0]) == ("RNN", "Relu")
    )
    if not plain or node.get("clip") or node.get("input_forget") or (len(more) > 2 and more[2] is not None):
        raise node.fail("other activations, clip, input_forget and peepholes are not supported")


def _reset_first(
    node: Node, x: Tensor, hx: Any, W: Tensor, R: Tensor, B: Any, lengths: Any, reverse: bool
) -> tuple[Tensor, Tensor]:
    """A GRU whose reset gate comes before the product with R: n = tanh(W·x + R·(r∘h) + b)."""
    if lengths is not None:
        raise node.fail("sequence lengths with linear_before_reset=0 are not supported")
    T, H = len(x), R.shape[1]
    p = x @ W.mT if B is None else x @ W.mT + B[: 3 * H] + B[3 * H :]
    h = Tensor(numpy.zeros((x.shape[1], H), x.dtype)) if hx is None else hx
    ys: list[Any] = [None] * T
    for t in reversed(range(T)) if reverse else range(T):
        gates = ops.sigmoid(p[t, :, : 2 * H] + h @ R[: 2 * H].mT)
        z, r = gates[:, :H], gates[:, H:]
        n = ops.tanh(p[t, :, 2 * H :] + (r * h) @ R[2 * H :].mT)
        h = ys[t] = n + z * (h - n)
    return ops.stack(ys), h
