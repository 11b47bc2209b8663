"""Features of scale 1 and 1000: standardized, gradient descent needs few steps; raw, it hardly moves.

The loss of least squares, mean((X·w + b - y)²), has the Hessian H = 2·(X,1)ᵀ·(X,1)/N. Along its eigenvectors,
gradient descent multiplies the distance to the minimum by 1 - lr·λ in each step. So lr must be below 2/λ_max,
and the slowest part needs some κ = λ_max/λ_min steps. A feature with deviation σ has an eigenvalue of about
2·σ²: scales of 1 and 1000 make κ a million. Means that are not 0 add a large eigenvalue, along which all
features and b go together. Standardized, x̂ = (x - μ)/σ, all are near 2, whatever the units were.

Here, eight independent features have the mean 2·σ; four have σ = 1 and four 1000. A linear layer learns their
noisy sum by gradient descent on all samples, in float64, until what is left of the loss above its minimum is
1 % of the start. Compared: raw, only divided by σ, standardized, and BatchNorm in front of the linear layer.
In the control, all features have σ = 1 and mean 0 from the start. The learning rate is tuned as a share of
2/λ_max. The formula also predicts the number of steps from the eigenvalues, even for a run that was stopped.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import nn, optim
from ...nn import functional as F
from ...ops import tensor
from ..experiment import Row, Tuning, register
from ..experiment_results import Results
from ..measured_parts import few_digits
from ..plot_parts import legend_below
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, number, spread

RAW, SCALED, STANDARD, NORM = "raw", "divided by σ", "standardized", "BatchNorm at the input"
CONTROL = "σ = 1 and mean 0"
SAMPLES, FEATURES, MEAN, NOISE = 512, 8, 2.0, 0.1
TARGET, GIVEN_UP, BETTER, FEWER = 0.01, 1e6, 100.0, 0.1
LOOKS = (*range(10), *(digit * 10**k for k in range(1, 5) for digit in (1, 2, 3, 5, 7)))
"""Steps at which what is left of the loss is kept."""

Floats = NDArray[np.float64]


def make_task(seed: int, large: float, mean: float) -> tuple[Floats, Floats]:
    """Return X (N, D), whose later half of features has the scale `large`, and y (N, 1)."""
    rng = np.random.default_rng([seed, 1])
    Z = rng.normal(size=(SAMPLES, FEATURES))
    y = Z @ rng.choice([-1.0, 1.0], size=(FEATURES, 1)) + NOISE * rng.normal(size=(SAMPLES, 1))
    return (Z + mean) * np.where(np.arange(FEATURES) < FEATURES // 2, 1.0, large), y


def prepared(X: Floats, how: str) -> Floats:
    """Return what the linear layer sees at the start."""
    if how == SCALED:
        return X / X.std(0)
    return (X - X.mean(0)) / X.std(0) if how in (STANDARD, NORM) else X


def eigen(X: Floats) -> tuple[Floats, Floats]:
    """Return the eigenvalues of the Hessian in w and b, ascending, and its eigenvectors."""
    A = np.column_stack([X, np.ones(len(X))])
    eigenvalues, vectors = np.linalg.eigh(2 * A.T @ A / len(A))
    return eigenvalues, vectors


def least_squares(X: Floats, y: Floats) -> tuple[Floats, float]:
    """Return the best (w, b) and its loss."""
    A = np.column_stack([X, np.ones(len(X))])
    best = np.asarray(np.linalg.lstsq(A, y, rcond=None)[0], np.float64)
    return best, float(np.mean((A @ best - y) ** 2))


def steps_by_formula(X: Floats, y: Floats, lr: float) -> float:
    """Return the steps from w = 0, b = 0 that the eigenvalues predict; ∞ if the goal is never reached."""
    eigenvalues, vectors = eigen(X)
    parts = eigenvalues * (vectors.T @ least_squares(X, y)[0][:, 0]) ** 2
    factors = abs(1 - lr * eigenvalues)
    if factors.max() >= 1:
        return float("inf")
    low, high = 0, 10**12
    while low < high:
        steps = (low + high) // 2
        reached = parts @ factors ** (2.0 * steps) <= TARGET * parts.sum()
        low, high = (low, steps) if reached else (steps + 1, high)
    return float(low)


def measure(
    seed: int, how: str, share: float, steps: int, large: float = 1000.0, mean: float = MEAN
) -> dict[str, Any]:
    """Return κ, lr, the steps to the target, those of the formula, and what is left of the loss at LOOKS.

    The learning rate is the `share` of 2/λ_max. The score is the number of steps; without success, their
    limit plus what is left of the loss.
    """
    X, y = make_task(seed, large, mean)
    seen = prepared(X, how)
    least, eigenvalues = least_squares(seen, y)[1], eigen(seen)[0]
    lr = float(share * 2 / eigenvalues[-1])
    layer = nn.Linear(FEATURES, 1)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    model = (nn.Sequential(nn.BatchNorm1d(FEATURES), layer) if how == NORM else layer).double()
    inputs, targets = tensor(X if how == NORM else seen), tensor(y)
    optimizer = optim.SGD(model.parameters(), lr)
    left: list[float] = []
    while len(left) <= steps:
        optimizer.zero_grad()
        loss = F.mse_loss(model(inputs), targets)
        left.append((loss.item() - least) / (float(np.mean(y**2)) - least))
        if not TARGET < left[-1] < GIVEN_UP:
            break
        loss.backward()
        optimizer.step()
    reached = left[-1] <= TARGET
    return {
        "κ": float(eigenvalues[-1] / eigenvalues[0]),
        "lr": lr,
        "steps": len(left) - 1 if reached else float("inf"),
        "formula": steps_by_formula(seen, y, lr),
        "score": len(left) - 1 if reached else steps + left[-1],
        "left": few_digits([left[k] for k in LOOKS if k < len(left)]),
        "limit": steps,
    }


def judge(results: Results) -> Verdict:
    """Holds if, for every seed, standardizing divides κ by 100 at least, and standardized features and
    BatchNorm at the input both need at most a tenth of the steps of raw ones, or of their limit. Does not
    hold if one of these fails for every seed. Cannot be told if the seeds differ, or if features of scale 1
    and mean 0 need more than a tenth too: then these are not what makes the raw ones slow.
    """
    limit = results.values(RAW, "limit")
    steps = {name: results.values(name, "steps") for name in results.settings}
    raw = np.minimum(steps[RAW], limit)
    if not (steps[CONTROL] <= FEWER * raw).all():
        return cannot_be_told(f"the control needs {spread(steps[CONTROL])} steps, raw features {spread(raw)}")
    kappas = [number(results.mean(name, "κ"), 2) for name in (RAW, STANDARD)]
    reason = (
        f"κ falls from {kappas[0]} to {kappas[1]}; steps: {_steps(steps[RAW], limit)} raw, "
        f"{spread(steps[STANDARD])} standardized, {spread(steps[NORM])} with BatchNorm"
    )
    parts = [results.values(RAW, "κ") / results.values(STANDARD, "κ") >= BETTER]
    parts += [steps[name] <= FEWER * raw for name in (STANDARD, NORM)]
    if all(part.all() for part in parts):
        return holds(reason)
    fails = any(not part.any() for part in parts)
    return does_not_hold(reason) if fails else cannot_be_told(f"the seeds differ: {reason}")


def _steps(steps: Floats, limit: Floats) -> str:
    return spread(steps) if np.isfinite(steps).all() else f"more than {limit[0]:.0f}"


def tabulate(results: Results) -> list[Row]:
    """Return κ, the steps, and those of the formula."""
    rows = []
    for name in results.settings:
        paper = "follows the scales" if name == RAW else "–"
        rows.append(Row(f"{name}: condition number κ", spread(results.values(name, "κ"), 2), paper))
        label = f"{name}, lr {results.mean(name, 'lr'):.2g}"
        taken = _steps(results.values(name, "steps"), results.values(name, "limit"))
        rows.append(Row(f"{label}: steps", taken))
        if name != NORM:
            rows.append(Row(f"{label}: steps by the formula", spread(results.values(name, "formula"), 2)))
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw what is left of the loss over the steps, and κ."""
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for k, name in enumerate(results.settings):
        style = {"color": f"C{k}", "ls": ":" if name == CONTROL else "-", "marker": ".", "lw": 1}
        for found in results.figures[name].values():
            lines = left.plot(1 + np.array(LOOKS[: len(found["left"])]), found["left"], **style)
        lines[0].set_label(name)
        right.barh(k, results.mean(name, "κ"), color=f"C{k}")
    left.axhline(TARGET, color="black", lw=0.8, ls="--")
    left.set(xscale="log", yscale="log", xlabel="1 + steps", ylabel="loss above its minimum, of the start")
    right.set(xscale="log", xlabel="κ of the Hessian", xlim=(1, None))
    right.set_yticks(range(len(results.settings)), results.settings, fontsize=8)
    right.invert_yaxis()
    left.grid(alpha=0.3)
    legend_below(figure)


register(
    "input-scaling",
    measure,
    judge,
    tabulate,
    draw,
    title="Features of scale 1 and 1000: conditioning and steps",
    claim="Standardized features, or BatchNorm at the input, make the loss well-conditioned, so that "
    "gradient descent needs far fewer steps.",
    source="LeCun, Bottou, Orr and Müller 1998, Efficient BackProp, doi:10.1007/3-540-49430-8_2, section 4.3",
    paper="convergence is faster if inputs have mean 0 and the same variance; no figure",
    known="from memory",
    settings={name: {"how": name} for name in (RAW, SCALED, STANDARD, NORM)}
    | {CONTROL: {"how": RAW, "large": 1.0, "mean": 0.0}},
    sizes={"steps": 2000},
    tuning=Tuning((0.3, 0.5, 0.9, 0.97, 1.02), "score", "share"),
)
