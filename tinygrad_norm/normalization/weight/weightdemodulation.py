"""Weight demodulation: weights that a style scales per input channel, brought back to length 1 per output.

    w (O, I, ...)   s (N, I) the style of each sample   k counts the entries of a kernel
    u_noik = s_ni·w_oik   d_no = 1/√(Σ_ik u² + eps)   y = W = u·d, W (N, O, I, ...)

Sums, not means: if the inputs of the convolution are independent and have variance 1, so do its outputs,
whatever the style. Without d, a style 10 times as large makes outputs 10 times as large.

In the code: s style. As rows (N·O, D) with D = I·K, W is the RMS normalization of u with weight 1/√D and
eps/D, so the bodies are those of rmsnorm.py, and r = √D·d. Loops and kernels never write u.

Karras, Laine, Aittala, Hellsten, Lehtinen, Aila 2020, arXiv:1912.04958.

Backward, from dy = dL/dW = G. Each u_i reaches every W_j of its row: by the chain rule dL/du_i = Σ_j
G_j·∂W_j/∂u_i, with two paths that add up:

    straight     ∂u_j/∂u_i = 1 if i = j           d·G_i
    through d    ∂d/∂u_i = -d³·u_i = -d²·W_i       -d·W_i·Σ(G·W)

    du = d·(G - W·Σ(G·W))

u is a product. All samples share w, all outputs and entries of a kernel share s:

    dx = dw = Σ_n s·du      ds = Σ_ok w·du

Insight: a convolution with W is one with w, between a scale of its input channels by s and of its outputs by
d. So it is an InstanceNorm whose deviation is expected, not measured: a large value in one place cannot make
the others small.
"""

import math
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.loops import Loop
from ...backends.cpu.pool_loops import fits_a_loop, plain, run_over_pools
from ...backends.cpu.sums import largest, smallest
from ...backends.cuda.launch import CudaSource, contiguous, inverse, kept_bytes, teams, wide, wide_empty
from ...backends.cuda.teams import BACKWARD_SHAPES
from ...ops import ones
from ...ops.checks import check_eps, check_input, check_same_dtype
from ...registry import Case, ErrorCase, register
from ..core.exactness import FLOAT32_HIGHEST, FLOAT32_LOWEST
from ..sample.rmsnorm import rms_norm_backward, rms_norm_forward

_kernels = CudaSource(__file__, "../core/moments.cuh")


def weight_demodulation_composed(weight: Tensor, style: Tensor, eps: float = 1e-8) -> Tensor:
    """Weight demodulation from primitives: autograd finds both gradients."""
    u = weight * style.reshape(-1, 1, style.shape[1], *(1,) * (weight.ndim - 2))
    return u * ((u * u).sum(tuple(range(2, u.ndim)), keepdim=True) + eps) ** -0.5


def _rows(w: Array, s: Array) -> tuple[Array, Array]:
    """Return u (N·O, I·K) and the weight 1/√D (I·K,); w (O, I, K), s (N, I)."""
    O, I, K = w.shape  # noqa: E741
    u = s[:, None, :, None] * w
    D = I * K
    return u.reshape(len(s) * O, D), namespace(u).full(D, D**-0.5, u.dtype)


@kernel
def weight_demodulation_forward(w: Array, s: Array, eps: float) -> tuple[Array, Array]:
    """Return W (N, O, I·K) and r = √D·d (N·O, 1); w (O, I, K), s (N, I)."""
    u, scale = _rows(upcast(w), upcast(s))
    W, r = rms_norm_forward(u, scale, eps / max(len(scale), 1))
    return downcast(W, w).reshape(len(s), len(w), len(scale)), r


def weight_demodulation_forward_loop(
    w: Array, s: Array, eps: float, W: Array, r: Array, start: int, stop: int
) -> None:
    """One output after the other, for all samples: once to find r, once to write W."""
    (_, I, K), real = w.shape, w.dtype.type  # noqa: E741
    D = I * K
    for o in range(start, stop):
        for n in range(len(s)):
            total = 0.0
            for i in range(I):
                for k in range(K):
                    u = s[n, i] * w[o, i, k]
                    total += u * u
            found = 1 / numpy.sqrt((total + eps) / D)
            d = real(found / numpy.sqrt(D))
            for i in range(I):
                for k in range(K):
                    W[n, o, i * K + k] = s[n, i] * w[o, i, k] * d
            r[n, o] = found


@weight_demodulation_forward.cpu
def _forward_cpu(w: Array, s: Array, eps: float) -> Any:
    """u is never written; lengths near the limits are left to the body."""
    (O, I, K), N = w.shape, len(s)  # noqa: E741
    if not (fits_a_loop(w, s) and N):
        return NotImplemented
    W, r = numpy.empty((N, O, I * K), w.dtype), numpy.empty((N, O), w.dtype)
    run_over_pools(_forward_loop, W.size, O, plain(w), plain(s), eps, W, r)
    if not (smallest(r) > 0 and largest(r) < FLOAT32_HIGHEST):
        return NotImplemented
    return W, r.reshape(N * O, 1)


@weight_demodulation_forward.cuda
def weight_demodulation_forward_cuda(w: Array, s: Array, eps: float) -> tuple[Array, Array]:
    """One kernel: it reads w once for each sample, and writes W once."""
    (O, I, K), (N, _), (w,) = w.shape, s.shape, contiguous(w)  # noqa: E741
    D = I * K
    W, r = namespace(w).empty((N, O, D), w.dtype), wide_empty(w, N * O, 1)
    if not W.size:  # no samples
        return W, r
    shape = teams(D, w, W)
    shared = kept_bytes(shape, D, w)
    args = w, *wide(w, s), W, r, N * O, O, I, K, inverse(K), 1 / D, eps / D, shared > 0
    blocks = shape.blocks(N * O)
    _kernels.launch("weight_demodulation_forward", w.dtype, shape.template, blocks, shape.block, args, shared)
    return W, r


@kernel
def weight_demodulation_backward(G: Array, w: Array, s: Array, r: Array) -> tuple[Array, Array]:
    """Return dw (O, I, K) and ds (N, I); G (N, O, I·K)."""
    wide_w, wide_s = upcast(w), upcast(s)
    u, scale = _rows(wide_w, wide_s)
    du, _ = rms_norm_backward(upcast(G).reshape(u.shape), u, scale, r)
    du = du.reshape(len(s), *w.shape)
    return (du * wide_s[:, None, :, None]).sum(0), (du * wide_w).sum((1, 3))


def weight_demodulation_backward_loop(
    G: Array, w: Array, s: Array, r: Array, dw: Array, parts: Array, start: int, stop: int
) -> None:
    """One output after the other, for all samples: once to find Σ G·W, once to add du up; parts (O, N, I)."""
    (_, I, K), real = w.shape, w.dtype.type  # noqa: E741
    root = numpy.sqrt(I * K)
    for o in range(start, stop):
        for n in range(len(s)):
            d, total = real(r[n, o] / root), 0.0
            for i in range(I):
                for k in range(K):
                    total += G[n, o, i * K + k] * (s[n, i] * w[o, i, k] * d)
            along = real(total)
            for i in range(I):
                of_s = 0.0
                for k in range(K):
                    du = d * (G[n, o, i * K + k] - s[n, i] * w[o, i, k] * d * along)
                    dw[o, i, k] += s[n, i] * du
                    of_s += w[o, i, k] * du
                parts[o, n, i] = of_s


@weight_demodulation_backward.cpu
def _backward_cpu(G: Array, w: Array, s: Array, r: Array) -> Any:
    """du is never written; lengths near the limits are left to the body."""
    (O, I, _), N = w.shape, len(s)  # noqa: E741
    if not (fits_a_loop(G, w, s, r) and smallest(r) > FLOAT32_LOWEST):
        return NotImplemented
    dw, parts = numpy.zeros(w.shape, w.dtype), numpy.empty((O, N, I))
    args = plain(G), plain(w), plain(s), plain(r.reshape(N, O)), dw, parts
    run_over_pools(_backward_loop, G.size, O, *args)
    return dw, parts.sum(0).astype(s.dtype)


_forward_loop = Loop(weight_demodulation_forward_loop)
_backward_loop = Loop(weight_demodulation_backward_loop)


@weight_demodulation_backward.cuda
def weight_demodulation_backward_cuda(G: Array, w: Array, s: Array, r: Array) -> tuple[Array, Array]:
    """One kernel for the terms s·du and w·du, and one for each sum, over samples and over outputs."""
    (O, I, K), N, (G, w) = w.shape, len(s), contiguous(G, w)  # noqa: E741
    D = I * K
    of_w, of_s = wide_empty(w, N, O * D), wide_empty(w, N, O, D)
    shape = teams(D, w, G, of_w, of_s, shapes=BACKWARD_SHAPES)
    args = G, w, *wide(w, s), r, of_w, of_s, N * O, O, I, K, inverse(K), 1 / D
    blocks = shape.blocks(N * O)
    _kernels.launch("weight_demodulation_backward", w.dtype, shape.template, blocks, shape.block, args)
    dw, ds = _kernels.sum_columns(of_w), _kernels.sum_columns(of_s)
    return dw.reshape(w.shape), ds.reshape(N, I, K).sum(2)


class WeightDemodulationFunction(Function):
    """W = u·d, u = s·w, d = 1/√(Σ u² + eps) · du = d·(G - W·Σ G·W), dw = Σ s·du over samples, ds = Σ w·du"""

    def forward(self, weight: Array, style: Array, *, eps: float) -> Array:
        O, I, *space = weight.shape  # noqa: E741
        w = weight.reshape(O, I, math.prod(space))
        W, r = weight_demodulation_forward(w, style, eps)
        self.saved = w, style, r
        self.space = space
        return W.reshape(len(style), O, I, *space)

    def backward(self, dy: Array) -> Gradients:
        w, style, r = self.saved
        O, I, K = w.shape  # noqa: E741
        dw, ds = weight_demodulation_backward(dy.reshape(len(style), O, I * K), w, style, r)
        return dw.reshape(O, I, *self.space), ds


def weight_demodulation(weight: Tensor, style: Tensor, eps: float = 1e-8) -> Tensor:
    """Return, for each sample, the weight with its inputs scaled by the style, and each output of length 1.

    Args:
        weight: (O, I, ...).
        style: (N, I).
        eps: added to the sum of squares, in units of (style·weight)².

    Returns:
        (N, O, I, ...): u/√(Σ u² + eps) with u = style·weight, and the sum over all axes but N and O.

    Raises:
        TypeError: if an argument is not a floating-point tensor, or the dtypes differ.
        ValueError: if the weight has fewer than two axes, the style is not (N, I), or eps is negative.

    Source: Karras et al. 2020, arXiv:1912.04958.
    """
    name = "weight_demodulation"
    check_input(weight, name)
    check_input(style, f"{name}, for style,")
    if weight.ndim < 2:
        raise ValueError(f"{name} takes a weight (out, in, ...), got shape {weight.shape}")
    if style.ndim != 2 or style.shape[1] != weight.shape[1]:
        raise ValueError(f"{name} takes a style (N, in) with in = {weight.shape[1]}, got shape {style.shape}")
    check_same_dtype(name, weight, style=style)
    check_eps(eps)
    return WeightDemodulationFunction.apply(weight, style, eps=float(eps))


def _call(weight: Any = (3, 2), style: Any = (2, 2), dtype: Any = numpy.float32, eps: float = 1e-8) -> Tensor:
    return weight_demodulation(ones(*weight), ones(*style, dtype=dtype), eps)


register(
    name="weight_demodulation",
    function=weight_demodulation,
    composed=weight_demodulation_composed,
    parameters=("weight",),
    cases=(
        Case(((3, 2, 2, 3), (2, 2))),
        Case(((2, 4), (3, 4)), {"eps": 1e-2}),
        Case(((4, 3, 3), (1, 3))),
        Case(((1, 8, 3, 3), (2, 8))),
    ),
    errors=(
        ErrorCase(lambda: _call((3,)), ValueError, "(out, in, ...), got shape (3,)"),
        ErrorCase(lambda: _call(style=(2, 3)), ValueError, "(N, in) with in = 2"),
        ErrorCase(lambda: _call(style=(2,)), ValueError, "(N, in)"),
        ErrorCase(lambda: _call(dtype=numpy.float64), TypeError, "one dtype"),
        ErrorCase(lambda: _call(eps=-1.0), ValueError, "eps"),
    ),
    kind="normalization",
    title="WeightDemodulation",
    paper="Karras et al. 2020, arXiv:1912.04958",
    pool="the weights of each output, scaled by the style of one sample, no mean",
    bench=(Case(((64, 32, 3, 3), (8, 32))), Case(((256, 256, 3, 3), (8, 256)))),
)
