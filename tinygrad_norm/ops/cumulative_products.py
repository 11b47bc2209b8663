"""Running products, and the logarithm of running sums of exponentials.

    cumprod       y_j = x_0·x_1·…·x_j       logcumsumexp    y_j = log Σ_{i ≤ j} exp(x_i)

Backward of cumprod: every y_j with j ≥ i has the factor x_i, so dx_i = Σ_{j ≥ i} dy_j·(y_j without x_i).
If x_i is not 0, that is Σ_{j ≥ i} dy_j·y_j / x_i. Let z be the place of the first 0. Before it, y_j = 0 from
z on, and the formula holds. After it, every product has the factor x_z = 0: dx_i = 0. At z, the products
without x_z are those of x with a 1 in its place.

Backward of logcumsumexp: x_i has the share exp(x_i - y_j) of y_j, dx_i = Σ_{j ≥ i} dy_j·exp(x_i - y_j). That
is exp(x_i - y_i)·R_i with R_i = Σ_{j ≥ i} dy_j·exp(y_i - y_j), and R_i = dy_i + R_{i+1}·exp(y_i - y_{i+1}).
y grows along the axis, so no exponential is above 1.
"""

import math
from typing import Any

from ..autograd.function import Function, Gradients
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..backends.cpu.half import downcast, upcast
from ..registry import Case, ErrorCase, fixed, register
from .casting import astype
from .creation import ones
from .cumulative import sums_to_the_end
from .dims import normalize_dim, with_numpy_names
from .joining import stack
from .operands import as_float_tensor, as_tensor
from .shape import reshape


class Cumprod(Function):
    """y_j = x_0·…·x_j along `dim` · dx_i = Σ_{j ≥ i} dy_j·y_j / x_i; 0 after the first x_z = 0"""

    @staticmethod
    def composed(x: Tensor, *, dim: int) -> Tensor:
        """Products of the first 1, 2, … entries: beside a 0, the formula has no second derivative."""
        before = (slice(None),) * dim
        products = [x[(*before, slice(i + 1))].prod(dim) for i in range(x.shape[dim])]
        return stack(products, dim) if products else x * 1

    def forward(self, x: Array, *, dim: int) -> Array:
        if x.dtype.kind in "biu":
            return namespace(x).cumprod(x, dim, "int64")
        wide = upcast(x)
        y = namespace(x).cumprod(wide, dim)
        self.saved = wide, y, dim
        return downcast(y, x)

    def backward(self, dy: Array) -> Gradients:
        x, y, dim = self.saved
        xp, dy = namespace(dy), upcast(dy)
        zeros = (x == 0).cumsum(dim)
        first = (x == 0) & (zeros == 1)
        dx = sums_to_the_end(dy * y, dim) / xp.where(x == 0, 1, x)
        without = xp.cumprod(xp.where(first, 1, x), dim)
        # Products before z do not have the factor x_z: the running sums from z on leave them out.
        return xp.where(first, sums_to_the_end(dy * without, dim), xp.where(zeros > 0, 0, dx))


class LogCumSumExp(Function):
    """y_j = log Σ_{i ≤ j} exp(x_i) along `dim` · dx_i = Σ_{j ≥ i} dy_j·exp(x_i - y_j), 0 where y_j = -∞"""

    def forward(self, x: Array, *, dim: int) -> Array:
        xp, wide = namespace(x), upcast(x)
        rows = xp.moveaxis(wide, dim, 0)
        ys = [rows[0]]
        for row in rows[1:]:
            ys.append(xp.logaddexp(ys[-1], row))
        y = xp.stack(ys, dim)
        self.saved = wide, y, dim
        return downcast(y, x)

    def backward(self, dy: Array) -> Gradients:
        x, y, dim = self.saved
        xp = namespace(dy)
        rows, ys = xp.moveaxis(upcast(dy), dim, 0), xp.moveaxis(y, dim, 0)
        sums = [rows[-1]]
        for i in range(rows.shape[0] - 2, -1, -1):
            sums.append(rows[i] + sums[-1] * _exp(ys[i], ys[i + 1]))
        return xp.stack(sums[::-1], dim) * _exp(x, y)


def _exp(a: Array, b: Array) -> Array:
    """Return exp(a - b) for a ≤ b: 1 where both are ∞, 0 where both are -∞."""
    xp = namespace(a)
    return xp.exp(xp.where(a == b, 0, a - b)) * (a != -math.inf)


@with_numpy_names
def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Return the running products along axis `dim`; bools and integers give int64.

    With a `dtype`, the input is converted first, and the result has it.

    Raises:
        IndexError: if there is no such axis.
    """
    if dtype is not None:
        return astype(cumprod(astype(input, dtype), dim), dtype)
    x = as_tensor(input)
    axis = normalize_dim(dim, x.ndim)
    return Cumprod.apply(x, dim=axis) if x.ndim else reshape(Cumprod.apply(reshape(x, 1), dim=0), ())


@with_numpy_names
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """Return log(exp(x₀) + … + exp(xᵢ)) along axis `dim`, without overflow.

    Raises:
        IndexError: if there is no such axis.
    """
    x = as_float_tensor(input)
    axis = normalize_dim(dim, x.ndim)
    if not x.numel() or not x.ndim:
        return x + 0
    return LogCumSumExp.apply(x, dim=axis)


_ZEROS = fixed([[1.5, 0.0, -2.0, 3.0], [0.5, 2.0, 1.0, -1.0], [0.0, 3.0, 0.0, 2.0]], differentiable=True)

for _function in (cumprod, logcumsumexp):
    register(
        name=_function.__name__,
        function=_function,
        composed=None,
        cases=(
            Case(((2, 3),), {"dim": 0}),
            Case(((2, 3, 2),), {"dim": -2}),
            Case((_ZEROS,), {"dim": 1}),
            Case(((),), {"dim": 0}),
            Case(((0, 3),), {"dim": 0}),
        ),
        errors=(ErrorCase(lambda f=_function: f(ones(1), 1), IndexError, "dim 1 is out of range"),),  # type: ignore[misc]
        kind="primitive",
        torch=f"torch.{_function.__name__}",
    )
