"""σReparam: a weight is its direction W/σ(W), in the sense of the spectral norm, times a learned number γ.

    W (H, ...)   σ = uᵀ·W·v, the largest singular value, u and v from the power method   Ŵ = γ·W/σ

It is the spectral normalization of normalization/weight/spectralnorm.py times γ, so the spectral norm of Ŵ is
γ: one number that the optimizer changes by itself, however W moves.

Zhai et al. 2023, arXiv:2303.06296. As in the authors' code, γ starts at σ(W), so that the weight keeps its
value, u and v start as the exact singular vectors, and each use in training takes one power step.

Backward, from G = dL/dŴ, with u and v held constant:

    dγ = ⟨G, W⟩/σ      dW = γ·(G - ⟨G, W/σ⟩·u·vᵀ)/σ

Insight: attention logits are products of two such weights. Their largest singular values bound the logits,
and with them how little entropy attention can have.
"""

from typing import Any

import numpy

from ...autograd.grad_mode import no_grad
from ...autograd.tensor import Tensor
from ...backends import asarray
from ...module import Module, Parameter
from ...normalization import SpectralNorm
from ..convolution.convtranspose import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .parametrize import register_parametrization


class SigmaReparam(SpectralNorm):
    """What nn.utils.parametrizations.sigma_reparam registers: takes a weight, returns gamma·weight/σ.

    Its parameter is gamma, a number that starts at σ(weight); its buffers are those of SpectralNorm.
    """

    def __init__(self, weight: Tensor, dim: int = 0) -> None:
        super().__init__(weight, 1, dim)
        if weight.ndim < 2:
            raise ValueError(f"sigma_reparam takes a weight with at least 2 axes, got shape {weight.shape}")
        self.gamma = Parameter(numpy.ones((), weight.dtype))
        self.right_inverse(weight)

    def forward(self, weight: Tensor) -> Tensor:
        return self.gamma * super().forward(weight)

    @no_grad()
    def right_inverse(self, value: Tensor) -> Tensor:
        """Return the value, and set gamma, u and v to those of its singular value decomposition."""
        matrix = numpy.moveaxis(value.numpy(), self.dim, 0)
        if not numpy.isfinite(matrix).all():
            raise ValueError(
                "sigma_reparam starts at the largest singular value of the weight, which must be finite, but "
                "has NaN or infinite entries"
            )
        if matrix.dtype == numpy.float16:  # which the decomposition does not take
            matrix = matrix.astype(numpy.float32)
        u, s, v = numpy.linalg.svd(matrix.reshape(len(matrix), -1), full_matrices=False)
        found: Any = ((self._u, u[:, 0]), (self._v, v[0]), (self.gamma, s[0]))
        for tensor, array in found:
            tensor.copy_(Tensor(asarray(numpy.asarray(array, value.dtype))))
        return value

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


def sigma_reparam(module: Module, name: str = "weight", dim: int | None = None) -> Module:
    """Compute a weight as γ·W/σ(W) from now on, with a learned γ; return the module.

    The weight keeps its value. W is `parametrizations.weight.original`, the same parameter as before; γ is
    `parametrizations.weight.0.gamma`, a new one, so pass it to the optimizer. Every time the weight is read
    in training mode, the power method takes one more step.

    Args:
        module: the layer.
        name: the name of the weight, with at least 2 axes.
        dim: the axis of the outputs; None means 1 for transposed convolutions, else 0.

    Raises:
        ValueError: if there is no such tensor, it has fewer than 2 axes, or an entry that is not finite.
        IndexError: if the axis does not exist.

    Source: Zhai et al. 2023, arXiv:2303.06296.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"{type(module).__name__} has no parameter or buffer named {name!r}")
    if dim is None:
        dim = 1 if isinstance(module, ConvTranspose1d | ConvTranspose2d | ConvTranspose3d) else 0
    return register_parametrization(module, name, SigmaReparam(weight, dim))
