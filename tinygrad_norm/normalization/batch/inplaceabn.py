"""In-place activated batch normalization: BatchNorm and an activation, of which only the output is kept.

    x (N, C, ...)   z = w·x̂ + b, batch normalization   y = φ(z)      kept: y, w, b and r
    z = φ⁻¹(y)   x̂ = (z - b)/w      φ(z) = z where z > 0, s·z where not: leaky ReLU with slope s; or φ(z) = z

Statistics, running averages and evaluation are those of batchnorm.py and fixednorm.py, and so are the
kernels. The next layer keeps y anyway, as its input: BatchNorm's x and what an activation keeps are saved.
ReLU cannot take part, as it cannot be inverted.

The authors' code writes y where x was, and scales by |w| + eps, which keeps w from 0 (and in its backward
flips the sign of dw where w is negative); here x is just not kept, and w is BatchNorm's.

Rota Bulò, Porzi, Kontschieder 2018, arXiv:1712.02616.

Backward, from dy = dL/dy, through the activation and then as in batchnorm.py, with x̂ as it is found again,

    dz = dy where y > 0, s·dy where not      db = Σ dz      dw = Σ dz·x̂

    dx = r·w·(dz - db/n - x̂·dw/n)      in evaluation r·w·dz

whose body runs on x̂ as numbers of mean 0 and r = 1; what it returns is multiplied by r. The error of x̂ is the
rounding of z, divided by w: see core/fromoutput.py and memoryefficient.py.

Insight: an activation with an inverse throws nothing away. What a network must remember is the output of each
of its layers or the input, not both.
"""

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, kernel, namespace
from ...backends.cpu.half import downcast, upcast
from ...ops import ones, where, zeros
from ...ops.arguments import as_number, check_flags
from ...ops.checks import check_channels, check_eps, check_pool, check_vectors
from ...registry import Case, ErrorCase, Input, positive, register, uniform
from ..core.fromoutput import check_invertible, statistics_of_x_hat, x_hat_of
from ..core.running_stats import RunningNorm, UpdateStatistics, update_both
from .batchnorm import batch_norm_backward, batch_norm_composed, batch_norm_forward
from .fixednorm import as_channels, as_given, batch_norm_eval_backward, batch_norm_eval_forward


def inplace_abn_composed(
    input: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    training: bool = True,
    eps: float = 1e-5,
    activation: str = "leaky_relu",
    activation_param: float = 0.01,
) -> Tensor:
    """Batch normalization and the activation from primitives (without the running update)."""
    z = batch_norm_composed(input, running_mean, running_var, weight, bias, training, eps)
    return z if activation == "identity" else where(z > 0, z, activation_param * z)


@kernel
def inplace_abn_forward(
    x: Channels,
    weight: PerChannel | None,
    bias: PerChannel | None,
    running: tuple[PerChannel, PerChannel] | None,
    slope: float,
    eps: float,
) -> tuple[Channels, PerChannel, PerChannel, PerChannel]:
    """Return y (N, C, S), mean, var and rstd (1, C, 1); the running mean and variance if they are given."""
    if running is None:
        z, *statistics = batch_norm_forward(x, weight, bias, eps)
    else:
        z, rstd = batch_norm_eval_forward(x, weight, bias, *running, eps)
        statistics = [*running, rstd]
    y = z if slope == 1 else namespace(z).where(z > 0, z, z * slope)
    return y, *statistics


@kernel
def inplace_abn_backward(
    dy: Channels,
    y: Channels,
    weight: PerChannel | None,
    bias: PerChannel | None,
    rstd: PerChannel,
    slope: float,
    fixed: bool,
) -> tuple[Channels, PerChannel, PerChannel]:
    """Return dx (N, C, S), dweight and dbias (1, C, 1)."""
    xp, z, dz = namespace(y), upcast(y), upcast(dy)
    if slope != 1:
        z, dz = xp.where(y > 0, z, z / slope), xp.where(y > 0, dz, dz * slope)
    backward = batch_norm_eval_backward if fixed else batch_norm_backward
    x_hat = x_hat_of(z, weight, bias)
    dx, dweight, dbias = backward(dz, x_hat, weight, *statistics_of_x_hat(x_hat, rstd))
    return downcast(rstd * dx, dy), dweight, dbias


class InPlaceABNFunction(Function):
    """y = φ(w·(x - m)·r + b) · dx = r·(g - mean(g) - x̂·mean(g·x̂)) with g = w·φ′·dy, x̂ = (φ⁻¹(y) - b)/w

    `update_statistics` is called with the batch's mean and biased variance (1, C, 1), if none are given.
    """

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        running: tuple[Array, Array] | None,
        slope: float,
        eps: float,
        update_statistics: UpdateStatistics,
    ) -> Array:
        if True in self.needs:
            check_invertible(weight, "inplace_abn")
        pools, weight, bias, *fixed = as_channels(x, weight, bias, *(running or ()))
        found = inplace_abn_forward(pools, weight, bias, tuple(fixed) or None, slope, eps)
        y, mean, var, rstd = found
        if running is None:
            update_statistics(mean, var)
        self.saved = y, weight, bias, rstd, slope, running is not None
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        return as_given(dy.shape, *inplace_abn_backward(dy.reshape(self.saved[0].shape), *self.saved))


def inplace_abn(
    input: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: str = "leaky_relu",
    activation_param: float = 0.01,
) -> Tensor:
    """Normalize each channel over the batch, scale, shift and activate; keep only the output for backward.

    Args:
        input: (N, C, ...).
        weight: (C,), or None. Near 0 the gradients lose digits, see inplaceabn.py.
        bias: (C,), or None.
        running_mean: (C,); used in evaluation, moved towards the batch's in training. May be None there.
        running_var: the same for the (unbiased) variance.
        training: whether the batch's own statistics are used, and the running ones updated in place.
        momentum: weight of the new value in the running statistics, a fraction per step.
        eps: added to the variance, in units of input².
        activation: "leaky_relu", or "identity".
        activation_param: the slope of leaky ReLU below 0, more than 0.

    Raises:
        TypeError: if the input is not a floating-point tensor, or `training` is not a bool.
        ValueError: if a vector is not (C,), in evaluation without running statistics, in training with one
            value per channel, if eps is negative, for another activation or a slope that cannot be inverted,
            or if a gradient is required and a weight is 0: on a GPU its gradients are NaN instead.

    Source: Rota Bulò, Porzi, Kontschieder 2018, arXiv:1712.02616.
    """
    C = check_channels(input, "inplace_abn")
    check_vectors(input, (C,), running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    check_flags(training=training)
    check_eps(eps)
    slope, running, n = slope_of(activation, activation_param), None, input.array.size // max(C, 1)
    if training:
        check_pool(input, n, "inplace_abn", "use a larger batch, or call eval()")
    elif running_mean is None or running_var is None:
        raise ValueError("inplace_abn in evaluation needs running_mean and running_var: pass both")
    else:
        running = running_mean.array.copy(), running_var.array.copy()

    def update_statistics(mean: Array, var: Array) -> None:
        if n:
            update_both(running_mean, running_var, mean, var, momentum, n)

    options = {"running": running, "slope": slope, "eps": float(eps)}
    return InPlaceABNFunction.apply(input, weight, bias, **options, update_statistics=update_statistics)


def slope_of(activation: str, activation_param: float) -> float:
    """Return the slope below 0 of an activation that can be inverted.

    Raises:
        ValueError: for another activation, or a slope that is not above 0.
    """
    if activation == "identity":
        return 1.0
    if activation != "leaky_relu":
        raise ValueError(f'activation must be "leaky_relu" or "identity", got {activation!r}')
    slope = as_number(activation_param, "activation_param")
    if not 0 < slope < float("inf"):
        raise ValueError(f"activation_param is a slope that is divided by, above 0, got {slope}")
    return slope


class InPlaceABN(RunningNorm):
    """Batch normalization and leaky ReLU of (N, C, ...), which keep only their output for the backward.

    Parameters and buffers are BatchNorm's; arguments and defaults are those of the library inplace_abn.
    Source: Rota Bulò, Porzi, Kontschieder 2018, arXiv:1712.02616.
    """

    input_ndims = (2, 3, 4, 5)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        activation: str = "leaky_relu",
        activation_param: float = 0.01,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats=True, bias=True)
        slope_of(activation, activation_param)
        self.activation, self.activation_param = activation, activation_param

    def is_affine_in_evaluation(self) -> bool:
        """Return whether there is no activation."""
        return self.activation == "identity"

    def forward(self, input: Tensor) -> Tensor:
        self.check_ndim(input)
        check_channels(input, "InPlaceABN", self.num_features)
        return inplace_abn(
            input,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            self.training,
            self.count_batch(),
            self.eps,
            self.activation,
            self.activation_param,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"activation={self.activation}, activation_param={self.activation_param}"
        )


_WEIGHT = uniform(1.0, 2.0, 3)  # not near 0
_STATISTICS = (Input((3,), differentiable=False), positive(3, differentiable=False))

register(
    name="inplace_abn",
    function=inplace_abn,
    composed=inplace_abn_composed,
    inputs=("input", "weight", "bias", "running_mean", "running_var"),
    parameters=("weight", "bias"),
    cases=(
        Case(((5, 3), _WEIGHT, (3,), None, None)),
        Case(((2, 3, 2, 2), _WEIGHT, None, None, None), {"activation_param": 0.3, "eps": 1e-3}),
        Case(((4, 3, 2), None, (3,), None, None), {"activation": "identity"}),
        Case(((4, 3, 2), _WEIGHT, (3,), *_STATISTICS), {"training": False}),
        Case(((0, 3), _WEIGHT, (3,), *_STATISTICS)),
    ),
    errors=(
        ErrorCase(lambda: inplace_abn(ones(1, 3)), ValueError, "more than one"),
        ErrorCase(lambda: inplace_abn(ones(2, 3), training=False), ValueError, "running_mean"),
        ErrorCase(lambda: inplace_abn(ones(2, 3), activation="relu"), ValueError, '"identity"'),
        ErrorCase(lambda: inplace_abn(ones(2, 3), activation_param=0.0), ValueError, "divided by"),
        ErrorCase(
            lambda: inplace_abn(ones(2, 3, requires_grad=True), zeros(3)), ValueError, "3 of 3 weights are 0"
        ),
        ErrorCase(lambda: InPlaceABN(3)(ones(4, 4)), ValueError, "3 channels"),
    ),
    kind="normalization",
    title="InPlaceABN",
    paper="Rota Bulò, Porzi, Kontschieder 2018, arXiv:1712.02616",
    pool="each channel, over samples and positions",
    bench=(Case(((64, 64, 32, 32), (64,), (64,), None, None)),),
)
