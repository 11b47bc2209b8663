"""HyperConnection: n streams in the place of one residual, mixed by matrices that Sinkhorn keeps near 1.

    h (..., n, D)   z = RMSNorm(all n·D numbers of a token), without a weight
    (a, b, C) = W·z, of sizes n, n and n·n, each times a learned scale, plus a learned base
    pre = σ(a) + eps   post = 2·σ(b)   comb = sinkhorn(C)

    y_k = post_k·f(Σ_j pre_j·h_j) + Σ_j comb_jk·h_j

f is the layer, such as a norm and attention, on one vector (..., D). The residual of ordinary blocks is n = 1
with pre = post = comb = 1. As each column of comb sums to 1, what a stream gets is an average of the streams;
free matrices would multiply up over the layers. Rows sum to 1 as far as Sinkhorn converges (sinkhorn.py).

Xie et al. 2025, "mHC: Manifold-Constrained Hyper-Connections", arXiv:2512.24880; names, order and eps as in
DeepseekV4HyperConnection of transformers. The backward of RMSNorm is derived in rmsnorm.py, that of Sinkhorn
in sinkhorn.py; the rest is linear.
"""

import numpy

from ...autograd.tensor import Tensor
from ...module import Module, Parameter
from ...normalization.sample.rmsnorm import rms_norm
from ...ops import sigmoid
from ...ops.arguments import as_size
from ...ops.checks import check_eps, check_input
from .. import init
from ..activation.sinkhorn import sinkhorn
from ..linear import linear


class HyperConnection(Module):
    """A layer between n streams: `forward(streams)` takes and returns (..., hc_mult, hidden_size).

    The first block of a network gets its input n times; the last is followed by a mean over the streams, or
    by a learned one. Parameters: `fn` ((2 + n)·n, n·hidden_size), normal with deviation 0.02; `base`
    ((2 + n)·n,), zeros; `scale` (3,), ones. All three are in the order pre, post, comb.

    Args:
        layer: from (..., hidden_size) to the same shape.
        hidden_size: D, the features of a stream.
        hc_mult: n, the number of streams.
        sinkhorn_iters: iterations of Sinkhorn.
        eps: of Sinkhorn, and added to pre.
        norm_eps: of RMSNorm.

    Raises:
        ValueError: if a size is below 1, eps is not above 0, or norm_eps negative; in forward, if the streams
            have another shape, or the layer returns one.

    Source: Xie et al. 2025, arXiv:2512.24880.
    """

    def __init__(
        self,
        layer: Module,
        hidden_size: int,
        hc_mult: int = 4,
        sinkhorn_iters: int = 20,
        eps: float = 1e-6,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.layer, self.hidden_size = layer, as_size(hidden_size, "hidden_size")
        self.hc_mult = as_size(hc_mult, "hc_mult")
        self.sinkhorn_iters = as_size(sinkhorn_iters, "sinkhorn_iters")
        for one in (eps, norm_eps):
            check_eps(one)
        if eps == 0:
            raise ValueError("eps of HyperConnection must be above 0, such as 1e-6: Sinkhorn divides by sums")
        self.eps, self.norm_eps = eps, norm_eps
        count = (2 + hc_mult) * hc_mult
        self.fn = Parameter(numpy.empty((count, hc_mult * hidden_size), numpy.float32))
        self.base = Parameter(numpy.zeros(count, numpy.float32))
        self.scale = Parameter(numpy.ones(3, numpy.float32))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values for fn, and make base 0 and scale 1."""
        init.normal_(self.fn, std=0.02)
        init.zeros_(self.base)
        init.ones_(self.scale)

    def weights(self, streams: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return pre (..., n), post (..., n) and comb (..., n, n) for streams (..., n, D)."""
        check_input(streams, "HyperConnection")
        n, D = self.hc_mult, self.hidden_size
        if streams.shape[-2:] != (n, D):
            raise ValueError(
                f"HyperConnection takes streams (..., {n}, {D}), got shape {streams.shape}: repeat a "
                f"vector as in x.unsqueeze(-2).repeat_interleave({n}, -2)"
            )
        lead = streams.shape[:-2]
        z = linear(rms_norm(streams.reshape(*lead, n * D), (n * D,), None, self.norm_eps), self.fn)
        pre, post, comb = (
            part * self.scale[k] + base
            for k, (part, base) in enumerate(
                zip(z.split([n, n, n * n], -1), self.base.split([n, n, n * n]), strict=True)
            )
        )
        comb = sinkhorn(comb.reshape(*lead, n, n), self.sinkhorn_iters, self.eps)
        return sigmoid(pre) + self.eps, 2 * sigmoid(post), comb

    def forward(self, streams: Tensor) -> Tensor:
        pre, post, comb = self.weights(streams)
        x = (pre.unsqueeze(-1) * streams).sum(-2)
        y = self.layer(x)
        if y.shape != x.shape:
            raise ValueError(
                f"the layer of HyperConnection must keep the shape of its input, {x.shape}, got {y.shape}: "
                f"let its last map give hidden_size={self.hidden_size} features"
            )
        return post.unsqueeze(-1) * y.unsqueeze(-2) + comb.transpose(-1, -2) @ streams

    def extra_repr(self) -> str:
        return f"hidden_size={self.hidden_size}, hc_mult={self.hc_mult}, sinkhorn_iters={self.sinkhorn_iters}"
