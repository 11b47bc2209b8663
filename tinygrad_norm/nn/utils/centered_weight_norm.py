"""Centered weight normalization: the weights of an output have mean 0 and a learned length.

    V (K, ...)   c = V - mean(V) of each output   W = g·c/‖c‖

It is weight normalization (normalization/weight/weightnorm.py) of centered rows: a composition of two
functions whose gradients are known.

Huang, Liu, Liu, Lang, Tao 2017: Centered weight normalization in accelerating training of deep neural
networks, ICCV.

Backward, for one output, from dW = dL/dW, with e = c/‖c‖: weight normalization, then centering,

    dg = Σ dW·e      dc = (g/‖c‖)·(dW - dg·e)      dV = dc - mean(dc)

Insight: the output does not change if a constant is added to all inputs, and dV is orthogonal to c and to 1:
under plain gradient descent the mean of V stays as it is, and its length only grows.
"""

from ...autograd.tensor import Tensor
from ...module import Module
from ...normalization import WeightNorm
from .parametrize import is_parametrized, register_parametrization


class CenteredWeightNorm(WeightNorm):
    """What nn.utils.parametrizations.centered_weight_norm registers: takes g and V, returns g·c/‖c‖."""

    def _centered(self, weight: Tensor) -> Tensor:
        others = tuple(axis for axis in range(weight.ndim) if axis != self.dim)
        return weight - weight.mean(others, keepdim=True)

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return super().forward(weight_g, self._centered(weight_v))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return g = ‖c‖ and V = c, which give the weight without the mean of each output."""
        return super().right_inverse(self._centered(weight))


def centered_weight_norm(module: Module, name: str = "weight", dim: int = 0) -> Module:
    """Compute a weight from now on as a length g times a centered direction per output; return the module.

    The weight loses the mean of each output. g is `parametrizations.weight.original0`, V is `original1`: both
    are new parameters, so pass them to the optimizer.

    Args:
        module: the layer.
        name: the name of the weight, with at least 2 axes.
        dim: the axis of the outputs.

    Raises:
        ValueError: if there is no such tensor, it has fewer than 2 axes, or it is parametrized already.
        IndexError: if the axis does not exist.

    Source: Huang, Liu, Liu, Lang, Tao 2017, ICCV.
    """
    weight = getattr(module, name, None)
    if isinstance(weight, Tensor) and weight.ndim < 2:
        raise ValueError(
            f"centered_weight_norm takes a weight with at least 2 axes, got shape {weight.shape}"
        )
    if is_parametrized(module, name):
        raise ValueError(
            f"{name} is parametrized already, but centered_weight_norm splits the original into two, so it "
            "must be the first: register it before the others"
        )
    return register_parametrization(module, name, CenteredWeightNorm(dim))
