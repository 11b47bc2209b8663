"""A trained GPT with layer normalization becomes one with RMS normalization, and says the same.

A tiny pre-LN transformer learns the standard library's pydoc_data.topics character by character. Then,
without any training, the affine of each LayerNorm goes into the layers that read it (nn.utils.fold_norm), and
what writes to the residual stream gets mean 0 (nn.utils.center_writers): so a LayerNorm without affine and an
RMSNorm are one function there. The last norm becomes a CRMSNorm, which needs one feature less of the stream.
Prints how far the logits of the three are apart. About 20 seconds on one core.

    python examples/layernorm_to_rmsnorm.py [--steps 150]

Measured: the largest difference, as a fraction of the largest logit, is 4e-7 in float32 and 8e-16 in float64
for RMSNorm, 5e-7 and 1e-15 with the CRMSNorm; the most likely next character is the same everywhere. So in a
pre-LN network the mean that LayerNorm subtracts is no ability of its own: other weights do the same.
"""

import argparse
import copy

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import data, nn, optim
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.utils import center_writers, fold_norm

CONTEXT, FEATURES, LAYERS = 64, 64, 4


class GPT(nn.Module):
    """Embeddings and positions, pre-LN layers, a normalization, and an output layer."""

    def __init__(self, characters):
        super().__init__()
        self.tokens = nn.Embedding(characters, FEATURES)
        self.positions = nn.LearnedPositions(CONTEXT, FEATURES, batch_first=True)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                FEATURES, 4, 4 * FEATURES, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(LAYERS)
        )
        self.norm, self.head = nn.LayerNorm(FEATURES), nn.Linear(FEATURES, characters)

    def forward(self, codes):
        mask = nn.Transformer.generate_square_subsequent_mask(codes.shape[1])
        stream = self.positions(self.tokens(codes))
        for layer in self.layers:
            stream = layer(stream, src_mask=mask)
        return self.head(self.norm(stream))


def converted(model):
    """Return a copy of the model whose norms are RMSNorms without parameters."""
    model = copy.deepcopy(model)
    model.tokens, model.positions = center_writers(model.tokens, model.positions)
    for layer in model.layers:
        layer.norm1, layer.self_attn = fold_norm(layer.norm1, layer.self_attn)
        layer.norm2, layer.linear1 = fold_norm(layer.norm2, layer.linear1)
        layer.self_attn, layer.linear2 = center_writers(layer.self_attn, layer.linear2)
        layer.norm1, layer.norm2 = (rms_norm(norm) for norm in (layer.norm1, layer.norm2))
    model.norm, model.head = fold_norm(model.norm, model.head)
    model.norm = rms_norm(model.norm)
    return model


def rms_norm(norm):
    return nn.RMSNorm(FEATURES, norm.eps, elementwise_affine=False)


class WithoutLast(nn.Module):
    """CRMSNorm of all features but the last, which is minus the sum of the others."""

    def __init__(self, eps):
        super().__init__()
        self.norm = nn.CRMSNorm(FEATURES - 1, eps)

    def forward(self, stream):
        return self.norm(stream[..., :-1])


def with_crms_norm(model):
    """Return a copy whose last norm reads one feature less; the others have taken over its weights."""
    model, W = copy.deepcopy(model), model.head.weight.numpy()
    head = nn.Linear(FEATURES - 1, len(W)).to(model.head.weight.dtype)
    head.load_state_dict({"weight": tn.tensor(W[:, :-1] - W[:, -1:]), "bias": model.head.bias})
    model.norm, model.head = WithoutLast(model.norm.eps), head
    return model


def train(model, text, steps):
    optimizer, rng = optim.AdamW(model.parameters(), 3e-3), np.random.default_rng(0)
    for step in range(1, steps + 1):
        windows = batch(text.train, rng)
        logits = model(tn.tensor(windows[:, :-1].copy()))
        loss = F.cross_entropy(logits.flatten(0, 1), tn.tensor(windows[:, 1:].ravel()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0 or step == steps:
            print(f"step {step:4}: {loss.item() / np.log(2):.3f} bits per character")


def batch(codes, rng):
    starts = rng.integers(0, len(codes) - CONTEXT, 16)[:, None]
    return codes[starts + np.arange(CONTEXT + 1)].astype(np.int64)


@tn.no_grad()
def logits_of(model, codes):
    return model(codes).numpy().astype(np.float64)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=150, help="training steps (default: 150)")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error(f"--steps must be at least 1, got {options.steps}")
    text = data.load_text()
    tn.manual_seed(0)
    model = GPT(len(text.alphabet))
    train(model, text, options.steps)
    codes = tn.tensor(batch(text.validation, np.random.default_rng(1))[:, :-1].copy())
    found = {}
    print(f"\n{'':28}{'largest difference':>20}{'same next':>12}")
    for dtype in ("float32", "float64"):
        original = copy.deepcopy(model).to(getattr(tn, dtype))
        with_rms = converted(original)
        expected = logits_of(original, codes)
        for name, changed in (
            ("RMSNorm", with_rms),
            ("CRMSNorm at the end", with_crms_norm(with_rms)),
        ):
            logits = logits_of(changed, codes)
            apart = abs(logits - expected).max() / abs(expected).max()
            same = (logits.argmax(-1) == expected.argmax(-1)).mean()
            found[name, dtype] = apart, same
            print(f"{name + ', ' + dtype:28}{apart:20.1e}{same:12.1%}")
    return found


if __name__ == "__main__":
    main()
