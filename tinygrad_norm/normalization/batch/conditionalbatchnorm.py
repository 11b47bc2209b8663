"""Conditional batch normalization: batch normalization with a weight and a bias for each class.

    x (N, C, ...)   c (N,) the class of each sample   w, b (K, C): a row for each of K classes
    pool = all samples and positions of one channel, whatever their classes; m, r, x̂ as in batchnorm.py
    y = w_c·x̂ + b_c      w_c, b_c (N, C): the rows of the classes

With one class it is batch normalization. In evaluation m and r are constants, as there.

In the code: m mean, r rstd, x̂ x_hat, w weight, b bias; x is (N, C, S), and (1, N·C, S) for the affine: with
every channel of every sample in one row, an affine of each sample is one of each channel, as in fixednorm.py.

de Vries et al. 2017, arXiv:1707.00683, where a network of the condition adds increments to a shared w and b.
Tables: Dumoulin, Shlens, Kudlur 2017, arXiv:1610.07629.

Backward, from dy = dL/dy. A row of the tables reaches all samples of its class, and the chain rule adds up:

    dw_k = Σ dy·x̂      db_k = Σ dy      over the positions of all samples n with c_n = k

x takes the three paths of batchnorm.py, with g := dL/dx̂ = w_c·dy, and the means over the whole pool:

    dx = r·(g - mean(g) - x̂·mean(g·x̂))

Insight: samples of several classes share a pool, so w_c varies inside it and cannot go in front of the means,
where batch normalization has it: r·w·(dy - mean(dy) - x̂·mean(dy·x̂)) would be another function's gradient.
"""

import math

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, Channels, PerChannel, kernel, namespace
from ...module import Parameter
from ...ops import ones, tensor
from ...ops.arguments import as_size, check_flags
from ...ops.checks import check_channels, check_eps, check_pool, check_vectors
from ...ops.dims import Shape
from ...ops.indexing import _checked_index, scatter_add
from ...registry import Case, ErrorCase, Input, fixed, integers, positive, register
from ..core.moments import standardized
from ..core.running_stats import RunningNorm, UpdateStatistics, update_both
from .batchnorm import batch_norm_backward, batch_norm_forward
from .fixednorm import as_channels, batch_norm_eval_backward, batch_norm_eval_forward


def conditional_batch_norm_composed(
    input: Tensor,
    labels: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Conditional batch normalization from primitives (without the running update)."""
    return _affine_of_rows(input, weight[labels], bias[labels], running_mean, running_var, training, eps)


def _affine_of_rows(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    training: bool,
    eps: float,
) -> Tensor:
    """Return w·x̂ + b with weight and bias (N, C) from primitives."""
    space = (1,) * (x.ndim - 2)
    rows = (-1, x.shape[1], *space)
    if training or mean is None or var is None:
        x_hat = standardized(x, (0, *range(2, x.ndim)), eps)
    else:
        x_hat = (x - mean.reshape(-1, *space)) * (var.reshape(-1, *space) + eps) ** -0.5
    return x_hat * weight.reshape(rows) + bias.reshape(rows)


def batch_statistics_composed(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Return what `ConditionalBatchNormFunction` does, from primitives."""
    return _affine_of_rows(x, weight, bias, None, None, True, eps)


def given_statistics_composed(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Array, var: Array, eps: float
) -> Tensor:
    """Return what `ConditionalBatchNormEvalFunction` does, from primitives."""
    return _affine_of_rows(x, weight, bias, Tensor._wrap(mean), Tensor._wrap(var), False, eps)


def _each_sample(x: Array, *vectors: Array) -> list[Array]:
    """Return x (N, C, S) as (1, N·C, S), vectors (N, C) as (1, N·C, 1), then zeros and ones like these."""
    size, xp = x.shape[0] * x.shape[1], namespace(x)
    zero = xp.zeros((1, size, 1), vectors[0].dtype)
    return [x.reshape(1, size, x.shape[2]), *[v.reshape(1, size, 1) for v in vectors], zero, zero + 1]


@kernel
def conditional_batch_norm_forward(
    x: Channels, weight: Array, bias: Array, eps: float
) -> tuple[Channels, Channels, PerChannel, PerChannel, PerChannel]:
    """Return y and x̂ (N, C, S), and mean, var and rstd (1, C, 1); weight and bias are (N, C)."""
    x_hat, mean, var, rstd = batch_norm_forward(x, None, None, eps)
    y, _ = batch_norm_eval_forward(*_each_sample(x_hat, weight, bias), 0.0)
    return y.reshape(x.shape), x_hat, mean, var, rstd


@kernel
def conditional_batch_norm_backward(
    dy: Channels, x_hat: Channels, weight: Array, rstd: PerChannel
) -> tuple[Channels, Array, Array]:
    """Return dx (N, C, S), dweight and dbias (N, C).

    x̂ is normalized already: as numbers of mean 0 and r = 1, whose weight is rstd.
    """
    pools, *vectors = _each_sample(x_hat, weight)
    g, dweight, dbias = batch_norm_eval_backward(dy.reshape(pools.shape), pools, *vectors)
    xp = namespace(dy)
    one = xp.ones_like(rstd)
    dx, _, _ = batch_norm_backward(g.reshape(dy.shape), x_hat, rstd, xp.zeros_like(rstd), one)
    return dx, dweight.reshape(weight.shape), dbias.reshape(weight.shape)


@kernel
def conditional_batch_norm_eval_forward(
    x: Channels, weight: Array, bias: Array, mean: PerChannel, var: PerChannel, eps: float
) -> tuple[Channels, Channels, PerChannel]:
    """Return y and x̂ (N, C, S), and rstd (1, C, 1); weight and bias are (N, C), mean and var (1, C, 1)."""
    x_hat, rstd = batch_norm_eval_forward(x, None, None, mean, var, eps)
    y, _ = batch_norm_eval_forward(*_each_sample(x_hat, weight, bias), 0.0)
    return y.reshape(x.shape), x_hat, rstd


@kernel
def conditional_batch_norm_eval_backward(
    dy: Channels, x_hat: Channels, weight: Array, rstd: PerChannel
) -> tuple[Channels, Array, Array]:
    """Return dx = r·w_c·dy (N, C, S), dweight and dbias (N, C)."""
    pools, *vectors = _each_sample(x_hat, weight * rstd.reshape(1, -1))
    dx, dweight, dbias = batch_norm_eval_backward(dy.reshape(pools.shape), pools, *vectors)
    return dx.reshape(dy.shape), dweight.reshape(weight.shape), dbias.reshape(weight.shape)


class ConditionalBatchNormFunction(Function):
    """y = w·x̂ + b, w and b (N, C) · dx = r·(g - mean(g) - x̂·mean(g·x̂)), g = w·dy, means over each channel

    `update_statistics` is called with the batch's mean and biased variance (1, C, 1).
    """

    def forward(
        self, x: Array, weight: Array, bias: Array, *, eps: float, update_statistics: UpdateStatistics
    ) -> Array:
        (pools,) = as_channels(x)
        y, x_hat, mean, var, rstd = conditional_batch_norm_forward(pools, weight, bias, eps)
        update_statistics(mean, var)
        self.saved = x_hat, weight, rstd
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, *rows = conditional_batch_norm_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), *rows


class ConditionalBatchNormEvalFunction(Function):
    """y = w·(x - mean)·r + b, w and b (N, C) · dx = r·w·dy: mean and r are constants"""

    def forward(self, x: Array, weight: Array, bias: Array, *, mean: Array, var: Array, eps: float) -> Array:
        pools, mean, var = as_channels(x, mean, var)
        y, x_hat, rstd = conditional_batch_norm_eval_forward(pools, weight, bias, mean, var, eps)
        self.saved = x_hat, weight, rstd
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, *rows = conditional_batch_norm_eval_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), *rows


class RowsOfClassesFunction(Function):
    """y = table[labels] · dtable[k] = Σ dy over the samples with label k: labels that repeat add up"""

    def forward(self, labels: Array, table: Array) -> Array:
        rows = labels.astype(numpy.int64)  # a copy: the caller may reuse the labels
        self.saved = table.shape, rows
        return table.take(rows, 0)

    def backward(self, dy: Array) -> Gradients:
        shape, rows = self.saved
        return None, scatter_add(shape, (rows,), dy)


def rows_of_classes(
    input: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, name: str
) -> tuple[Tensor, Tensor]:
    """Return the rows (N, C) of weight and bias (K, C) that belong to the labels (N,).

    Raises:
        TypeError: if the labels are not integers, or a table is not of the input's dtype.
        ValueError: if there is not one label for each sample, or a table is not (K, C).
        IndexError: if a label is not between 0 and K - 1.
    """
    C = check_channels(input, name)
    if weight.ndim != 2:
        raise ValueError(f"{name} takes a weight (classes, C) with C = {C}, got shape {weight.shape}")
    check_vectors(input, (len(weight), C), weight=weight, bias=bias)
    if not isinstance(labels, Tensor):
        raise TypeError(f"{name} takes labels as an integer tensor, got {type(labels).__name__}")
    if labels.shape != input.shape[:1]:
        raise ValueError(
            f"{name} takes one label for each sample, of shape {input.shape[:1]}, got shape {labels.shape}"
        )
    _checked_index(name, labels, len(weight))
    return RowsOfClassesFunction.apply(labels, weight), RowsOfClassesFunction.apply(labels, bias)


def conditional_batch_norm(
    input: Tensor,
    labels: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel over the batch, then scale and shift by the rows of the sample's class.

    Args:
        input: (N, C, ...).
        labels: (N,), integers from 0 to K - 1.
        running_mean, running_var, training, momentum, eps: as in `batch_norm`.
        weight: (K, C).
        bias: (K, C).

    Raises:
        TypeError: if the input is not a floating-point tensor, the labels are not integers, or `training`
            is not a bool.
        ValueError: if a shape does not fit, in evaluation without running statistics, in training with one
            value per channel, or if eps is negative.
        IndexError: if a label is not between 0 and K - 1.

    Source: de Vries et al. 2017, arXiv:1707.00683.
    """
    name = "conditional_batch_norm"
    rows = rows_of_classes(input, labels, weight, bias, name)
    check_vectors(input, (input.shape[1],), running_mean=running_mean, running_var=running_var)
    check_flags(training=training)
    check_eps(eps)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError(f"{name} in evaluation needs running_mean and running_var: pass both")
        mean, var = running_mean.array.copy(), running_var.array.copy()
        return ConditionalBatchNormEvalFunction.apply(input, *rows, mean=mean, var=var, eps=float(eps))
    n = input.shape[0] * math.prod(input.shape[2:])
    check_pool(input, n, name, "use a larger batch, or call eval()")

    def update_statistics(mean: Array, var: Array) -> None:
        if n:
            update_both(running_mean, running_var, mean, var, momentum, n)

    return ConditionalBatchNormFunction.apply(
        input, *rows, eps=float(eps), update_statistics=update_statistics
    )


class ConditionalBatchNorm2d(RunningNorm):
    """Batch normalization of (N, C, H, W) with a weight (ones) and a bias (zeros) of each class.

    `forward(x, labels)` takes labels (N,), integers from 0 to num_classes - 1; weight and bias are
    (num_classes, C). Statistics are those of BatchNorm2d: all classes share them.
    Source: de Vries et al. 2017, arXiv:1707.00683.
    """

    input_ndims = (4,)

    def __init__(
        self, num_features: int, num_classes: int, eps: float = 1e-5, momentum: float | None = 0.1
    ) -> None:
        super().__init__(num_features, eps, momentum, affine=False, track_running_stats=True, bias=False)
        self.num_classes = as_size(num_classes, "num_classes")
        rows = numpy.ones((num_classes, num_features), numpy.float32)
        self.weight, self.bias = Parameter(rows), Parameter(rows * 0)

    def is_affine_in_evaluation(self) -> bool:
        return False

    def forward(self, input: Tensor, labels: Tensor) -> Tensor:
        self.check_ndim(input)
        check_channels(input, type(self).__name__, self.num_features)
        return conditional_batch_norm(
            input,
            labels,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.count_batch(),
            self.eps,
        )

    def extra_repr(self) -> str:
        return f"{self.num_features}, {self.num_classes}, eps={self.eps}, momentum={self.momentum}"


def _call(
    x: Shape = (4, 3, 2),
    labels: tuple[int, ...] = (0, 1, 1, 0),
    weight: Shape = (2, 3),
    bias: Shape = (2, 3),
    training: bool = True,
    eps: float = 1e-5,
) -> Tensor:
    tables = ones(*weight), ones(*bias)
    return conditional_batch_norm(
        ones(*x), tensor(labels, dtype=int), None, None, *tables, training=training, eps=eps
    )


_STATISTICS = (Input((3,), differentiable=False), positive(3, differentiable=False))
_TABLES = ((3, 3), (3, 3))
_TRAINING = {"training": True}

register(
    name="conditional_batch_norm",
    function=conditional_batch_norm,
    composed=conditional_batch_norm_composed,
    parameters=("weight", "bias"),
    cases=(
        Case(((4, 3, 2), fixed([2, 0, 2, 2]), None, None, *_TABLES), _TRAINING),
        Case(((3, 3, 2, 2), fixed([1, 1, 0]), None, None, *_TABLES), {**_TRAINING, "eps": 1e-3}),
        Case(((5, 3), fixed([0, 1, 1, 0, 0]), None, None, (2, 3), (2, 3)), _TRAINING),
        Case(((4, 3, 2), fixed([2, 0, 2, 2]), *_STATISTICS, *_TABLES)),
        Case(((0, 3, 2), integers(3, 0), *_STATISTICS, *_TABLES)),
    ),
    errors=(
        ErrorCase(lambda: _call(labels=(0, 1, 1)), ValueError, "one label for each sample, of shape (4,)"),
        ErrorCase(lambda: _call(labels=(0, 1, 2, 0)), IndexError, "0 to 1"),
        ErrorCase(lambda: _call(labels=(0, -1, 1, 0)), IndexError, "0 to 1"),
        ErrorCase(lambda: _call(weight=(3,)), ValueError, "(classes, C)"),
        ErrorCase(lambda: _call(bias=(3, 3)), ValueError, "bias has shape (3, 3)"),
        ErrorCase(lambda: _call(x=(1, 3), labels=(0,)), ValueError, "more than one value"),
        ErrorCase(lambda: _call(training=False), ValueError, "running_mean"),
        ErrorCase(lambda: _call(eps=-1.0), ValueError, "eps"),
        ErrorCase(lambda: ConditionalBatchNorm2d(3, 0), ValueError, "num_classes"),
        ErrorCase(lambda: ConditionalBatchNorm2d(3, 2)(ones(4, 3), ones(4).long()), ValueError, "4-d"),
    ),
    kind="normalization",
    title="ConditionalBatchNorm",
    paper="de Vries et al. 2017, arXiv:1707.00683",
    pool="each channel, over samples and positions; scale and shift of the sample's class",
    bench=(Case(((64, 64, 32, 32), integers(10, 64), None, None, (10, 64), (10, 64)), _TRAINING),),
)
