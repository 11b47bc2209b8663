"""The weight and bias of BatchNorm can restore what it has normalized.

    y = γ·(x - μ)/√(σ² + ε) + β     γ = √(σ² + ε), β = μ     gives y = x

so a network with BatchNorm can represent all that one without can: in training, on one batch. Both are set
so, and also learned by gradient descent on ‖y - x‖². LayerNorm is the control. It has a mean and a deviation
for each sample, but γ and β for each feature, which cannot undo them. In eval mode, the running variance is
the unbiased one, larger by N/(N - 1): the same γ and β then miss the identity by about 1/(2·N).

In the code: γ weight, β bias.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import nn
from ...autograd import no_grad
from ...ops import tensor
from ..experiment import Row, register
from ..experiment_results import Results
from ..measured_parts import gradient
from ..plot_parts import legend_below, seed_lines
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, spread

SET, LEARNED, CONTROL = 1e-12, 1e-9, 1e-3
BATCH_NORMS = ("BatchNorm1d", "BatchNorm2d")


def draw_batch(seed: int, layer: str) -> NDArray[np.float64]:
    """Return x (64, 8) or (16, 8, 5, 5), with a mean and a scale for each feature and each sample."""
    rng = np.random.default_rng(seed)
    tail = (5, 5) if layer == "BatchNorm2d" else ()
    N, one = (16 if tail else 64), (1,) * len(tail)
    of_features = rng.uniform(-3, 3, (1, 8, *one)), rng.uniform(0.1, 5, (1, 8, *one))
    of_samples = rng.normal(size=(N, 1, *one)), rng.uniform(0.5, 2, (N, 1, *one))
    x = of_samples[0] + of_samples[1] * rng.normal(size=(N, 8, *tail))
    return of_features[0] + of_features[1] * x


def measure(seed: int, layer: str, steps: int) -> dict[str, Any]:
    """Return how far y is from x, with the best γ and β and with those of gradient descent."""
    x = draw_batch(seed, layer)
    norm: Any = getattr(nn, layer)(8).double()
    axes = (0, *range(2, x.ndim))
    with no_grad():
        x_hat = norm(tensor(x)).numpy()
    if layer == "LayerNorm":
        centered = x_hat - x_hat.mean(0)  # linear regression
        weight = (centered * x).sum(0) / (centered**2).sum(0)
        bias = x.mean(0) - weight * x_hat.mean(0)
    else:
        weight, bias = np.sqrt(x.var(axes) + norm.eps), x.mean(axes)
    curve = []
    for _ in range(steps):
        norm.zero_grad()
        y = norm(tensor(x))
        curve.append(_distance(y.numpy(), x))
        (0.5 * (y - tensor(x)).square().sum() / (x.size / 8)).backward()
        for parameter in (norm.weight, norm.bias):
            parameter.data[...] -= 0.5 * gradient(parameter)
    norm.weight.data[...], norm.bias.data[...] = weight, bias
    with no_grad():
        given = _distance(norm(tensor(x)).numpy(), x)
        in_eval = _distance(_after_one_batch(norm, x), x) if layer != "LayerNorm" else given
    return {"set": given, "learned": curve[-1], "eval": in_eval, "curve": curve, "count": x.size / 8}


def _after_one_batch(norm: Any, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return y in eval mode, with the running statistics of this batch alone."""
    norm.momentum = 1.0
    norm.train()(tensor(x))
    return norm.eval()(tensor(x)).numpy()


def _distance(y: NDArray[np.float64], x: NDArray[np.float64]) -> float:
    return float(abs(y - x).max() / abs(x).max())


def judge(results: Results) -> Verdict:
    """Holds if, with BatchNorm in training mode and float64, the largest |y - x| is at most 1e-12 of the
    largest |x| with γ = √(σ² + ε) and β = μ, and at most 1e-9 with γ and β from gradient descent, for every
    seed; else it does not hold. Cannot be told if the best γ and β of LayerNorm come within 1e-3 too: then
    these data would be no test.
    """
    given = max(results.values(layer, "set").max() for layer in BATCH_NORMS)
    learned = max(results.values(layer, "learned").max() for layer in BATCH_NORMS)
    control = results.values("LayerNorm", "set").min()
    if not control >= CONTROL:
        return cannot_be_told(f"LayerNorm misses the identity by {control:.1g} only")
    reason = f"y misses x by {given:.1g} if set and {learned:.1g} if learned, with LayerNorm by {control:.1g}"
    return holds(reason) if given <= SET and learned <= LEARNED else does_not_hold(reason)


def tabulate(results: Results) -> list[Row]:
    """Return max |y - x| / max |x|: set, learned, and in eval mode."""
    rows = []
    for layer in results.settings:
        paper = "0" if layer in BATCH_NORMS else "–"
        rows.append(Row(f"{layer}, γ and β set: y - x", spread(results.values(layer, "set"), 2), paper))
        rows.append(
            Row(f"{layer}, γ and β learned: y - x", spread(results.values(layer, "learned"), 2), paper)
        )
    for layer in BATCH_NORMS:
        N = results.mean(layer, "count")
        rows.append(
            Row(f"{layer}, set, eval mode, {N:.0f} values: y - x", spread(results.values(layer, "eval"), 2))
        )
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw the distance of y from x during gradient descent."""
    axes = figure.subplots()
    for k, layer in enumerate(results.settings):
        curves = np.maximum(results.values(layer, "curve"), 1e-17)
        seed_lines(axes, range(curves.shape[1]), curves, layer, f"C{k}")
    axes.axhline(LEARNED, color="black", lw=0.8, ls="--", label="rule: below this at the end")
    axes.set(yscale="log", xlabel="step of gradient descent on γ and β", ylabel="max |y - x| / max |x|")
    axes.grid(alpha=0.3)
    legend_below(figure, 4)


register(
    "weight-and-bias-restore-the-identity",
    measure,
    judge,
    tabulate,
    draw,
    title="γ and β of BatchNorm can restore the identity",
    claim="With γ = √Var[x] and β = E[x], BatchNorm returns the original activations.",
    source="Ioffe and Szegedy 2015, arXiv:1502.03167, section 3",
    paper="y - x = 0",
    known="follows from the formula",
    settings={layer: {"layer": layer} for layer in (*BATCH_NORMS, "LayerNorm")},
    sizes={"steps": 60},
    systems=("batch_norm",),
)
