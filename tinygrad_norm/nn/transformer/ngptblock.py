"""NGPTBlock: a transformer layer on the unit sphere, where every vector of the embedding space has length 1.

    x (N, T, D)   H heads of K = D/H features   M hidden features   norm(z) = z/‖z‖ over the last axis

    q, k, v = x @ W_qᵀ, x @ W_kᵀ, x @ W_vᵀ   per head: q, k ← s_qk·norm(turn(q)), s_qk·norm(turn(k))
    a = (softmax(√K·q @ kᵀ) @ v) @ W_oᵀ      h = norm(x + |α_a|·(norm(a) - x))
    u, z = s_u·(h @ W_uᵀ), √D·s_z·(h @ W_zᵀ)
    f = (u·SiLU(z)) @ W_fᵀ                   y = norm(h + |α_f|·(norm(f) - h))

turn rotates each pair of features (i, i + K/2) of step t by the angle t·10000^(-2i/K): it keeps lengths, and
products q·k depend only on the distance of two steps (rotary positions: Su et al. 2021, arXiv:2104.09864).

Learned: the weights W; α_a, α_f (D,), the step sizes, 0.05 at first; s_qk (D,), s_u, s_z (M,), 1 at first. A
scale is stored as weight = s·scale/start, which starts at `scale`: for α and s_qk 1/√D, the size of an entry
of a unit vector, so that a step of Adam, about lr in every parameter, changes both by the same fraction.

After each step of the optimizer, `normalize_weights_` makes every vector of the embedding space (D) in the
weights a unit vector again: the rows of W_q, W_k, W_v, W_u, W_z, and the columns of W_o and W_f. A product of
two unit vectors is a cosine. Those of q and k are at most 1, so the softmax sharpens them by √K instead of
damping them by 1/√K; those of W_z are about 1/√D, so √D brings them to where SiLU is curved.

Loshchilov, Hsieh, Sun, Ginsburg 2024, arXiv:2410.01131.

Backward: the chain rule through linear.py, scaleddotproduct.py and normalize.py. For one step y = norm(p),
p = h + |α|·(b - h) with b = norm(f), r = 1/‖p‖ and g = dL/dy:

    dp = r·(g - y·Σ(g·y))     dh = (1 - |α|)·dp     db = |α|·dp     dα = sign(α)·Σrows dp·(b - h)

dp has no part along y: a step along the sphere is all that an update can learn from.

Insight: h + α·(b - h) is a step of gradient descent towards what the sublayer proposes, norm the way back to
the sphere, and α its learning rate, one for each feature. The sums of pre-LN grow with depth, so that late
layers change them ever less; here every layer turns a vector of the same length, and α says by how much.
"""

import math
from typing import Any

import numpy

from ...autograd.grad_mode import no_grad
from ...autograd.tensor import Tensor
from ...backends import namespace
from ...backends.cuda.capture import upload
from ...module import Module, Parameter
from ...normalization.vector.normalize import normalize, normalize_composed
from ...ops import cat, ones
from ...ops.arguments import as_finite, as_number, as_size
from ...ops.checks import check_input
from ...registry import Case, ErrorCase, Input, register, uniform
from .. import init
from ..activation.gated import silu, silu_composed
from ..attention.position import sinusoids
from ..attention.scaleddotproduct import (
    scaled_dot_product_attention,
    scaled_dot_product_attention_composed,
)
from ..linear import Linear, linear, linear_composed
from ..utils.parameter_swap import functional_call


def ngpt_block_composed(
    x: Tensor, *parameters: Tensor, embed_dim: int, num_heads: int, **sizes: Any
) -> Tensor:
    """The block from primitives, one head after the other: autograd finds the gradient."""
    in_weight, out_weight, up_weight, down_weight, alpha_a, s_qk, alpha_f, s_u, s_z = parameters
    D, K = embed_dim, embed_dim // num_heads
    alpha_a, alpha_f = (alpha * (sizes.get("alpha", 0.05) * math.sqrt(D)) for alpha in (alpha_a, alpha_f))
    s_qk = s_qk * math.sqrt(D)
    q, k, v = linear_composed(x, in_weight).chunk(3, -1)
    heads = []
    for i in range(num_heads):
        part = slice(i * K, (i + 1) * K)
        q_i, k_i = (s_qk[part] * _norm(_turn_composed(p[..., part])) for p in (q, k))
        heads.append(
            scaled_dot_product_attention_composed(q_i, k_i, v[..., part], is_causal=True, scale=math.sqrt(K))
        )
    a = linear_composed(cat(heads, -1), out_weight)
    h = _norm(x + alpha_a.abs() * (_norm(a) - x))
    u, z = linear_composed(h, up_weight).chunk(2, -1)
    f = linear_composed(s_u * u * silu_composed(s_z * math.sqrt(D) * z), down_weight)
    return _norm(h + alpha_f.abs() * (_norm(f) - h))


def _norm(x: Tensor) -> Tensor:
    return normalize_composed(x, dim=-1)


def _turn_composed(x: Tensor) -> Tensor:
    T, K = x.shape[-2:]
    angle = ones(T, K // 2, dtype=x.dtype).cumsum(0) - 1
    angle = angle * (ones(T, K // 2, dtype=x.dtype).cumsum(1) - 1).mul(-2 / K * math.log(10000)).exp()
    a, b = x.chunk(2, -1)
    return cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


def turn(x: Tensor) -> Tensor:
    """Rotate the features of each step by angles that grow with the step: x (..., T, H, K), K even."""
    T, K = x.shape[-3], x.shape[-1]
    P = sinusoids(T, K).astype(x.dtype)[:, None]
    sine, cosine = (Tensor._wrap(upload(P[..., i::2].copy(), namespace(x.array))) for i in range(2))
    a, b = x.chunk(2, -1)
    return cat([a * cosine - b * sine, a * sine + b * cosine], -1)


class LearnedScale(Module):
    """Factors s (features,) that start at `start`, stored as a weight that starts at `scale`.

    Returns s = weight·start/scale. A step of Adam changes the weight by about lr, and so s by the fraction
    lr/scale.
    """

    def __init__(self, features: int, start: float = 1.0, scale: float = 1.0) -> None:
        super().__init__()
        self.start, self.scale = as_number(start, "start"), as_number(scale, "scale")
        self.weight = Parameter(numpy.full(as_size(features, "features"), scale, numpy.float32))

    def forward(self) -> Tensor:
        return self.weight * (self.start / self.scale)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, start={self.start:g}, scale={self.scale:g}"


class NGPTBlock(Module):
    """A causal transformer layer on the unit sphere: x (N, T, embed_dim) of unit vectors, and so is y.

    Call `normalize_weights_()` after each step of the optimizer; `NGPT` does it for all its layers.

    Args:
        embed_dim: D, the features of x.
        num_heads: H; embed_dim must be an even multiple of it.
        mlp_ratio: the hidden features M of the small network are mlp_ratio·embed_dim.
        alpha: the step sizes at first, of about 1/layers.

    Raises:
        ValueError: if the sizes do not fit, alpha is not positive, or a number is not finite.

    Source: Loshchilov, Hsieh, Sun, Ginsburg 2024, arXiv:2410.01131.
    """

    def __init__(self, embed_dim: int, num_heads: int, mlp_ratio: float = 4.0, alpha: float = 0.05) -> None:
        super().__init__()
        mlp_ratio, alpha = as_finite(mlp_ratio, "mlp_ratio"), as_finite(alpha, "alpha")
        D, H = as_size(embed_dim, "embed_dim"), as_size(num_heads, "num_heads")
        if D % (2 * H):
            raise ValueError(
                "embed_dim must be an even multiple of num_heads, since the features of a head are turned in "
                f"pairs: got embed_dim={embed_dim}, num_heads={num_heads}"
            )
        if not alpha > 0:
            raise ValueError(f"alpha must be positive, got {alpha}")
        M = as_size(int(mlp_ratio * D), "mlp_ratio·embed_dim")
        self.embed_dim, self.num_heads = D, H
        self.in_proj, self.out_proj = Linear(D, 3 * D, bias=False), Linear(D, D, bias=False)
        self.up_proj, self.down_proj = Linear(D, 2 * M, bias=False), Linear(M, D, bias=False)
        self.alpha_attention = LearnedScale(D, alpha, 1 / math.sqrt(D))
        self.scale_qk = LearnedScale(D, 1.0, 1 / math.sqrt(D))
        self.alpha_mlp = LearnedScale(D, alpha, 1 / math.sqrt(D))
        self.scale_up, self.scale_gate = LearnedScale(M), LearnedScale(M)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new directions for the weights; the scales start again."""
        for layer in (self.in_proj, self.out_proj, self.up_proj, self.down_proj):
            init.normal_(layer.weight)
        for scale in (self.alpha_attention, self.scale_qk, self.alpha_mlp, self.scale_up, self.scale_gate):
            init.constant_(scale.weight, scale.scale)
        self.normalize_weights_()

    def normalize_weights_(self) -> None:
        """Make every vector of the embedding space in the weights a unit vector again."""
        for layer, dim in ((self.in_proj, 1), (self.up_proj, 1), (self.out_proj, 0), (self.down_proj, 0)):
            to_unit_vectors_(layer.weight, dim)

    def forward(self, input: Tensor) -> Tensor:
        check_input(input, "NGPTBlock")
        if input.ndim < 2 or input.shape[-1] != self.embed_dim:
            raise ValueError(f"NGPTBlock takes x (..., T, {self.embed_dim}), got shape {input.shape}")
        x = _step(input, self._attend(input), self.alpha_attention())
        return _step(x, self._mix(x), self.alpha_mlp())

    def _attend(self, x: Tensor) -> Tensor:
        D, H = self.embed_dim, self.num_heads
        q_k_v = self.in_proj(x)
        q_k = normalize(turn(q_k_v[..., : 2 * D].unflatten(-1, (2 * H, D // H))), dim=-1)
        s = self.scale_qk().reshape(1, H, D // H).tile(1, 2, 1)
        q, k = (s * q_k).swapaxes(-3, -2).chunk(2, -3)
        v = q_k_v[..., 2 * D :].unflatten(-1, (H, D // H)).swapaxes(-3, -2)
        a = scaled_dot_product_attention(q, k, v, is_causal=True, scale=math.sqrt(D // H))
        return self.out_proj(a.swapaxes(-3, -2).flatten(-2))

    def _mix(self, x: Tensor) -> Tensor:
        # Scaling the rows of a weight scales its outputs, and there are fewer rows than outputs.
        s = cat([self.scale_up(), self.scale_gate() * math.sqrt(self.embed_dim)])
        u, z = linear(x, s.unsqueeze(1) * self.up_proj.weight).chunk(2, -1)
        return self.down_proj(u * silu(z))

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}"


def _step(x: Tensor, proposed: Tensor, alpha: Tensor) -> Tensor:
    """Return norm(x + |α|·(norm(proposed) - x))."""
    return normalize(x + alpha.abs() * (normalize(proposed, dim=-1) - x), dim=-1)


@no_grad()
def to_unit_vectors_(weight: Tensor, dim: int) -> None:
    """Divide the vectors along `dim` by their lengths, in place; vectors of zeros stay."""
    weight.copy_(normalize(weight, dim=dim))


def _ngpt_block(x: Tensor, *parameters: Tensor, **options: Any) -> Tensor:
    """Call a block made with `options`, with all its parameters in order."""
    block = NGPTBlock(**options)
    names = [name for name, _ in block.named_parameters()]
    return functional_call(block, dict(zip(names, parameters, strict=True)), (x,))


def _case(*shape: int, num_heads: int, weights: bool, **options: Any) -> Case:
    D = shape[-1]
    matrices = [Input(matrix, differentiable=weights) for matrix in ((3 * D, D), (D, D), (D, D), (D, D // 2))]
    scales = uniform(0.2, 0.8, D), uniform(0.2, 0.8, D), (D,), (D // 2,), (D // 2,)
    options = {"embed_dim": D, "num_heads": num_heads, "mlp_ratio": 0.5} | options
    return Case((shape, *matrices, *scales), options)


register(
    name="ngpt_block",
    function=_ngpt_block,
    composed=ngpt_block_composed,
    parameters=("parameters",),
    cases=(
        _case(3, 2, num_heads=1, weights=True),
        _case(1, 2, 4, num_heads=2, weights=False, alpha=0.5),
    ),
    errors=(
        ErrorCase(lambda: NGPTBlock(6, 2), ValueError, "even multiple of num_heads"),
        ErrorCase(lambda: NGPTBlock(4, 0), ValueError, "num_heads must be at least 1"),
        ErrorCase(lambda: NGPTBlock(4, 2, alpha=0.0), ValueError, "alpha must be positive"),
        ErrorCase(lambda: NGPTBlock(4, 2, math.inf), ValueError, "mlp_ratio must be finite"),
        ErrorCase(lambda: NGPTBlock(4, 2, alpha=math.nan), ValueError, "alpha must be finite"),
        ErrorCase(lambda: NGPTBlock(4, 2, 0.1), ValueError, "mlp_ratio·embed_dim"),
        ErrorCase(lambda: NGPTBlock(4, 2)(ones(2, 3)), ValueError, "takes x (..., T, 4), got shape (2, 3)"),
        ErrorCase(lambda: NGPTBlock(4, 2)(ones(2, 4).long()), TypeError, "floating-point"),
    ),
    kind="block",
    title="nGPT layer",
    paper="Loshchilov et al. 2024, arXiv:2410.01131",
)
