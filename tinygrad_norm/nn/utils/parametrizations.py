"""weight_norm and spectral_norm: normalize the weight of another layer.

The derivations are in normalization/weight/weightnorm.py and normalization/weight/spectralnorm.py. The
mechanism is in parametrize.py; its `remove_parametrizations` undoes both.
"""

from ...autograd.tensor import Tensor
from ...module import Module
from ...normalization import SpectralNorm, WeightNorm
from ..convolution.convtranspose import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .centered_weight_norm import centered_weight_norm as centered_weight_norm
from .parametrize import is_parametrized, register_parametrization
from .sigma_reparam import sigma_reparam as sigma_reparam


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Compute a weight as g·v/‖v‖ from now on, a length times a direction per output; return the module.

    The weight keeps its value. g is `parametrizations.weight.original0`, v is `original1`: both are new
    parameters, so pass them to the optimizer. An output whose weights are all 0 stays that way.

    Args:
        module: the layer.
        name: the name of the weight.
        dim: the axis of the outputs. None, and as in PyTorch also -1, mean one length for the whole weight.

    Raises:
        ValueError: if there is no such tensor, or it is parametrized already.
        IndexError: if the axis does not exist.

    Source: Salimans, Kingma 2016, arXiv:1602.07868.
    """
    if is_parametrized(module, name):
        raise ValueError(
            f"{name} is parametrized already, but weight_norm splits the original into two, so it must be "
            "the first: register it before the others"
        )
    return register_parametrization(module, name, WeightNorm(dim))


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divide a weight by its largest singular value from now on; return the module.

    The unnormalized weight is `parametrizations.weight.original`, the same parameter as before. Every time
    the weight is read in training mode, the power method takes `n_power_iterations` more steps.

    Args:
        module: the layer.
        name: the name of the weight. A weight with a single axis is divided by its length.
        n_power_iterations: steps of the power method at each use in training.
        eps: the smallest length that a weight with a single axis is divided by. No other weight needs it: the
            singular vectors have length 1 however small the weight is, where PyTorch's shrink.
        dim: the axis of the outputs; None means 1 for transposed convolutions, else 0.

    Raises:
        ValueError: if there is no such tensor, n_power_iterations is below 1, or eps is negative.
        IndexError: if the axis does not exist.

    Source: Miyato, Kataoka, Koyama, Yoshida 2018, arXiv:1802.05957.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"{type(module).__name__} has no parameter or buffer named {name!r}")
    if dim is None:
        dim = 1 if isinstance(module, ConvTranspose1d | ConvTranspose2d | ConvTranspose3d) else 0
    return register_parametrization(module, name, SpectralNorm(weight, n_power_iterations, dim, eps))
