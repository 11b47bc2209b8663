"""Attention: an average of the values, weighted by how well the keys match.

    q (L, E)   k (S, E)   v (S, V)   scale = 1/√E
    s = scale·q @ kᵀ (L, S)   p = softmax(s), every row by itself   y = p @ v (L, V)
    dy (L, V)   dp and ds (L, S)   dq (L, E)   dk (S, E)   dv (S, V)

forward is given. Write dq, dk and dv in backward.

Row l of y is Σ_s p_ls·v_s: query l gets an average of the values. p_l says how much of each.

A chain of three steps is undone one at a time, from y back to the inputs. Each step needs only the gradient
that the one before it made:

    y = p @ v           dv = pᵀ @ dy     dp = dy @ vᵀ
    p = softmax(s)      ∂p_i/∂s_k = p_i·(1[i = k] - p_k) in each row, so

                            ds_k = Σ_i dp_i·∂p_i/∂s_k = …

    s = scale·q @ kᵀ    ∂s_ls/∂q_le = scale·k_se      dq_le = Σ_s ds_ls·…
                        ∂s_ls/∂k_se = …               dk_se = …

Check the shapes of every product: they leave few ways to go wrong.
"""

import numpy as np

from .exercise import Exercise


def forward(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return y (L, V), and what backward needs: q (L, E), k (S, E), v (S, V) and p (L, S)."""
    scale = 1 / np.sqrt(q.shape[1])
    s = scale * q @ k.T
    e = np.exp(s - s.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return p @ v, q, k, v, p


def backward(
    dy: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, p: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return dq (L, E), dk (S, E) and dv (S, V), for dy (L, V)."""
    scale = 1 / np.sqrt(q.shape[1])
    # begin solution: write dq, dk and dv
    dv = p.T @ dy
    dp = dy @ v.T
    ds = p * (dp - (dp * p).sum(axis=1, keepdims=True))
    dq = scale * ds @ k
    dk = scale * ds.T @ q
    # end solution
    return dq, dk, dv


EXERCISE = Exercise(
    name="attention",
    title="two products and a softmax, one step at a time",
    level=3,
    hints=(
        "Write dv and dp first: they are in the derivation. Then ds from dp, then dq and dk from ds.",
        "The 1 in the bracket is the straight path, p_k·dp_k. The p_k in it is the path through the sum of "
        "the softmax, -p_k·Σ_i dp_i·p_i. The sum runs over the keys: axis 1.",
        "Both matrices of a product have to have the index of the sum inside. dq sums over the keys s: ds "
        "(L, S) times k (S, E). dk sums over the queries l: what has to be transposed? Both have the factor "
        "scale.",
        "ds = p·(dp - Σ dp·p), with the sum over axis 1 and keepdims=True; dq = scale·ds @ k; "
        "dk = scale·dsᵀ @ q.",
    ),
    inputs=lambda rng, more: (
        rng.normal(size=(3 + more, 6 + more)),
        rng.normal(size=(5 + more, 6 + more)),
        rng.normal(size=(5 + more, 2 + more)),
    ),
    like="attention",
)
