"""QKClip: after a step of the optimizer, make queries and keys shorter where attention's scores became large.

    S_h = max s over the batch, of the scores s = q·k/√D that head h takes part in, before masks are added
    γ_h = min(1, τ/S_h)      W_q, b_q, W_k, b_k of head h  ← √γ_h·W_q, √γ_h·b_q, √γ_h·W_k, √γ_h·b_k

All scores of the head are multiplied by γ_h, so that, for the same batch, the largest is τ. Scores that
are masked do not count; what stands behind the product, a soft cap, does not change what is measured.

Kimi Team 2025 (Kimi K2), arXiv:2507.20534, with τ = 100. They have no biases; without √γ on the biases
too, the scores would not be multiplied by γ. (In their latent attention, a part of the key is shared by
all heads: it stays, and that part of the query is multiplied by γ.)

There is no backward: weights change outside of the graph, as in a projection.

Insight: a soft cap bounds what the softmax sees, whatever the weights do; this bounds the weights, and
the network in use is a plain one. A head that stays below τ is not touched at all.
"""

from __future__ import annotations

import math
from typing import Any

from ..autograd.grad_mode import no_grad
from ..autograd.tensor import Tensor
from ..backends import Array, namespace
from ..backends.cpu.half import upcast
from ..distributed.world import default_group
from ..module import Module
from ..nn.attention.multihead import MultiheadAttention
from ..nn.attention.qknorm import QKNormAttention
from ..nn.utils.parametrize import is_parametrized
from ..ops.arguments import as_number


class LargestScores:
    """The largest score of each head (H,), of all calls since `clear`; None before the first."""

    def __init__(self) -> None:
        self.value: Array | None = None

    def clear(self) -> None:
        """Forget what was seen."""
        self.value = None

    @no_grad()
    def __call__(self, q: Tensor, k: Tensor, mask: Tensor | None, scale: float | None) -> None:
        """See a batch: q (N, H, L, D), k (N, H, S, D), mask as for `scaled_dot_product_attention`."""
        scale = 1 / math.sqrt(max(q.shape[-1], 1)) if scale is None else scale
        scores = Tensor._wrap(upcast(q.array)) @ Tensor._wrap(upcast(k.array)).mT * scale
        if mask is not None:
            hidden = mask.eq(-math.inf) if mask.is_floating_point() else mask.logical_not()
            scores = scores.masked_fill(hidden, -math.inf)
        if not scores.numel():
            return
        found = scores.amax((0, 2, 3)).array
        self.value = found if self.value is None else namespace(found).maximum(self.value, found)


class QKClip:
    """Keeps the scores of all attentions of a module near `threshold`: call `step()` after the optimizer's.

        clip = optim.QKClip(model)
        ...
        optimizer.step()
        clip.step()

    It observes the scores of every forward in training mode, which costs another product q·k. Several
    forwards before a step, and several processes, count together. `max_logits` has what was seen since
    the last step. A head whose largest score is infinite or NaN is left as it is: no factor would make it
    the threshold. It is not for training steps that are captured as a graph.

    Args:
        module: has the attentions, each an `nn.MultiheadAttention`.
        threshold: τ, the score above which a head is scaled.

    Raises:
        ValueError: if the module has no attention, one normalizes its queries and keys, so that their
            weights do not set the size of scores, computes its weights by a parametrization, or is observed
            by another QKClip, or threshold is not positive.

    Source: Kimi Team 2025, arXiv:2507.20534.
    """

    def __init__(self, module: Module, threshold: float = 100.0) -> None:
        if not 0 < as_number(threshold, "threshold") < math.inf:
            raise ValueError(f"threshold must be a positive number, got {threshold}")
        self.threshold = threshold
        self.attentions = {
            name: part for name, part in module.named_modules() if isinstance(part, MultiheadAttention)
        }
        if not self.attentions:
            raise ValueError("QKClip needs a module with an nn.MultiheadAttention in it")
        for name, attention in self.attentions.items():
            _check(name, attention)
        for attention in self.attentions.values():
            attention.observer = LargestScores()

    @property
    def max_logits(self) -> dict[str, Tensor | None]:
        """The largest score of each head (H,) since the last step, by the attention's name, or None."""
        values = {name: attention.observer.value for name, attention in self.attentions.items()}
        return {name: None if value is None else Tensor._wrap(value) for name, value in values.items()}

    @no_grad()
    def step(self) -> None:
        """Scale the queries and keys of the heads whose largest score was above the threshold."""
        group = default_group()
        for attention in self.attentions.values():
            largest = attention.observer.value
            if largest is None:
                continue
            if group.size > 1:
                largest = group.all_gather(largest).max(0)
            xp, tau = namespace(largest), self.threshold
            above = (largest > tau) & (largest < math.inf)  # not NaN: it would spread to all weights
            gamma = xp.where(above, tau / xp.where(above, largest, tau), 1.0)
            _scale(attention, Tensor._wrap(xp.repeat(gamma**0.5, attention.head_dim)))
            attention.observer.clear()

    def remove(self) -> None:
        """Stop observing."""
        for attention in self.attentions.values():
            attention.observer = None


def _check(name: str, attention: MultiheadAttention) -> None:
    if isinstance(attention, QKNormAttention):
        raise ValueError(
            f"{name or 'the module'} normalizes its queries and keys, so their weights do not set the size "
            "of its scores: QKClip is for attentions without such a norm"
        )
    if attention.observer is not None:
        raise ValueError(
            f"{name or 'the module'} is observed by another QKClip: call remove() of that one first; in a "
            "copy of its module, set observer of the attention to None"
        )
    for parameter in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "in_proj_bias"):
        if is_parametrized(attention, parameter):
            raise ValueError(
                f"{parameter} of {name or 'the module'} is computed by a parametrization, so QKClip cannot "
                "change it: remove that first"
            )


def _scale(attention: Any, factors: Tensor) -> None:
    """Multiply queries and keys, feature by feature, by `factors` (E,), in place."""
    E = attention.embed_dim
    if attention.in_proj_weight is None:
        rows = [attention.q_proj_weight, attention.k_proj_weight]
    else:
        rows = [attention.in_proj_weight[:E], attention.in_proj_weight[E : 2 * E]]
    for weight in rows:
        weight.mul_(factors.unsqueeze(1).to(weight.dtype))
    if attention.in_proj_bias is not None:
        for bias in (attention.in_proj_bias[:E], attention.in_proj_bias[E : 2 * E]):
            bias.mul_(factors.to(bias.dtype))
    if attention.bias_k is not None:
        attention.bias_k.mul_(factors.to(attention.bias_k.dtype))
