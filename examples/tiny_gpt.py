"""A tiny GPT: a transformer that predicts text, with the two usual places for its normalizations.

Pre-LN normalizes the inputs of attention and feed-forward network, post-LN the sums after them. Otherwise
the models are the same, and so are their initial weights, the batches and the learning rate.

    python examples/tiny_gpt.py [--steps 600] [--file TEXT]

The defaults take less than a minute on one core. The output, with small differences between machines:

               pre-LN  post-LN   (bits per character)
    step  100     3.87     3.90
    …
    step  600     2.77     2.65

At this depth and learning rate both learn well. `tinygrad-norm train text` trains a larger model.
"""

import argparse
import itertools
import math

import tinygrad_norm as tn
from tinygrad_norm import data, nn, optim
from tinygrad_norm.nn import functional as F

CONTEXT = 64


class TinyGPT(nn.Module):
    """Embedding, positions, causal transformer layers, LayerNorm, Linear."""

    def __init__(self, characters, norm_first, features=64, heads=4, depth=3):
        super().__init__()
        self.embedding = nn.Embedding(characters, features)
        self.positions = nn.LearnedPositions(CONTEXT, features, batch_first=True)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                features, heads, 4 * features, dropout=0.0, batch_first=True, norm_first=norm_first
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(features)
        self.head = nn.Linear(features, characters)

    def forward(self, codes):
        """Return the logits (N, T, characters) of the next character."""
        future = nn.Transformer.generate_square_subsequent_mask(codes.shape[1])
        x = self.positions(self.embedding(codes))
        for layer in self.layers:
            x = layer(x, src_mask=future)
        return self.head(self.norm(x))


def bits(model, codes, targets):
    """Return the loss in bits per character; ignored targets do not count."""
    return F.cross_entropy(model(codes).flatten(0, 1), targets.flatten()) / math.log(2)


def train(text, norm_first, steps, every):
    """Return the bits per character on new text, every `every` steps."""
    tn.manual_seed(0)
    model = TinyGPT(len(text.alphabet), norm_first)
    optimizer = optim.AdamW(optim.split_decay(model, weight_decay=0.01), lr=3e-3)
    loader = data.TextLoader(text.train, CONTEXT, batch_size=16)
    unseen = [tn.tensor(part[:64]) for part in data.overlapping_windows(text.validation, CONTEXT)]
    batches = itertools.chain.from_iterable(itertools.repeat(loader))  # epoch after epoch
    curve = {}
    for step, batch in enumerate(itertools.islice(batches, steps), start=1):
        optimizer.zero_grad()
        bits(model, *batch).backward()
        optimizer.step()
        if step % every == 0 or step == steps:
            with tn.no_grad():
                curve[step] = bits(model, *unseen).item()
    return curve


def positive_int(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=positive_int, default=600, help="training steps (default: 600)")
    parser.add_argument("--file", help="UTF-8 text file (default: Python's pydoc_data.topics)")
    options = parser.parse_args(arguments)

    try:
        text = data.load_text(options.file)
    except (ValueError, RuntimeError) as error:
        parser.error(str(error))
    every = min(100, options.steps)
    pre_ln, post_ln = (train(text, norm_first, options.steps, every) for norm_first in (True, False))
    print("           pre-LN  post-LN   (bits per character)")
    for step in pre_ln:
        print(f"step {step:4} {pre_ln[step]:8.2f} {post_ln[step]:8.2f}")
    return pre_ln, post_ln


if __name__ == "__main__":
    main()
