"""Weight normalization: a weight is a length times a direction, and both are learned.

    v (K, ...)   one row per output k   n_k = ‖v_k‖   u = v/n   w = y = g·u   g (K, 1, ...)

`dim` says which axis has the outputs; with dim=None there is one length for the whole weight, g ().

In the code: 1/n is rnorm, u direction.

Salimans, Kingma 2016, arXiv:1602.07868.

Backward, for one row, from dw = dy = dL/dw:

    dg = Σ dw·u      dL/du = g·dw

    straight   g·dw/n
    through n  ∂n/∂v = u      Σ(g·dw·v)·(-1/n²)·u = -g·dg·u/n, u = v/n, dw = dy

    dv = dx = (g/n)·(dw - dg·u)

The second path is that of L2 normalization (normalize.py, with eps = 0). A row of zeros has no direction: its
w is 0, and so are its gradients. PyTorch gives NaN there.

Insight: dv has no part along v. A step of plain gradient descent goes sideways, so n can only grow, and as dv
shrinks with n, v turns ever more slowly: the layer tunes its own learning rate. g alone sets the length.
"""

from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.pool_loops import COLUMN
from ...backends.cpu.sums import row_sum_products
from ...backends.cuda.launch import (
    CudaSource,
    accumulator_dtype,
    contiguous,
    kept_bytes,
    teams,
    wide,
    wide_empty,
)
from ...backends.cuda.teams import BACKWARD_SHAPES
from ...module import Module
from ...ops import norm, where
from ...ops.checks import check_input
from ...ops.dims import Shape, normalize_dim
from ...registry import Case, ErrorCase, fixed, register
from ..core.lengths import directions, is_extreme, limits

_kernels = CudaSource(__file__, "../core/lengths.cuh")


def weight_norm_composed(v: Tensor, g: Tensor, dim: int | None = 0) -> Tensor:
    """Weight normalization from primitives: autograd finds the gradient."""
    length = norm_except_dim(v, dim)
    n = where(length <= 0, 1.0, length)
    return v * (g / n)


@kernel
@in_blocks("v", "g")
def weight_norm_forward(v: Array, g: Array) -> tuple[Array, Array]:
    """Return w and rnorm: v (K, D), g and rnorm (K, 1)."""
    direction, rnorm = directions(v, 2.0, 0.0)
    return g * direction, rnorm


@weight_norm_forward.loops(rnorm=COLUMN)
def weight_norm_forward_loop(v: Array, g: Array, w: Array, rnorm: Array, zero: float, left: Array) -> None:
    """One row after the other: once to find n, once to write w."""
    (K, D), real = v.shape, v.dtype.type
    for k in range(K):
        s = zero
        for i in range(D):
            s += v[k, i] * v[k, i]
        r = real(1 / numpy.sqrt(s))
        for i in range(D):
            w[k, i] = g[k, 0] * (v[k, i] * r)
        rnorm[k, 0], left[k] = r, is_extreme(r)


@weight_norm_forward.cuda
def weight_norm_forward_cuda(v: Array, g: Array) -> tuple[Array, Array]:
    """One kernel: every row is read once and written once."""
    (K, D), (v,), most = v.shape, contiguous(v), limits(accumulator_dtype(v), 0.0)[2]
    w, rnorm, shape = namespace(v).empty_like(v), wide_empty(v, K, 1), teams(D, v)
    shared, blocks = kept_bytes(shape, D, v), shape.blocks(K)
    args = v, *wide(v, g), w, rnorm, K, D, most, shared > 0
    _kernels.launch("weight_norm_forward", v.dtype, shape.template, blocks, shape.block, args, shared)
    return w, rnorm


@kernel
@in_blocks("dw", "v", "rnorm", "g")
def weight_norm_backward(dw: Array, v: Array, rnorm: Array, g: Array) -> tuple[Array, Array]:
    """Return dv (K, D) and dg (K, 1)."""
    direction, _ = directions(v, 2.0, 0.0)
    dg = row_sum_products(dw, direction)
    return g * (rnorm * (dw - dg * direction)), dg


@weight_norm_backward.loops(dg=COLUMN)
def weight_norm_backward_loop(
    dw: Array, v: Array, rnorm: Array, g: Array, dv: Array, dg: Array, zero: float, left: Array
) -> None:
    """One row after the other: once to find dg, once to write dv."""
    (K, D), real = v.shape, v.dtype.type
    for k in range(K):
        r, s = rnorm[k, 0], zero
        left[k] = is_extreme(r)
        if left[k]:
            continue
        for i in range(D):
            s += dw[k, i] * (v[k, i] * r)
        along = dg[k, 0] = real(s)
        for i in range(D):
            dv[k, i] = g[k, 0] * (r * (dw[k, i] - along * (v[k, i] * r)))


@weight_norm_backward.cuda
def weight_norm_backward_cuda(dw: Array, v: Array, rnorm: Array, g: Array) -> tuple[Array, Array]:
    """One kernel: dw and v are read once, dv is written once."""
    (K, D), (dw, v), most = v.shape, contiguous(dw, v), limits(accumulator_dtype(v), 0.0)[2]
    dv, dg, shape = namespace(v).empty_like(v), wide_empty(v, K, 1), teams(D, v, dw, shapes=BACKWARD_SHAPES)
    args = dw, v, *wide(v, g), dv, dg, K, D, most
    _kernels.launch("weight_norm_backward", v.dtype, shape.template, shape.blocks(K), shape.block, args)
    return dv, dg


class WeightNormFunction(Function):
    """w = g·v/‖v‖ · dv = (g/‖v‖)·(dw - dg·v/‖v‖), dg = Σ dw·v/‖v‖ over each row"""

    def forward(self, v: Array, g: Array, *, dim: int | None) -> Array:
        rows = _rows(v, dim)
        g_rows = g.reshape(len(rows), 1)
        w, rnorm = weight_norm_forward(rows, g_rows)
        self.saved = rows, rnorm, g_rows
        self.layout = g.shape, dim
        return _back(w, v.shape, dim)

    def backward(self, dw: Array) -> Gradients:
        g_shape, dim = self.layout
        dv, dg = weight_norm_backward(_rows(dw, dim), *self.saved)
        return _back(dv, dw.shape, dim), dg.reshape(g_shape)


def _rows(v: Array, dim: int | None) -> Array:
    """Return v as contiguous rows (K, D), with K on axis `dim`, or K = 1 without one."""
    K = 1 if dim is None else v.shape[dim]
    first = v.swapaxes(0, dim) if dim else v
    return namespace(v).ascontiguousarray(first.reshape(K, v.size // max(K, 1)))


def _back(rows: Array, shape: Shape, dim: int | None) -> Array:
    """Return what `_rows` made of an array of that shape in its old shape, contiguous."""
    if not dim:
        return rows.reshape(shape)
    swapped = list(shape)
    swapped[0], swapped[dim] = swapped[dim], swapped[0]
    return namespace(rows).ascontiguousarray(rows.reshape(swapped).swapaxes(0, dim))


def weight_norm(v: Tensor, g: Tensor, dim: int | None = 0) -> Tensor:
    """Return g·v/‖v‖: the direction of v with the length g.

    Args:
        v: (K, ...), or any shape with K outputs on axis `dim`.
        g: one length for each output, of v's shape with size 1 on all other axes; or () without a dim.
        dim: the axis of the outputs. None, and as in PyTorch also -1, mean the whole of v.

    Raises:
        TypeError: if the tensors are not floating-point, or have two dtypes.
        ValueError: if g has another shape.
        IndexError: if the axis does not exist.

    Source: Salimans, Kingma 2016, arXiv:1602.07868.
    """
    check_input(v, "weight_norm")
    check_input(g, "weight_norm")
    dim = _outputs(dim, v.ndim)
    if g.dtype != v.dtype:
        raise TypeError(f"weight_norm takes v and g of one dtype, got {v.dtype} and {g.dtype}")
    expected = () if dim is None else (1,) * dim + v.shape[dim : dim + 1] + (1,) * (v.ndim - dim - 1)
    if g.shape != expected:
        raise ValueError(
            f"weight_norm of v {v.shape} with dim={dim} takes g of shape {expected}, got {g.shape}"
        )
    return WeightNormFunction.apply(v, g, dim=dim)


def norm_except_dim(v: Tensor, dim: int | None = 0) -> Tensor:
    """Return the lengths ‖v‖ over all axes but `dim`, which stay with size 1; () without a dim."""
    dim = _outputs(dim, v.ndim)
    if dim is None:
        return norm(v)
    others = tuple(axis for axis in range(v.ndim) if axis != dim)
    return norm(v, 2, others, keepdim=True) if others else norm(v.unsqueeze(1), 2, 1)


def _outputs(dim: int | None, ndim: int) -> int | None:
    return None if dim is None or dim == -1 else normalize_dim(dim, ndim)


class WeightNorm(Module):
    """What nn.utils.parametrizations.weight_norm registers: takes g and v, returns g·v/‖v‖."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return weight_norm(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return g = ‖weight‖ and v = weight, which give this very weight."""
        return norm_except_dim(weight, self.dim), weight

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


def _ones(*shape: int, dtype: Any = numpy.float64) -> Tensor:
    return Tensor(numpy.ones(shape, dtype))


register(
    name="weight_norm",
    function=weight_norm,
    composed=weight_norm_composed,
    parameters=("v", "g"),
    cases=(
        Case(((4, 3), (4, 1))),
        Case(((4, 3, 2), (4, 1, 1)), {"dim": 0}),
        Case(((4, 3, 2), (1, 3, 1)), {"dim": 1}),
        Case(((4, 3, 2), (1, 1, 2)), {"dim": 2}),
        Case(((4, 3, 2), (1, 3, 1)), {"dim": -2}),
        Case(((4, 3), ()), {"dim": -1}),
        Case(((1, 3), (1, 1))),
        Case(((4, 3), fixed([[0.0], [1.0], [-2.0], [1e-3]], differentiable=True))),
    ),
    errors=(
        ErrorCase(lambda: weight_norm(_ones(4, 3), _ones(4)), ValueError, "(4, 1)"),
        ErrorCase(lambda: weight_norm(_ones(4, 3), _ones(4, 1), None), ValueError, "takes g of shape ()"),
        ErrorCase(lambda: weight_norm(_ones(4, 3), _ones(4, 1), 2), IndexError, "out of range"),
        ErrorCase(lambda: weight_norm(_ones(4, 3), _ones(4, 1, dtype="f4")), TypeError, "one dtype"),
        ErrorCase(lambda: weight_norm(_ones(4, 3, dtype=int), _ones(4, 1)), TypeError, "floating-point"),
    ),
    kind="normalization",
    title="WeightNorm",
    paper="Salimans, Kingma 2016, arXiv:1602.07868",
    pool="the weights of each output, no mean",
    torch="torch._weight_norm",
    bench=tuple(Case((shape, (shape[0], 1))) for shape in ((128, 64), (512, 768), (4096, 1024))),
)
