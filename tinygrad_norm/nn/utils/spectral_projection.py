"""Spectral projection: after each update, weights are divided by their largest singular value: W ← W/σ.

This is not the spectral normalization of Miyato et al., which is `nn.utils.parametrizations.spectral_norm`:
that one keeps W, computes with W/σ, and differentiates through the division (spectralnorm.py). Here W itself
is changed, outside of the graph. The gradient that the optimizer gets does not know that its part along the
largest singular vectors will be undone.

Like projected gradient descent, it leaves plain layers, with σ = 1, that need no more work in evaluation.
"""

from ...autograd.grad_mode import no_grad
from ...module import Module
from ...normalization import SpectralNorm
from ...ops.arguments import as_size
from ..containers import ModuleList
from ..convolution.convnd import ConvNd
from ..linear import Linear
from .parametrize import is_parametrized
from .plain_layers import is_plain


class SpectralProjection(Module):
    """Divides the weights of a network by their largest singular values: call `project_()` after each update.

        projection = nn.utils.SpectralProjection(model)
        ...
        optimizer.step()
        projection.project_()

    or, once, `optimizer.register_step_post_hook(lambda *_: projection.project_())`.

    It is for the weights of all Linear layers and convolutions in `module`; W is the weight as a matrix with
    one row per output. Its buffers are the singular vectors of each, `norms.0._u` and so on: the power method
    takes 15 steps when they are made, and `n_power_iterations` more at each call. Zeros stay zeros.

    Args:
        module: the network.
        n_power_iterations: steps of the power method at each call.

    Raises:
        ValueError: if `module` has no such layer, a layer computes its weight, by a parametrization or as
            WSConv2d and CosineLinear do, or n_power_iterations is below 1.

    Not Miyato et al. 2018, whose normalization is `nn.utils.parametrizations.spectral_norm`.
    """

    def __init__(self, module: Module, n_power_iterations: int = 1) -> None:
        super().__init__()
        steps = as_size(n_power_iterations, "n_power_iterations")
        layers = [layer for layer in module.modules() if isinstance(layer, Linear | ConvNd)]
        if not layers:
            raise ValueError("SpectralProjection needs a module with Linear layers or convolutions")
        for layer in layers:
            if is_parametrized(layer, "weight"):
                raise ValueError(
                    f"the weight of {type(layer).__name__} is computed by a parametrization, so "
                    "SpectralProjection cannot change it: remove that first"
                )
            if not is_plain(layer):
                raise ValueError(
                    f"{type(layer).__name__} has a forward of its own, which may compute another weight from "
                    "`weight`, so σ of `weight` says nothing of it: leave it out of the module"
                )
        self._layers: list[Linear | ConvNd] = layers
        self.norms = ModuleList(
            SpectralNorm(layer.weight, steps, int(isinstance(layer, ConvNd) and layer.transposed))
            for layer in layers
        )

    @no_grad()
    def project_(self) -> None:
        """Divide each weight by its largest singular value, in place."""
        for layer, norm in zip(self._layers, self.norms, strict=True):
            layer.weight.copy_(norm(layer.weight))
