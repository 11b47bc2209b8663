"""Softmax and cross entropy: two paths, of which most cancels.

    x (N, C) scores   t (N,) the right class of each sample   p (N, C) = softmax(x)   y one number
    s_n = Σ_c exp(x_nc)   p_nc = exp(x_nc)/s_n   y = mean_n(-log p_nt)    with t the class t_n of sample n
    dy one number   dx (N, C)   t has no gradient

forward is given. Write dx in backward.

Take the logarithm before anything is derived. For one sample, and its loss l = -log p_t,

    l = log s - x_t

so there are two paths from a score x_k to l, and their contributions add up:

    straight     only if k = t: ∂(-x_t)/∂x_k = …
    through s    ∂s/∂x_k = exp(x_k)      ∂log s/∂s = 1/s      together …, which is one of forward's values

Now y is the mean of the N losses l_n, so each of them has a share of …, and dy stands before all of it.

Check your result by hand: a score that grows in all classes alike changes no p, so Σ_k dx_k must be 0.
"""

import numpy as np

from .exercise import Exercise, TypicalMistake


def forward(x: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return y, one number, and what backward needs: p (N, C) and t (N,)."""
    z = x - x.max(axis=1, keepdims=True)  # so that exp does not overflow; p stays the same
    p = np.exp(z)
    p = p / p.sum(axis=1, keepdims=True)
    y = -np.log(p[np.arange(len(t)), t]).mean()
    return y, p, t


def backward(dy: np.ndarray, p: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return dx (N, C), for dy, one number."""
    # begin solution: write dx and return it
    truth = np.zeros_like(p)
    truth[np.arange(len(t)), t] = 1.0
    return dy * (p - truth) / len(t)
    # end solution


def _truth(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    return np.eye(p.shape[1])[t]


EXERCISE = Exercise(
    name="softmax_cross_entropy",
    title="two paths that leave prediction minus truth",
    level=1,
    hints=(
        "∂l/∂x_k is a sum of two terms, and the first of them is 0 in all classes but the right one.",
        "∂log s/∂x_k = exp(x_k)/s: that is p_k. The straight path gives -1 if k = t.",
        "For one sample, dl/dx is p with 1 subtracted in the right class: prediction minus truth.",
        "Make truth, an array of zeros in the shape of p, with 1 at [np.arange(len(t)), t]. y is a mean over "
        "the samples, so each has the share 1/N.",
        "dx = dy·(p - truth)/N. Do not write into p: backward may be called again.",
    ),
    inputs=lambda rng, more: (
        rng.normal(size=(3 + more, 4 + more)),
        rng.permutation(4 + more)[: 3 + more],
    ),
    mistakes=(
        TypicalMistake(
            "dx",
            "the share of each sample is missing: y is the mean of N losses",
            lambda dy, p, t: dy * (p - _truth(p, t)),
        ),
        TypicalMistake("dx", "the straight path is missing", lambda dy, p, t: dy * p / len(p)),
        TypicalMistake(
            "dx",
            "the path through s is missing",
            lambda dy, p, t: -dy * _truth(p, t) / len(p),
        ),
        TypicalMistake(
            "dx",
            "x_k moves the loss in the other classes too: the path through s has p_k in every class",
            lambda dy, p, t: dy * (p - 1) * _truth(p, t) / len(p),
        ),
        TypicalMistake(
            "dx", "the sign: the loss is -log p_t", lambda dy, p, t: dy * (_truth(p, t) - p) / len(p)
        ),
        TypicalMistake(
            "dx",
            "1 is subtracted in every class instead of the right one",
            lambda dy, p, t: dy * (p - 1) / len(p),
        ),
        TypicalMistake(
            "dx", "the share is 1/N, not 1/(N·C)", lambda dy, p, t: dy * (p - _truth(p, t)) / p.size
        ),
    ),
)
