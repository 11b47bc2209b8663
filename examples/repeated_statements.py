"""Statements about normalization that everyone repeats, each measured: see docs/repeated.md.

Every line is one quantity: as measured, and, where there is one, as a formula or the statement would have it.
The page docs/repeated.md says what stands against each statement; the numbers are those of the page. About
half a minute on one core for all.

    python examples/repeated_statements.py [--only 4,9]
"""

import argparse
import math

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import data, nn, optim
from tinygrad_norm.nn import functional as F


def random(*shape, requires_grad=False):
    return tn.randn(*shape, dtype=tn.float64, requires_grad=requires_grad)


class ShiftingNoise(nn.Module):
    """Moves every feature by a new amount in each step, and scales it: covariate shift on purpose."""

    def forward(self, input):
        if not self.training:
            return input
        features = input.shape[1]
        scale, shift = tn.rand(features) + 0.5, tn.randn(features) * 0.5
        return input * scale + shift


def covariate_shift():
    """1: BatchNorm, then noise that brings the shift back."""
    digits = data.load("digits")
    digits = digits.scaled(data.ImageScaler(max_value=digits.max_value))
    after = {
        "no BatchNorm": list,
        "BatchNorm": lambda: [nn.BatchNorm1d(64)],
        "BatchNorm, then shifting noise": lambda: [nn.BatchNorm1d(64), ShiftingNoise()],
    }
    for name, norm in after.items():
        tn.manual_seed(0)
        layers = [part for _ in range(5) for part in (nn.Linear(64, 64), *norm(), nn.ReLU())]
        model = nn.Sequential(nn.Flatten(), *layers, nn.Linear(64, 10))
        optimizer = optim.SGD(model.parameters(), 0.1)
        for _ in range(8):
            losses = []
            for images, labels in data.DataLoader(digits.train, 64, shuffle=True, drop_last=True):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(images), labels)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        yield f"training loss after 8 epochs: {name}", float(np.mean(losses)), None


def weight_decay(lr=0.1, decay=0.01, size=200):
    """4: a normalized weight under gradients that are pure noise, once its length has settled."""
    w = tn.nn.Parameter(random(size).numpy())
    optimizer = optim.SGD([w], lr, weight_decay=decay)
    angles, fourth_powers = [], []
    for step in range(6000):
        before = w.numpy().copy()
        optimizer.zero_grad()
        (F.normalize(w, dim=0) * random(size)).sum().backward()
        optimizer.step()
        if step >= 4000:
            after = w.numpy()
            lengths = np.linalg.norm(before), np.linalg.norm(after)
            angles.append(math.acos(before @ after / math.prod(lengths)))
            fourth_powers.append(lengths[1] ** 4)
    yield "angle per step, in radians; √(2·lr·decay)", float(np.mean(angles)), math.sqrt(2 * lr * decay)
    expected = lr * (size - 1) / (2 * decay)  # ‖g̃‖² = size - 1: noise, without its part along w
    yield "‖w‖⁴; lr·‖g̃‖²/(2·decay)", float(np.mean(fourth_powers)), expected


def exploding_gradients(depth=24, width=512, batch=512):
    """5: Linear, BatchNorm, ReLU, over and over: how ‖gradient‖² grows from one layer to the one before."""
    x, inputs = random(batch, width), []
    x.requires_grad_()
    for _ in range(depth):
        x = F.relu(F.batch_norm(x @ (random(width, width) / math.sqrt(width)), None, None, training=True))
        x.retain_grad()
        inputs.append(x)
    x.backward(random(batch, width))
    sizes = [float((h.grad.numpy() ** 2).sum()) for h in inputs]
    growth = (sizes[0] / sizes[-5]) ** (1 / (depth - 5))  # the last ones still feel the random end
    yield "growth of ‖gradient‖² per layer; π/(π − 1)", growth, math.pi / (math.pi - 1)


def variance_over_depth(depth=64, width=128):
    """7: x + W₂·relu(W₁·LayerNorm(x)) at the start of training: the slope of log variance over log depth."""
    x = random(256, width)
    variances = []
    for _ in range(depth):
        W1 = random(width, 4 * width) * math.sqrt(2 / width)
        W2 = random(4 * width, width) / math.sqrt(4 * width)
        x = x + F.relu(F.layer_norm(x, (width,)) @ W1) @ W2
        variances.append(float(x.numpy().var()))
    slope = np.polyfit(np.log(np.arange(1, depth + 1) + 1), np.log(variances), 1)[0]
    yield "slope of log variance over log depth; 1 is linear", float(slope), 1.0


def bias_before_a_norm():
    """9: the gradient of a bias of every channel, before each norm."""
    norms = {
        "BatchNorm": lambda x: F.batch_norm(x, None, None, training=True),
        "InstanceNorm": F.instance_norm,
        "LayerNorm": lambda x: F.layer_norm(x, x.shape[1:]),
        "RMSNorm": lambda x: F.rms_norm(x, x.shape[1:]),
        "GroupNorm": lambda x: F.group_norm(x, 4),
    }
    x, dy = random(8, 16, 6, 6), random(8, 16, 6, 6)
    for name, norm in norms.items():
        bias = random(1, 16, 1, 1, requires_grad=True)
        norm(x + bias).backward(dy)
        expected = 0.0 if name in ("BatchNorm", "InstanceNorm") else None
        yield f"largest |gradient| of a bias before {name}", float(abs(bias.grad.numpy()).max()), expected


def largest_gain(weight, size):
    """The largest ‖conv(x)‖/‖x‖, by power iteration with the convolution and its gradient."""
    x = random(1, weight.shape[1], size, size)
    for _ in range(100):
        x = (x / x.norm()).detach().requires_grad_()
        y = F.conv2d(x, weight, padding=1)
        gain = y.norm().item()
        (x,) = tn.grad(y, x, y.detach())
    return gain


def convolution_norm():
    """10: the spectral norm of a kernel as a matrix (out, in·3·3), and that of its convolution."""
    kernels = {"random": random(16, 16, 3, 3), "3×3 ones": tn.ones(1, 1, 3, 3, dtype=tn.float64)}
    for name, weight in kernels.items():
        matrix = np.linalg.norm(weight.numpy().reshape(weight.shape[0], -1), 2)
        gain = largest_gain(weight, 48) / matrix
        yield f"gain of the convolution over that of the matrix, {name}", gain, 1.0


def share_along_x_hat():
    """11: what eps leaves of the gradient along x̂, and of a row of zeros."""
    x, dy = random(1, 1024) * 0.003, random(1, 1024)
    x.requires_grad_()
    F.layer_norm(x, (1024,)).backward(dy)
    x_hat = F.layer_norm(x.detach(), (1024,)).numpy()
    v, eps = x.numpy().var(), 1e-5
    straight = (dy.numpy() * x_hat).sum() / math.sqrt(v + eps)
    share = float((x.grad.numpy() * x_hat).sum() / straight)
    yield "share of the gradient along x̂ at std 0.003; eps/(v + eps)", share, eps / (v + eps)
    zeros = tn.zeros(1, 8, requires_grad=True)
    F.rms_norm(zeros, (8,)).backward(tn.ones(1, 8))
    yield "gain of RMSNorm at 0, float32; 1/√eps", float(zeros.grad[0, 0]), 2**11.5


def query_key_bound(size=64):
    """12: the largest logit of normalized queries and keys, with weights of 1 and of 4; √d at weight 1."""
    for weight in (1.0, 4.0):
        w = tn.full((size,), weight, dtype=tn.float64)
        q = random(1, size)  # the largest: a key that points where its query does
        q = F.rms_norm(q, (size,), w, 1e-12)
        yield f"largest |logit| at weight {weight:g}; √d", (q @ q.T).item() / math.sqrt(size), math.sqrt(size)


def rotated(x):
    """Rotary positions: each pair of features (i, i + D/2) is turned, further at later positions."""
    length, half = x.shape[0], x.shape[1] // 2
    angles = tn.tensor(np.outer(np.arange(length), 10000.0 ** (-np.arange(half) / half)))
    first, second = x[:, :half], x[:, half:]
    return tn.cat(
        [first * angles.cos() - second * angles.sin(), first * angles.sin() + second * angles.cos()], 1
    )


def norm_and_rotation(length=16, size=32):
    """13: RMSNorm before and after rotary positions."""
    x, pairs = random(length, size), random(size // 2)
    weights = {"no weight": None, "a weight": random(size)}
    weights["a weight equal in each pair"] = tn.cat([pairs, pairs])
    for name, w in weights.items():
        before = rotated(F.rms_norm(x, (size,), w))
        after = F.rms_norm(rotated(x), (size,), w)
        yield f"largest |difference| of the two orders: {name}", (before - after).abs().max().item(), 0.0


def orthogonalized_update():
    """17: the singular values of a random gradient after Muon's five steps."""
    weight = tn.nn.Parameter(tn.zeros(64, 96, dtype=tn.float64).numpy())
    optimizer = optim.Muon([weight], 1.0, weight_decay=0.0, momentum=0.0, nesterov=False)
    (weight * random(64, 96)).sum().backward()
    optimizer.step()
    sizes = np.linalg.svd(weight.numpy(), compute_uv=False)
    yield "smallest singular value of Muon's update", float(sizes.min()), 1.0
    yield "largest singular value of Muon's update", float(sizes.max()), 1.0


def hard_questions(answers=64):
    """19: what a question weighs if few answers are right: mean |advantage|, GRPO over Dr. GRPO."""
    for right in (1, 8, 32):
        rewards = tn.tensor(np.arange(answers) < right).double()
        with_deviation, without = (
            F.group_advantages(rewards, scale).abs().mean().item() for scale in (True, False)
        )
        yield f"weight of a question of which {right} of {answers} are right", with_deviation / without, None


def through_eigenvectors(x, dy):
    """The gradient of whitening by way of eigenvalues and eigenvectors, as autograd finds it, in NumPy."""
    c = x - x.mean(0)
    S = c.T @ c / np.float32(len(x)) + 1e-5 * np.eye(x.shape[1], dtype=x.dtype)
    values, U = np.linalg.eigh(S)
    dW, roots = dy.T @ c, values**-0.5
    gaps = values[None, :] - values[:, None]
    turns = np.divide(1, gaps, out=np.zeros_like(gaps), where=gaps != 0)
    dU = (dW + dW.T) @ (U * roots)
    dvalues = np.diag(U.T @ dW @ U) * -0.5 * roots**3
    dS = U @ (turns * (U.T @ dU) + np.diag(dvalues)) @ U.T
    dc = dy @ (U * roots) @ U.T + c @ (dS + dS.T) / np.float32(len(x))
    return dc - dc.mean(0)


def whitening_gradient(features=8):
    """18: float32 and eigenvalues that differ by 1e-7: both ways against the closed form in float64."""
    x, dy = random(256, features).numpy(), random(256, features).numpy()
    x = F.decorrelated_batch_norm(tn.tensor(x), None, None, training=True, eps=0.0).numpy()
    x = (x * (1 + 1e-7 * np.arange(features))).astype(np.float32)
    gradients = []
    for dtype in (np.float64, np.float32):
        leaf = tn.tensor(x.astype(dtype), requires_grad=True)
        F.decorrelated_batch_norm(leaf, None, None, training=True).backward(tn.tensor(dy.astype(dtype)))
        gradients.append(leaf.grad.numpy())
    exact, single = gradients
    through = through_eigenvectors(x, dy.astype(np.float32))
    for name, dx in (("the closed form", single), ("through the eigenvectors", through)):
        error = float(np.linalg.norm(dx - exact) / np.linalg.norm(exact))
        yield f"relative error of the gradient, float32: {name}", error, 0.0


def instance_and_batch():
    """21: InstanceNorm against BatchNorm with a batch of one."""
    x, layer = random(1, 4, 5, 5), nn.BatchNorm2d(4).double()
    for name, mode in (("training", layer.train), ("evaluation", layer.eval)):
        mode()
        difference = (layer(x) - F.instance_norm(x)).abs().max().item()
        yield f"largest |difference| in {name}", difference, 0.0


STATEMENTS = {
    1: ("BatchNorm works by reducing covariate shift", covariate_shift),
    4: ("weight decay regularizes a normalized layer", weight_decay),
    5: ("BatchNorm prevents exploding gradients", exploding_gradients),
    7: ("the variance of pre-LN grows exponentially with depth", variance_over_depth),
    9: ("drop the bias before any normalization", bias_before_a_norm),
    10: ("the spectral norm of (out, -1) makes a convolution 1-Lipschitz", convolution_norm),
    11: ("dx has no part along x̂", share_along_x_hat),
    12: ("QK-norm bounds the logits", query_key_bound),
    13: ("normalization and rotary positions commute", norm_and_rotation),
    17: ("Muon orthogonalizes the update", orthogonalized_update),
    18: ("the gradient of whitening is unstable", whitening_gradient),
    19: ("dividing by the standard deviation of rewards is harmless", hard_questions),
    21: ("InstanceNorm is BatchNorm with a batch of one", instance_and_batch),
}


def numbers(text):
    chosen = text.split(",")
    if unknown := [word for word in chosen if not word.isdecimal() or int(word) not in STATEMENTS]:
        known = ", ".join(map(str, STATEMENTS))
        raise argparse.ArgumentTypeError(f"there is no statement {unknown[0]!r} here: choose of {known}")
    return [int(word) for word in chosen]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=numbers, default=[*STATEMENTS], help="some of them (default: all)")
    options = parser.parse_args(arguments)
    found = {}
    for number in options.only:
        sentence, measure = STATEMENTS[number]
        tn.manual_seed(0)
        print(f"\n{number}. “{sentence}”")
        try:
            found[number] = list(measure())
        except RuntimeError as error:  # without scikit-learn
            print(f"   not measured: {error}")
            continue
        for what, measured, expected in found[number]:
            print(f"   {what:66} {measured:11.4g}" + ("" if expected is None else f" {expected:11.4g}"))
    return found


if __name__ == "__main__":
    main()
