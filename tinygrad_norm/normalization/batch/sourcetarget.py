"""Source-target batch normalization: evaluation mixes the statistics of training and of the test batch.

    x (N, C, ...)   M, V running mean and variance (C,), of the source: the training data
    m, v            mean and variance of each channel over the n values of this batch, of the target
    α  = N/(N + prior)          the weight of the batch: prior is the number of samples that M and V count as
    μ  = α·m + (1 - α)·M        σ² = α·v + (1 - α)·V
    r = 1/√(σ² + eps)   x̂ = (x - μ)·r   y = w·x̂ + b

prior = ∞ is batch normalization in evaluation; prior = 0 its training, with the statistics of the test batch
alone ("prediction-time batch normalization": Nado et al. 2020, arXiv:2006.10963). Training is that of batch
normalization, whose state a layer takes over.

Schneider et al. 2020, arXiv:2006.16971.

In the code: α alpha, μ mu, r rstd; x is (N, C, S), statistics are (1, C, 1). μ is not subtracted from x,
whose mean may be large. `own` is the batch normalization of the batch, c = (x - m)·r is ratio·own, and

    x̂ = ratio·own + offset      ratio = r·√(v + eps)      offset = r·(m - μ) = r·(1 - α)·(m - M)

Backward in evaluation, from dy = dL/dy, with g := dL/dx̂ = w·dy. M and V are constants. x_i reaches x̂_j on
the three paths of batchnorm.py, two of them with the share α of the batch:

    straight     ∂x_j/∂x_i = 1 if i = j                          r·g_i
    through μ    ∂μ/∂x_i = α/n, ∂x̂_j/∂μ = -r                     -α·r·mean(g)
    through r    ∂σ²/∂x_i = (2α/n)·(x_i - m), ∂r/∂σ² = -r³/2      -α·r·(x_i - m)·r·mean(g·x̂)

    dx = r·(g - α·mean(g) - α·c·mean(g·x̂))      dw = Σ dy·x̂      db = Σ dy

Insight: two centres appear, m in c and μ in x̂. They agree only at α = 1, and to write x̂ for c is an error
that grows with the distance between the domains. (In weighedbatchnorm.py, σ² is the variance of the mixture;
its additional term α·(1 - α)·(m - M)² turns c into x̂.)
"""

import math

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...module import Module
from ...ops import ones
from ...ops.arguments import as_number
from ...ops.checks import check_channels, check_eps, check_pool, check_vectors
from ...registry import Case, ErrorCase, Input, positive, register
from ..core.moments import affine, rsqrt, std_of, var_of
from ..core.running_stats import RunningNorm
from .batchnorm import _BatchNorm, batch_norm, batch_norm_forward
from .fixednorm import as_channels, as_given, batch_norm_eval_backward


def source_target_batch_norm_composed(
    input: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    prior: float = 16.0,
) -> Tensor:
    """Source-target batch normalization from primitives: autograd finds the gradient."""
    alpha, per_channel = _weight_of_batch(input.shape[0], prior), (-1, *(1,) * (input.ndim - 2))
    pool = (0, *range(2, input.ndim))
    mean = input.mean(pool, keepdim=True)
    var = ((input - mean) ** 2).mean(pool, keepdim=True)
    mu = alpha * mean + (1 - alpha) * running_mean.reshape(per_channel)
    mixed = alpha * var + (1 - alpha) * running_var.reshape(per_channel)
    return affine((input - mu) * (mixed + eps) ** -0.5, weight, bias, per_channel)


def _weight_of_batch(N: int, prior: float) -> float:
    """Return α, and 0 for nothing beside nothing."""
    return N / (N + prior) if N else 0.0


@in_blocks("own", "scale", "shift", axis=1)
def _scaled_and_shifted(own: Channels, scale: PerChannel, shift: PerChannel) -> Channels:
    return scale * own + shift


@in_blocks("dx", "own", "slope", "shift", axis=1)
def _less_through_statistics(dx: Channels, own: Channels, slope: PerChannel, shift: PerChannel) -> Channels:
    return dx - shift - slope * own


@kernel
def source_target_batch_norm_forward(
    x: Channels,
    weight: PerChannel | None,
    bias: PerChannel | None,
    M: PerChannel,
    V: PerChannel,
    alpha: float,
    eps: float,
) -> tuple[Channels, Channels, PerChannel, PerChannel, PerChannel]:
    """Return y and (x - m)/√(v + eps) (N, C, S), and r·√(v + eps), r·(m - μ) and r (1, C, 1).

    v is taken from 1/√(v + eps), and the few numbers of the mixture are in float64: squares do not overflow.
    """
    own, mean, _, own_rstd = batch_norm_forward(x, None, None, eps)
    m, own_r, M, V = (s.astype("float64") for s in (mean, own_rstd, M, V))
    r = rsqrt(alpha * var_of(own_r, eps) + (1 - alpha) * V + eps)
    ratio, offset, rstd = (
        s.astype(own_rstd.dtype) for s in (r * std_of(own_r), r * ((1 - alpha) * (m - M)), r)
    )
    scale, shift = (ratio, offset) if weight is None else (weight * ratio, weight * offset)
    return _scaled_and_shifted(own, scale, shift if bias is None else shift + bias), own, ratio, offset, rstd


@kernel
def source_target_batch_norm_backward(
    dy: Channels,
    weight: PerChannel | None,
    own: Channels,
    ratio: PerChannel,
    offset: PerChannel,
    rstd: PerChannel,
    alpha: float,
) -> tuple[Channels, PerChannel, PerChannel]:
    """Return dx (N, C, S), dweight and dbias (1, C, 1)."""
    zero, n = namespace(rstd).zeros_like(rstd), dy.shape[0] * dy.shape[2]
    scale = rstd if weight is None else weight * rstd
    straight, down, dbias = batch_norm_eval_backward(dy, own, scale, zero, zero + 1)
    dweight, share = ratio * down + offset * dbias, scale * (alpha / max(n, 1))
    return _less_through_statistics(straight, own, share * ratio * dweight, share * dbias), dweight, dbias


class SourceTargetBatchNormFunction(Function):
    """y = w·(x - μ)·r + b · dx = r·(g - α·mean(g) - α·(x - m)·r·mean(g·x̂)) with g = w·dy"""

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        running: tuple[Array, Array],
        prior: float,
        eps: float,
    ) -> Array:
        pools, weight, bias, M, V = as_channels(x, weight, bias, *running)
        alpha = _weight_of_batch(x.shape[0], prior)
        y, *saved = source_target_batch_norm_forward(pools, weight, bias, M, V, alpha, eps)
        self.saved = weight, *saved, alpha
        self.pools = pools.shape
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        return as_given(dy.shape, *source_target_batch_norm_backward(dy.reshape(self.pools), *self.saved))


def source_target_batch_norm(
    input: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    prior: float = 16.0,
) -> Tensor:
    """Normalize each channel by a mixture of given statistics and those of the batch, then scale and shift.

    Args:
        input: (N, C, ...).
        running_mean: (C,), of the source. A constant.
        running_var: (C,), of the source. A constant.
        weight: (C,), or None.
        bias: (C,), or None.
        eps: added to the variance, in units of input².
        prior: the samples that the source counts as, beside the N of the batch; 0 is the batch alone.

    Raises:
        TypeError: if the input is not a floating-point tensor.
        ValueError: if a vector is not (C,), if prior is negative or NaN, or 0 beside one value per channel,
            or if eps is negative.

    Source: Schneider et al. 2020, arXiv:2006.16971.
    """
    name = "source_target_batch_norm"
    C = check_channels(input, name)
    check_vectors(input, (C,), running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    check_eps(eps)
    check_prior(prior)
    if prior == 0:
        pool = input.shape[0] * math.prod(input.shape[2:])
        check_pool(input, pool, name, "use a larger batch, or a prior above 0")
    return SourceTargetBatchNormFunction.apply(
        input,
        weight,
        bias,
        running=(running_mean.array.copy(), running_var.array.copy()),
        prior=float(prior),
        eps=float(eps),
    )


def check_prior(prior: float) -> None:
    """Raise ValueError unless a number of samples is at least 0; infinity is one."""
    if not as_number(prior, "prior") >= 0:
        raise ValueError(f"prior is a number of samples of at least 0, got {prior}")


class SourceTargetBatchNorm(RunningNorm):
    """Batch normalization of (N, C, ...) whose evaluation mixes in the statistics of the test batch.

    The N samples of a batch count beside `prior` samples of the training data: 0 is the batch alone
    (prediction-time batch normalization), infinity is batch normalization. So a prediction depends on what
    else is in the batch; a batch sorted by class has statistics of one class. Training, parameters and
    buffers are those of BatchNorm2d; `convert` replaces those of a trained network.

    Source: Schneider et al. 2020, arXiv:2006.16971; Nado et al. 2020, arXiv:2006.10963.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        *,
        prior: float = 16.0,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats=True, bias=True)
        check_prior(prior)
        self.prior = prior

    def forward(self, input: Tensor) -> Tensor:
        check_channels(input, "SourceTargetBatchNorm", self.num_features)
        statistics = self.running_mean, self.running_var, self.weight, self.bias
        if self.training:
            return batch_norm(input, *statistics, True, self.count_batch(), self.eps)
        return source_target_batch_norm(input, *statistics, self.eps, self.prior)

    def is_affine_in_evaluation(self) -> bool:
        return self.prior == math.inf

    @classmethod
    def convert(cls, module: Module, prior: float = 16.0) -> Module:
        """Replace every BatchNorm in `module`, and the module itself if it is one; return it.

        The new layers have the parameters and buffers of the old ones, not copies. A BatchNorm without
        running statistics stays: it uses those of the batch already.
        """
        converted = module
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            made = cls(module.num_features, module.eps, module.momentum, module.affine, prior=prior)
            for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                setattr(made, name, getattr(module, name))
            converted = made.train(module.training)
        for name, child in module.named_children():
            converted.register_module(name, cls.convert(child, prior))
        return converted

    def check_ndim(self, input: Tensor) -> None:
        """Leave it to the check of channels: any input (N, C, ...) will do."""

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, prior={self.prior}"


_STATISTICS = (Input((3,), differentiable=False), positive(3, differentiable=False))

register(
    name="source_target_batch_norm",
    function=source_target_batch_norm,
    composed=source_target_batch_norm_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((4, 3), *_STATISTICS, (3,), (3,)), {"prior": 2.0}),
        Case(((2, 3, 2, 2), *_STATISTICS, (3,), None), {"eps": 1e-3}),
        Case(((3, 3, 5), *_STATISTICS, None, (3,)), {"prior": 0.0}),
        Case(((1, 3), *_STATISTICS, None, None)),
        Case(((0, 3, 2), *_STATISTICS, (3,), (3,))),
    ),
    errors=(
        ErrorCase(
            lambda: source_target_batch_norm(ones(2, 3), ones(3), ones(3), prior=-1.0), ValueError, "got -1.0"
        ),
        ErrorCase(
            lambda: source_target_batch_norm(ones(1, 3), ones(3), ones(3), prior=0), ValueError, "above 0"
        ),
        ErrorCase(lambda: source_target_batch_norm(ones(2, 3), ones(2), ones(3)), ValueError, "running_mean"),
        ErrorCase(lambda: SourceTargetBatchNorm(3)(ones(2, 4)), ValueError, "3 channels"),
        ErrorCase(lambda: SourceTargetBatchNorm(3, prior=math.nan), ValueError, "got nan"),
    ),
    kind="normalization",
    title="SourceTargetBatchNorm",
    paper="Schneider et al. 2020, arXiv:2006.16971",
    pool="each channel over the training data, and over the test batch with a weight",
    bench=(
        Case(
            (
                (64, 64, 32, 32),
                Input((64,), differentiable=False),
                positive(64, differentiable=False),
                (64,),
                (64,),
            )
        ),
    ),
)
