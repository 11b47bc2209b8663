"""A tiny language model with the norms of three current families: which norm, where, and on queries and keys.

    python examples/model_families.py [--steps 150] [--seeds 1] [--file TEXT]

            norm                    place                       queries and keys
    GPT-2   LayerNorm               before each sublayer        none
    Gemma 3 RMSNorm, weight 1 + w   before and after it         RMSNorm of each head, 1 + w
    Qwen3   RMSNorm                 before it                   RMSNorm of each head
    OLMo 2  RMSNorm                 after it, before the sum    RMSNorm of all heads together

Nothing else is theirs: all have the size, the learned positions, the plain network and the training of
`tinygrad-norm train text`, with half the context, and see the same batches. Printed are bits per character
on new text, by step. The defaults take about 20 seconds on one core. With --steps 400 (the last digits
differ between machines):

    step        100    200    300    400
    GPT-2      3.92   3.85   3.66   3.63
    Gemma 3    3.92   3.83   3.68   3.66
    Qwen3      3.91   3.84   3.64   3.60
    OLMo 2     3.92   3.85   3.70   3.68

All four are within 0.08 bits, with one seed: at four layers and this learning rate, where anything trains,
neither the kind of the norm nor its place decides. What they are made for is depth and high learning rates:
see placements.py and attention_logits.py.
"""

import argparse
import itertools
import math

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import data, nn
from tinygrad_norm.nn import functional as F
from tinygrad_norm.training import Config
from tinygrad_norm.training.models import build_text_model
from tinygrad_norm.training.optimization import make_optimizer, make_schedule

CONTEXT = 64
FAMILIES = {
    "GPT-2": {"norm": "layer"},
    "Gemma 3": {"norm": "rms", "placement": "peri", "qk_norm": "rms"},
    "Qwen3": {"norm": "rms", "qk_norm": "rms"},
    "OLMo 2": {"norm": "rms", "placement": "output", "qk_norm": "rms-all"},
}


def zero_centered(module):
    """Let every RMSNorm in a new module scale by 1 + w, w = 0 at first, instead of by w."""
    for name, child in module.named_children():
        if isinstance(child, nn.RMSNorm):
            setattr(module, name, nn.RMSNorm(child.normalized_shape, child.eps, zero_centered=True))
        else:
            zero_centered(child)


def bits(model, codes, targets):
    """Return the loss in bits per character; ignored targets do not count."""
    return F.cross_entropy(model(codes).flatten(0, 1), targets.flatten()) / math.log(2)


def train(name, text, steps, seed):
    """Return the bits per character on new text, by step, after each quarter of the steps."""
    tn.manual_seed(seed)
    config = Config("text", seed=seed, **FAMILIES[name])
    model = build_text_model(config, len(text.alphabet), CONTEXT)
    if name == "Gemma 3":
        zero_centered(model)
    optimizer = make_optimizer(config, model)
    schedule = make_schedule(config, optimizer, steps)
    loader = data.TextLoader(text.train, CONTEXT, batch_size=8)
    unseen = [tn.tensor(part[:64]) for part in data.overlapping_windows(text.validation, CONTEXT)]
    batches = itertools.chain.from_iterable(itertools.repeat(loader))  # epoch after epoch
    shown, curve = {max(1, steps * quarter // 4) for quarter in (1, 2, 3, 4)}, {}
    for step, batch in enumerate(itertools.islice(batches, steps), start=1):
        optimizer.zero_grad()
        bits(model, *batch).backward()
        optimizer.step()
        schedule.step()
        if step in shown:
            with tn.no_grad():
                curve[step] = bits(model, *unseen).item()
    return curve


def positive_int(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=positive_int, default=150, help="training steps (default: 150)")
    parser.add_argument("--seeds", type=positive_int, default=1, help="runs of each, averaged (default: 1)")
    parser.add_argument("--file", help="UTF-8 text file (default: Python's pydoc_data.topics)")
    options = parser.parse_args(arguments)
    try:
        text = data.load_text(options.file)
    except (ValueError, RuntimeError) as error:
        parser.error(str(error))
    found = {}
    for name in FAMILIES:
        curves = [train(name, text, options.steps, seed) for seed in range(options.seeds)]
        found[name] = {step: float(np.mean([curve[step] for curve in curves])) for step in curves[0]}
        if name == "GPT-2":
            print(f"{'step':8}", *(f"{step:6}" for step in found[name]))
        print(f"{name:8}", *(f"{value:6.2f}" for value in found[name].values()), flush=True)
    return found


if __name__ == "__main__":
    main()
