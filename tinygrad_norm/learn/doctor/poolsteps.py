"""The derivation of a normalization over a pool as steps, in training and in evaluation."""

from ...ops.broadcast import unbroadcast
from .catalogue import Steps

LINES = {
    "g": "w·dy",
    "straight": "r·g",
    "through m": "-r·mean(g)",
    "through r": "-r·x̂·mean(g·x̂)",
    "dx": "r·(g - mean(g) - x̂·mean(g·x̂))",
    "dw": "Σ dy·x̂",
    "db": "Σ dy",
}
"""The lines of the derivation, as in layernorm.py."""

STEPS: Steps = {
    "used": lambda s: s.pool,  # the pool of the means in backward
    "g": lambda s: s.w * s.dy,
    "m": lambda s: s.pool.totals(s.x) / s.n if s.centered else 0 * s.x,
    "c": lambda s: s.x - s.m,
    "v": lambda s: s.pool.totals(s.c * s.c) / s.count,
    "r_of_y": lambda s: 1 / (s.v**0.5 + s.eps) if s.outside else (s.v + s.eps) ** -0.5,
    "r": lambda s: s.r_of_y,
    "x_hat": lambda s: s.c * s.r_of_y,
    "y": lambda s: s.w * s.x_hat + s.b,
    "slope": lambda s: -(s.r**2) / s.v**0.5 if s.outside else -(s.r**3),  # 2·∂r/∂v
    "mean_g": lambda s: s.used.totals(s.g) / s.used.size,
    "mean_gx": lambda s: s.used.totals(s.g * s.x_hat) / s.used.size,
    "straight": lambda s: s.r * s.g,
    "through_m": lambda s: -s.r * s.mean_g if s.centered else 0 * s.x,
    "through_r": lambda s: s.slope / s.r**2 * s.x_hat * s.mean_gx * (s.n / s.count),
    "dx": lambda s: s.straight + s.through_m + s.through_r,
    "dw": lambda s: unbroadcast(s.dy * s.x_hat, s.w_view).reshape(s.w_shape),
    "db": lambda s: unbroadcast(s.dy, s.b_view).reshape(s.b_shape),
}
EVALUATION: Steps = {
    "m": lambda s: s.running_mean,
    "v": lambda s: s.running_var,
    "through_m": lambda s: 0 * s.x,
    "through_r": lambda s: 0 * s.x,
}
