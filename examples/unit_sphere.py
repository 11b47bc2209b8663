"""A tiny nGPT in a loop of one's own: vectors stay on the unit sphere, and layers learn how far to turn them.

Five NGPTBlocks read the standard library's pydoc_data.topics character by character (Loshchilov et al. 2024,
arXiv:2410.01131). There is no warm-up and no weight decay; a hook of the optimizer makes the vectors of the
weights unit vectors after each step. Prints the loss, how far from 1 a length ever was, and for each block
its learned step sizes (0.2 at first) and by how many degrees it turns hidden states. About 20 seconds.

    python examples/unit_sphere.py [--steps 200]
"""

import argparse

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import data, nn, optim
from tinygrad_norm.nn import functional as F

CONTEXT, LAYERS = 64, 5


def off_the_sphere(model):
    """Return the largest |‖w‖ - 1| of all vectors w of the embedding space in the weights."""
    vectors = [(model[0].weight, 1), (model[len(model) - 1].out_proj.weight, 1)]
    for block in model:
        if isinstance(block, nn.NGPTBlock):
            vectors += [(block.in_proj.weight, 1), (block.up_proj.weight, 1)]
            vectors += [(block.out_proj.weight, 0), (block.down_proj.weight, 0)]
    return max(float(abs(np.linalg.norm(w.numpy(), axis=axis) - 1).max()) for w, axis in vectors)


@tn.no_grad()
def turns(model, codes):
    """Return, for each block, its mean step sizes, and the mean angle in degrees between its x and y."""
    x, rows = model[0](codes), []
    for block in model[1:-1]:
        y = block(x)
        angle = np.degrees(np.arccos(np.clip((x * y).sum(-1).numpy(), -1, 1)))
        sizes = [scale().abs().mean().item() for scale in (block.alpha_attention, block.alpha_mlp)]
        rows.append((*sizes, float(angle.mean())))
        x = y
    return rows


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="training steps (default: 200)")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error(f"--steps must be at least 1, got {options.steps}")

    text = data.load_text()
    tn.manual_seed(0)
    model = nn.NGPT(len(text.alphabet), 64, 4, LAYERS, mlp_ratio=2.0, alpha=1 / LAYERS)
    optimizer = optim.Adam(model.parameters(), 1e-2)
    optimizer.register_step_post_hook(lambda *_: model.normalize_weights_())
    rng, losses, furthest = np.random.default_rng(0), [], 0.0
    for step in range(1, options.steps + 1):
        starts = rng.integers(0, len(text.train) - CONTEXT, 16)[:, None]
        windows = text.train[starts + np.arange(CONTEXT + 1)].astype(np.int64)
        logits = model(tn.tensor(windows[:, :-1].copy()))
        loss = F.cross_entropy(logits.flatten(0, 1), tn.tensor(windows[:, 1:].ravel()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item() / np.log(2))
        furthest = max(furthest, off_the_sphere(model))
        if step % 50 == 0 or step == options.steps:
            print(f"step {step:4}: {np.mean(losses[-20:]):.3f} bits per character")
    rows = turns(model, tn.tensor(windows[:, :-1].copy()))
    print(f"no length was ever further from 1 than {furthest:.1e}\n")
    print(f"{'block':>5} {'α attention':>12} {'α network':>10} {'turns by':>9}")
    for i, (attention, network, angle) in enumerate(rows, 1):
        print(f"{i:5} {attention:12.3f} {network:10.3f} {angle:8.1f}°")
    return losses, furthest, rows


if __name__ == "__main__":
    main()
