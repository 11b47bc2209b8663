"""Sigmoid: the first backward, from a function of one number.

    x any shape    y = 1/(1 + e⁻ˣ)    dx in the shape of x

forward is given. Write dx in backward.

A network is a chain of functions that ends in one number, the loss L. Backpropagation walks it from the
end: each function gets dy = dL/dy, one number for every entry of its y, and returns dx = dL/dx, one for
every entry of x. Between the two stands the chain rule. Every y_j that x_i moves is a path from x_i to L,
and what flows along the paths adds up:

    dx_i = Σ_j dy_j·∂y_j/∂x_i

Here y_i depends on x_i alone, so one term of the sum is left:

    dx_i = dy_i·∂y_i/∂x_i

With u = 1 + e⁻ˣ, y = 1/u and the local derivative is a product of two:

    ∂y/∂u = -1/u²      ∂u/∂x = …

Multiply them. Then write the product in terms of y alone, with e⁻ˣ = 1/y - 1: forward has y already, and no
exponential is computed twice.
"""

import numpy as np

from .exercise import Exercise, TypicalMistake


def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return y, in the shape of x, and what backward needs: y."""
    y = 1 / (1 + np.exp(-x))
    return y, y


def backward(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return dx, in the shape of dy and y."""
    # begin solution: write dx and return it
    return dy * y * (1 - y)
    # end solution


EXERCISE = Exercise(
    name="sigmoid",
    title="a function of one number: its derivative times dy",
    level=1,
    hints=(
        "dx is a product of two: dy, and the derivative of the sigmoid at x. Watch the signs of -1/u² and "
        "∂u/∂x.",
        "∂u/∂x = -e⁻ˣ, so ∂y/∂x = e⁻ˣ/u². One of its two factors 1/u is y.",
        "The other factor is e⁻ˣ/u = (u - 1)/u = 1 - 1/u. Write it in terms of y.",
        "∂y/∂x = y·(1 - y), and dx is dy times that.",
    ),
    inputs=lambda rng, more: (rng.normal(size=(2 + more, 3 + more)),),
    like="sigmoid",
    mistakes=(
        TypicalMistake("dx", "the derivative of the sigmoid is missing", lambda dy, y: dy),
        TypicalMistake("dx", "the factor 1 - y is missing", lambda dy, y: dy * y),
        TypicalMistake("dx", "the factor y is missing", lambda dy, y: dy * (1 - y)),
        TypicalMistake("dx", "1 - y² is the derivative of tanh", lambda dy, y: dy * (1 - y * y)),
        TypicalMistake("dx", "the sign: ∂u/∂x is negative too", lambda dy, y: -dy * y * (1 - y)),
        TypicalMistake("dx", "e⁻ˣ is missing: ∂y/∂u is only the first factor", lambda dy, y: -dy * y * y),
    ),
)
