"""Spectral normalization: a weight is divided by its largest singular value, estimated step by step.

    W (H, D)   u (H,)   v (D,)   σ = uᵀ·W·v   y = Ŵ = W/σ

A weight with more axes is W with axis `dim` in front and all others flattened. u and v are the first singular
vectors, or nearly: every call in training moves them by a step of the power method,

    u ← W·v/‖W·v‖      v ← Wᵀ·u/‖Wᵀ·u‖

and they are kept. As W changes little from call to call, one step is enough. A product of 0 has no
direction, and leaves the vector as it was. A short product has one, however short: with max(‖p‖, eps), as in
PyTorch, u and v shrink toward 0 if W is far below eps = 1e-12, and Ŵ grows without limit.

In the code: W matrix, σ sigma.

Miyato, Kataoka, Koyama, Yoshida 2018, arXiv:1802.05957.

Backward, with u and v constant, from dy = dL/dŴ:

    straight   dy/σ
    through σ  ∂σ/∂W = u·vᵀ      Σ(dy∘W)·(-1/σ²)·u·vᵀ = -Σ(dy∘Ŵ)/σ·u·vᵀ

    dW = dx = (dy - Σ(dy∘Ŵ)·u·vᵀ)/σ

For exact singular vectors this is the whole gradient: ‖u‖ = ‖v‖ = 1 keeps their own changes from moving σ, to
first order. W = 0 has no singular vectors: Ŵ is 0, and so is the gradient. PyTorch gives NaN there.

Insight: the gradient is pushed away from the direction in which W is largest, by as much as it wants to grow
along Ŵ: the layer cannot gain by scaling W up.
"""

import functools
import math
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, asarray, host_can_read, kernel, namespace
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.loops import Loop
from ...backends.cpu.pool_loops import F8, LONG, fits_a_loop, plain, run_over_pools
from ...backends.cpu.silence import silent
from ...backends.cuda.launch import CudaSource, contiguous, packs, teams, wide, wide_empty
from ...backends.cuda.teams import BACKWARD_SHAPES
from ...backends.random import generator
from ...module import Module
from ...ops.arguments import as_size
from ...ops.checks import check_eps, check_input, check_vector
from ...ops.dims import Shape, normalize_dim
from ...registry import Case, ErrorCase, Input, fixed, register
from ..core.magnitudes import largest_of_rows
from ..vector.normalize import normalize, normalize_forward

_kernels = CudaSource(__file__)
STEPS_AT_FIRST = 15  # of the power method, from random vectors


def spectral_norm_composed(weight: Tensor, u: Tensor, v: Tensor, dim: int = 0) -> Tensor:
    """Spectral normalization from primitives: autograd finds the gradient."""
    matrix = weight.movedim(dim, 0).flatten(1)
    sigma = u @ (matrix @ v)
    return weight / sigma


@kernel
def spectral_norm_forward(matrix: Array, u: Array, v: Array) -> tuple[Array, Array]:
    """Return y (H, D) and sigma (): matrix (H, D), u (H,), v (D,)."""
    xp, wide, u, v = namespace(matrix), upcast(matrix), upcast(u), upcast(v)
    sigma = u @ (wide @ v)
    if sigma == 0:
        _refuse_unless_zero(wide)
        return matrix.copy(), sigma
    scale = xp.abs(wide).max() if not xp.isfinite(sigma) else 0
    if 0 < scale < math.inf:
        wide = wide / scale
        sigma = u @ (wide @ v)
        return downcast(wide / sigma, matrix), sigma * scale
    return downcast(wide / sigma, matrix), sigma


def _refuse_unless_zero(matrix: Array) -> None:
    if matrix.any():
        raise RuntimeError(
            "spectral_norm: uᵀ·W·v is 0 although W is not, so u and v are no singular vectors of W: run the "
            "power method, in training mode"
        )


@spectral_norm_forward.cuda
def spectral_norm_forward_cuda(matrix: Array, u: Array, v: Array) -> tuple[Array, Array]:
    """Two products by cuBLAS and three kernels. The host would have to wait to look at sigma.

    So a matrix with sigma = 0 that is not 0 becomes ±∞, instead of an error.
    """
    (matrix,), n = contiguous(matrix), matrix.size
    root, (u, v) = _root(matrix), (upcast(u), upcast(v))
    s = (u / root)[None] @ (upcast(matrix) @ (v / root))[:, None]
    y, sigma = namespace(matrix).empty_like(matrix), wide_empty(matrix)
    vector, blocks = packs(matrix, y)
    args = matrix, *wide(matrix, s), root, y, sigma, n
    _kernels.launch("spectral_norm_forward", matrix.dtype, (vector,), blocks, 256, args)
    return y, sigma


def _root(matrix: Array) -> Array:
    """Return, on a GPU, a power of two () near the root of the largest |W|, or 1 if that is 0 or infinite."""
    largest, root = largest_of_rows(matrix), wide_empty(matrix)
    _kernels.launch("root_of_largest", root.dtype, (), 1, 256, (largest, root, len(largest)))
    return root


@kernel
def spectral_norm_backward(dy: Array, y: Array, u: Array, v: Array, sigma: Array) -> Array:
    """Return the gradient (H, D) of the matrix."""
    dy, y = upcast(dy), upcast(y)
    if sigma == 0:
        return dy * 0
    return (dy - (dy * y).sum() * (upcast(u)[:, None] * upcast(v))) / sigma


def products_loop(dy: Array, y: Array, products: Array, zero: float, start: int, stop: int) -> None:
    """Σ dy∘y of one row after the other."""
    D = dy.shape[1]
    for h in range(start, stop):
        s = zero
        for d in range(D):
            s += dy[h, d] * y[h, d]
        products[h] = s


def spectral_norm_backward_loop(
    dy: Array, u: Array, v: Array, along: float, sigma: float, dx: Array, start: int, stop: int
) -> None:
    """One row after the other, with Σ dy∘y of all of them."""
    D = dy.shape[1]
    for h in range(start, stop):
        of_row = along * u[h]
        for d in range(D):
            dx[h, d] = (dy[h, d] - of_row * v[d]) / sigma


_products_loop, _backward_loop = Loop(products_loop), Loop(spectral_norm_backward_loop)


@spectral_norm_backward.cpu
def spectral_norm_backward_by_rows(dy: Array, y: Array, u: Array, v: Array, sigma: Array) -> Any:
    """The two loops; a matrix of zeros is left to the body. In the forward, BLAS is the loop."""
    if not fits_a_loop(dy, y, u, v) or sigma == 0:
        return NotImplemented
    (H, D), real, (dy, y, u, v) = dy.shape, dy.dtype.type, (plain(a) for a in (dy, y, u, v))
    products, dx = numpy.empty(H), numpy.empty_like(dy)
    run_over_pools(_products_loop, dy.size, H, dy, y, products, F8.type(0) if D > LONG else real(0))
    run_over_pools(_backward_loop, dy.size, H, dy, u, v, real(products.sum()), real(sigma), dx)
    return dx


@spectral_norm_backward.cuda
def spectral_norm_backward_cuda(dy: Array, y: Array, u: Array, v: Array, sigma: Array) -> Array:
    """One kernel and a sum of columns for Σ dy∘y, one for dx."""
    (H, D), (dy, y) = y.shape, contiguous(dy, y)
    products, dx = wide_empty(y, H, 1), namespace(y).empty_like(y)
    shape = teams(D, y, dy, shapes=BACKWARD_SHAPES)
    args: tuple[Any, ...] = dy, y, products, H, D
    _kernels.launch("products_of_rows", y.dtype, shape.template, shape.blocks(H), shape.block, args)
    along, shape = _kernels.sum_columns(products), teams(D, dy, dx)
    args = dy, *wide(y, u, v), along, sigma, dx, H, D
    _kernels.launch("spectral_norm_backward", y.dtype, shape.template, shape.blocks(H), shape.block, args)
    return dx


class SpectralNormFunction(Function):
    """y = W/σ, σ = uᵀ·W·v · dW = (dy - Σ(dy∘y)·u·vᵀ)/σ: u and v are constants"""

    def forward(self, weight: Array, *, u: Array, v: Array, dim: int) -> Array:
        y, sigma = spectral_norm_forward(_matrix(weight, dim), u, v)
        self.saved = y, u, v, sigma, dim
        return _back(y, weight.shape, dim)

    def backward(self, dy: Array) -> Gradients:
        *saved, dim = self.saved
        return _back(spectral_norm_backward(_matrix(dy, dim), *saved), dy.shape, dim)


def _matrix(weight: Array, dim: int) -> Array:
    """Return the weight as (H, D), with H on axis `dim`."""
    front = namespace(weight).moveaxis(weight, dim, 0)
    return front.reshape(len(front), math.prod(front.shape[1:]))


def _back(matrix: Array, shape: Shape, dim: int) -> Array:
    """Return what `_matrix` made of an array of that shape in its old shape, contiguous."""
    front = matrix.reshape(shape[dim], *shape[:dim], *shape[dim + 1 :])
    return namespace(matrix).ascontiguousarray(namespace(matrix).moveaxis(front, 0, dim))


def spectral_norm(weight: Tensor, u: Tensor, v: Tensor, dim: int = 0) -> Tensor:
    """Return weight/σ with σ = uᵀ·W·v, where W is the weight as a matrix. u and v are constants.

    Args:
        weight: at least 2 axes; W is (H, D), with axis `dim` as H.
        u: (H,), the first left singular vector.
        v: (D,), the first right singular vector.
        dim: the axis of the outputs.

    Raises:
        TypeError: if the weight is not a floating-point tensor.
        ValueError: if it has fewer than 2 axes, or a vector has another shape.
        IndexError: if the axis does not exist.
        RuntimeError: if σ is 0 but the weight is not.

    Source: Miyato, Kataoka, Koyama, Yoshida 2018, arXiv:1802.05957.
    """
    check_input(weight, "spectral_norm")
    if weight.ndim < 2:
        raise ValueError(f"spectral_norm takes a weight with at least 2 axes, got shape {weight.shape}")
    dim = normalize_dim(dim, weight.ndim)
    check_vector(u, "u", (weight.shape[dim],))
    check_vector(v, "v", (math.prod(weight.shape[:dim] + weight.shape[dim + 1 :]),))
    return SpectralNormFunction.apply(weight, u=u.array.copy(), v=v.array.copy(), dim=dim)


def power_method(weight: Tensor, u: Tensor, v: Tensor, steps: int, dim: int = 0) -> None:
    """Move u and v, in place, towards the first singular vectors of `weight`; see spectral_norm.

    Args:
        weight: at least 2 axes.
        u: (H,), changed.
        v: (D,), changed; the start of the iteration.
        steps: of the power method.
        dim: the axis of the outputs.
    """
    matrix = upcast(_matrix(weight.array, dim))
    new_u, new_v = upcast(u.array), upcast(v.array)
    step = _direction
    if matrix.size and not host_can_read(matrix):
        step = functools.partial(_direction_on_gpu, root=_root(matrix))
    with silent():
        for _ in range(steps):
            new_u = step(matrix, new_v, new_u)
            new_v = step(matrix.T, new_u, new_v)
    u.copy_(downcast(new_u, u.array))
    v.copy_(downcast(new_v, v.array))


def _direction(matrix: Array, vector: Array, before: Array) -> Array:
    """Return p/‖p‖ of the product p = matrix @ vector, or `before` if that is 0."""
    xp, product = namespace(matrix), matrix @ vector
    if not xp.isfinite(product).all():
        product = (matrix / xp.abs(matrix).max()) @ vector
    return normalize_forward(product[None], 2.0, 0.0)[0][0] if product.any() else before


def _direction_on_gpu(matrix: Array, vector: Array, before: Array, root: Array) -> Array:
    """Return the same, from p/root². The host does not look at p."""
    direction, rnorm = normalize_forward((matrix @ (vector / root) / root)[None], 2.0, 0.0)
    return namespace(matrix).where(rnorm[0] == 0, before, direction[0])


class SpectralNorm(Module):
    """What nn.utils.parametrizations.spectral_norm registers: takes a weight, returns weight/σ.

    Buffers: _u (H,) and _v (D,), drawn at random and moved by 15 steps of the power method when made, then by
    `n_power_iterations` steps at every call in training. A weight with one axis is divided by its length, or
    by `eps` if that is shorter; else eps has no effect: _u and _v have length 1 for weights of any size.
    """

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        check_input(weight, "spectral_norm")
        check_eps(eps)
        self.dim, self.eps = normalize_dim(dim, weight.ndim), eps
        self.n_power_iterations = as_size(n_power_iterations, "n_power_iterations")
        if weight.ndim > 1:
            for name, n in zip(("_u", "_v"), _matrix(weight.array, self.dim).shape, strict=True):
                drawn = asarray(generator().standard_normal(n).astype(weight.dtype))
                self.register_buffer(name, normalize(Tensor(drawn), dim=0, eps=eps))
            self._move(weight, STEPS_AT_FIRST)

    _u: Tensor
    _v: Tensor

    def _move(self, weight: Tensor, steps: int) -> None:
        power_method(weight, self._u, self._v, steps, self.dim)

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return normalize(weight, dim=0, eps=self.eps)
        if self.training:
            self._move(weight, self.n_power_iterations)
        return spectral_norm(weight, self._u, self._v, self.dim)

    def right_inverse(self, value: Tensor) -> Tensor:
        """Return the value: of all weights that give it, the one whose σ is 1."""
        return value

    def extra_repr(self) -> str:
        return f"n_power_iterations={self.n_power_iterations}, dim={self.dim}, eps={self.eps}"


def _constant(*shape: int) -> Input:
    return Input(shape, differentiable=False)


def _ones(*shape: int) -> Tensor:
    return Tensor(numpy.ones(shape))


def _in_torch(torch: Any, weight: Any, u: Any, v: Any, dim: int = 0) -> Any:
    matrix = weight.movedim(dim, 0).flatten(1)
    return weight / torch.dot(u, torch.mv(matrix, v))  # as its parametrization does between power iterations


register(
    name="spectral_norm",
    function=spectral_norm,
    composed=spectral_norm_composed,
    parameters=("weight",),
    cases=(
        Case(((4, 3), _constant(4), _constant(3))),
        Case(((4, 3), _constant(3), _constant(4)), {"dim": 1}),
        Case(((4, 3, 2), _constant(4), _constant(6))),
        Case(((2, 3, 2, 2), _constant(3), _constant(8)), {"dim": 1}),
        Case(((2, 3, 2), _constant(2), _constant(6)), {"dim": -1}),
        Case(((1, 1), fixed([1.0]), fixed([-1.0]))),
    ),
    errors=(
        ErrorCase(lambda: spectral_norm(_ones(3), _ones(3), _ones(3)), ValueError, "at least 2 axes"),
        ErrorCase(lambda: spectral_norm(_ones(4, 3), _ones(3), _ones(3)), ValueError, "u has shape (3,)"),
        ErrorCase(lambda: spectral_norm(_ones(4, 3), _ones(4), _ones(4)), ValueError, "v has shape (4,)"),
        ErrorCase(lambda: spectral_norm(_ones(4, 3), _ones(4), _ones(3), 2), IndexError, "out of range"),
        ErrorCase(lambda: spectral_norm(_ones(4, 3).long(), _ones(4), _ones(3)), TypeError, "floating-point"),
        ErrorCase(
            lambda: spectral_norm(_ones(4, 3), _ones(4) * 0, _ones(3)), RuntimeError, "no singular vectors"
        ),
        ErrorCase(lambda: SpectralNorm(_ones(4, 3), 0), ValueError, "n_power_iterations"),
        ErrorCase(lambda: SpectralNorm(_ones(4, 3), dim=2), IndexError, "out of range"),
        ErrorCase(lambda: SpectralNorm(_ones(4, 3), eps=-1.0), ValueError, "eps"),
    ),
    kind="normalization",
    title="SpectralNorm",
    paper="Miyato et al. 2018, arXiv:1802.05957",
    pool="the whole weight: its largest singular value",
    torch=_in_torch,
    bench=tuple(Case((s, _constant(s[0]), _constant(s[1]))) for s in ((128, 64), (512, 768), (4096, 1024))),
)
