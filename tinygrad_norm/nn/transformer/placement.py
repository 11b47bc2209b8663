"""Placement: where the norms of a transformer layer stand.

    x (L, N, D)   a step adds to the stream x what f makes of it, attention or network; n, m its norms over D

    "post"      z = n(x + f(x))           Vaswani et al. 2017, arXiv:1706.03762
    "pre"       z = x + f(n(x))           Xiong et al. 2020, arXiv:2002.04745
    "peri"      z = x + m(f(n(x)))        Kim et al. 2025, arXiv:2502.02732; sandwich: arXiv:2105.13290
    "output"    z = x + n(f(x))           OLMo 2 2025, arXiv:2501.00656: f gets the stream as it is
    "sub"       z = x + f(n(x)), in f a norm before its last linear layer: Wang et al. 2022, arXiv:2210.06423
    "hybrid"    attention with norms of q, k and v: z = x + f(x); network: z = n(x) + f(n(x))
                Zhuo et al. 2025, arXiv:2503.04598, as we remember it
    "mix"       "post" in the first quarter of the layers, then "pre": Li et al. 2024, arXiv:2412.13795;
                with fewer than 4 layers it is "pre" in all of them
    "scaled"    z = x + f(n(x)/√l), l = 1, 2, … the number of the layer: Sun et al. 2025, arXiv:2502.05795
    DeepNorm    z = n(α·x + f(x)): deepnorm.py

"post" and DeepNorm end with a norm; the others need one at the end of the stack. In "hybrid", v has a norm
without a weight: one would only scale the columns of the output's projection. With "scaled", Sun et al. leave
out GPT-2's smaller start of the output's projections, by 1/√(2L).

Backward, of one step, from dz = dL/dz, where f′(g) is the backward of f, given the gradient g of its
output. A sum passes its gradient on to both terms, so that x has two paths, and their contributions add
up:

    post      g = n′(dz)    dx = g + f′(g)
    pre                     dx = dz + n′(f′(dz))      also sub and, in its last layers, mix
    peri                    dx = dz + n′(f′(m′(dz)))
    output                  dx = dz + f′(n′(dz))
    hybrid                  dx = dz + f′(dz) for attention, n′(dz + f′(dz)) for the network
    scaled                  dx = dz + n′(f′(dz))/√l
    DeepNorm  g = n′(dz)    dx = α·g + f′(g)

Insight: where dx contains dz as it is, a deep stack learns without a warm-up, but the stream grows. If f
gives what it adds the variance of its input, at right angles to the stream, that variance is, after N
steps, 1 + N for pre and peri, 1 for post, and 1 + Σ 1/l for scaled: 5.7 where pre has 65. The norm at
the end divides by it.
"""

from typing import Any, ClassVar

from ...autograd.tensor import Tensor
from ...module import Module
from ...ops.arguments import as_size
from ...suggestions import unknown
from .deepnorm import DeepNorm

PLACEMENTS = ("post", "pre", "peri", "output", "sub", "hybrid", "mix", "scaled")


def as_placement(norm_first: bool, placement: Any, depth: int | None) -> str | DeepNorm:
    """Return `placement`, or what `norm_first` says if that is None; "deep" is the DeepNorm of this depth.

    Raises:
        ValueError: if placement is unknown, contradicts norm_first, or is "deep" without a depth.
    """
    if placement is None:
        return "pre" if norm_first else "post"
    if norm_first and placement != "pre":
        raise ValueError(
            f"norm_first=True means placement='pre', got placement={placement!r} too: pass only one"
        )
    if placement == "deep":
        if depth is None:
            raise ValueError(
                "the numbers of DeepNorm depend on the depth of the stack: pass depth=layers too, or "
                "placement=nn.DeepNorm.encoder(...) and nn.DeepNorm.decoder(...) if one stack reads the other"
            )
        return DeepNorm.alone(depth)
    if isinstance(placement, DeepNorm) or placement in PLACEMENTS:
        return placement
    if placement == "sandwich":
        raise ValueError("the placement 'sandwich' is called 'peri': pass that")
    raise ValueError(f"{unknown('placement', str(placement), PLACEMENTS)}, or an nn.DeepNorm")


class Placed(Module):
    """Base of a layer of several steps x + f(x), the last of them the network, with norms in one placement.

    Step i has its norm in `norm{i}`, in "peri" another in `post_norm{i}`, and `dropout{i}` behind f.
    """

    attentions: ClassVar[tuple[str, ...]]

    def __init__(self, placement: str | DeepNorm, layer_index: int | None, depth: int | None) -> None:
        super().__init__()
        self.placement = placement
        self.layer_index = None if layer_index is None else as_size(layer_index, "layer_index")
        self.depth = None if depth is None else as_size(depth, "depth")
        if layer_index is not None and depth is not None and layer_index > depth:
            raise ValueError(f"layer_index counts from 1 to depth, got {layer_index} of {depth}")

    def place_in_stack(self, layer_index: int, depth: int) -> None:
        """Say that this is layer `layer_index`, from 1, of `depth`: "mix" and "scaled" depend on it."""
        self.layer_index, self.depth = layer_index, depth

    @property
    def norm_first(self) -> bool:
        """Whether a step normalizes its input: pre, peri, sub, scaled, and mix in its last layers."""
        return self._place() in ("pre", "peri", "sub", "scaled")

    @property
    def ends_with_norm(self) -> bool:
        """Whether the output is normalized: post, DeepNorm, and mix in its first layers."""
        return isinstance(self.placement, DeepNorm) or self._place() == "post"

    def _place(self) -> str | DeepNorm:
        if self.placement == "mix":
            index, depth = self._known("layer_index"), self._known("depth")
            return "post" if index <= depth // 4 else "pre"
        return self.placement

    def _known(self, name: str) -> int:
        value: int | None = getattr(self, name)
        if value is None:
            raise RuntimeError(
                f"the placement {self.placement!r} depends on the number of the layer: pass layer_index, "
                "from 1, and depth, or put the layer into an nn.TransformerEncoder or nn.TransformerDecoder"
            )
        return value

    def _step(self, i: int, x: Tensor, sublayer: Any) -> Tensor:
        place, dropout = self._place(), getattr(self, f"dropout{i}")
        norm: Any = getattr(self, f"norm{i}", None)

        def f(x: Tensor) -> Tensor:
            return dropout(sublayer(x))

        if isinstance(place, DeepNorm):
            return norm(place.alpha * x + f(x))
        if place == "post":
            return norm(x + f(x))
        if place == "peri":
            return x + getattr(self, f"post_norm{i}")(f(norm(x)))
        if place == "output":
            return x + norm(f(x))
        if place == "scaled":
            return x + f(norm(x) * self._known("layer_index") ** -0.5)
        if place == "hybrid":
            x = x if norm is None else norm(x)
            return x + f(x)
        return x + f(norm(x))
