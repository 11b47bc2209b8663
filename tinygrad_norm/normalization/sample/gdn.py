"""GDN: every channel divided by a learned mixture of the magnitudes of all channels at its position.

    x (N, C, ...)   z_i = β_i + Σ_j γ_ij·x_j²   d = √z   y = x/d

The sum is over the channels j at one position of one sample; β is (C,), γ is (C, C), both positive. Its
inverse, IGDN, multiplies: y = x·d. GDN1 takes |x_j| for x_j² and no root: d = z. In what follows p is 2 for
GDN and 1 for GDN1, a = |x|^p, and d = z^(1/p).

Ballé, Laparra, Simoncelli 2016, arXiv:1511.06281; GDN1: Johnston et al. 2019, arXiv:1912.08771.

Backward, at one position, from dy = dL/dy. x_i reaches y_i directly, and every y_k through z_k:

    straight     dy/d, or dy·d for the inverse
    through z    u := dL/dz = -dy·y/(p·z), or dy·y/(p·z) for the inverse
                 ∂z_k/∂x_i = γ_ki·a'(x_i) with a' = 2x, or sign(x) for GDN1

    dx = dy/d + a'(x)·(γᵀu)      dβ = Σ u      dγ = Σ u⊗a      sums over samples and positions

In γᵀu channel i collects from all k that it divides: the transposed matrix, where forward has γ itself.
CompressAI's docstring prints γ_ji; its code, a convolution by γ, computes γ_ij as here.

Insight: it is local response normalization that learns which channels are neighbours, and how much each
counts. A mixture of Gaussian scales, whose deviation is one random number for all channels, becomes nearly
Gaussian: it is divided by an estimate of that number.
"""

import numpy

from ...autograd.function import Function, Gradients
from ...autograd.tensor import Tensor
from ...backends import Array, kernel, namespace
from ...backends.cpu.blocks import in_blocks
from ...backends.cuda.launch import CudaSource, accumulator_dtype, contiguous
from ...module import Module, Parameter
from ...ops.arguments import as_number, as_size, check_flags
from ...ops.checks import check_channels, check_vectors
from ...registry import Case, ErrorCase, positive, register, uniform

_kernels = CudaSource(__file__)
_OFFSET = 2.0**-36  # what is stored is √(value + offset), so that it has a gradient at 0


def gdn_composed(
    input: Tensor, beta: Tensor, gamma: Tensor, inverse: bool = False, simplified: bool = False
) -> Tensor:
    """GDN from primitives: autograd finds the gradients."""
    N, C = input.shape[:2]
    x = input.reshape(N, C, input.numel() // (N * C) if N else 1)
    z = beta.reshape(C, 1) + gamma @ (x.abs() if simplified else x * x)
    d = z if simplified else z**0.5
    return (x * d if inverse else x / d).reshape(input.shape)


@kernel
@in_blocks("x")
def gdn_forward(x: Array, beta: Array, gamma: Array, power: int, inverse: bool) -> tuple[Array, Array, Array]:
    """Return y, z (N, C, S), and the scale (N, 1, S) in whose units z is: beta (C,), gamma (C, C)."""
    scale = _scales(x)
    x = x / scale
    z = beta[:, None] / scale**power + gamma @ _magnitudes(x, power)
    d = z ** (1 / power)
    return (x * d * scale * scale if inverse else x / d), z, scale


@gdn_forward.cuda
def gdn_forward_cuda(
    x: Array, beta: Array, gamma: Array, power: int, inverse: bool
) -> tuple[Array, Array, Array]:
    """A product of matrices, and a kernel for what comes after it."""
    (x,), dtype = contiguous(x), accumulator_dtype(x)
    beta, gamma = contiguous(beta.astype(dtype, copy=False), gamma.astype(dtype, copy=False))
    scale = contiguous(_scales(x.astype(dtype, copy=False)))[0]
    z = contiguous(gamma @ _magnitudes(x.astype(dtype, copy=False) / scale, power))[0]
    y = namespace(x).empty_like(x)
    if x.size:
        _launch("gdn_forward", (x, scale, beta, z, y), power, inverse)
    return y, z, scale


@kernel
@in_blocks("dy", "x", "z", "scale", add=True)
def gdn_backward(
    dy: Array, x: Array, z: Array, scale: Array, gamma: Array, power: int, inverse: bool
) -> tuple[Array, Array, Array]:
    """Return dx (N, C, S), dbeta (C,) and dgamma (C, C)."""
    x, d = x / scale, z ** (1 / power)
    u = dy * x / power
    if not inverse:
        u = -u / z / d  # z·d overflows before x² does
    elif power == 2:
        u = u / d  # = u·d/z, where d/z of GDN1 is 1
    slope = 2 * x if power == 2 else namespace(x).sign(x)
    dx = (dy * d if inverse else dy / d) + slope * (gamma.T @ u)
    return dx * scale if inverse else dx / scale, *_of_parameters(u, x, scale, power, inverse)


@gdn_backward.cuda
def gdn_backward_cuda(
    dy: Array, x: Array, z: Array, scale: Array, gamma: Array, power: int, inverse: bool
) -> tuple[Array, Array, Array]:
    """A kernel for u, a product of matrices, and a kernel for dx."""
    (dy, x), xp, dtype = contiguous(dy, x), namespace(x), accumulator_dtype(x)
    gamma, u, dx = gamma.astype(dtype, copy=False), xp.empty_like(z), xp.empty_like(x)
    if x.size:
        _launch("gdn_shares", (dy, x, scale, z, u), power, inverse)
        t = contiguous(gamma.T @ u)[0]
        _launch("gdn_backward", (dy, x, scale, z, t, dx), power, inverse)
    return dx, *_of_parameters(u, x.astype(dtype, copy=False) / scale, scale, power, inverse)


def _launch(name: str, arrays: tuple[Array, ...], power: int, inverse: bool) -> None:
    _, C, S = arrays[1 if name == "gdn_shares" else 0].shape
    size = arrays[0].size
    _kernels.launch(
        name, arrays[0].dtype, (), -(-size // 256), 256, (*arrays, size, C, S, power == 2, inverse)
    )


def _scales(x: Array) -> Array:
    """Return 1 for each position, or its largest |x| where squares might overflow."""
    xp, top = namespace(x), abs(x).max(1, keepdims=True)
    far = x.dtype.type(1e15 if x.dtype.itemsize == 4 else 1e100)
    return xp.where((top > far) & (top < numpy.inf), top, x.dtype.type(1))


def _magnitudes(x: Array, power: int) -> Array:
    return x * x if power == 2 else abs(x)


def _of_parameters(u: Array, x: Array, scale: Array, power: int, inverse: bool) -> tuple[Array, Array]:
    """Return dbeta and dgamma: Σ u and Σ u⊗a, for u and x in units of the scale."""
    a = _magnitudes(x, power).swapaxes(1, 2)
    if not (inverse and u.size):
        return (u / scale**power).sum((0, 2)), (u @ a).sum(0)
    largest = scale.max()  # by which the sums are multiplied at last, so that no ∞ meets another
    dgamma = (u * (scale / largest) ** 2 @ a).sum(0) * largest * largest
    return (u * scale ** (2 - power)).sum((0, 2)), dgamma


class GDNFunction(Function):
    """y = x/d, d = √z, z = β + γ·x² · dx = dy/d + 2x·(γᵀu), u = -dy·y/(2z)"""

    def forward(self, x: Array, beta: Array, gamma: Array, *, power: int, inverse: bool) -> Array:
        pixels = x.reshape(*x.shape[:2], -1) if x.size else x.reshape(0, x.shape[1], 1)
        y, z, scale = gdn_forward(pixels, beta, gamma, power, inverse)
        self.saved = pixels, z, scale, gamma, power, inverse
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Gradients:
        dx, dbeta, dgamma = gdn_backward(dy.reshape(self.saved[0].shape), *self.saved)
        return dx.reshape(dy.shape), dbeta, dgamma


class _LowerBound(Function):
    """y = max(x, bound) · dx = dy where x ≥ bound, or where dy < 0, so that x may come back above it"""

    def forward(self, x: Array, *, bound: float) -> Array:
        self.saved = (x >= bound,)
        return namespace(x).maximum(x, x.dtype.type(bound))

    def backward(self, dy: Array) -> Gradients:
        return dy * ((dy < 0) | self.saved[0])


def gdn(
    input: Tensor, beta: Tensor, gamma: Tensor, inverse: bool = False, simplified: bool = False
) -> Tensor:
    """Divide each channel by √(beta + Σ gamma·input²), summed over the channels at its position.

    Args:
        input: (N, C, ...).
        beta: (C,), positive; in units of input², or of |input| if simplified.
        gamma: (C, C), not negative; row i is what divides channel i.
        inverse: multiply instead.
        simplified: take |input| for input², and no root.

    Raises:
        TypeError: if the input is not a floating-point tensor, or a flag not a bool.
        ValueError: if the input has fewer than 2 axes, or a parameter another shape.

    Source: Ballé, Laparra, Simoncelli 2016, arXiv:1511.06281.
    """
    C = check_channels(input, "gdn")
    check_flags(inverse=inverse, simplified=simplified)
    check_vectors(input, (C,), beta=beta)
    check_vectors(input, (C, C), gamma=gamma)
    return GDNFunction.apply(input, beta, gamma, power=1 if simplified else 2, inverse=bool(inverse))


class GDN(Module):
    """GDN of (N, C, ...), with CompressAI's name, arguments and parameters.

    The parameters `beta` (C,) and `gamma` (C, C) are the square roots of the values plus 2^-36, which start
    at 1, and at gamma_init on the diagonal. So gamma cannot be negative, nor beta less than beta_min. Where a
    parameter is below its bound, its gradient is 0, or that of the bound if that brings it back.
    Source: Ballé, Laparra, Simoncelli 2016, arXiv:1511.06281.
    """

    simplified = False

    def __init__(
        self, in_channels: int, inverse: bool = False, beta_min: float = 1e-6, gamma_init: float = 0.1
    ) -> None:
        super().__init__()
        check_flags(inverse=inverse)
        self.in_channels, self.inverse = as_size(in_channels, "in_channels"), inverse
        self.beta_min, gamma_init = as_number(beta_min, "beta_min"), as_number(gamma_init, "gamma_init")
        if not (self.beta_min > 0 and gamma_init >= 0):
            raise ValueError(
                f"beta_min must be above 0 and gamma_init at least 0, got {beta_min} and {gamma_init}"
            )
        gamma = gamma_init * numpy.eye(self.in_channels)
        self.beta = Parameter(numpy.full(self.in_channels, (1 + _OFFSET) ** 0.5, numpy.float32))
        self.gamma = Parameter(((gamma + _OFFSET) ** 0.5).astype(numpy.float32))

    def values(self) -> tuple[Tensor, Tensor]:
        """Return β (C,) and γ (C, C), of which the parameters are the roots."""
        pairs = (self.beta, self.beta_min), (self.gamma, 0.0)
        beta, gamma = (_LowerBound.apply(root, bound=(least + _OFFSET) ** 0.5) for root, least in pairs)
        return beta * beta - _OFFSET, gamma * gamma - _OFFSET

    def forward(self, input: Tensor) -> Tensor:
        check_channels(input, type(self).__name__, self.in_channels)
        return gdn(input, *self.values(), self.inverse, self.simplified)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, inverse={self.inverse}"


class IGDN(GDN):
    """The inverse of GDN, in the decoder: it multiplies by √(beta + Σ gamma·input²).

    CompressAI has it as GDN(inverse=True). Source: Ballé, Laparra, Simoncelli 2016, arXiv:1511.06281.
    """

    def __init__(self, in_channels: int, beta_min: float = 1e-6, gamma_init: float = 0.1) -> None:
        super().__init__(in_channels, True, beta_min, gamma_init)


class GDN1(GDN):
    """GDN with |x| in the place of x², and without the root, as in CompressAI.

    Source: Johnston et al. 2019, arXiv:1912.08771.
    """

    simplified = True


def _ones(*shape: int) -> Tensor:
    return Tensor(numpy.ones(shape))


_PARAMETERS = positive(3), uniform(0.0, 1.0, 3, 3)

register(
    name="gdn",
    function=gdn,
    composed=gdn_composed,
    parameters=("beta", "gamma"),
    cases=(
        Case(((2, 3, 4), *_PARAMETERS)),
        Case(((2, 3, 2, 2), *_PARAMETERS), {"inverse": True}),
        Case(((4, 3), *_PARAMETERS), {"simplified": True}),
        Case(((2, 3, 2), *_PARAMETERS), {"simplified": True, "inverse": True}),
        Case(((0, 3, 2), *_PARAMETERS)),
    ),
    errors=(
        ErrorCase(lambda: gdn(_ones(2, 3).long(), _ones(3), _ones(3, 3)), TypeError, "floating-point"),
        ErrorCase(lambda: gdn(_ones(3), _ones(3), _ones(3, 3)), ValueError, "at least 2 axes"),
        ErrorCase(lambda: gdn(_ones(2, 3), _ones(2), _ones(3, 3)), ValueError, "beta has shape (2,)"),
        ErrorCase(lambda: gdn(_ones(2, 3), _ones(3), _ones(3)), ValueError, "gamma has shape (3,)"),
        ErrorCase(lambda: gdn(_ones(2, 3), _ones(3), _ones(3, 3), 1), TypeError, "inverse"),  # type: ignore[arg-type]
        ErrorCase(lambda: GDN(3, beta_min=0.0), ValueError, "beta_min must be above 0"),
    ),
    kind="normalization",
    title="GDN, IGDN, GDN1",
    paper="Ballé, Laparra, Simoncelli 2016, arXiv:1511.06281",
    pool="all channels at one position, with learned weights, no mean",
    bench=tuple(
        Case((shape, positive(shape[1]), uniform(0.0, 0.1, shape[1], shape[1])))
        for shape in ((8, 32, 16, 16), (8, 128, 32, 32))
    ),
)
