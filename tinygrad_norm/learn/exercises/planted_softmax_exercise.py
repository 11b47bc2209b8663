"""Find the mistake: a softmax that runs, and trains.

    x (N, C)   e = exp(x)   y = e/Σe, every row by itself   dy, y and dx (N, C)

forward is right. backward is wrong: find the mistake and mend it.

It runs, dx has the right shape, and a network with it even trains, a little worse than it should. Such
mistakes are found by properties that every right backward has. Here there are two:

    rows are independent    row 0 of dx depends on row 0 of dy only. If you change another row of dy, does
                            it move?
    Σ_c dx_nc = 0           adding a number to a row of x does not change y, so no gradient points there. Is
                            the sum of every row of dx 0?

Try both in a Python shell, in the folder of this file, before you read backward:

    >>> import numpy as np
    >>> from planted_softmax import forward, backward
    >>> y, *kept = forward(np.random.default_rng(0).normal(size=(2, 3)))
    >>> backward(np.array([[1.0, 0, 0], [0, 0, 0]]), *kept)
"""

import numpy as np

from .exercise import Exercise


def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return y (N, C), and what backward needs: y."""
    e = np.exp(x - x.max(axis=1, keepdims=True))
    y = e / e.sum(axis=1, keepdims=True)
    return y, y


def backward(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return dx (N, C), for dy and y (N, C)."""
    straight = y * dy
    # begin solution
    through_sum = -y * (dy * y).sum(axis=1, keepdims=True)
    # begin bug
    # through_sum = -y * (dy * y).sum(axis=0)
    # end solution
    return straight + through_sum


EXERCISE = Exercise(
    name="planted_softmax",
    title="find the mistake: a softmax that runs, and trains",
    level=3,
    hints=(
        "Give only row 0 of dy a value, as in the example. Row 1 of dx then has to be 0. Which of the two "
        "paths moves other rows?",
        "straight is y·dy entry by entry: no other row takes part. So look at the sum in through_sum. Over "
        "which axis does forward add up?",
        "dy * y is (N, C). The sum over a row has the shape (N, 1). What is the shape of the sum in the "
        "file, and why does NumPy not complain?",
        "A sum over axis 0 is (C,): one number per column, over all rows, and (N, C) times (C,) broadcasts. "
        "The sum must be over axis 1 with keepdims=True.",
    ),
    inputs=lambda rng, more: (rng.normal(size=(3 + more, 5)),),
    like="softmax",
)
