"""LP pooling: the p-norm of every window, signs included.

    x (N, C, *S)   y_nc,q = (Σ_k x_k^p)^(1/p)      over the K entries k of window q

made as (K·mean(x^p))^(1/p), with the mean of avg_pool; p = 1 gives the sum. With ceil_mode, the mean of a
window that extends beyond the end counts the entries that exist, as in PyTorch.

Sermanet, Chintala, LeCun 2012, arXiv:1204.3968.

Backward: with s = Σ x^p, the chain rule gives dy/ds = s^(1/p - 1)/p and ∂s/∂x_k = p·x_k^(p-1), so that

    dx_k = Σ_q dy_q·(x_k/y_q)^(p-1)      over the windows q that contain k

Where a window is 0 there is no derivative; here it is 0, where PyTorch has NaN.

Insight: p goes from the sum (1) to the largest entry (∞), where dx reaches one entry of the window only.
"""

import math
from collections.abc import Callable
from typing import ClassVar

from ...autograd.tensor import Tensor
from ...module import Module
from ...ops import ones
from ...ops.arguments import as_number, check_flags
from ...registry import Case, ErrorCase, positive, register
from ..windows.sliding_view import Sizes, as_tuple
from .avgpool import avg_pool1d, avg_pool2d, avg_pool3d

_MEANS: dict[int, Callable[..., Tensor]] = {1: avg_pool1d, 2: avg_pool2d, 3: avg_pool3d}


def lp_pool1d(
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Return the p-norm of every window of (N, C, L) or (C, L); see lp_pool2d."""
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Return the p-norm of every window.

    Args:
        input: (N, C, H, W), or (C, H, W). The root of a window with a negative sum of powers is NaN.
        norm_type: p.
        kernel_size: size of a window; here and below, an int, or one int per axis.
        stride: distance between neighbouring windows; kernel_size if None.
        ceil_mode: whether the last window may extend beyond the end.

    Raises:
        TypeError: if the input is not a floating-point tensor, or an option has a wrong type.
        ValueError: if the number of axes is wrong, the windows do not fit, or p is 0.

    Source: Sermanet, Chintala, LeCun 2012, arXiv:1204.3968.
    """
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Return the p-norm of every window of (N, C, D, H, W) or (C, D, H, W); see lp_pool2d."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)


def _lp_pool(
    axes: int, input: Tensor, norm_type: float, kernel_size: Sizes, stride: Sizes | None, ceil_mode: bool
) -> Tensor:
    p = _power(norm_type)
    if not isinstance(input, Tensor):
        raise TypeError(f"lp_pool{axes}d takes a Tensor, got {type(input).__name__}")
    K = math.prod(as_tuple(kernel_size, axes, "kernel_size", 1))
    return (K * _MEANS[axes](input**p, kernel_size, stride, ceil_mode=ceil_mode)) ** (1 / p)


def _power(norm_type: float) -> float:
    p = as_number(norm_type, "norm_type")
    if p == 0:
        raise ValueError("norm_type is the power p of a norm: it must not be 0")
    return p


class _LPPool(Module):
    axes: ClassVar[int]

    def __init__(
        self,
        norm_type: float,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        check_flags(ceil_mode=ceil_mode)
        _power(norm_type)
        self.norm_type, self.kernel_size = norm_type, kernel_size
        self.stride, self.ceil_mode = stride, ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        return _lp_pool(self.axes, input, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        names = ("norm_type", "kernel_size", "stride", "ceil_mode")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


class LPPool1d(_LPPool):
    """lp_pool1d as a layer: the p-norm of every window of (N, C, L)."""

    axes = 1


class LPPool2d(_LPPool):
    """lp_pool2d as a layer: the p-norm of every window of (N, C, H, W)."""

    axes = 2


class LPPool3d(_LPPool):
    """lp_pool3d as a layer: the p-norm of every window of (N, C, D, H, W)."""

    axes = 3


for _function, _shapes in (
    (lp_pool1d, ((2, 2, 5), (2, 5))),
    (lp_pool2d, ((2, 2, 5, 4), (2, 4, 5))),
    (lp_pool3d, ((1, 2, 2, 3, 4), (2, 3, 3, 2))),
):
    register(
        name=_function.__name__,
        function=_function,
        composed=None,
        cases=(
            Case((_shapes[0],), {"norm_type": 2, "kernel_size": 2}),
            Case((positive(*_shapes[0]),), {"norm_type": 3, "kernel_size": 2, "stride": 1}),
            Case((positive(*_shapes[1]),), {"norm_type": 1.5, "kernel_size": 2, "ceil_mode": True}),
        ),
        errors=(
            ErrorCase(lambda f=_function: f(ones(2), 2, 4), ValueError, "takes x"),  # type: ignore[misc]
            ErrorCase(lambda f=_function: f(ones(1, 8, 8, 8), 0, 2), ValueError, "not be 0"),  # type: ignore[misc]
        ),
        title=f"LPPool{_function.__name__[-2:]}",
        paper="Sermanet, Chintala, LeCun 2012, arXiv:1204.3968",
        torch=f"torch.nn.functional.{_function.__name__}",
    )
