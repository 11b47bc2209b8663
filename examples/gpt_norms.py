"""One tiny GPT, seven ways to normalize it: bits per character while it learns the default text.

    python examples/gpt_norms.py [--steps 150] [--file TEXT] [--out gpt_norms.png]

The models, learning rates and warm-ups are those of `tinygrad-norm train text`, but all use the same batches,
with half the context. The defaults take about a minute on one core; they print a table and draw the curves.
With --steps 400 (the last digits differ between machines; the last column is the step at which a model is as
good as `layer` at its end):

    step         100    200    300    400
    layer       3.92   3.85   3.66   3.63    400   LayerNorm before each sublayer: the baseline
    rms         3.92   3.84   3.67   3.63  never   RMSNorm before each sublayer
    scale       3.93   3.82   3.64   3.60    340   ScaleNorm before each sublayer; FixNorm on all characters
    QKNorm      3.91   3.86   3.72   3.68  never   layer, with queries and keys of length 1
    peri        3.93   3.85   3.67   3.66  never   LayerNorm before and after each sublayer
    DeepNorm    3.96   3.89   3.71   3.69  never   LayerNorm after sums that weigh the input more
    nGPT        3.78   3.38   2.98   2.83    140   every vector has length 1, in the weights too

None diverges. At four layers, where anything trains, six of them are close; DeepNorm starts last, as its
sublayers are small at first. nGPT needs a third of the baseline's steps, but hardly for its norms: it has
a gated network, three times the learning rate and, above all, rotary positions (nn/transformer/ngpt.py).
"""

import argparse
import itertools
import math
from importlib.util import find_spec
from pathlib import Path

import tinygrad_norm as tn
from tinygrad_norm import data, nn
from tinygrad_norm.files import replacing
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.utils.parametrize import register_parametrization
from tinygrad_norm.training import Config
from tinygrad_norm.training.models import build_text_model
from tinygrad_norm.training.optimization import make_optimizer, make_schedule

CONTEXT = 64
VARIANTS = {
    "layer": {},
    "rms": {"norm": "rms"},
    "scale": {"norm": "scale"},
    "QKNorm": {"qk_norm": "l2"},
    "peri": {"placement": "peri"},
    "DeepNorm": {"placement": "deep"},
    "nGPT": {"model": "ngpt"},
}


def fix_lengths(model):
    """Let FixNorm give all characters one length, in the embedding and in the output layer."""
    for layer in (model[0], model[-1]):
        register_parametrization(layer, "weight", nn.FixNorm(layer.weight.shape[1]))
    model[-1].parametrizations["weight"][0].g.data[:] = 1  # a logit is then √D times a cosine: of size 1


def bits(model, codes, targets):
    """Return the loss in bits per character; ignored targets do not count."""
    return F.cross_entropy(model(codes).flatten(0, 1), targets.flatten()) / math.log(2)


def train(name, text, steps):
    """Return the bits per character on new text, by step, after every twentieth of the steps."""
    tn.manual_seed(0)
    config = Config("text", **VARIANTS[name])
    model = build_text_model(config, len(text.alphabet), CONTEXT)
    if name == "scale":
        fix_lengths(model)
    optimizer = make_optimizer(config, model)
    schedule = make_schedule(config, optimizer, steps)
    loader = data.TextLoader(text.train, CONTEXT, batch_size=8)
    unseen = [tn.tensor(part[:64]) for part in data.overlapping_windows(text.validation, CONTEXT)]
    batches = itertools.chain.from_iterable(itertools.repeat(loader))  # epoch after epoch
    curve, every = {}, max(1, steps // 20)
    for step, batch in enumerate(itertools.islice(batches, steps), start=1):
        optimizer.zero_grad()
        bits(model, *batch).backward()
        optimizer.step()
        schedule.step()
        if step % every == 0 or step == steps:
            with tn.no_grad():
                curve[step] = bits(model, *unseen).item()
    return curve


def draw(curves, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained", dpi=120)
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot(list(curve), list(curve.values()), marker=".", label=name)
    axes.set(xlabel="step", ylabel="bits per character, new text", title="One tiny GPT, seven normalizations")
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary)


def positive_int(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def picture(text):
    path = Path(text)
    if path.suffix not in (".png", ".svg") or path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"must be a .png or .svg file in an existing folder, got {text!r}")
    return path


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=positive_int, default=150, help="training steps (default: 150)")
    parser.add_argument("--file", help="UTF-8 text file (default: Python's pydoc_data.topics)")
    parser.add_argument("--out", type=picture, default="gpt_norms.png", help="plot, .png or .svg")
    options = parser.parse_args(arguments)
    if find_spec("matplotlib") is None:
        parser.error("the plot needs matplotlib: pip install 'tinygrad_norm[plot]'")
    try:
        text = data.load_text(options.file)
    except (ValueError, RuntimeError) as error:
        parser.error(str(error))
    curves = {}
    for name in VARIANTS:
        curve = curves[name] = train(name, text, options.steps)
        if name == "layer":
            steps = list(curve)
            shown, goal = [steps[(len(steps) - 1) * k // 4] for k in (1, 2, 3, 4)], curve[steps[-1]]
            print(f"{'step':9}", *(f"{step:6}" for step in shown), " as good as layer's last at step")
        reached = next((step for step, value in curve.items() if value <= goal), "never")
        print(f"{name:9}", *(f"{curve[step]:6.2f}" for step in shown), f"{reached:>6}", flush=True)
    draw(curves, options.out)
    print(f"plot in {options.out}")
    return curves


if __name__ == "__main__":
    main()
