"""Domain-specific batch normalization: each domain has statistics, weight and bias of its own.

    x (N, C, H, W) of one domain d   y = BN_d(x) = w_d·x̂ + b_d   x̂ = (x - m)·r

All else in the network is shared. Statistics of mixed batches fit neither domain; separate ones let the
layers after them see both alike. With two domains, clean images and adversarial ones, the second is the
auxiliary batch normalization of AdvProp (Xie et al. 2019, arXiv:1911.09665).

Chang et al. 2019, arXiv:1906.03950.

Backward: that of batchnorm.py, with the statistics, weight w and 1/deviation r of the domain d,

    dx = r·w·(dy - mean(dy) - x̂·mean(dy·x̂))

Insight: the weight and bias of a domain learn from its own batches only, everything before them from all.
"""

from ...autograd.tensor import Tensor
from ...module import Module
from ...ops.arguments import as_size
from .batchnorm import BatchNorm2d


class DomainBatchNorm2d(Module):
    """One BatchNorm2d for each domain: `forward(x, domain)`, with all of x (N, C, H, W) from one domain.

    The layers are `bns.0`, `bns.1`, and so on, in the state too. Two domains, clean and adversarial, are
    AdvProp's batch normalization with an auxiliary one.

    Source: Chang et al. 2019; Xie et al. 2019, arXiv:1911.09665.
    """

    def __init__(
        self,
        num_features: int,
        num_domains: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        self.num_features, self.num_domains = num_features, as_size(num_domains, "num_domains")
        self.bns = Module()
        for domain in range(num_domains):
            layer = BatchNorm2d(num_features, eps, momentum, affine, track_running_stats)
            self.bns.register_module(str(domain), layer)

    def forward(self, input: Tensor, domain: int) -> Tensor:
        """Return batch normalization by the statistics and parameters of the domain.

        Raises:
            IndexError: if there is no such domain.
        """
        if not 0 <= as_size(domain, "domain", None) < self.num_domains:
            raise IndexError(f"DomainBatchNorm2d has the domains 0 to {self.num_domains - 1}, got {domain}")
        normalized: Tensor = getattr(self.bns, str(domain))(input)
        return normalized

    def extra_repr(self) -> str:
        return f"{self.num_features}, num_domains={self.num_domains}"
