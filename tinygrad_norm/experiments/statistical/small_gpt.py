"""What the experiments with text share: a small GPT, the batches it reads, and its training.

The text is that of `data.load_text()`, as characters: the documentation that comes with Python. So figures
differ between versions of Python.

Learning rates are chosen by the loss on the unseen text that judges, too, with another seed: there is no
third part of the text. All settings have the same advantage by it.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from ... import data, nn, optim
from ...autograd import Tensor, no_grad
from ...nn import functional as F
from ...ops import tensor
from ...optim.lr_scheduler import LambdaLR


@cache
def default_text() -> data.Text:
    """Return the default text of `data`, read once."""
    return data.load_text()


class SmallGPT(nn.Module):
    """Embedding, learned positions, causal transformer layers, a norm if needed, Linear: logits (N, T, V)."""

    def __init__(
        self,
        tokens: int,
        context: int,
        features: int,
        layers: int,
        placement: str = "pre",
        norm: Callable[[int], Any] = nn.LayerNorm,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, features)
        self.positions = nn.LearnedPositions(context, features, batch_first=True)
        layer = nn.TransformerEncoderLayer(
            features, 2, 2 * features, 0.0, batch_first=True, placement=placement, norm=norm
        )
        self.layers = nn.TransformerEncoder(layer, layers, norm(features) if placement == "pre" else None)
        self.head = nn.Linear(features, tokens)
        for name, parameter in self.layers.named_parameters():
            if parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, codes: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(codes.shape[1])
        return self.head(self.layers(self.positions(self.embedding(codes)), mask=mask))


def batches_of(codes: Any, context: int, size: int, seed: int) -> Iterator[tuple[Tensor, ...]]:
    """Yield (tokens, next tokens), each (size, context), epoch after epoch."""
    loader = data.TextLoader(codes, context, size, seed)
    everything = itertools.chain.from_iterable(itertools.repeat(loader))
    return (batch for batch in everything if len(batch[0]) == size)


def loss_of(model: Any, codes: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats per token."""
    return F.cross_entropy(model(codes).flatten(0, 1), targets.flatten())


def schedule(optimizer: optim.Optimizer, steps: int, warm_up: int = 0) -> LambdaLR:
    """Return a linear warm-up of the learning rate, and then a linear fall to 0 at the end."""
    return LambdaLR(optimizer, lambda k: min((k + 1) / (warm_up + 1), (steps - k) / (steps - warm_up)))


def train(
    model: Any,
    optimizer: optim.Optimizer,
    batches: Iterator[tuple[Tensor, ...]],
    steps: int,
    warm_up: int = 0,
    after_step: Callable[[], Any] = lambda: None,
) -> list[float]:
    """Train, and return the loss of each step; it stops at one that is not finite."""
    falling, losses = schedule(optimizer, steps, warm_up), []
    for codes, targets in itertools.islice(batches, steps):
        optimizer.zero_grad()
        loss = loss_of(model, codes, targets)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        loss.backward()
        optimizer.step()
        falling.step()
        after_step()
    return losses


@no_grad()
def unseen_loss(model: Any, codes: Any, context: int, windows: int = 64) -> float:
    """Return the loss in evaluation on `windows` windows, evenly spread over the text."""
    model.eval()
    places = [k * (len(codes) - context - 1) // windows for k in range(windows)]
    inputs, targets = (
        tensor([codes[p + shift : p + shift + context].tolist() for p in places]) for shift in (0, 1)
    )
    value = loss_of(model, inputs, targets).item()
    model.train()
    return float(value) if math.isfinite(value) else math.inf
