"""BN-LSTM against LSTM: both read scikit-learn's digits row by row, and then name the digit.

The networks have the same learning rate and batches. A third one has scales γ that start at 1 instead of 0.1;
a fourth normalizes each step over the features, as LayerNorm does, so its batch does not matter.
The last column is measured before training, pixel by pixel, where a long memory matters more: how large the
loss's gradient at the first memory cell is, 64 steps back, beside that at the last state. It vanishes in the
LSTM; with γ = 0.1 it keeps its size within a factor of ten, over the features it falls to some thousandths;
with γ = 1 it explodes.

    python examples/batch_norm_lstm.py [--epochs 5] [--lr 0.005]

The defaults take about five seconds on one core.
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import data, nn, optim
from tinygrad_norm.nn import functional as F

FEATURES = 64
LAYERS = {
    "LSTM": nn.LSTM,
    "BN-LSTM, γ = 0.1": nn.BatchNormLSTM,
    "BN-LSTM, γ = 1": lambda *sizes, **options: nn.BatchNormLSTM(*sizes, gamma=1.0, **options),
    "LayerNorm-LSTM": nn.LayerNormLSTM,
}


class Reader(nn.Module):
    """Read images (N, 1, 8, 8) row by row, and return logits (N, 10) from the last state."""

    def __init__(self, make_layer):
        super().__init__()
        self.layer = make_layer(8, FEATURES, batch_first=True)
        self.head = nn.Linear(FEATURES, 10)

    def forward(self, images):
        y, _ = self.layer(images.squeeze(1))
        return self.head(y[:, -1])


def train(model, digits, epochs, lr):
    """Return the mean training loss of every epoch, and the test accuracy."""
    optimizer = optim.Adam(model.parameters(), lr)
    loader = data.DataLoader(digits.train, 64, shuffle=True)
    losses = []
    for _ in range(epochs):
        total = 0.0
        for images, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            total += loss.item() * len(labels)
        losses.append(total / len(digits.train))
    model.eval()
    with tn.no_grad():
        logits = model(tn.tensor(digits.test.images)).numpy()
    return losses, float(np.mean(logits.argmax(1) == digits.test.labels))


def gradient_left(make_layer, digits):
    """Return how large the gradient is after 64 steps back, before training.

    The first state has some noise, as in the paper: images begin with the same pixels, so that without it
    the first statistics would have no variance.
    """
    layer, head = make_layer(1, FEATURES, batch_first=True), nn.Linear(FEATURES, 10)
    noise = np.random.default_rng(0).normal(0.0, 0.1, (1, 256, FEATURES)).astype(np.float32)
    h, c = tn.tensor(noise), tn.tensor(0 * noise, requires_grad=True)
    y, _ = layer(tn.tensor(digits.train.images[:256].reshape(256, 64, 1)), (h, c))
    last = tn.tensor(y[:, -1].numpy(), requires_grad=True)
    F.cross_entropy(head(last), tn.tensor(digits.train.labels[:256])).backward()
    y[:, -1].backward(last.grad)
    return float(np.linalg.norm(c.grad.numpy()) / np.linalg.norm(last.grad.numpy()))


def positive_int(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=positive_int, default=5, help="passes over the digits (default: 5)")
    parser.add_argument("--lr", type=float, default=0.005, help="learning rate (default: 0.005)")
    options = parser.parse_args(arguments)
    if not 0 < options.lr < float("inf"):
        parser.error(f"argument --lr: must be a positive number, got {options.lr}")
    try:
        digits = data.load("digits")
    except RuntimeError as error:  # without scikit-learn
        parser.error(str(error))
    digits = digits.scaled(data.ImageScaler(max_value=digits.max_value))
    found = {}
    print(f"{'':17} {'first loss':>10} {'last loss':>10} {'test accuracy':>14} {'gradient left':>14}")
    for name, make_layer in LAYERS.items():
        tn.manual_seed(0)
        losses, accuracy = train(Reader(make_layer), digits, options.epochs, options.lr)
        tn.manual_seed(0)
        share = gradient_left(make_layer, digits)
        found[name] = losses, accuracy, share
        print(f"{name:17} {losses[0]:10.4f} {losses[-1]:10.4f} {accuracy:14.1%} {share:14.1e}")
    return found


if __name__ == "__main__":
    main()
