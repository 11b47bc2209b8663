"""Initial values: every function overwrites a tensor in place and returns it.

A layer keeps the variance of its activations if Var(weight) = gain²/fan. The fan is the number of products
that are summed into one output (fan_in, for the forward pass) or into one input's gradient (fan_out, for
the backward pass). Numbers are drawn from the random stream that `tn.manual_seed` seeds, unless a generator
is given. Random numbers fill floating-point tensors only: others raise TypeError.
"""

import math
from typing import Any

import numpy

from ..autograd.tensor import Tensor
from ..backends.random import generator as default_generator
from ..normalization.weight.weightstandardization import ACTIVATION_GAINS as ACTIVATION_GAINS
from ..ops.arguments import as_number, as_size

Generator = numpy.random.Generator | None

_GAINS = {
    "linear": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "conv_transpose1d": 1.0,
    "conv_transpose2d": 1.0,
    "conv_transpose3d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor that makes up for the standard deviation lost in a nonlinearity.

    `param` is the negative slope of leaky_relu (0.01 if None).

    Raises:
        ValueError: if the nonlinearity is unknown, or the negative slope is not a number.
    """
    if nonlinearity == "leaky_relu":
        if isinstance(param, bool) or not isinstance(param, int | float | numpy.number | None):
            raise ValueError(f"the negative slope of leaky_relu must be a number, got {param!r}")
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope * slope))
    if nonlinearity not in _GAINS:
        raise ValueError(
            f"unknown nonlinearity {nonlinearity!r}: choose one of {', '.join([*_GAINS, 'leaky_relu'])}"
        )
    return _GAINS[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """Return fan_in and fan_out of a weight (out, in, *kernel).

    Raises:
        ValueError: if the tensor has fewer than 2 axes.
    """
    if tensor.ndim < 2:
        raise ValueError(f"fan_in and fan_out need a weight (out, in, ...), got shape {tensor.shape}")
    outputs, inputs, *kernel = tensor.shape
    return inputs * math.prod(kernel), outputs * math.prod(kernel)


def _check_floating(name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point():
        raise TypeError(f"{name} fills with fractions, got a tensor of {tensor.dtype}: convert with .float()")


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator = None) -> Tensor:
    """Fill with uniform numbers from [a, b)."""
    _check_floating("uniform_", tensor)
    return tensor.copy_((generator or default_generator()).uniform(a, b, tensor.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator = None) -> Tensor:
    """Fill with normal numbers of this mean and standard deviation."""
    _check_floating("normal_", tensor)
    return tensor.copy_((generator or default_generator()).normal(mean, std, tensor.shape))


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator = None,
) -> Tensor:
    """Fill with normal numbers, redrawn until they lie in [a, b] (in units of the values, not of std).

    Raises:
        ValueError: if almost no normal number lies in the interval.
    """
    _check_floating("trunc_normal_", tensor)
    low, high = (math.erf((bound - mean) / (std * math.sqrt(2))) for bound in (a, b))
    if high - low < 1e-3:
        raise ValueError(
            f"fewer than 1 in 2000 normal numbers of mean {mean} and std {std} lie in [{a}, {b}]: "
            "widen the interval"
        )
    rng = generator or default_generator()
    values = rng.normal(mean, std, tensor.shape).reshape(-1)
    outside = numpy.flatnonzero((values < a) | (values > b))
    while outside.size:
        values[outside] = rng.normal(mean, std, outside.size)
        outside = outside[(values[outside] < a) | (values[outside] > b)]
    return tensor.copy_(values.reshape(tensor.shape))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with `val`."""
    return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with ones."""
    return tensor.fill_(1)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with zeros."""
    return tensor.fill_(0)


def eye_(tensor: Tensor) -> Tensor:
    """Fill with the identity matrix, so that a square linear layer changes nothing.

    Raises:
        ValueError: if the tensor is not a matrix.
    """
    if tensor.ndim != 2:
        raise ValueError(f"eye_ needs a matrix, got shape {tensor.shape}")
    return tensor.copy_(numpy.eye(tensor.shape[0], tensor.shape[1]))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill a convolution's weight so that it passes on as many channels as possible unchanged.

    In every group, output channel i is 1 at the middle of the kernel over input channel i, and 0 elsewhere.

    Raises:
        ValueError: if the tensor is not a weight (out, in/groups, *kernel), or groups does not divide `out`.
    """
    if tensor.ndim not in (3, 4, 5):
        raise ValueError(f"dirac_ needs a weight (out, in/groups, *kernel), got shape {tensor.shape}")
    outputs, inputs, *kernel = tensor.shape
    if outputs % as_size(groups, "groups"):
        raise ValueError(f"groups ({groups}) must divide the {outputs} output channels")
    values = numpy.zeros((groups, outputs // groups, inputs, *kernel))
    channel = numpy.arange(min(outputs // groups, inputs))
    middle: Any = (slice(None), channel, channel, *[K // 2 for K in kernel])
    values[middle] = 1
    return tensor.copy_(values.reshape(tensor.shape))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator = None) -> Tensor:
    """Fill a matrix with normal numbers, and a fraction `sparsity` of every column, rounded up, with zeros.

    Source: Martens 2010, "Deep learning via Hessian-free optimization".

    Raises:
        ValueError: if the tensor is not a matrix, or sparsity is outside [0, 1].
    """
    _check_floating("sparse_", tensor)
    if tensor.ndim != 2:
        raise ValueError(f"sparse_ needs a matrix, got shape {tensor.shape}")
    if not 0 <= as_number(sparsity, "sparsity") <= 1:
        raise ValueError(f"sparsity is the fraction of zeros, between 0 and 1, got {sparsity}")
    rng, zeros = generator or default_generator(), math.ceil(sparsity * tensor.shape[0])
    values = rng.normal(0.0, std, tensor.shape)
    values[rng.random(tensor.shape).argsort(0) < zeros] = 0
    return tensor.copy_(values)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator = None) -> Tensor:
    """Fill uniformly with variance gain²·2/(fan_in + fan_out), a compromise between the two passes.

    Source: Glorot, Bengio 2010.
    """
    bound = math.sqrt(3) * _xavier_std(tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator = None) -> Tensor:
    """Fill with normal numbers of variance gain²·2/(fan_in + fan_out). Source: Glorot, Bengio 2010."""
    return normal_(tensor, 0.0, _xavier_std(tensor, gain), generator)


def _xavier_std(tensor: Tensor, gain: float) -> float:
    return gain * math.sqrt(2 / max(sum(fans(tensor)), 1))


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator = None,
) -> Tensor:
    """Fill uniformly with variance gain²/fan; `a` is the negative slope of a leaky_relu that follows.

    Source: He, Zhang, Ren, Sun 2015, arXiv:1502.01852.
    """
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator = None,
) -> Tensor:
    """Fill with normal numbers of variance gain²/fan; `a` is the negative slope of a leaky_relu that follows.

    Source: He, Zhang, Ren, Sun 2015, arXiv:1502.01852.
    """
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan_in, fan_out = fans(tensor)
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan_in if mode == "fan_in" else fan_out, 1))


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator = None) -> Tensor:
    """Fill with a random (semi-)orthogonal matrix times `gain`; all axes after the first are the columns.

    Source: Saxe, McClelland, Ganguli 2013, arXiv:1312.6120.

    Raises:
        ValueError: if the tensor has fewer than 2 axes.
    """
    _check_floating("orthogonal_", tensor)
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_ needs at least 2 axes, got shape {tensor.shape}")
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    tall = (generator or default_generator()).normal(size=(max(rows, columns), min(rows, columns)))
    q, r = numpy.linalg.qr(tall)
    q *= numpy.where(numpy.diag(r) < 0, -gain, gain)  # without the sign, q would not be uniform
    return tensor.copy_((q if rows >= columns else q.T).reshape(tensor.shape))
