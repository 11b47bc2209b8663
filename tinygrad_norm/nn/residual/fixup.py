"""Fixup: residual branches that start so small that one step moves the output equally far at any depth.

    L branches, each with m weight layers W₁ … W_m, from their usual initialization
    W_m = 0       W_i ← W_i·L^(-1/(2m - 2)) for i < m       the classifier's weight and bias = 0

and, as modules within a branch, a scalar multiplier (1 at first) after W_m, and scalar biases (0 at first)
before each weight layer and each activation: ScalarMultiplier, ScalarBias.

Zhang, Dauphin, Ma 2019, arXiv:1901.09321.

Why this power. Let each W_i with i < m be scaled by c. W_m = 0, so in the first step only W_m has a gradient
that is not 0, and it contains what comes out of the layers before it:

    dW_m is of size c^(m-1), for dz and x of size 1
    an update by lr·dW_m moves the branch by lr·dW_m·(what comes in)    of size lr·c^(2m-2)
    and L branches together move the output by                          lr·L·c^(2m-2)

This does not depend on the depth if c = L^(-1/(2m - 2)): L^(-1/2) for two layers, L^(-1/4) for three.

Insight: norms are not needed to keep the forward pass in bounds (a branch of 0 does that), but to keep the
first *updates* in bounds. L counts branches, not layers.
"""

from collections.abc import Iterable

from ...autograd.grad_mode import no_grad
from ...module import Module
from .. import init
from ..containers import ModuleList
from ..convolution.convnd import ConvNd
from ..linear import Linear
from ..utils.parametrize import is_parametrized
from ..utils.plain_layers import is_plain


@no_grad()
def fixup_(branches: Iterable[Module], classifier: Module | None = None) -> None:
    """Initialize the residual branches of a network without norms, in place.

    In each branch the weight of the last Linear layer or convolution becomes 0, and those before it are
    multiplied by L^(-1/(2m - 2)): L is the number of branches, m that of weight layers in this one. Biases
    of these layers become 0. The order of the layers is that of `modules()`.

    Args:
        branches: the residual branches, without their shortcuts; all of the network.
        classifier: the last Linear layer of the network, whose weight and bias become 0.

    Raises:
        TypeError: if a branch is not a module, or the classifier not a Linear layer.
        ValueError: if there is no branch, or one has no weight layer; if a weight layer has a parametrization
            or a forward of its own (WSConv2d), or is in two branches; if
            a branch has other matrices, as attention has.

    Source: Zhang, Dauphin, Ma 2019, arXiv:1901.09321.
    """
    if isinstance(branches, Module) and not isinstance(branches, ModuleList):
        raise TypeError(f"fixup_ takes a list of branches, got one {type(branches).__name__}")
    layers = [_weight_layers(i, branch) for i, branch in enumerate(branches)]
    if not layers:
        raise ValueError("fixup_ needs the residual branches of the network, got none")
    distinct = {id(layer) for of_branch in layers for layer in of_branch}
    if len(distinct) < sum(map(len, layers)):
        raise ValueError("a weight layer is in two branches: pass each branch once, without its blocks")
    if not isinstance(classifier, Linear | None):
        raise TypeError(f"the classifier must be a Linear layer, got {type(classifier).__name__}")
    L = len(layers)
    for *before, last in layers:
        for layer in before:
            layer.weight.mul_(L ** (-1 / (2 * len(before))))
        init.zeros_(last.weight)
        for layer in (*before, last):
            _zero_bias(layer)
    if classifier is not None:
        init.zeros_(classifier.weight)
        _zero_bias(classifier)


def _weight_layers(i: int, branch: Module) -> list[Linear | ConvNd]:
    if not isinstance(branch, Module):
        raise TypeError(f"fixup_ takes modules, branch {i} is a {type(branch).__name__}")
    found = []
    for layer in branch.modules():
        if isinstance(layer, Linear | ConvNd):
            if is_parametrized(layer) or not is_plain(layer):
                raise ValueError(
                    f"fixup_ scales weights, but {type(layer).__name__} in branch {i} computes its weight "
                    "from others: leave out weight normalization"
                )
            found.append(layer)
        elif any(parameter.ndim > 1 for parameter in layer.parameters(recurse=False)):
            raise ValueError(
                f"branch {i} has a {type(layer).__name__}, whose weights are not of a Linear layer or a "
                "convolution: Fixup does not say how they start"
            )
    if not found:
        raise ValueError(f"branch {i} ({type(branch).__name__}) has no Linear layer or convolution to scale")
    return found


def _zero_bias(layer: Module) -> None:
    if layer.bias is not None:
        init.zeros_(layer.bias)
