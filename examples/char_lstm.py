"""An LSTM learns Python's documentation character by character, then writes similar text.

Two LSTM layers with LayerNorm between them predict the next character. To write, the network gets one
character at a time and its own state back: the state is all it remembers of the text so far.

    python examples/char_lstm.py [--steps 600] [--file TEXT]

The defaults take less than a minute on one core. The output ends like this, with small differences
between machines:

    step 600  1.80 bits per character, on new text 2.00
    The namespaces. …
"""

import argparse
import itertools
import math

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import data, nn, optim
from tinygrad_norm.nn import functional as F


class CharLSTM(nn.Module):
    """Embedding, LSTM, LayerNorm, LSTM, Linear."""

    def __init__(self, characters, features=128):
        super().__init__()
        self.embedding = nn.Embedding(characters, 64)
        self.lower = nn.LSTM(64, features, batch_first=True)
        self.norm = nn.LayerNorm(features)
        self.upper = nn.LSTM(features, features, batch_first=True)
        self.head = nn.Linear(features, characters)

    def forward(self, codes, states=(None, None)):
        """Return the logits (N, T, characters) of the next character, and the states after the last step."""
        x, lower = self.lower(self.embedding(codes), states[0])
        x, upper = self.upper(self.norm(x), states[1])
        return self.head(x), (lower, upper)


def bits(model, codes, targets):
    """Return the loss in bits per character; ignored targets do not count."""
    logits, _ = model(codes)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten()) / math.log(2)


@tn.no_grad()
def write(model, text, length, prompt="The "):
    rng = np.random.default_rng(0)
    codes = [max(text.alphabet.find(character), 0) for character in prompt]
    logits, states = model(tn.tensor([codes]))
    for _ in range(length):
        p = F.softmax(logits[0, -1, 1:].double(), dim=0).numpy()  # code 0 is for unknown characters
        codes.append(1 + int(rng.choice(len(p), p=p / p.sum())))
        logits, states = model(tn.tensor([codes[-1:]]), states)
    return text.decode(codes)


def positive_int(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=positive_int, default=600, help="training steps (default: 600)")
    parser.add_argument("--file", help="UTF-8 text file (default: Python's pydoc_data.topics)")
    options = parser.parse_args(arguments)

    tn.manual_seed(0)
    try:
        text = data.load_text(options.file)
    except (ValueError, RuntimeError) as error:
        parser.error(str(error))
    model = CharLSTM(len(text.alphabet))
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    loader = data.TextLoader(text.train, context=64, batch_size=32)
    unseen = [tn.tensor(part[:64]) for part in data.overlapping_windows(text.validation, context=64)]
    batches = itertools.chain.from_iterable(itertools.repeat(loader))  # epoch after epoch
    for step, batch in enumerate(itertools.islice(batches, options.steps), start=1):
        optimizer.zero_grad()
        loss = bits(model, *batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0 or step == options.steps:
            with tn.no_grad():
                validation = bits(model, *unseen).item()
            print(f"step {step}  {loss.item():.2f} bits per character, on new text {validation:.2f}")
    print(write(model, text, length=300))
    return validation


if __name__ == "__main__":
    main()
