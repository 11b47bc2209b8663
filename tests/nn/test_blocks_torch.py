"""Every block beside PyTorch's: twenty training steps, and states that travel through safetensors files.

What only another file can say of a block (recurrent networks, attention, transformers) is tested there.
"""

import numpy as np
import pytest
from twins import compare_training, exchange_states, twins


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def layer(name, *sizes, **options):
    """How to create a layer in either library."""
    return lambda library: getattr(library, name)(*sizes, **options)


def behind(name, *sizes, conv):
    """A layer without weights behind a convolution that learns through it."""
    return lambda library: library.Sequential(
        getattr(library, f"Conv{conv}d")(2, 3, 2), layer(name, *sizes)(library)
    )


def windows(library):
    """Unfold, a linear layer over every window, fold."""

    class Windows(library.Module):
        def __init__(self):
            super().__init__()
            self.linear = library.Linear(12, 12)

        def forward(self, x):
            columns = library.functional.unfold(x, (2, 3), padding=1, stride=(2, 1))
            columns = self.linear(columns.transpose(1, 2)).transpose(1, 2)
            return library.functional.fold(columns, (5, 4), (2, 3), padding=1, stride=(2, 1))

    return Windows()


def classifier(**options):
    """A linear layer and the cross entropy of its output, with a weight for every class."""

    def make(library):
        class Classifier(library.Module):
            def __init__(self):
                super().__init__()
                self.linear = library.Linear(3, 4)

            def forward(self, x, target, weight):
                return library.functional.cross_entropy(self.linear(x), target, weight, **options)

        return Classifier()

    return make


def probabilities(*shape):
    p = np.random.default_rng(3).uniform(size=shape)
    return p / p.sum(-1, keepdims=True)


CLASSES, WEIGHT = np.array([0, 1, 2, 3, 1, 2]), np.array([0.5, 1.0, 2.0, 1.5])
SPARSE = {"stride": 2, "dilation": 2, "groups": 2, "padding": 2}
TRANSPOSED = SPARSE | {"output_padding": 1}

TRAINED = {  # how to create it, and its inputs
    "Conv1d": (layer("Conv1d", 4, 6, 3, **SPARSE), [normal(2, 4, 9)]),
    "Conv2d": (layer("Conv2d", 4, 6, (3, 2), **SPARSE), [normal(2, 4, 7, 6)]),
    "Conv3d": (layer("Conv3d", 4, 6, (2, 3, 2), **SPARSE), [normal(2, 4, 4, 5, 4)]),
    "ConvTranspose1d": (layer("ConvTranspose1d", 4, 6, 3, **TRANSPOSED), [normal(2, 4, 5)]),
    "ConvTranspose2d": (layer("ConvTranspose2d", 4, 6, (3, 2), **TRANSPOSED), [normal(2, 4, 3, 4)]),
    "ConvTranspose3d": (layer("ConvTranspose3d", 4, 6, 2, **TRANSPOSED), [normal(2, 4, 3, 3, 4)]),
    "Embedding": (layer("Embedding", 5, 3, padding_idx=1), [np.array([[0, 1, 4], [4, 4, 1]])]),
    "Bilinear": (layer("Bilinear", 3, 2, 4), [normal(5, 3), normal(5, 2, seed=1)]),
    "adaptive average, 1": (behind("AdaptiveAvgPool1d", 3, conv=1), [normal(2, 2, 8)]),
    "adaptive average, 2": (behind("AdaptiveAvgPool2d", (2, 3), conv=2), [normal(2, 2, 6, 5)]),
    "adaptive average, 3": (behind("AdaptiveAvgPool3d", (2, 1, 3), conv=3), [normal(2, 2, 4, 3, 5)]),
    "adaptive maximum, 1": (behind("AdaptiveMaxPool1d", 3, conv=1), [normal(2, 2, 8)]),
    "adaptive maximum, 2": (behind("AdaptiveMaxPool2d", (2, 3), conv=2), [normal(2, 2, 6, 5)]),
    "adaptive maximum, 3": (behind("AdaptiveMaxPool3d", (2, 1, 3), conv=3), [normal(2, 2, 4, 3, 5)]),
    "unfold and fold": (windows, [normal(2, 2, 5, 4)]),
    "cross entropy": (classifier(ignore_index=1), [normal(6, 3), CLASSES, WEIGHT]),
    "cross entropy, smoothed": (
        classifier(ignore_index=2, label_smoothing=0.1, reduction="sum"),
        [normal(6, 3), CLASSES, WEIGHT],
    ),
    "cross entropy of probabilities": (
        classifier(label_smoothing=0.1),
        [normal(6, 3), probabilities(6, 4), WEIGHT],
    ),
}


@pytest.mark.parametrize(("make", "inputs"), TRAINED.values(), ids=TRAINED)
def test_twenty_training_steps_are_pytorchs(make, inputs, torch):
    compare_training(torch, *twins(torch, make), inputs, {})


def with_weights(parametrization, *sizes, **options):
    """A linear layer whose weight is computed from others."""

    def make(library):
        function = getattr(library.utils.parametrizations, parametrization)
        return library.Sequential(function(library.Linear(4, 3), *sizes, **options))

    return make


RUNNING = {"affine": True, "track_running_stats": True}

STATES = {
    **{name: make for name, (make, _) in TRAINED.items() if name[0].isupper()},
    "Linear": layer("Linear", 4, 3),
    "PReLU": layer("PReLU", 3),
    **{f"BatchNorm{axes}d": layer(f"BatchNorm{axes}d", 4) for axes in (1, 2, 3)},
    **{f"InstanceNorm{axes}d": layer(f"InstanceNorm{axes}d", 4, **RUNNING) for axes in (1, 2, 3)},
    "SyncBatchNorm": layer("SyncBatchNorm", 4),
    "GroupNorm": layer("GroupNorm", 2, 4),
    "GroupNorm, no bias": layer("GroupNorm", 2, 4, bias=False),
    "LayerNorm": layer("LayerNorm", (3, 4)),
    "RMSNorm": layer("RMSNorm", 4),
    "weight_norm": with_weights("weight_norm", dim=1),
    "spectral_norm": with_weights("spectral_norm"),
    "RNN": layer("RNN", 3, 4, 2, bidirectional=True),
    "LSTM": layer("LSTM", 3, 4, 2, bidirectional=True, proj_size=2),
    "GRU": layer("GRU", 3, 4, 2, bidirectional=True),
    **{name: layer(name, 3, 4) for name in ("RNNCell", "LSTMCell", "GRUCell")},
    "MultiheadAttention": layer("MultiheadAttention", 4, 2, add_bias_kv=True),
    "MultiheadAttention, kdim": layer("MultiheadAttention", 4, 2, kdim=3, vdim=2),
    "TransformerEncoderLayer": layer("TransformerEncoderLayer", 4, 2, 8),
    "TransformerDecoderLayer": layer("TransformerDecoderLayer", 4, 2, 8),
    "Transformer": layer("Transformer", 4, 2, 1, 1, 8, batch_first=True),
}


@pytest.mark.parametrize("make", STATES.values(), ids=STATES)
def test_states_travel_both_ways_through_files(make, torch, tmp_path):
    exchange_states(*[twins(torch, make, seed) for seed in (0, 1)], tmp_path)
