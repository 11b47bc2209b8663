"""Batch normalization in evaluation: where there are no paths through m and v.

    x (N, D)   y, dy, dx (N, D)   weight, bias, running_mean, running_var (D,)   dweight, dbias (D,)

    r = 1/√(running_var + eps)   x̂ = (x - running_mean)·r   y = w·x̂ + b

forward is given. Write dx, dweight and dbias in backward.

An answer should not depend on the other samples that happen to be in the batch. So in evaluation the
statistics are not those of the batch: they were averaged in training and stored, and no x moves them.

Go through the three paths of training, and ask for each whether it still exists:

    straight     x_i is in x̂_i itself:           ∂x̂_i/∂x_i = …
    through m    ∂running_mean/∂x_i = …
    through r    ∂running_var/∂x_i = …

weight and bias are still used by every sample. running_mean and running_var are buffers: backward returns
no gradient for them.

Compare what is left with a linear layer: y = (w·r)·x + (b - w·r·running_mean). In evaluation, BatchNorm
is a scale and a shift for each feature, and so it can be folded into the layer before it.
"""

import numpy as np

from .exercise import Exercise, TypicalMistake


def forward(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    eps: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return y (N, D), and what backward needs: x_hat (N, D), r and weight (D,)."""
    r = 1 / np.sqrt(running_var + eps)
    x_hat = (x - running_mean) * r
    y = weight * x_hat + bias
    return y, x_hat, r, weight


def backward(
    dy: np.ndarray, x_hat: np.ndarray, r: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return dx (N, D), dweight and dbias (D,), for dy (N, D)."""
    # begin solution: write dx, dweight and dbias
    dx = r * weight * dy
    dweight = (dy * x_hat).sum(axis=0)
    dbias = dy.sum(axis=0)
    # end solution
    return dx, dweight, dbias


EXERCISE = Exercise(
    name="batch_norm_eval",
    title="BatchNorm in evaluation: only the straight path",
    level=2,
    hints=(
        "A path exists only if the value on it depends on x. Which of x̂'s parts does here?",
        "m and r are constants, so both of their paths are 0. Only the straight one is left.",
        "∂x̂_i/∂x_i = r, and dL/dx̂ = w·dy. The parameters' gradients are those of training.",
        "dx = r·w·dy, dweight = Σ dy·x̂ and dbias = Σ dy, summed over axis 0.",
    ),
    inputs=lambda rng, more: (
        rng.normal(0.5, 1.5, size=(4 + more, 3 + more)),
        rng.uniform(0.5, 2.0, size=3 + more),
        rng.normal(size=3 + more),
        rng.normal(size=3 + more),
        rng.uniform(0.5, 2.0, size=3 + more),
        1e-2,
    ),
    like="batch_norm",
    mistakes=(
        TypicalMistake(
            "dweight",
            "x̂ is missing: ∂y/∂w = x̂",
            lambda dy, x_hat, r, w: dy.sum(axis=0),
        ),
    ),
)
