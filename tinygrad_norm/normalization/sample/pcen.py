"""Per-channel energy normalization of a spectrogram: divide by the recent loudness, then compress.

    x (N, F, T)     energies of F frequencies at T steps, at least 0
    m_0 = x_0       m_t = (1 - s)·m_{t-1} + s·x_t        the recent loudness of each frequency
    u = x/(m + eps)^α    v = u + δ    y = v^p - δ^p

α, δ and p are (F,): the gain of the loudness control, the bias and the power of the compression; s is a
number in (0, 1]. α = 1 removes a constant loudness altogether, as far as eps is small; the logarithm only
shifts by it.

In the code: m mean, s smoothing, α gain, δ bias, p power; parameters are (1, F, 1). Differences of powers are
taken as δ^p·expm1(p·ln(v/δ)) with ln(v/δ) = log1p(u/δ): a small u keeps its digits beside δ.
And u is x/(m + eps)·(m + eps)^(1 - α), of which no factor vanishes for α near 1.

Wang et al. 2016, arXiv:1607.05666.

Backward, from dy = dL/dy. Elementwise, with ∂u/∂x = (m + eps)^-α and ∂u/∂m = -α·u/(m + eps):

    du = dy·p·v^(p-1)      dα = -Σ du·u·ln(m + eps)      over samples and steps
    dδ = Σ (du - dy·p·δ^(p-1))      dp = Σ dy·(v^p·ln v - δ^p·ln δ)

x_t reaches y at its own step, and through the loudness at all later ones:

    straight     du/(m + eps)^α
    through m    with dm = -du·α·u/(m + eps), the average runs backwards:
                 c_t = dm_t + (1 - s)·c_{t+1},   s·c_t,  and c_0 at the first step, which m_0 takes whole

    dx = du/(m + eps)^α + s·c

Insight: the gradient of a causal average is an anticausal one: what an energy does to the loudness, it does
to the future.
"""

from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, Rows, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.sums import sums
from ...backends.cuda.launch import CudaSource, contiguous
from ...module import Module, Parameter
from ...ops import ones, stack
from ...ops.arguments import as_number, as_size
from ...ops.checks import check_channels, check_eps, check_vectors
from ...registry import Case, ErrorCase, positive, register

_kernels = CudaSource(__file__)


def pcen_composed(
    input: Tensor,
    gain: Tensor,
    bias: Tensor,
    power: Tensor,
    smoothing: float = 0.025,
    eps: float = 1e-6,
) -> Tensor:
    """Per-channel energy normalization from primitives: autograd finds the gradient."""
    alpha, delta, p = (v.reshape(1, -1, 1) for v in (gain, bias, power))
    means = [input[..., 0]] if input.shape[2] else []
    for t in range(1, input.shape[2]):
        means.append((1 - smoothing) * means[-1] + smoothing * input[..., t])
    m = (stack(means, -1) if means else input) + eps
    u = input / m * ((1 - alpha) * m.log()).exp()
    return (u + delta) ** p - delta**p


@kernel
def moving_average_forward(x: Rows, share: float) -> Rows:
    """Return y (N, L) with y_0 = x_0 and y_t = (1 - share)·y_{t-1} + share·x_t."""
    if not x.size:
        return x.copy()
    steps = [x[:, 0]]
    for t in range(1, x.shape[1]):
        steps.append((1 - share) * steps[-1] + share * x[:, t])
    return namespace(x).stack(steps, 1)


@moving_average_forward.cuda
def moving_average_forward_cuda(x: Rows, share: float) -> Rows:
    """One kernel: a thread goes along each row."""
    return _along_rows("moving_average_forward", x, share)


@kernel
def moving_average_backward(dy: Rows, share: float) -> Rows:
    """Return dx (N, L): the average of dy that runs backwards."""
    if not dy.size:
        return dy.copy()
    c = [dy[:, -1]]
    for t in range(dy.shape[1] - 2, -1, -1):
        c.append(dy[:, t] + (1 - share) * c[-1])
    *others, first = c
    return namespace(dy).stack([first, *(share * other for other in reversed(others))], 1)


@moving_average_backward.cuda
def moving_average_backward_cuda(dy: Rows, share: float) -> Rows:
    """One kernel: a thread goes back along each row."""
    return _along_rows("moving_average_backward", dy, share)


def _along_rows(name: str, x: Rows, share: float) -> Rows:
    (x,), (N, L) = contiguous(x), x.shape
    y = namespace(x).empty_like(x)
    if x.size:
        _kernels.launch(name, x.dtype, (), -(-N // 64), 64, (x, y, N, L, share))
    return y


@in_blocks("x", "mean", "gain", "bias", "power", axis=1)
def _compressed(
    x: Channels, mean: Channels, gain: PerChannel, bias: PerChannel, power: PerChannel, eps: float
) -> Channels:
    xp, m = namespace(x), mean + eps
    u = x / m * xp.exp((1 - gain) * xp.log(m))
    return bias**power * xp.expm1(power * xp.log1p(u / bias))


@in_blocks("dy", "x", "mean", "gain", "bias", "power", axis=1)
def _elementwise_gradients(
    dy: Channels,
    x: Channels,
    mean: Channels,
    gain: PerChannel,
    bias: PerChannel,
    power: PerChannel,
    eps: float,
) -> tuple[Channels, Channels, PerChannel, PerChannel, PerChannel]:
    xp, m = namespace(x), mean + eps
    log_m = xp.log(m)
    scale = xp.exp((1 - gain) * log_m)
    u = x / m * scale
    log_v, of_bias = xp.log1p(u / bias), bias**power  # ln(v/δ), δ^p
    slope = power * (of_bias / bias)
    du = dy * slope * xp.exp((power - 1) * log_v)
    growth = xp.expm1(power * log_v)
    dgain, dbias = -sums(du * u * log_m, (0, 2)), sums(dy * slope * xp.expm1((power - 1) * log_v), (0, 2))
    dpower = sums(dy * of_bias * (growth * xp.log(bias) + (growth + 1) * log_v), (0, 2))
    return du * scale / m, -du * gain * u / m, dgain, dbias, dpower


@kernel
def pcen_forward(
    x: Channels, gain: PerChannel, bias: PerChannel, power: PerChannel, smoothing: float, eps: float
) -> tuple[Channels, Channels]:
    """Return y and the recent loudness m (N, F, T)."""
    N, F, T = x.shape
    mean = moving_average_forward(x.reshape(N * F, T), smoothing).reshape(x.shape)
    return _compressed(x, mean, gain, bias, power, eps), mean


@kernel
def pcen_backward(
    dy: Channels,
    x: Channels,
    mean: Channels,
    gain: PerChannel,
    bias: PerChannel,
    power: PerChannel,
    smoothing: float,
    eps: float,
) -> tuple[Channels, PerChannel, PerChannel, PerChannel]:
    """Return dx (N, F, T), and dgain, dbias and dpower (1, F, 1)."""
    N, F, T = x.shape
    straight, dmean, *vectors = _elementwise_gradients(dy, x, mean, gain, bias, power, eps)
    through = moving_average_backward(dmean.reshape(N * F, T), smoothing)
    return straight + through.reshape(x.shape), *vectors


class PCENFunction(Function):
    """y = (x/(m + eps)^α + δ)^p - δ^p · dx = du/(m + eps)^α + s·c with c the reversed average of dm"""

    def forward(
        self, x: Array, gain: Array, bias: Array, power: Array, *, smoothing: float, eps: float
    ) -> Array:
        parameters = [upcast(v).reshape(1, -1, 1) for v in (gain, bias, power)]
        wide = upcast(x)
        y, mean = pcen_forward(wide, *parameters, smoothing, eps)
        self.saved = wide, mean, *parameters, smoothing, eps
        return downcast(y, x)

    def backward(self, dy: Array) -> Gradients:
        dx, *vectors = pcen_backward(upcast(dy), *self.saved)
        return downcast(dx, dy), *[d.reshape(-1) for d in vectors]


def pcen(
    input: Tensor,
    gain: Tensor,
    bias: Tensor,
    power: Tensor,
    smoothing: float = 0.025,
    eps: float = 1e-6,
) -> Tensor:
    """Divide energies by the recent loudness of their frequency, then compress them by a root.

    Args:
        input: (N, F, T), energies or magnitudes, at least 0: others give NaN.
        gain: (F,), the exponent of the loudness; 1 removes it.
        bias: (F,), positive.
        power: (F,), the exponent of the compression.
        smoothing: the weight of a new step in the loudness, in (0, 1].
        eps: added to the loudness, in units of the input.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if it is not (N, F, T), a vector is not (F,), smoothing is not in (0, 1], or eps is
            negative.

    Source: Wang et al. 2016, arXiv:1607.05666.
    """
    F = check_channels(input, "pcen")
    if input.ndim != 3:
        raise ValueError(f"pcen takes energies (N, F, T), got shape {input.shape}")
    check_vectors(input, (F,), gain=gain, bias=bias, power=power)
    check_smoothing(smoothing)
    check_eps(eps)
    return PCENFunction.apply(input, gain, bias, power, smoothing=float(smoothing), eps=float(eps))


def check_smoothing(smoothing: float) -> None:
    """Raise ValueError unless the weight of a new step is in (0, 1]."""
    if not 0 < as_number(smoothing, "smoothing") <= 1:
        raise ValueError(f"smoothing is the weight of a new step, above 0 and up to 1, got {smoothing}")


class PCEN(Module):
    """Per-channel energy normalization of (N, F, T) with learned gain, bias and power, all (F,).

    Args:
        num_features: F, the frequencies.
        gain: what `gain` starts with.
        bias: what `bias` starts with; keep it positive.
        power: what `power` starts with.
        smoothing: the weight of a new step in the loudness, in (0, 1].
        eps: added to the loudness, in units of the input.

    Source: Wang et al. 2016, arXiv:1607.05666.
    """

    def __init__(
        self,
        num_features: int,
        gain: float = 0.98,
        bias: float = 2.0,
        power: float = 0.5,
        smoothing: float = 0.025,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        check_smoothing(smoothing)
        check_eps(eps)
        self.num_features, self.smoothing, self.eps = as_size(num_features, "num_features"), smoothing, eps
        for name, value in (("gain", gain), ("bias", bias), ("power", power)):
            values = numpy.full(num_features, as_number(value, name), numpy.float32)
            self.register_parameter(name, Parameter(values))

    def forward(self, input: Tensor) -> Tensor:
        check_channels(input, "PCEN", self.num_features)
        return pcen(input, self.gain, self.bias, self.power, self.smoothing, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, smoothing={self.smoothing}, eps={self.eps}"


def _with_ones(input: Tensor, **options: Any) -> Tensor:
    return pcen(input, ones(3), ones(3), ones(3), **options)


register(
    name="pcen",
    function=pcen,
    composed=pcen_composed,
    parameters=("gain", "bias", "power"),
    cases=(
        Case((positive(2, 3, 5), positive(3), positive(3), positive(3)), {"smoothing": 0.3}),
        Case((positive(1, 2, 7), positive(2), positive(2), positive(2)), {"eps": 0.1}),
        Case((positive(3, 2, 1), positive(2), positive(2), positive(2)), {"smoothing": 1.0}),
        Case((positive(0, 2, 3), positive(2), positive(2), positive(2))),
    ),
    errors=(
        ErrorCase(lambda: _with_ones(ones(2, 3, 4, dtype=int)), TypeError, "floating-point"),
        ErrorCase(lambda: _with_ones(ones(2, 3)), ValueError, "(N, F, T)"),
        ErrorCase(lambda: pcen(ones(2, 3, 4), ones(4), ones(3), ones(3)), ValueError, "gain"),
        ErrorCase(lambda: _with_ones(ones(2, 3, 4), smoothing=0.0), ValueError, "smoothing"),
        ErrorCase(lambda: PCEN(3)(ones(2, 4, 5)), ValueError, "3 channels"),
    ),
    kind="normalization",
    title="PCEN",
    paper="Wang et al. 2016, arXiv:1607.05666",
    pool="each frequency of each sample, over the recent steps, no mean",
    bench=(Case((positive(16, 64, 256), positive(64), positive(64), positive(64))),),
)
