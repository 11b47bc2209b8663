"""Linear: three gradients of one matrix product.

    x (N, I)   weight (O, I)   bias (O,)   y = x·weightᵀ + bias (N, O)
    dy (N, O)   dx (N, I)   dweight (O, I)   dbias (O,)

forward is given. Write dx, dweight and dbias in backward.

Entry by entry, y_no = Σ_i x_ni·weight_oi + bias_o. For each input, ask which entries of y one of its
entries moves, and by how much; then add up dy times that, over all of these.

    dx        x_ni moves y_no for every o, by ∂y_no/∂x_ni = weight_oi:

                  dx_ni = Σ_o dy_no·weight_oi

    dweight   weight_oi moves y_no for every n, by ∂y_no/∂weight_oi = …

                  dweight_oi = Σ_n …

    dbias     bias_o moves y_no for every n, by …

A sum over an index that two factors share is a matrix product. Transpose a factor where needed, so that the
shared index stands inside: dx_ni sums over o, and dy is (N, O), weight (O, I).
"""

import numpy as np

from .exercise import Exercise, TypicalMistake


def forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return y (N, O), and what backward needs: x (N, I) and weight (O, I)."""
    y = x @ weight.T + bias
    return y, x, weight


def backward(dy: np.ndarray, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return dx (N, I), dweight (O, I) and dbias (O,), for dy (N, O)."""
    # begin solution: write dx, dweight and dbias
    dx = dy @ weight
    dweight = dy.T @ x
    dbias = dy.sum(axis=0)
    # end solution
    return dx, dweight, dbias


EXERCISE = Exercise(
    name="linear",
    title="a matrix product and a sum over the batch",
    level=1,
    hints=(
        "Begin with the shapes: each gradient has the shape of its input, and the index that is summed over "
        "disappears. What is dbias summed over?",
        "∂y_no/∂weight_oi = x_ni and ∂y_no/∂bias_o = 1. Every sample adds its part to both.",
        "dweight_oi = Σ_n dy_no·x_ni: n must stand inside the product, so dy is transposed. "
        "dbias_o = Σ_n dy_no.",
        "dx = dy @ weight, dweight = dy.T @ x, and dbias is dy summed over axis 0.",
    ),
    inputs=lambda rng, more: (
        rng.normal(size=(4 + more, 3 + more)),
        rng.normal(size=(2 + more, 3 + more)),
        rng.normal(size=2 + more),
    ),
    like="linear",
    mistakes=(
        TypicalMistake(
            "dweight",
            "a mean over the samples stands where their sum belongs",
            lambda dy, x, weight: dy.T @ x / len(x),
        ),
        TypicalMistake(
            "dbias",
            "a mean over the samples stands where their sum belongs",
            lambda dy, x, weight: dy.mean(axis=0),
        ),
        TypicalMistake(
            "dweight", "its shape is that of x.T @ dy: transpose it", lambda dy, x, weight: x.T @ dy
        ),
    ),
)
