"""Small trainings for threads and other processes: what each returns depends on its arguments alone."""

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.backends.cpu.blocks import MANY, settings
from tinygrad_norm.nn import functional as F


def trained(number, steps=6, pause=None):
    """Train model `number` from its own seed; return its losses and weights, and its random numbers after."""
    tn.manual_seed(number)
    hidden = (
        [nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3)],
        [nn.LayerNorm(16), nn.Tanh()],
        [nn.utils.parametrizations.weight_norm(nn.Linear(16, 16)), nn.GELU()],
        [nn.RMSNorm(16), nn.Dropout(0.5)],
    )[number % 4]
    model = nn.Sequential(nn.Linear(8, 16), *hidden, nn.Linear(16, 3))
    optimizer = (optim.Adam if number % 2 else optim.AdamW)(model.parameters(), 0.01)
    losses = []
    for step in range(steps):
        x, t = tn.randn(8, 8), tn.randint(0, 3, (8,))
        if step % 3 == number % 3:
            with tn.no_grad():
                model(x)
                if pause is not None:
                    pause()
                assert not tn.is_grad_enabled()
        assert tn.is_grad_enabled()
        optimizer.zero_grad()
        with nn.utils.parametrize.cached():
            loss = F.cross_entropy(model(x), t)
            if pause is not None:
                pause()
            loss.backward()
        optimizer.step()
        losses.append(loss.item())
    state = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    return losses, state, tn.rand(4).numpy().copy()


def assert_same(found, expected):
    """Check that two results of `trained` are equal bit for bit."""
    assert found[0] == expected[0]
    for name, value in expected[1].items():
        np.testing.assert_array_equal(found[1][name], value, err_msg=name)
    np.testing.assert_array_equal(found[2], expected[2])


def predicted(model, x):
    """Return the model's output, and whether its hooks, names and mode have come along."""
    return model(x), sorted(model.state_dict()), model.training


def on_threads():
    """Return a normalization that is large enough for a pool of threads."""
    x = np.arange(2 * MANY, dtype=np.float32).reshape(-1, 64) % 97
    with settings(threads=2):
        return F.layer_norm(tn.Tensor(x), (64,)).numpy()


def drawn(_):
    """Return the next random numbers of this process."""
    return tn.rand(4).tolist()
