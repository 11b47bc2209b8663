"""What processes send each other of their shards, one buffer forward, one backward: see syncbatchnorm.py."""

import math

from ...backends import Array, namespace
from ...backends.cpu.sums import total
from ...backends.float_info import finfo


def shard_moments(x: Array) -> Array:
    """Return the buffer (n, mean, rest of the mean, spread) of one shard, as (4, C, 1)."""
    xp, (N, C, S) = namespace(x), x.shape
    sent = xp.zeros((4, C, 1), x.dtype)
    if N:
        mean = total(x, (0, 2), True)[0] / (N * S)
        rest = total(x - mean, (0, 2), True)[0] / (N * S)
        sent[0], sent[1], sent[2], sent[3] = N * S, mean, rest, _length(x - mean - rest, (0, 2))[0]
    return sent


def joint_moments(sent: Array) -> tuple[Array, Array, Array]:
    """Return mean, its rest and √var (1, C, 1) of everything, from the buffers (R, 4, C, 1) of R shards."""
    xp = namespace(sent)
    n, mean_of_shard, rest_of_shard, spread = sent[:, 0], sent[:, 1], sent[:, 2], sent[:, 3]
    share = n / n.sum(0)
    mean = (share * mean_of_shard).sum(0)[None]
    difference = mean_of_shard - mean + rest_of_shard
    rest = (share * difference).sum(0)[None]
    deviation = xp.stack([spread / xp.sqrt(n.sum(0)), xp.sqrt(share) * (difference - rest)])
    return mean, rest, _length(deviation, (0, 1))[0]


def inverse_deviation(std: Array, eps: float) -> Array:
    """Return 1/√(std² + eps); 0 where that would be infinite."""
    xp = namespace(std)
    std = xp.hypot(std, math.sqrt(eps))
    return xp.where(std == 0, 0, 1 / xp.where(std == 0, 1, std))


def shard_sums(dy: Array, x_hat: Array) -> Array:
    """Return the buffer (Σ dy, Σ dy·x̂) of one shard, as (2, 1, C, 1)."""
    return namespace(dy).stack([total(dy, (0, 2), True), total(dy * x_hat, (0, 2), True)])


def _length(x: Array, axes: tuple[int, ...]) -> Array:
    """Return √(Σ x²) over `axes`, which stay with size 1, without overflow."""
    xp = namespace(x)
    scale = xp.maximum(xp.abs(x).max(axes, keepdims=True), finfo(x.dtype).tiny)
    return scale * xp.sqrt(total(xp.square(x / scale), axes, True))
