"""Whitening: its derivations, fitted to a forward, and its mistakes.

The lines are those of channelgroups.py, decorrelatedbatchnorm.py and iternorm.py.
"""

from collections.abc import Iterator
from typing import Any

import numpy

from .catalogue import Derivation, Mistake, Steps, fits_output, times

EPS = (1e-5, 0.0, 1e-3, 1e-2, 1e-4, 1e-6, 1e-8)
MOST_ITERATIONS = 9

SHARED: Steps = {
    "dy2": lambda s: _channels(s.dy),
    "dW": lambda s: s.dy2 @ s.c.T,
    "straight": lambda s: s.W @ s.dy2,
    "through_S": lambda s: 2 / s.n * s.dS @ s.c,
    "dc": lambda s: s.straight + s.through_S,
    "through_m": lambda s: -s.dc.mean(1, keepdims=True),
    "dx": lambda s: _like(s.dc + s.through_m, s.dy),
}
BY_EIGENVECTORS: Steps = SHARED | {
    "K": lambda s: -1 / (s.root * s.root[:, None] * (s.root + s.root[:, None])),
    "sym": lambda s: (s.dW + s.dW.T) / 2,
    "dS": lambda s: s.U @ (s.K * (s.U.T @ s.sym @ s.U)) @ s.U.T,
}
BY_ITERATION: Steps = SHARED | {
    "dS_N": lambda s: _iteration_reversed(s.dW / s.trace**0.5, s.S_N, s.before),
    "of_root": lambda s: -0.5 * (s.dW * s.W).sum() / s.trace,
    "of_quotient": lambda s: -(s.dS_N * s.S_N).sum() / s.trace,
    "dt": lambda s: s.of_root + s.of_quotient,
    "dS": lambda s: (s.dS_N + s.dS_N.T) / (2 * s.trace) + s.dt * numpy.eye(len(s.W)),
}


def _channels(x: numpy.ndarray) -> numpy.ndarray:
    return numpy.moveaxis(x, 1, 0).reshape(x.shape[1], -1)


def _like(z: numpy.ndarray, x: numpy.ndarray) -> numpy.ndarray:
    return numpy.moveaxis(z.reshape(x.shape[1], x.shape[0], *x.shape[2:]), 0, 1)


def _iteration_reversed(dP: Any, S: Any, before: list[Any]) -> Any:
    dS = numpy.zeros_like(S)
    for P in reversed(before):
        H = dP @ S
        dS = dS - 0.5 * P @ P @ P @ dP
        dP = 1.5 * dP - 0.5 * (H @ P @ P + P @ H @ P + P @ P @ H)
    return dS


def fit_whitening(
    arguments: dict[str, numpy.ndarray], y: numpy.ndarray, roles: dict[str, str]
) -> Iterator[Derivation]:
    """Yield the derivation of y = W·(x - mean), with W = Σ^(-½) by eigenvectors or by iteration."""
    if len(arguments) != 1 or y.ndim < 2 or y.shape[1] < 2:
        return
    ((name, x),) = arguments.items()
    if x.shape != y.shape or x.dtype.kind != "f" or not x.size or not numpy.isfinite(x).all():
        return
    c = _channels(x) - _channels(x).mean(1, keepdims=True)
    d, n = c.shape
    for eps in EPS:
        S = c @ c.T / n + eps * numpy.eye(d)
        values, U = numpy.linalg.eigh(S)
        if values.min() <= 0:
            continue
        root = values**0.5
        W = U / root @ U.T
        if fits_output(_like(W @ c, x), y):
            given = {"c": c, "n": n, "W": W, "U": U, "root": root}
            mistakes = tuple(_of_eigenvectors())
            yield Derivation("decorrelated_batch_norm", given, BY_EIGENVECTORS, {name: "dx"}, mistakes)
            return
        trace, P = values.sum(), numpy.eye(d)
        before: list[numpy.ndarray] = []
        for _ in range(MOST_ITERATIONS):
            before.append(P)
            P = 1.5 * P - 0.5 * P @ P @ P @ S / trace
            W = P / trace**0.5
            if fits_output(_like(W @ c, x), y):
                given = {"c": c, "n": n, "W": W, "S_N": S / trace, "trace": trace, "before": before}
                yield Derivation("iter_norm", given, BY_ITERATION, {name: "dx"}, tuple(_of_iteration()))
                return


def _of_either() -> Iterator[Mistake]:
    right, line, path = "(2/n)·dΣ·c", "through Σ", SHARED["through_S"]
    yield Mistake("the path through Σ is dropped", line, "0", right, {"through_S": times(path, 0)})
    name = "the factor 2 is forgotten: c is in Σ twice"
    yield Mistake(name, line, "(1/n)·dΣ·c", right, {"through_S": times(path, 0.5)})
    name = "the division by n is forgotten"
    yield Mistake(name, line, "2·dΣ·c", right, {"through_S": times(path, lambda s: s.n)})
    yield Mistake("the sign is wrong", line, "-(2/n)·dΣ·c", right, {"through_S": times(path, -1)})
    name, right = "the path through the mean is dropped", "-mean(dc)"
    yield Mistake(name, "through m", "0", right, {"through_m": times(SHARED["through_m"], 0)})
    name = "W is left out of the straight path"
    yield Mistake(name, "straight", "dẑ", "W·dẑ", {"straight": lambda s: s.dy2})


def _of_eigenvectors() -> Iterator[Mistake]:
    yield from _of_either()
    right, K = "-1/(√λi·√λj·(√λi + √λj))", BY_EIGENVECTORS["K"]
    name = "only the eigenvalues are followed: K has its diagonal only"
    yield Mistake(
        name, "K", "-1/(2λ√λ) where i = j, else 0", right, {"K": lambda s: K(s) * numpy.eye(len(s.W))}
    )
    yield Mistake("the sign of K is wrong", "K", "1/(√λi·√λj·(√λi + √λj))", right, {"K": times(K, -1)})
    name = "K is that of √λ, not of 1/√λ"
    root = {"K": lambda s: 1 / (s.root + s.root[:, None])}
    yield Mistake(name, "K", "1/(√λi + √λj)", right, root)
    yield Mistake("dW is not made symmetric", "sym", "dW", "(dW + dWᵀ)/2", {"sym": lambda s: s.dW})


def _of_iteration() -> Iterator[Mistake]:
    yield from _of_either()
    right = "-0.5·⟨dW, W⟩/t - ⟨dΣ_N, Σ_N⟩/t"
    yield Mistake("the trace is held constant", "dt", "0", right, {"dt": lambda s: 0.0})
    name = "the trace is held constant where Σ is divided by it"
    yield Mistake(name, "dt", "-0.5·⟨dW, W⟩/t", right, {"of_quotient": lambda s: 0.0})
    name = "the trace is held constant where P is divided by its root"
    yield Mistake(name, "dt", "-⟨dΣ_N, Σ_N⟩/t", right, {"of_root": lambda s: 0.0})
    name = "the root's factor 1/2 is forgotten"
    twice = {"of_root": times(BY_ITERATION["of_root"], 2)}
    yield Mistake(name, "dt", "-⟨dW, W⟩/t - ⟨dΣ_N, Σ_N⟩/t", right, twice)
