"""LSTM cell: one step of a network with a memory.

    x (N, D)   h and c (N, H), the state before the step   w_ih (4H, D)   w_hh (4H, H)   b (4H,)
    a = x @ w_ihᵀ + h @ w_hhᵀ + b (N, 4H), which is a_i, a_f, a_g and a_o side by side, each (N, H)
    i = σ(a_i)   f = σ(a_f)   g = tanh(a_g)   o = σ(a_o)
    c⁺ = f·c + i·g   h⁺ = o·tanh(c⁺)   y = h⁺ and c⁺ side by side (N, 2H)

forward is given. Write the six gradients in backward; each has the shape of its input.

c is the memory: f says how much of it stays, i how much of the new value g is written, o how much is shown.

Go back one line of the forward at a time. c⁺ reaches the loss on two paths: directly, as an output (the next
step uses it), and through h⁺. Complete its gradient before you use it:

    h⁺ = o·tanh(c⁺)       do = dh⁺·tanh(c⁺)      dc⁺ ← dc⁺ + dh⁺·o·(1 - tanh²(c⁺))
    c⁺ = f·c + i·g        di = …    df = …    dg = …    dc = …
    σ and tanh            da_o = do·o·(1 - o)    da_i = …    da_f = …    da_g = …
    a = x @ w_ihᵀ + …     a Linear of x and one of h, with the same da (N, 4H)

Look at dc: what has to happen to f for a memory, and so its gradient, to live long?
"""

import numpy as np

from .exercise import Exercise


def forward(
    x: np.ndarray, h: np.ndarray, c: np.ndarray, w_ih: np.ndarray, w_hh: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return y (N, 2H), and what backward needs: all but b, the gates i, f, g, o and tanh(c⁺)."""
    a_i, a_f, a_g, a_o = np.split(x @ w_ih.T + h @ w_hh.T + b, 4, axis=1)
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    c_next = f * c + i * g
    tanh_c = np.tanh(c_next)
    y = np.concatenate([o * tanh_c, c_next], axis=1)
    return y, x, h, c, w_ih, w_hh, i, f, g, o, tanh_c


def sigmoid(a: np.ndarray) -> np.ndarray:
    """Return σ(a) = 1/(1 + e⁻ᵃ)."""
    return np.asarray(1 / (1 + np.exp(-a)))


def backward(
    dy: np.ndarray,
    x: np.ndarray,
    h: np.ndarray,
    c: np.ndarray,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    i: np.ndarray,
    f: np.ndarray,
    g: np.ndarray,
    o: np.ndarray,
    tanh_c: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Return dx (N, D), dh and dc (N, H), dw_ih (4H, D), dw_hh (4H, H) and db (4H,), for dy (N, 2H)."""
    dh_next, dc_next = np.split(dy, 2, axis=1)
    # begin solution: write dx, dh, dc, dw_ih, dw_hh and db
    do = dh_next * tanh_c
    dc_next = dc_next + dh_next * o * (1 - tanh_c**2)
    di, df, dg, dc = dc_next * g, dc_next * c, dc_next * i, dc_next * f
    da_i, da_f, da_g, da_o = di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)
    da = np.concatenate([da_i, da_f, da_g, da_o], axis=1)
    dx, dh = da @ w_ih, da @ w_hh
    dw_ih, dw_hh, db = da.T @ x, da.T @ h, da.sum(axis=0)
    # end solution
    return dx, dh, dc, dw_ih, dw_hh, db


EXERCISE = Exercise(
    name="lstm_cell",
    title="a long chain with a fork: gates and a memory",
    level=4,
    hints=(
        "Go back through the four lines in order, and compare each gradient with its line. The first line is "
        "given: do, and dc⁺ as dc_next = dc_next + …, not with +=, which would change dy. All after it use "
        "the complete dc⁺.",
        "c⁺ = f·c + i·g is a sum of two products. What dc⁺ gives to a factor is dc⁺ times the other factor: "
        "di = dc⁺·g. dc is what goes to the step before this one.",
        "da is d of the gate times the derivative of its function: σ' = σ·(1 - σ), so da_i = di·i·(1 - i), "
        "and tanh' = 1 - tanh², so da_g = dg·(1 - g²).",
        "Put the four side by side again: da = np.concatenate([da_i, da_f, da_g, da_o], axis=1). In the "
        "exercise linear, dx = dy @ weight, dweight = dy.T @ x and dbias = dy.sum(axis=0). Here dy is da.",
        "df = dc⁺·c, dg = dc⁺·i, dc = dc⁺·f; dx = da @ w_ih, dh = da @ w_hh, dw_ih = da.T @ x, dw_hh = da.T "
        "@ h, db = da.sum(axis=0).",
    ),
    inputs=lambda rng, more: (
        rng.normal(size=(3 + more, 4 + more)),
        rng.normal(size=(3 + more, 2 + more)),
        rng.normal(size=(3 + more, 2 + more)),
        rng.normal(size=(8 + 4 * more, 4 + more)),
        rng.normal(size=(8 + 4 * more, 2 + more)),
        rng.normal(size=8 + 4 * more),
    ),
    like="lstm_cell",
)
