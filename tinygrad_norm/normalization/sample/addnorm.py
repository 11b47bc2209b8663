"""Residual sum and normalization in one: the two steps between any two blocks of a transformer.

    x, z (..., D)   s = x + z   y = norm(s)   with norm one of LayerNorm and RMSNorm

y goes into the next block, s on along the residual stream; both are outputs. Here x is what a block has
made and z the stream it came from, and they may change places.

In the code: x input, z residual, s their sum, dx the gradient of both.

Pre-norm transformers: Xiong et al. 2020, arXiv:2002.04745; the normalizations: Ba, Kiros, Hinton 2016,
arXiv:1607.06450 and Zhang, Sennrich 2019, arXiv:1910.07467.

Backward, from dy = dL/dy and ds, the gradient that comes back along the stream. s reaches L along two
paths, and the paths add; x and z reach it through s alone, with slope 1:

    straight      ds
    through norm  the norm's own dx, as layernorm.py and rmsnorm.py derive it from dy

    dx = dz = ds + dx of the norm      dw, db as the norm has them

Insight: there is nothing to derive, but much to save. As three steps, the sum is written, read again by
the norm, and its two gradients are added in a pass of their own; as one, the sum is normalized while it
is at hand, and ds is added while dx is.
"""

from collections.abc import Sequence
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.half import downcast, upcast
from ...backends.cuda.launch import (
    CudaSource,
    contiguous,
    kept_bytes,
    persistent_blocks,
    teams,
    wide,
    wide_empty,
)
from ...backends.cuda.teams import BACKWARD_SHAPES
from ...ops.checks import Shape, check_normalized_shape, check_vector, check_vectors
from ...ops.ieee import silent
from ...registry import Case, ErrorCase, register
from ..core.moments import check_eps
from ..core.rows import as_rows, as_vector
from .layernorm import LayerNorm, layer_norm_backward, layer_norm_composed, layer_norm_forward
from .rmsnorm import RMSNorm, rms_norm_backward, rms_norm_composed, rms_norm_forward

_kernels = CudaSource(__file__, "../core/moments.cuh")


def add_layer_norm_composed(
    input: Tensor,
    residual: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """Sum and layer normalization from primitives: autograd finds the gradient."""
    s = input + residual
    return layer_norm_composed(s, normalized_shape, weight, bias, eps), s


def add_rms_norm_composed(
    input: Tensor,
    residual: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Sum and RMS normalization from primitives: autograd finds the gradient."""
    s = input + residual
    return rms_norm_composed(s, normalized_shape, weight, eps), s


@kernel
def add_layer_norm_forward(
    x: Array, z: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array, Array]:
    """Return y, s, mean and rstd: x and z (N, D), weight and bias (D,), mean and rstd (N, 1)."""
    s = _sum(x, z)
    y, mean, rstd = layer_norm_forward(s, weight, bias, eps)
    return y, s, mean, rstd


@add_layer_norm_forward.cuda
def add_layer_norm_forward_cuda(
    x: Array, z: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array, Array]:
    """One kernel: x and z are read once, s and y are written once."""
    check_eps(eps)
    (N, D), (x, z), (weight, bias) = x.shape, contiguous(x, z), wide(x, weight, bias)
    y, s = namespace(x).empty_like(x), namespace(x).empty_like(x)
    mean, rstd = wide_empty(x, N, 1), wide_empty(x, N, 1)
    shape = teams(D, x, z, s, y, weight, bias)
    shared = kept_bytes(shape, D, x)
    args = x, z, weight, bias, y, s, mean, rstd, N, D, 1 / D, eps, shared > 0
    blocks = shape.blocks(N)
    _kernels.launch("add_layer_norm_forward", x.dtype, shape.template, blocks, shape.block, args, shared)
    return y, s, mean, rstd


@kernel
def add_layer_norm_backward(
    dy: Array,
    ds: Array,
    s: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    rstd: Array,
) -> tuple[Array, Array | None, Array | None]:
    """Return dx (N, D), dweight and dbias (D,), None where there is no weight or bias."""
    dx, dweight, dbias = layer_norm_backward(dy, s, weight, bias, mean, rstd)
    return silent.run(_add, dx, ds), dweight, dbias


@add_layer_norm_backward.cuda
def add_layer_norm_backward_cuda(
    dy: Array,
    ds: Array,
    s: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    rstd: Array,
) -> tuple[Array, Array | None, Array | None]:
    """One kernel for dx and, block by block, for dweight and dbias; a second one adds the blocks up."""
    (N, D), (dy, ds, s), (weight,) = s.shape, contiguous(dy, ds, s), wide(s, weight)
    shape = teams(D, s, dy, ds, weight, shapes=BACKWARD_SHAPES)
    blocks = persistent_blocks(shape, N, s)
    dx, dweights, dbiases = namespace(s).empty_like(s), wide_empty(s, blocks, D), wide_empty(s, blocks, D)
    shared = D * dweights.itemsize if shape.per_block > 1 else 0
    args = dy, ds, s, weight, mean, rstd, dx, dweights, dbiases, N, D, 1 / D
    _kernels.launch("add_layer_norm_backward", s.dtype, shape.template, blocks, shape.block, args, shared)
    dweight = None if weight is None else _kernels.sum_columns(dweights)
    return dx, dweight, None if bias is None else _kernels.sum_columns(dbiases)


@kernel
def add_rms_norm_forward(x: Array, z: Array, weight: Array | None, eps: float) -> tuple[Array, Array, Array]:
    """Return y, s and rstd: x and z (N, D), weight (D,), rstd (N, 1)."""
    s = _sum(x, z)
    y, rstd = rms_norm_forward(s, weight, eps)
    return y, s, rstd


@add_rms_norm_forward.cuda
def add_rms_norm_forward_cuda(
    x: Array, z: Array, weight: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """One kernel: x and z are read once, s and y are written once."""
    check_eps(eps)
    (N, D), (x, z), (weight,) = x.shape, contiguous(x, z), wide(x, weight)
    y, s, rstd = namespace(x).empty_like(x), namespace(x).empty_like(x), wide_empty(x, N, 1)
    shape = teams(D, x, z, s, y, weight)
    shared = kept_bytes(shape, D, x)
    args = x, z, weight, y, s, rstd, N, D, 1 / D, eps, shared > 0
    _kernels.launch(
        "add_rms_norm_forward", x.dtype, shape.template, shape.blocks(N), shape.block, args, shared
    )
    return y, s, rstd


@kernel
def add_rms_norm_backward(
    dy: Array, ds: Array, s: Array, weight: Array | None, rstd: Array
) -> tuple[Array, Array | None]:
    """Return dx (N, D) and dweight (D,), None without weight."""
    dx, dweight = rms_norm_backward(dy, s, weight, rstd)
    return silent.run(_add, dx, ds), dweight


@add_rms_norm_backward.cuda
def add_rms_norm_backward_cuda(
    dy: Array, ds: Array, s: Array, weight: Array | None, rstd: Array
) -> tuple[Array, Array | None]:
    """One kernel for dx and, block by block, for dweight; a second one adds the blocks up."""
    (N, D), (dy, ds, s), (weight,) = s.shape, contiguous(dy, ds, s), wide(s, weight)
    shape = teams(D, s, dy, ds, weight, shapes=BACKWARD_SHAPES)
    blocks = persistent_blocks(shape, N, s)
    dx, dweights = namespace(s).empty_like(s), wide_empty(s, blocks, D)
    shared = D * dweights.itemsize if shape.per_block > 1 else 0
    args = dy, ds, s, weight, rstd, dx, dweights, N, D, 1 / D
    _kernels.launch("add_rms_norm_backward", s.dtype, shape.template, blocks, shape.block, args, shared)
    return dx, None if weight is None else _kernels.sum_columns(dweights)


def _sum(x: Array, z: Array) -> Array:
    return downcast(silent.run(namespace(x).add, upcast(x), upcast(z)), x)


def _add(dx: Array, ds: Array) -> Array:
    dx += ds
    return dx


class AddLayerNormFunction(Function):
    """s = x + z, y = w·(s - m)·r + b · dx = dz = ds + r·(g - mean(g) - x̂·mean(g·x̂)) with g = w·dy"""

    def forward(
        self,
        x: Array,
        z: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        normalized_shape: Shape,
        eps: float,
    ) -> tuple[Array, Array]:
        weight, bias = as_vector(weight), as_vector(bias)
        rows = as_rows(x, normalized_shape), as_rows(z, normalized_shape)
        y, s, mean, rstd = add_layer_norm_forward(*rows, weight, bias, eps)
        y, s = y.reshape(x.shape), s.reshape(x.shape)
        self.saved = s, weight, bias, mean, rstd, normalized_shape
        return y, s

    def backward(self, dy: Array, ds: Array) -> Gradients:
        s, *rest, normalized_shape = self.saved
        rows = [as_rows(a, normalized_shape) for a in (dy, ds, s)]
        dx, *affine = add_layer_norm_backward(*rows, *rest)
        dx = dx.reshape(s.shape)
        return dx, dx, *(None if d is None else d.reshape(normalized_shape) for d in affine)


class AddRMSNormFunction(Function):
    """s = x + z, y = w·s·r · dx = dz = ds + r·(g - x̂·mean(g·x̂)) with g = w·dy"""

    def forward(
        self, x: Array, z: Array, weight: Array | None, *, normalized_shape: Shape, eps: float
    ) -> tuple[Array, Array]:
        weight = as_vector(weight)
        rows = as_rows(x, normalized_shape), as_rows(z, normalized_shape)
        y, s, rstd = add_rms_norm_forward(*rows, weight, eps)
        y, s = y.reshape(x.shape), s.reshape(x.shape)
        self.saved = s, weight, rstd, normalized_shape
        return y, s

    def backward(self, dy: Array, ds: Array) -> Gradients:
        s, weight, rstd, normalized_shape = self.saved
        rows = [as_rows(a, normalized_shape) for a in (dy, ds, s)]
        dx, dweight = add_rms_norm_backward(*rows, weight, rstd)
        dx = dx.reshape(s.shape)
        return dx, dx, None if dweight is None else dweight.reshape(normalized_shape)


def add_layer_norm(
    input: Tensor,
    residual: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """Return layer_norm(input + residual, ...) and input + residual, in one pass.

    Args:
        input: (..., *normalized_shape).
        residual: of the shape and dtype of input.
        normalized_shape: the sizes of the last axes, which share one mean and one variance.
        weight: of that shape, or None.
        bias: of that shape, or None.
        eps: added to the variance, in units of input².

    Raises:
        TypeError: for an input that is no floating-point tensor, or a residual of another dtype.
        ValueError: where the last sizes of the input, or the shape of residual, weight or bias, differ.

    Source: Ba, Kiros, Hinton 2016, arXiv:1607.06450; the place of it: Xiong et al. 2020, arXiv:2002.04745.
    """
    shape = check_normalized_shape(input, normalized_shape, "add_layer_norm")
    _check_residual(input, residual)
    check_vectors(input, shape, weight=weight, bias=bias)
    return AddLayerNormFunction.apply(input, residual, weight, bias, normalized_shape=shape, eps=eps)


def add_rms_norm(
    input: Tensor,
    residual: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Return rms_norm(input + residual, ...) and input + residual, in one pass.

    Args:
        input: (..., *normalized_shape).
        residual: of the shape and dtype of input.
        normalized_shape: the sizes of the last axes, which share one root mean square.
        weight: of that shape, or None.
        eps: added to the mean square, in units of input²; None is the machine epsilon of the dtype.

    Raises:
        TypeError: for an input that is no floating-point tensor, or a residual of another dtype.
        ValueError: where the last sizes of the input, or the shape of residual or weight, differ.

    Source: Zhang, Sennrich 2019, arXiv:1910.07467; the place of it: Xiong et al. 2020, arXiv:2002.04745.
    """
    shape = check_normalized_shape(input, normalized_shape, "add_rms_norm")
    _check_residual(input, residual)
    check_vectors(input, shape, weight=weight)
    eps = float(numpy.finfo(input.dtype).eps) if eps is None else eps
    return AddRMSNormFunction.apply(input, residual, weight, normalized_shape=shape, eps=eps)


def _check_residual(input: Tensor, residual: Tensor) -> None:
    if not isinstance(residual, Tensor):
        raise TypeError(f"residual must be a Tensor, got {type(residual).__name__}: use tn.tensor(...)")
    if residual.dtype != input.dtype:
        raise TypeError(f"residual is of {residual.dtype}, the input of {input.dtype}: convert one of them")
    check_vector(residual, "residual", input.shape)


class AddLayerNorm(LayerNorm):
    """LayerNorm of input + residual, which is returned too: y and the sum, both (..., *normalized_shape)."""

    def forward(self, input: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return add_layer_norm(input, residual, self.normalized_shape, self.weight, self.bias, self.eps)


class AddRMSNorm(RMSNorm):
    """RMSNorm of input + residual, which is returned too: y and the sum, both (..., *normalized_shape)."""

    def forward(self, input: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return add_rms_norm(input, residual, self.normalized_shape, self.weight, self.eps)


_SHAPES = ((64, 64), (512, 768), (4096, 1024))


def _torch_layer_norm(
    torch: Any,
    input: Any,
    residual: Any,
    weight: Any,
    bias: Any,
    normalized_shape: Shape,
    eps: float = 1e-5,
) -> Any:
    s = input + residual
    return torch.nn.functional.layer_norm(s, normalized_shape, weight, bias, eps), s


def _torch_rms_norm(
    torch: Any, input: Any, residual: Any, weight: Any, normalized_shape: Shape, eps: float | None = None
) -> Any:
    s = input + residual
    return torch.nn.functional.rms_norm(s, normalized_shape, weight, eps), s


register(
    name="add_layer_norm",
    function=add_layer_norm,
    composed=add_layer_norm_composed,
    inputs=("input", "residual", "weight", "bias"),
    cases=(
        Case(((4, 8), (4, 8), (8,), (8,)), {"normalized_shape": (8,)}),
        Case(((4, 8), (4, 8), None, None), {"normalized_shape": (8,)}),
        Case(((2, 3, 5), (2, 3, 5), (5,), None), {"normalized_shape": (5,), "eps": 1e-3}),
        Case(((2, 3, 4), (2, 3, 4), (3, 4), (3, 4)), {"normalized_shape": (3, 4)}),
        Case(((0, 4), (0, 4), (4,), (4,)), {"normalized_shape": (4,)}),
    ),
    errors=(
        ErrorCase(
            lambda: add_layer_norm(Tensor(numpy.ones((2, 3))), Tensor(numpy.ones(3)), 3),
            ValueError,
            "residual has shape (3,)",
        ),
        ErrorCase(
            lambda: add_layer_norm(Tensor(numpy.ones(3)), Tensor(numpy.ones(3, numpy.float32)), 3),
            TypeError,
            "residual is of float32",
        ),
        ErrorCase(
            lambda: add_layer_norm(Tensor(numpy.ones(3)), 1.0, 3),  # type: ignore[arg-type]
            TypeError,
            "residual must be a Tensor",
        ),
        ErrorCase(
            lambda: add_layer_norm(Tensor(numpy.ones(3)), Tensor(numpy.ones(3)), 4), ValueError, "last sizes"
        ),
    ),
    kind="normalization",
    title="Residual sum + LayerNorm",
    paper="Xiong et al. 2020, arXiv:2002.04745",
    pool="the last axes of each sample",
    torch=_torch_layer_norm,
    bench=tuple(Case((s, s, s[-1:], s[-1:]), {"normalized_shape": s[-1:]}) for s in _SHAPES),
)
register(
    name="add_rms_norm",
    function=add_rms_norm,
    composed=add_rms_norm_composed,
    inputs=("input", "residual", "weight"),
    cases=(
        Case(((4, 8), (4, 8), (8,)), {"normalized_shape": (8,), "eps": 1e-5}),
        Case(((4, 8), (4, 8), None), {"normalized_shape": (8,), "eps": 1e-5}),
        Case(((2, 3, 4), (2, 3, 4), (3, 4)), {"normalized_shape": (3, 4), "eps": 1e-3}),
        Case(((0, 4), (0, 4), (4,)), {"normalized_shape": (4,)}),
    ),
    errors=(
        ErrorCase(
            lambda: add_rms_norm(Tensor(numpy.ones((2, 3))), Tensor(numpy.ones(3)), 3),
            ValueError,
            "residual has shape (3,)",
        ),
        ErrorCase(
            lambda: add_rms_norm(Tensor(numpy.ones((2, 3))), Tensor(numpy.ones((2, 3))), 3, eps=-1.0),
            ValueError,
            "eps",
        ),
    ),
    kind="normalization",
    title="Residual sum + RMSNorm",
    paper="Xiong et al. 2020, arXiv:2002.04745",
    pool="the last axes of each sample, no mean",
    torch=_torch_rms_norm,
    bench=tuple(Case((s, s, s[-1:]), {"normalized_shape": s[-1:]}) for s in _SHAPES),
)
