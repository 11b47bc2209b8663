"""RMS normalization with a gate: the norm of state space and linear attention layers, in its two orders.

    x, z (..., D)   s = silu(z) = z·σ(z)
    norm, then gate    u = x      y = w·û·s
    gate, then norm    u = x·s    y = w·û

    û = u·r   r = 1/√(mean(u²) + eps)

The mean is over groups of `group_size` entries of the last axis: one number r per group; w is (D,). Without
a group_size, the group is the whole row. The orders have the same parameters, but they are two different
layers: a model that was trained with one gives other results with the other, and no shape tells.

In the code: u_hat û, rstd r, w weight; x and z are (N, G, K): N rows of G groups of K entries. With a = 1,
p = s for the first order and a = s, p = 1 for the second, both are u = a·x, y = w·û·p.

Mamba-2, where the gate comes first: Dao, Gu 2024, arXiv:2405.21060; Qwen3-Next's comes last.

Backward, from dy = dL/dy. Norm, then gate: y is a product of three, and û gets the two paths of rmsnorm.py:

    dw = Σrows dy·û·s      ds = w·dy·û      g := dL/dû = w·dy·s
    dx = r·(g - û·mean(g·û))

Gate, then norm: the same two paths for u, and then the product u = x·s:

    dw = Σrows dy·û      g := dL/dû = w·dy
    du = r·(g - û·mean(g·û))      dx = du·s      ds = du·x

In both, with the slope of silu,

    dz = ds·σ(z)·(1 + z·(1 - σ(z)))

Insight: a gate before the norm can only choose between the entries of its group: if it closes on all of
them alike, the norm opens it again. Only after the norm can it make a whole group small.
"""

import dataclasses
from typing import Any

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cpu.half import downcast, upcast
from ...backends.cpu.pool_loops import kept
from ...backends.cpu.sums import sums
from ...backends.cuda.launch import (
    CudaSource,
    accumulator_dtype,
    contiguous,
    shared_bytes,
    teams_with_vectors,
    wide,
    wide_empty,
)
from ...backends.cuda.teams import SUM_SHAPES, VECTOR_SHAPES, WIDE_BLOCK, Teams
from ...module import Module, Parameter
from ...ops import ones
from ...ops.arguments import as_size, check_flags
from ...ops.checks import Shape, check_eps, check_input, check_same_dtype
from ...ops.elementwise import logistic
from ...registry import Case, ErrorCase, register
from ..core.groups import as_group_size, as_groups, check_groups, scaled_groups
from ..core.moments import affine
from .gatedloops import gated_rms_norm_backward_cpu, gated_rms_norm_forward_loop
from .rmspools import rms_pools_backward, rms_pools_forward

_kernels = CudaSource(__file__, "../core/moments.cuh", "rowgradients.cuh", "../../backends/cuda/elements.cuh")
POOL = (2,)  # of x (N, G, K): a group


def gated_rms_norm_composed(
    input: Tensor,
    gate: Tensor,
    weight: Tensor | None = None,
    group_size: int | None = None,
    eps: float = 1e-6,
    *,
    norm_before_gate: bool,
) -> Tensor:
    """Gated RMS normalization from primitives: autograd finds the gradients."""
    s = gate * gate.sigmoid()
    u = input if norm_before_gate else input * s
    groups = u.unflatten(-1, (-1, group_size or input.shape[-1]))
    u_hat = groups * ((groups * groups).mean(-1, keepdim=True) + eps) ** -0.5
    y = affine(u_hat.reshape(input.shape), weight, None)
    return y * s if norm_before_gate else y


@in_blocks("x", "z")
def _gated(x: Array, z: Array) -> Array:
    return x * (z * logistic(z))


@in_blocks("u_hat", "z", weight=1.0)
def _scaled_and_gated(u_hat: Array, z: Array, weight: Array | None) -> Array:
    return weight * u_hat * (z * logistic(z))


@kernel
def gated_rms_norm_forward(
    x: Array, z: Array, weight: Array | None, norm_before_gate: bool, eps: float
) -> tuple[Array, Array]:
    """Return y (N, G, K) and rstd (N, G, 1), for x and z (N, G, K) and weight (1, G, K)."""
    u, z = upcast(x), upcast(z)
    if norm_before_gate:
        u_hat, rstd = rms_pools_forward(u, POOL, eps)
        return downcast(_scaled_and_gated(u_hat, z, weight), x), rstd
    u_hat, rstd = rms_pools_forward(_gated(u, z), POOL, eps)
    return downcast(scaled_groups(u_hat, weight), x), rstd


gated_rms_norm_forward.loops(in_blocks("x", "z", weight=1.0), rstd=kept(0, 1), weight=kept(1, 2))(
    gated_rms_norm_forward_loop
)


@gated_rms_norm_forward.cuda
def gated_rms_norm_forward_cuda(
    x: Array, z: Array | None, weight: Array | None, norm_before_gate: bool, eps: float
) -> tuple[Array, Array]:
    """One kernel, also without a gate: every group is read once and written once."""
    (N, G, K), (x,), (weight,) = x.shape, contiguous(x), wide(x, weight)
    z = None if z is None else contiguous(z)[0]
    y, rstd = namespace(x).empty_like(x), wide_empty(x, N, G, 1)
    shapes = VECTOR_SHAPES, VECTOR_SHAPES.pairs[-1:]
    shape, shared = teams_with_vectors(shapes, K, 1, x, y, z, weight)
    blocks = G * _blocks_of_a_group("gated_rms_norm_forward", x, shape, shared)
    args = x, z, weight, y, rstd, N, G, K, 1 / K, eps, bool(norm_before_gate)
    _kernels.launch("gated_rms_norm_forward", x.dtype, shape.template, blocks, shape.block, args, shared)
    return y, rstd


def _blocks_of_a_group(kernel: str, x: Array, shape: Teams, shared: int) -> int:
    """Return how many blocks each group has, which together fill the machine once."""
    N, G, _ = x.shape
    return min(shape.blocks(N), -(-_kernels.persistent_blocks(kernel, x, shape, N * G, shared) // G))


@in_blocks("dy", "z", weight=1.0)
def _to_the_norm(dy: Array, z: Array, weight: Array | None, norm_before_gate: bool) -> Array:
    """Return g."""
    return weight * dy * (z * logistic(z)) if norm_before_gate else weight * dy


@in_blocks("dy", "x", "z", "rstd", "du", add=True, weight=1.0)
def _to_the_gate(
    dy: Array, x: Array, z: Array, weight: Array | None, rstd: Array, du: Array, norm_before_gate: bool
) -> tuple[Array, Array]:
    """Return dz and dweight."""
    logistic_z = logistic(z)
    s, slope = z * logistic_z, logistic_z * (1 + z * (1 - logistic_z))
    if norm_before_gate:
        dy_u_hat = dy * (x * rstd)
        return weight * dy_u_hat * slope, sums(dy_u_hat * s, (0,))
    return du * x * slope, sums(dy * (x * s * rstd), (0,))


@kernel
def gated_rms_norm_backward(
    dy: Array, x: Array, z: Array, weight: Array | None, rstd: Array, norm_before_gate: bool
) -> tuple[Array, Array, Array]:
    """Return dx and dz (N, G, K), and dweight (1, G, K)."""
    wide_dy, wide_x, wide_z = upcast(dy), upcast(x), upcast(z)
    u = wide_x if norm_before_gate else _gated(wide_x, wide_z)
    g = _to_the_norm(wide_dy, wide_z, weight, norm_before_gate)
    du = rms_pools_backward(g, u, rstd, POOL)
    dz, dweight = _to_the_gate(wide_dy, wide_x, wide_z, weight, rstd, du, norm_before_gate)
    dx = du if norm_before_gate else _gated(du, wide_z)
    return downcast(dx, dy), downcast(dz, dy), dweight


gated_rms_norm_backward.cpu(gated_rms_norm_backward_cpu)


@gated_rms_norm_backward.cuda
def gated_rms_norm_backward_cuda(
    dy: Array, x: Array, z: Array | None, weight: Array | None, rstd: Array, norm_before_gate: bool
) -> tuple[Array, Array | None, Array]:
    """One kernel, also without a gate, for dx, dz and dweight block by block; one adds the blocks up."""
    (N, G, K), (dy, x), (weight,) = x.shape, contiguous(dy, x), wide(x, weight)
    z = None if z is None else contiguous(z)[0]
    dx, dz = namespace(x).empty_like(x), None if z is None else namespace(x).empty_like(x)
    arrays = x, dy, dx, z, dz, weight
    shape, shared = teams_with_vectors((SUM_SHAPES, VECTOR_SHAPES, VECTOR_SHAPES.pairs[-1:]), K, 2, *arrays)
    shape = dataclasses.replace(shape, smallest_block=WIDE_BLOCK)
    if not shape.kept:
        shared = shared_bytes(x, 1, K)
    elif not shared and shape.team < shape.block:
        shared = K * shape.block // max(shape.team, 32) * accumulator_dtype(x).itemsize
    parts = _blocks_of_a_group("gated_rms_norm_backward", x, shape, shared)
    partials = wide_empty(x, parts, G * K)
    given = dy, x, z, weight, *wide(x, rstd), dx, dz, partials
    args = *given, N, G, K, 1 / K, bool(norm_before_gate), shape.kept == 0 and shared > 0
    blocks, numbers = G * parts, shape.template
    _kernels.launch("gated_rms_norm_backward", x.dtype, numbers, blocks, shape.block, args, shared)
    return dx, dz, _kernels.sum_columns(partials).reshape(1, G, K)


class GatedRMSNormFunction(Function):
    """y = w·û·s with u = x, or y = w·û with u = x·s · dx = r·(g - û·mean(g·û)), then times s"""

    def forward(
        self,
        x: Array,
        z: Array,
        weight: Array | None,
        *,
        group_size: int,
        norm_before_gate: bool,
        eps: float,
    ) -> Array:
        pools, gates, weight = as_groups(group_size, x, z, weight)
        y, rstd = gated_rms_norm_forward(pools, gates, weight, norm_before_gate, eps)
        self.saved = pools, gates, weight, rstd
        self.norm_before_gate = norm_before_gate
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        pools = dy.reshape(self.saved[0].shape)
        dx, dz, dweight = gated_rms_norm_backward(pools, *self.saved, self.norm_before_gate)
        return dx.reshape(dy.shape), dz.reshape(dy.shape), dweight.reshape(-1)


def gated_rms_norm(
    input: Tensor,
    gate: Tensor,
    weight: Tensor | None = None,
    group_size: int | None = None,
    eps: float = 1e-6,
    *,
    norm_before_gate: bool,
) -> Tensor:
    """Normalize groups of the last axis by their root mean squares, with silu(gate) as a factor, and scale.

    Args:
        input: (..., D).
        gate: of the shape and dtype of input.
        weight: (D,), or None.
        group_size: how many neighbours share one root mean square; None is all D.
        eps: added to the mean squares, in units of input². Mamba-2 has 1e-5.
        norm_before_gate: True: silu(gate) multiplies the normalized input, as in Qwen3-Next. False: it
            multiplies the input, which is normalized then, as in Mamba-2.

    Raises:
        TypeError: if the input is not a floating-point tensor, the gate has another dtype, or
            norm_before_gate is not a bool.
        ValueError: if the gate has another shape, weight is not (D,), groups of group_size do not make up D,
            or if eps is negative.

    Source: Dao, Gu 2024, arXiv:2405.21060.
    """
    size = check_groups(input, group_size, weight, eps, "gated_rms_norm")
    check_flags(norm_before_gate=norm_before_gate)
    check_input(gate, "gated_rms_norm")
    check_same_dtype("gated_rms_norm", input, gate=gate)
    if gate.shape != input.shape:
        raise ValueError(
            f"gated_rms_norm takes a gate of the input's shape {input.shape}, got {gate.shape}: expand it"
        )
    options = {"group_size": size, "norm_before_gate": norm_before_gate, "eps": float(eps)}
    return GatedRMSNormFunction.apply(input, gate, weight, **options)


class GatedRMSNorm(Module):
    """RMS normalization of (..., dim) with a gate: `forward(input, gate)`, both of that shape.

    The weight (dim,) starts at ones. `norm_before_gate` must be given: the two orders have the same
    parameters but are two layers. In transformers this is MambaRMSNormGated (False, eps 1e-6) and
    Qwen3NextRMSNormGated (True, eps 1e-6). Source: Dao, Gu 2024, arXiv:2405.21060.
    """

    def __init__(
        self, dim: int, group_size: int | None = None, eps: float = 1e-6, *, norm_before_gate: bool
    ) -> None:
        super().__init__()
        check_eps(eps)
        check_flags(norm_before_gate=norm_before_gate)
        self.dim, self.eps, self.norm_before_gate = as_size(dim, "dim"), eps, norm_before_gate
        self.group_size = as_group_size(self.dim, group_size, "GatedRMSNorm")
        self.weight = Parameter(numpy.ones(self.dim, numpy.float32))

    def forward(self, input: Tensor, gate: Tensor) -> Tensor:
        check_input(input, "GatedRMSNorm")
        if input.shape[-1:] != (self.dim,):
            raise ValueError(f"GatedRMSNorm was made for (..., {self.dim}), got shape {input.shape}")
        return gated_rms_norm(
            input, gate, self.weight, self.group_size, self.eps, norm_before_gate=self.norm_before_gate
        )

    def extra_repr(self) -> str:
        before = self.norm_before_gate
        return f"{self.dim}, group_size={self.group_size}, eps={self.eps}, norm_before_gate={before}"


def _call(gate: Shape = (2, 6), weight: Shape | None = None, before: Any = True, **options: Any) -> Any:
    def call() -> Tensor:
        given = None if weight is None else ones(*weight)
        return gated_rms_norm(ones(2, 6), ones(*gate), given, norm_before_gate=before, **options)

    return call


register(
    name="gated_rms_norm",
    function=gated_rms_norm,
    composed=gated_rms_norm_composed,
    parameters=("weight",),
    cases=(
        Case(((4, 6), (4, 6), (6,)), {"norm_before_gate": True}),
        Case(((4, 6), (4, 6), (6,)), {"norm_before_gate": False}),
        Case(((2, 3, 8), (2, 3, 8), (8,)), {"group_size": 4, "eps": 0.1, "norm_before_gate": True}),
        Case(((2, 3, 8), (2, 3, 8), None), {"group_size": 2, "norm_before_gate": False}),
        Case(((0, 4), (0, 4), (4,)), {"norm_before_gate": False}),
    ),
    errors=(
        ErrorCase(_call((2, 5)), ValueError, "(2, 5)"),
        ErrorCase(
            lambda: gated_rms_norm(ones(2, 6), ones(2, 6).double(), norm_before_gate=True),
            TypeError,
            "float64",
        ),
        ErrorCase(_call(weight=(5,)), ValueError, "weight"),
        ErrorCase(_call(group_size=4), ValueError, "groups of 4"),
        ErrorCase(_call(eps=-1.0), ValueError, "eps"),
        ErrorCase(_call(before=1), TypeError, "norm_before_gate"),
        ErrorCase(lambda: GatedRMSNorm(6, 4, norm_before_gate=True), ValueError, "groups of 4"),
    ),
    kind="normalization",
    title="GatedRMSNorm",
    paper="Dao, Gu 2024, arXiv:2405.21060",
    pool="each group of the last axis, no mean; a gate before or after",
    bench=(Case(((4096, 1024), (4096, 1024), (1024,)), {"group_size": 256, "norm_before_gate": False}),),
)
