"""Activation normalization of flows: a learned scale and shift per channel, set once by the first batch.

    x (N, C, ...)   y = e^s·(x + t)   log|det ∂y/∂x| = S·Σ s, for each sample, with S positions

s and t are (C,). The first training batch sets t = -mean(x) and s = -log(std(x) + 1e-6), over its samples and
positions, so that y has mean 0 and deviation 1 there, as batch normalization would make it. From then on both
are parameters like any other: samples do not see each other, and the Jacobian is diagonal.

In the code: s log_scale, t bias, e^s scale; x is (N, C, S), vectors are (1, C, 1). y is a fixed normalization
with mean -t, variance 1 and weight e^s, so the bodies are those of fixednorm.py.

Kingma, Dhariwal 2018, arXiv:1807.03039.

Backward, from dy = dL/dy and d_n = dL/dlogdet of each sample n. The layer is elementwise, all samples and
positions of a channel share s and t, and s has two paths to the loss, through y and through the determinant:

    dx = e^s·dy      dt = e^s·Σ dy
    through y        ∂y/∂s = y             Σ dy·y
    through log|det| ∂(S·Σ s)/∂s_c = S     S·Σ_n d_n

    ds = Σ dy·y + S·Σ_n d_n

No gradient flows through the start by the first batch.

Insight: without the second path s learns to make y small, where the density of a Gaussian is largest. The
determinant is what a flow pays for it.
"""

import math

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.grad_mode import no_grad
from ...autograd.memory import Memory
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, asarray, kernel, namespace, to_numpy
from ...backends.cpu.half import upcast
from ...module import Module, Parameter
from ...ops import ones
from ...ops.arguments import as_size
from ...ops.checks import check_channels, check_eps, check_pool, check_vectors
from ...registry import Case, ErrorCase, register
from ..core.moments import std_of
from .batchnorm import batch_norm_forward
from .fixednorm import as_channels, batch_norm_eval_backward, batch_norm_eval_forward


def activation_norm_composed(input: Tensor, log_scale: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Activation normalization from primitives: autograd finds the gradient."""
    per_channel = (-1, *(1,) * (input.ndim - 2))
    y = log_scale.exp().reshape(per_channel) * (input + bias.reshape(per_channel))
    return y, (log_scale.sum() * math.prod(input.shape[2:])).expand(input.shape[0])


@kernel
def activation_norm_forward(
    x: Channels, log_scale: PerChannel, bias: PerChannel
) -> tuple[Channels, Array, PerChannel]:
    """Return y (N, C, S), log|det| (N,) and e^s (1, C, 1)."""
    N, _, S = x.shape
    xp, log_scale = namespace(x), upcast(log_scale)
    scale = xp.exp(log_scale)
    y, _ = batch_norm_eval_forward(x, scale, None, -bias, xp.ones_like(bias), 0.0)
    return y, xp.zeros(N, scale.dtype) + log_scale.sum() * S, scale


@kernel
def activation_norm_backward(
    dy: Channels, dlogdet: Array, x: Channels, scale: PerChannel, bias: PerChannel
) -> tuple[Channels, PerChannel, PerChannel]:
    """Return dx (N, C, S), and ds and dt (1, C, 1)."""
    dx, dscale, dshift = batch_norm_eval_backward(dy, x, scale, -bias, namespace(x).ones_like(bias))
    return dx, scale * dscale + x.shape[2] * dlogdet.sum(), scale * dshift


class ActivationNormFunction(Function):
    """y = e^s·(x + t), log|det| = S·Σ s · dx = e^s·dy, ds = Σ dy·y + S·Σ dlogdet, dt = e^s·Σ dy"""

    def forward(self, x: Array, log_scale: Array, bias: Array) -> tuple[Array, Array]:
        pools, log_scale, bias = as_channels(x, log_scale, bias)
        y, log_det, scale = activation_norm_forward(pools, log_scale, bias)
        self.saved = pools, scale, bias
        return y.reshape(x.shape), log_det

    def backward(self, dy: Array, dlogdet: Array) -> Gradients:
        pools = self.saved[0]
        dx, *vectors = activation_norm_backward(dy.reshape(pools.shape), dlogdet, *self.saved)
        return dx.reshape(dy.shape), *[d.reshape(-1) for d in vectors]


def activation_norm(input: Tensor, log_scale: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return e^log_scale·(input + bias) per channel, and the logarithm of its determinant for each sample.

    Args:
        input: (N, C, ...).
        log_scale: (C,).
        bias: (C,).

    Returns:
        y, of the input's shape, and log|det ∂y/∂input|, (N,): the same number for all samples. For half types
        it is float32.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if the input has less than 2 axes, or a vector is not (C,).

    Source: Kingma, Dhariwal 2018, arXiv:1807.03039.
    """
    C = check_channels(input, "activation_norm")
    check_vectors(input, (C,), log_scale=log_scale, bias=bias)
    return ActivationNormFunction.apply(input, log_scale, bias)


class ActNorm(Module):
    """Activation normalization of (N, C, ...) for flows: `forward(x)` returns y and log|det|, (N,).

    The first call in training mode sets `bias` to -mean and `log_scale` to -log(std + eps) of each channel;
    until then both are zeros. The buffer `initialized` says whether that has happened, so a state keeps it.
    In evaluation, a layer that is not initialized raises: a test batch must not set it. With several
    processes, pass one batch before DistributedDataParallel, which gives all ranks the parameters of rank 0;
    inside it, each rank would be set by its own shard.

    normflows has the same layer, with the shift after the scale (t = e^s·bias) and the unbiased deviation.

    Args:
        num_features: C.
        eps: added to the deviation of the first batch, in units of the input.

    Source: Kingma, Dhariwal 2018, arXiv:1807.03039.
    """

    def __init__(self, num_features: int, eps: float = 1e-6) -> None:
        super().__init__()
        check_eps(eps)
        self.num_features, self.eps = as_size(num_features, "num_features"), eps
        self.log_scale = Parameter(numpy.zeros(num_features, numpy.float32))
        self.bias = Parameter(numpy.zeros(num_features, numpy.float32))
        self.register_buffer("initialized", Tensor(numpy.array(False)))
        # The memory and time in which it was last seen to be initialized: the buffer may be on a GPU.
        self._known: tuple[Memory, int] | None = None

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and log|det|; in training, the first call sets the parameters.

        Raises:
            RuntimeError: in evaluation, if no batch has set the parameters.
            ValueError: if the first batch has no, or one, value per channel, if one is not finite, or if eps
                is 0 and a channel does not vary in it.
        """
        check_channels(input, "ActNorm", self.num_features)
        if self.training and not self._is_initialized():
            self._initialize(input)
        self._check_initialized()
        return activation_norm(input, self.log_scale, self.bias)

    def inverse(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return x with `forward(x)` = output, and the log|det| of the inverse, which is -log|det|.

        x = e^-s·y - t = e^-s·(y - e^s·t): the same layer, with other parameters.

        Raises:
            RuntimeError: if no batch has set the parameters.
        """
        check_channels(output, "ActNorm", self.num_features)
        self._check_initialized()
        return activation_norm(output, -self.log_scale, -self.bias * self.log_scale.exp())

    def _is_initialized(self) -> bool:
        memory = self.initialized._shared_memory()
        memory.check_for_writes()
        if self._known != (memory, memory.written):  # a loaded state, a copy, another device
            initialized = bool(to_numpy(self.initialized.array))
            self._known = (memory, memory.written) if initialized else None
        return self._known is not None

    def _check_initialized(self) -> None:
        if not self._is_initialized():
            raise RuntimeError(
                "ActNorm is set by its first batch in training mode, and has seen none: call train() and "
                "pass one, or load the state of a layer that was trained"
            )

    @no_grad()
    def _initialize(self, input: Tensor) -> None:
        advice = "the first batch sets the scale"
        check_pool(input, input.shape[0] * math.prod(input.shape[2:]), "ActNorm", advice)
        _, mean, _, rstd = batch_norm_forward(*as_channels(input.array), None, None, 0.0)
        m, std = (to_numpy(s).reshape(-1).astype(numpy.float64) for s in (mean, std_of(rstd)))
        if not input.array.size or not (numpy.isfinite(m) & numpy.isfinite(std)).all():
            raise ValueError(
                "the first batch sets the scale of ActNorm and must be finite and not empty, got one of "
                f"shape {input.shape}" + (" with NaN or infinity" if input.array.size else "")
            )
        constant = numpy.flatnonzero(std + self.eps == 0)
        if constant.size:
            raise ValueError(
                f"the first batch sets the scale of ActNorm, and channel {constant[0]} does not vary in it: "
                "eps=0 divides it by 0, so give ActNorm an eps above 0, or another first batch"
            )
        for parameter, values in ((self.bias, -m), (self.log_scale, -numpy.log(std + self.eps))):
            parameter.copy_(Tensor(asarray(values.astype(parameter.dtype))))
        self.initialized.fill_(True)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"


register(
    name="activation_norm",
    function=activation_norm,
    composed=activation_norm_composed,
    parameters=("log_scale", "bias"),
    cases=(
        Case(((4, 3), (3,), (3,))),
        Case(((2, 3, 4), (3,), (3,))),
        Case(((2, 3, 2, 2), (3,), (3,))),
        Case(((1, 2, 33), (2,), (2,))),
        Case(((0, 3, 2), (3,), (3,))),
    ),
    errors=(
        ErrorCase(
            lambda: activation_norm(ones(2, 3, dtype=int), ones(3), ones(3)), TypeError, "floating-point"
        ),
        ErrorCase(lambda: activation_norm(ones(3), ones(3), ones(3)), ValueError, "2 axes"),
        ErrorCase(lambda: activation_norm(ones(2, 3), ones(2), ones(3)), ValueError, "log_scale"),
        ErrorCase(lambda: activation_norm(ones(2, 3), ones(3), ones(2)), ValueError, "bias"),
        ErrorCase(lambda: ActNorm(3)(ones(2, 4)), ValueError, "3 channels"),
        ErrorCase(lambda: ActNorm(3)(ones(1, 3)), ValueError, "more than one"),
        ErrorCase(lambda: ActNorm(3)(ones(0, 3)), ValueError, "not empty"),
        ErrorCase(lambda: ActNorm(3).eval()(ones(2, 3)), RuntimeError, "has seen none"),
    ),
    kind="normalization",
    title="ActNorm",
    paper="Kingma, Dhariwal 2018, arXiv:1807.03039",
    pool="none: a learned scale and shift, set by each channel of the first batch",
    bench=(Case(((64, 64, 32, 32), (64,), (64,))),),
)
