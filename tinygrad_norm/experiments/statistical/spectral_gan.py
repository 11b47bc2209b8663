"""Does spectral normalization let a GAN train with gentle and with aggressive settings of Adam?

A generator turns noise into points of the plane; a discriminator D tells them from points of eight Gaussians
on a ring. If D can be steep, it soon parts both clouds, and where it is flat or erratic the generator learns
nothing. Spectral normalization divides each weight by its largest singular value, W/σ(W), so that
|D(a) - D(b)| ≤ ‖a - b‖ everywhere, at each step and for each learning rate. Clipped weights bound the slope
too, but leave little that D can be; a gradient penalty acts at the points that were drawn, and a large step
may undo it.

As in the paper's table 1, the settings of Adam go from gentle (A, C) to aggressive (D, F), in learning rate
and in momentum. The learning rates are ten times those of the paper, whose trainings are long, and D has one
step for each of the generator, not five, which is hard on Wasserstein's loss. Spectral normalization and the
plain D have the hinge loss, of a gain times D; the other two Wasserstein's. Gain, clip c and λ were chosen by
hand, with another seed.

Quality is the share of samples within three deviations of a Gaussian, times the share of Gaussians that have
at least 1 % of the samples; 1 is perfect. It is the mean of three looks, at 80, 90 and 100 % of the training.
Points of a plane tell little about images, which the paper is about.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import nn, optim
from ...autograd import Tensor, grad, no_grad
from ...backends.random import manual_seed
from ...nn.utils.parametrizations import spectral_norm
from ...ops import cat, tensor
from ..experiment import Row, register
from ..experiment_results import Results
from ..plot_parts import legend_below
from ..verdicts import Verdict, cannot_be_told, does_not_hold, holds, interval, spread

SPECTRAL, PLAIN, CLIPPED, PENALTY = "spectral norm", "plain", "clipped weights", "gradient penalty"
ADAM = {"A": (1e-3, 0.5, 0.9), "C": (2e-3, 0.5, 0.999), "D": (1e-2, 0.5, 0.9), "F": (1e-2, 0.9, 0.999)}
"""By the paper's letters: learning rate, β₁ and β₂."""
STD, NOISE, WIDTH, BATCH = 0.2, 4, 64, 64
GAIN, LAMBDA, CLIP, LEARNED = {SPECTRAL: 10.0, PLAIN: 1.0}, 1.0, 0.1, 0.5
ANGLES = np.arange(8) * np.pi / 4
CENTRES = 4.0 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)


def make_mlp(inputs: int, outputs: int, activation: Any, spectral: bool = False) -> nn.Sequential:
    """Return an MLP with two hidden layers."""
    layers = [nn.Linear(inputs, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, outputs)]
    a, b, c = map(spectral_norm, layers) if spectral else layers
    return nn.Sequential(a, activation, b, activation, c)


def coverage(samples: NDArray[Any]) -> tuple[float, float]:
    """Return the share of samples near a Gaussian, and how many Gaussians have at least 1 % of them."""
    distances = np.linalg.norm(samples[:, None] - CENTRES, axis=-1)
    near = distances.min(1) < 3 * STD
    counts = np.bincount(distances.argmin(1)[near], minlength=len(CENTRES))
    return float(near.mean()), float((counts >= 0.01 * len(samples)).sum())


def penalty(critic: Any, real: Tensor, fake: Tensor, rng: np.random.Generator) -> Tensor:
    """Return the mean of (‖∇D‖ - 1)² at random points between real and fake ones."""
    t = tensor(rng.uniform(size=(len(real), 1)).astype(np.float32))
    x = (t * real + (1 - t) * fake).detach().requires_grad_()
    (dx,) = grad(critic(x).sum(), x, create_graph=True)
    assert dx is not None
    return (((dx**2).sum(1).sqrt() - 1) ** 2).mean()


def critic_loss(kind: str, critic: Any, real: Tensor, fake: Tensor, rng: np.random.Generator) -> Tensor:
    """Return the loss of the discriminator."""
    scores = critic(cat([real, fake]))
    of_real, of_fake = scores[: len(real)], scores[len(real) :]
    if kind in GAIN:
        return (1 - GAIN[kind] * of_real).relu().mean() + (1 + GAIN[kind] * of_fake).relu().mean()
    loss = of_fake.mean() - of_real.mean()
    return loss + LAMBDA * penalty(critic, real, fake, rng) if kind == PENALTY else loss


def train(seed: int, kind: str, lr: float, beta1: float, beta2: float, steps: int) -> NDArray[np.float64]:
    """Return the two figures of `coverage` after 80, 90 and 100 % of the training, (3, 2)."""
    manual_seed(seed)
    rng = np.random.default_rng(seed)
    generator = make_mlp(NOISE, 2, nn.ReLU())
    critic = make_mlp(2, 1, nn.LeakyReLU(0.2), kind == SPECTRAL)
    of_generator = optim.Adam(generator.parameters(), lr, betas=(beta1, beta2))
    of_critic = optim.Adam(critic.parameters(), lr, betas=(beta1, beta2))
    looked = [round(part * steps) for part in (0.8, 0.9, 1)]
    found = []
    for step in range(1, steps + 1):
        points = CENTRES[rng.integers(0, 8, BATCH)] + STD * rng.normal(size=(BATCH, 2))
        fake = generator(noise(rng, BATCH))
        of_critic.zero_grad()
        critic_loss(kind, critic, tensor(points.astype(np.float32)), fake.detach(), rng).backward()
        of_critic.step()
        if kind == CLIPPED:
            with no_grad():
                for weight in critic.parameters():
                    weight.copy_(weight.clamp(-CLIP, CLIP))
        of_generator.zero_grad()
        (-GAIN.get(kind, 1.0) * critic(fake).mean()).backward()
        of_generator.step()
        if step in looked:
            with no_grad():
                samples = generator(noise(np.random.default_rng(2), 500)).numpy()
            found += [coverage(samples)] * looked.count(step)
    return np.array(found)


def noise(rng: np.random.Generator, number: int) -> Tensor:
    """Return so many vectors of noise."""
    return tensor(rng.normal(size=(number, NOISE)).astype(np.float32))


def measure(seed: int, kind: str, steps: int) -> dict[str, Any]:
    """Return, for each setting of Adam, the share of samples near a Gaussian, the Gaussians, the quality."""
    looks = np.array([train(seed, kind, *adam, steps) for adam in ADAM.values()])
    near, gaussians = np.moveaxis(looks, 2, 0)
    return {
        "near": near.mean(1),
        "Gaussians": gaussians.mean(1),
        "quality": (near * gaussians / len(CENTRES)).mean(1),
    }


def judge(results: Results) -> Verdict:
    """Holds if the quality with spectral normalization, in the mean over the settings of Adam, is above that
    of each other discriminator: the 95 % intervals of the differences, seed by seed, are above 0. Does not
    hold if one of them is below 0. Cannot be told otherwise, or if spectral normalization does not train: the
    mean quality is below 0.5 in each setting of Adam.
    """
    quality = {name: results.values(name, "quality") for name in results.settings}
    if not quality[SPECTRAL].mean(0).max() >= LEARNED:
        best = quality[SPECTRAL].mean(0).max()
        return cannot_be_told(f"with spectral normalization the quality is at most {best:.2g}")
    means = {name: values.mean(1) for name, values in quality.items()}
    reason = "mean quality: " + ", ".join(f"{name} {spread(mean, 2)}" for name, mean in means.items())
    intervals = {name: interval(means[SPECTRAL] - mean) for name, mean in means.items() if name != SPECTRAL}
    if all(low > 0 for low, _ in intervals.values()):
        return holds(reason)
    if any(high < 0 for _, high in intervals.values()):
        return does_not_hold(reason)
    unclear = [f"{name} {low:.2g} … {high:.2g}" for name, (low, high) in intervals.items() if not low > 0]
    return cannot_be_told(f"{reason}; 95 % interval of the lead over {', '.join(unclear)}")


def tabulate(results: Results) -> list[Row]:
    """Return the mean quality of each discriminator; shares and Gaussians by setting of Adam."""
    rows = []
    for name in results.settings:
        mean = results.values(name, "quality").mean(1)
        by_hand = "" if name in GAIN else " (its constant chosen by hand, not tuned)"
        paper = "best of all" if name == SPECTRAL else "–"
        rows.append(Row(f"{name}: mean quality{by_hand}", spread(mean), paper))
        near, gaussians = (results.values(name, figure) for figure in ("near", "Gaussians"))
        for k, letter in enumerate(ADAM):
            ours = f"{spread(near[:, k], percent=True)}, {gaussians[:, k].mean():.1f} of 8"
            rows.append(Row(f"{name}, Adam {letter}: samples near, Gaussians", ours))
    return rows


def draw(results: Results, figure: Any) -> None:
    """Draw the quality of each seed, by setting of Adam."""
    axes = figure.subplots()
    for k, name in enumerate(results.settings):
        quality = results.values(name, "quality")
        x = np.arange(len(ADAM)) + 0.18 * (k - 1.5)
        axes.bar(x, quality.mean(0), 0.16, color=f"C{k}", alpha=0.5, label=name)
        axes.plot(x, quality.T, f"C{k}o", ms=3)
    labels = [
        f"{letter}: lr {lr:g}\nβ₁ {beta1:g}, β₂ {beta2:g}" for letter, (lr, beta1, beta2) in ADAM.items()
    ]
    axes.set_xticks(range(len(ADAM)), labels)
    axes.set(xlabel="setting of Adam", ylabel="near × Gaussians covered, 1 is perfect", ylim=(0, 1))
    axes.grid(alpha=0.3, axis="y")
    legend_below(figure, 4)


register(
    "spectral-norm-gan",
    measure,
    judge,
    tabulate,
    draw,
    title="A GAN with spectral normalization, over settings of Adam",
    claim="Spectral normalization lets a GAN train well over gentle and aggressive settings of Adam, better "
    "than weight clipping, a gradient penalty, or a plain discriminator.",
    source="Miyato, Kataoka, Koyama and Yoshida 2018, arXiv:1802.05957, section 4.1 and table 1",
    paper="best or nearly best inception score in all six settings, CIFAR-10 and STL-10",
    known="from memory",
    settings={name: {"kind": name} for name in (SPECTRAL, PLAIN, CLIPPED, PENALTY)},
    sizes={"steps": 1200},
    seeds=4,
    systems=("spectral_norm",),
)
