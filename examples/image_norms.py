"""One small CNN, and in the place of its normalization every one that there is for images, or for weights.

Two convolutions on scikit-learn's digits, each followed by the normalization and ReLU, or with normalized
weights, with the same seed and batches for all. AdamW decays the weights of normalizations toward 1, not
toward 0. Prints a table of the training loss in the last epoch and the test accuracy. With so few and small
images most are close: losses of 0.11 to 0.2 after three epochs, and 0.44 without a normalization. Dynamic
tanh and erf and EvoNorm-B0 are slower than none (0.63 to 0.75). About half a minute on one core.

    python examples/image_norms.py [--epochs 3] [--norms batch,group]
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import data, nn, optim
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.utils.parametrizations import spectral_norm, weight_norm

NORMS = {  # from the shape (C, H, W)
    "none": lambda C, H, W: nn.Identity(),
    "batch": lambda C, H, W: nn.BatchNorm2d(C),
    "batch in slices of 16": lambda C, H, W: nn.GhostBatchNorm2d(C, 16),
    "batch with weighing": lambda C, H, W: nn.WeighedBatchNorm2d(C, inference_weight=0.1),
    "batch with noise": lambda C, H, W: nn.NoisyBatchNorm2d(C),
    "sample by sample": lambda C, H, W: nn.OnlineNorm2d(C),
    "over four batches": lambda C, H, W: nn.MABN2d(C, 64, 256, warmup_iters=20),
    "batch × group": lambda C, H, W: nn.BatchGroupNorm2d(C, C // 4),
    "batch then group": lambda C, H, W: nn.BatchChannelNorm2d(C, C // 4),
    "batch and instance": lambda C, H, W: nn.BatchInstanceNorm2d(C),
    "switched": lambda C, H, W: nn.SwitchableNorm2d(C),
    "group": lambda C, H, W: nn.GroupNorm(C // 4, C),
    "instance": lambda C, H, W: nn.InstanceNorm2d(C, affine=True),
    "layer": lambda C, H, W: nn.LayerNorm((C, H, W)),
    "layer at a position": lambda C, H, W: nn.LayerNorm2d(C),
    "pixel": lambda C, H, W: nn.PixelNorm(),
    "rms": lambda C, H, W: nn.RMSNorm((C, H, W)),
    "mean of |x|": lambda C, H, W: nn.LpNorm((C, H, W), 1.0),
    "local response": lambda C, H, W: nn.LocalResponseNorm(5, alpha=0.1),
    "global response": lambda C, H, W: nn.GlobalResponseNorm(C),
    "filter response": lambda C, H, W: nn.FilterResponseNorm2d(C),
    "evolved for samples": lambda C, H, W: nn.EvoNorm2dS0(C, C // 4),
    "evolved for batches": lambda C, H, W: nn.EvoNorm2dB0(C),
    "subtractive": lambda C, H, W: nn.SubtractiveNorm2d(C, 3),
    "divisive": lambda C, H, W: nn.DivisiveNorm2d(C, 3),
    "dynamic tanh": lambda C, H, W: nn.DynamicTanh((C, H, W)),
    "dynamic erf": lambda C, H, W: nn.Derf((C, H, W)),
    "dynamic isru": lambda C, H, W: nn.DyISRU((C, H, W), 4.0),
}
CONVS = {  # with normalized weights, and the normalization after them
    "weights: length": (lambda *sizes, **options: weight_norm(nn.Conv2d(*sizes, **options)), "none"),
    "weights: spectral": (lambda *sizes, **options: spectral_norm(nn.Conv2d(*sizes, **options)), "none"),
    "weights: standard": (nn.ScaledWSConv2d, "none"),
    "weights and group": (nn.WSConv2d, "group"),
}


def make_cnn(name):
    conv, name = CONVS.get(name, (nn.Conv2d, name))
    norm = NORMS[name]
    return nn.Sequential(
        conv(1, 16, 3, padding=1),
        norm(16, 8, 8),
        nn.ReLU(),
        nn.MaxPool2d(2),  # 8×8 to 4×4 pixels
        conv(16, 16, 3, padding=1),
        norm(16, 4, 4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 10),
    )


def train(model, digits, epochs):
    """Return the mean training loss of the last epoch."""
    optimizer = optim.AdamW(optim.split_decay(model, 0.01, norm_decay=0.01, norm_target=1.0), 3e-3)
    for _ in range(epochs):
        losses = []
        for images, labels in data.DataLoader(digits.train, 64, shuffle=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return float(np.mean(losses))


@tn.no_grad()
def accuracy(model, split):
    logits = model.eval()(tn.tensor(split.images)).numpy()
    return float((logits.argmax(1) == split.labels).mean())


def positive_int(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def names(text):
    chosen = text.split(",")
    known = [*NORMS, *CONVS]
    if unknown := [name for name in chosen if name not in known]:
        raise argparse.ArgumentTypeError(f"there is no {unknown[0]!r}: choose of {', '.join(known)}")
    return chosen


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=positive_int, default=3, help="passes over the digits (default: 3)")
    parser.add_argument("--norms", type=names, default=[*NORMS, *CONVS], help="some of them (default: all)")
    options = parser.parse_args(arguments)
    try:
        digits = data.load("digits")
    except RuntimeError as error:  # without scikit-learn
        parser.error(str(error))
    digits = digits.scaled(data.ImageScaler(max_value=digits.max_value))
    print(f"{'':20} {'training loss':>14} {'test accuracy':>14}")
    found = {}
    for name in options.norms:
        tn.manual_seed(0)
        model = make_cnn(name)
        found[name] = loss, share = train(model, digits, options.epochs), accuracy(model, digits.test)
        print(f"{name:20} {loss:14.4f} {share:14.1%}")
    return found


if __name__ == "__main__":
    main()
