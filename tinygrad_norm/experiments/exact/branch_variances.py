"""NF-ResNet: the variance of the activations after each block is known without any data.

    y = s + α·f(x/β)     f keeps a variance of 1     Var(y) = Var(s) + α²

β is the expected deviation of the input, and s the input, or a convolution of it where size or channels
change: there Var(s) is 1 again, and the growth starts anew. Networks that are as new are given noise, for
three α, and the variance of a channel after each block is compared with the prediction. It is taken in the
middle of the image: zeros at the border have no variance. The control has the same blocks with plain
convolutions as they are initialized by default, to which the prediction does not apply.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import nn
from ...autograd import no_grad
from ...backends.random import manual_seed
from ...ops import randn
from ..experiment import Row, register
from ..experiment_results import Results
from ..plot_parts import legend_below
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds

ALLOWED, CONTROL = 0.1, 0.5
PLAIN = "plain convolutions, α = 1"


def stages(width: int) -> list[tuple[int, int, int]]:
    """Return in and out channels and the stride of each block: where the size halves, the width doubles."""
    return [(width, width, 1), (width, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 1)]


def normalizer_free(width: int, alpha: float) -> nn.Sequential:
    """Return a convolution of (N, 1, H, W) and the blocks."""
    blocks: list[nn.NFBlock] = []
    for before, after, stride in stages(width):
        beta = blocks[-1].out_std if blocks else 1.0
        blocks.append(nn.NFBlock(before, after, stride, alpha, beta))
    return nn.Sequential(nn.ScaledWSConv2d(1, width, 3, padding=1), *blocks)


def expected(width: int, stem: float, branch: float, convolution: float) -> list[float]:
    """Return the variance after each block: `stem` at first, and each block adds `branch`.

    Where the size halves, the shortcut is a convolution, with outputs of variance `convolution`.
    """
    found, variance = [], stem
    for before, after, stride in stages(width):
        variance = branch + (variance if (before, stride) == (after, 1) else convolution)
        found.append(variance)
    return found


@no_grad()
def variances(network: Any, images: Any, border: float = 0.0) -> list[float]:
    """Return the variance of a channel after each block, the mean over the channels.

    `border` is the part of the size that is left out on each side.
    """
    found, x = [], images
    for layer in network:
        x = layer(x)
        left_out = int(border * x.shape[-1])
        inner = slice(left_out, x.shape[-1] - left_out)
        found.append(float(x.numpy()[:, :, inner, inner].var((0, 2, 3)).mean()))
    return found[1:]


def plain_convolutions(network: nn.Sequential) -> nn.Sequential:
    """Return the same network with convolutions as they are initialized by default."""
    for module in list(network.modules()):
        for name, part in list(module._modules.items()):
            if isinstance(part, nn.ScaledWSConv2d):
                sizes = part.in_channels, part.out_channels, part.kernel_size, part.stride, part.padding
                setattr(module, name, nn.Conv2d(*sizes))
    return network


def measure(seed: int, alpha: float, scaled: bool, width: int, size: int) -> dict[str, Any]:
    """Return the variances after each block, those expected, and the largest relative difference."""
    manual_seed(seed)
    network = normalizer_free(width, alpha)
    network = network if scaled else plain_convolutions(network)
    found = np.array(variances(network, randn(8, 1, size, size), border=0.25))
    theory = np.array(expected(width, 1, alpha**2, 1))
    return {"variances": found, "expected": theory}


def judge(results: Results) -> Verdict:
    """Holds if for each α and after each block the variance, in the mean over the seeds, is within 10 % of
    the prediction; else it does not hold. Cannot be told if plain convolutions, too, come within 50 % after
    each block.
    """
    scaled = [name for name in results.settings if name.startswith("α")]
    worst, control = (
        max(map(_miss, scaled, [results] * len(scaled))),
        _miss(PLAIN, results),
    )
    if not control > CONTROL:
        return cannot_be_told(f"with plain convolutions they are within {100 * control:.0f} % as well")
    missed = f"{100 * worst:.1f} %, by {100 * control:.1f} % with plain convolutions"
    reason = f"the prediction is missed by up to {missed}"
    return holds(reason) if worst <= ALLOWED else does_not_hold(reason)


def _miss(name: str, results: Results) -> float:
    found, theory = (results.values(name, figure).mean(0) for figure in ("variances", "expected"))
    return float(abs(found / theory - 1).max())


def tabulate(results: Results) -> list[Row]:
    """Return the variance after each block, and the prediction."""
    rows = []
    for name in results.settings:
        found, theory = results.values(name, "variances"), results.values(name, "expected")[0]
        for k in range(found.shape[1]):
            ours = f"{found[:, k].mean():.3f} ± {found[:, k].std(ddof=1):.3f}" if len(found) > 1 else "–"
            paper = f"{theory[k]:.3f}" if name.startswith("α") else "–"
            rows.append(Row(f"{name}: variance after block {k + 1}", ours, paper))
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw the variances over the blocks, on a log axis."""
    axes = figure.subplots()
    for k, name in enumerate(results.settings):
        found = results.values(name, "variances")
        blocks = np.arange(1, found.shape[1] + 1)
        low, high = found.mean(0) - found.min(0), found.max(0) - found.mean(0)
        axes.errorbar(blocks, found.mean(0), (low, high), color=f"C{k}", fmt="o", label=f"{name}, ours")
        if name.startswith("α"):
            axes.plot(
                blocks,
                results.values(name, "expected")[0],
                f"C{k}--",
                lw=1,
                label="predicted" if k == 0 else None,
            )
    axes.set(yscale="log", xlabel="block; at the third, the size halves", ylabel="variance after it")
    axes.set_xticks(blocks)
    axes.grid(alpha=0.3)
    legend_below(figure, 4)


def _settings(alphas: Sequence[float]) -> dict[str, dict[str, Any]]:
    scaled = {f"α = {alpha:g}": {"alpha": alpha, "scaled": True} for alpha in alphas}
    return {**scaled, PLAIN: {"alpha": 1.0, "scaled": False}}


register(
    "nf-resnet-variances",
    measure,
    judge,
    tabulate,
    draw,
    title="NF-ResNet: the variance after each block is known beforehand",
    claim="With scaled standardized weights each block adds α² to the variance, and a transition resets it.",
    source="Brock, De and Smith 2021, arXiv:2101.08692, section 3",
    paper="Var = 1 + k·α² after k blocks",
    known="follows from the formula",
    settings=_settings((0.2, 0.5, 1.0)),
    sizes={"width": 64, "size": 64},
    systems=("scaled_weight_standardization",),
)
