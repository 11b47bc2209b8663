"""RNN, LSTM, GRU and their cells against PyTorch, in float64, from the same weights: every option."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.gradient_check.registered import relative_error
from tinygrad_norm.optim import SGD

TOLERANCE = 1e-8
T, N, D, H = 4, 3, 2, 3
LENGTHS = (2, 4, 1)

NETWORKS = [
    (name, options)
    for name, own in (
        ("RNN", ({"nonlinearity": "relu"},)),
        ("LSTM", ({"proj_size": 2}, {"proj_size": 1, "num_layers": 2, "bidirectional": True, "bias": False})),
        ("GRU", ()),
    )
    for options in (
        {},
        {"bias": False},
        {"batch_first": True},
        {"num_layers": 2},
        {"bidirectional": True},
        {"num_layers": 3, "bidirectional": True, "batch_first": True},
        {"num_layers": 2, "dropout": 1.0},
        *own,
    )
]
CELLS = [
    ("RNNCell", {}),
    ("RNNCell", {"nonlinearity": "relu"}),
    ("RNNCell", {"bias": False}),
    ("LSTMCell", {}),
    ("LSTMCell", {"bias": False}),
    ("GRUCell", {}),
    ("GRUCell", {"bias": False}),
]


def over(modules):
    ids = ["-".join([name, *options]) for name, options in modules]
    return pytest.mark.parametrize(("name", "options"), modules, ids=ids)


networks, cells = over(NETWORKS), over(CELLS)


def pair(torch, name, options):
    """Our module and PyTorch's, with the same weights."""
    theirs = getattr(torch.nn, name)(D, H, **options).double()
    ours = getattr(nn, name)(D, H, **options).double()
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    return ours, theirs


def draw(name, options, batched=True):
    """The values of x and of the initial states."""
    rng = np.random.default_rng(0)
    x = (N, T, D) if options.get("batch_first") else (T, N, D)
    states = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    sizes = [options.get("proj_size") or H, H][: 1 + (name == "LSTM")]
    batch = (N,) if batched else ()
    x = x if batched else (T, D)
    return rng.normal(size=x), [rng.normal(size=(states, *batch, size)) for size in sizes]


def packed(values):
    """The states as the module takes them: an LSTM's are a pair."""
    return values[0] if len(values) == 1 else tuple(values)


def flat(result):
    """All outputs of a module in one list."""
    return [y for part in result for y in flat(part)] if isinstance(result, tuple) else [result]


def cotangents(ys):
    return [np.random.default_rng(k + 1).normal(size=tuple(y.shape)) for k, y in enumerate(ys)]


def close(a, b):
    assert relative_error(a, b) <= TOLERANCE


def compare(torch, ours, theirs, values, run_ours, run_theirs):
    """Outputs, and the gradients of all inputs, states and parameters."""
    xs = [Tensor(v, requires_grad=True) for v in values]
    ys = flat(run_ours(*xs))
    dys = cotangents(ys)
    dxs = grad(ys, [*xs, *ours.parameters()], dys, allow_unused=True)

    torch_xs = [torch.tensor(v, requires_grad=True) for v in values]
    torch_ys = flat(run_theirs(*torch_xs))
    torch_dxs = torch.autograd.grad(
        torch_ys, [*torch_xs, *theirs.parameters()], [torch.tensor(dy) for dy in dys], allow_unused=True
    )
    assert len(ys) == len(torch_ys)
    for y, expected in zip(ys, torch_ys, strict=True):
        close(y.numpy(), expected.detach().numpy())
    for dx, expected in zip(dxs, torch_dxs, strict=True):
        assert (dx is None) == (expected is None)
        if dx is not None:
            close(dx.numpy(), expected.numpy())
    return dxs


def pack(torch, module, x):
    return torch.nn.utils.rnn.pack_padded_sequence(
        x, LENGTHS, batch_first=module.batch_first, enforce_sorted=False
    )


def run_packed(torch, module, x, *states):
    y, last = module(pack(torch, module, x), *[packed(states)] if states else [])
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=module.batch_first, total_length=T)
    return y, last


@networks
@pytest.mark.parametrize("given", [False, True], ids=["zero state", "given state"])
@pytest.mark.parametrize("batched", [True, False], ids=["batch", "one sequence"])
def test_networks_agree(torch, name, options, given, batched):
    ours, theirs = pair(torch, name, options)
    x, states = draw(name, options, batched)
    run = lambda module: lambda x, *states: module(x, *[packed(states)] if states else [])  # noqa: E731
    compare(torch, ours, theirs, [x, *states] if given else [x], run(ours), run(theirs))


@networks
@pytest.mark.parametrize("given", [False, True], ids=["zero state", "given state"])
def test_lengths_are_packed_sequences(torch, name, options, given):
    ours, theirs = pair(torch, name, options)
    x, states = draw(name, options)
    dx, *_ = compare(
        torch,
        ours,
        theirs,
        [x, *states] if given else [x],
        lambda x, *states: ours(x, packed(states) if states else None, LENGTHS),
        lambda x, *states: run_packed(torch, theirs, x, *states),
    )
    padding = np.arange(T)[:, None] >= np.array(LENGTHS)
    dx = dx.numpy().swapaxes(0, 1) if ours.batch_first else dx.numpy()
    assert not dx[padding].any()
    assert dx[~padding].any()


@cells
@pytest.mark.parametrize("given", [False, True], ids=["zero state", "given state"])
@pytest.mark.parametrize("batch", [(N,), ()], ids=["batch", "one sample"])
def test_cells_agree(torch, name, options, given, batch):
    ours, theirs = pair(torch, name, options)
    rng = np.random.default_rng(0)
    states = [rng.normal(size=(*batch, H)) for _ in range(1 + (name == "LSTMCell"))]
    run = lambda module: lambda x, *states: module(x, *[packed(states)] if states else [])  # noqa: E731
    values = [rng.normal(size=(*batch, D)), *(states if given else [])]
    compare(torch, ours, theirs, values, run(ours), run(theirs))


@networks
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])
def test_twenty_steps_of_training_agree(torch, name, options, lengths):
    ours, theirs = pair(torch, name, options)
    x, _ = draw(name, options)
    optimizer = SGD(ours.parameters(), lr=0.2)
    torch_optimizer = torch.optim.SGD(theirs.parameters(), lr=0.2)
    for _ in range(20):
        y, last = ours(Tensor(x), None, lengths)
        target = np.cos(np.arange(y.numel())).reshape(y.shape)
        loss = ((y - target) ** 2).mean() + sum((h**2).mean() for h in flat(last))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        if lengths is None:
            y, last = theirs(torch.tensor(x))
        else:
            y, last = run_packed(torch, theirs, torch.tensor(x))
        torch_loss = ((y - torch.tensor(target)) ** 2).mean() + sum((h**2).mean() for h in flat(last))
        torch_optimizer.zero_grad()
        torch_loss.backward()
        torch_optimizer.step()
        close(loss.numpy(), torch_loss.detach().numpy())
    for (key, ours_now), theirs_now in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert relative_error(ours_now.numpy(), theirs_now.detach().numpy()) <= TOLERANCE, key


@cells
def test_twenty_steps_of_training_a_cell_agree(torch, name, options):
    ours, theirs = pair(torch, name, options)
    x = np.random.default_rng(0).normal(size=(T, N, D))
    optimizer = SGD(ours.parameters(), lr=0.2)
    torch_optimizer = torch.optim.SGD(theirs.parameters(), lr=0.2)
    for _ in range(20):
        for module, sgd, make in ((ours, optimizer, Tensor), (theirs, torch_optimizer, torch.tensor)):
            state = None
            for t in range(T):
                state = module(make(x[t]), state)
            loss = sum(((h - 0.5) ** 2).mean() for h in flat(state))
            sgd.zero_grad()
            loss.backward()
            sgd.step()
    for (key, ours_now), theirs_now in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert relative_error(ours_now.numpy(), theirs_now.detach().numpy()) <= TOLERANCE, key


@over([*NETWORKS, *CELLS])
def test_states_travel_both_ways_through_safetensors(torch, name, options):
    import safetensors.numpy
    import safetensors.torch

    ours, theirs = getattr(nn, name)(D, H, **options), getattr(torch.nn, name)(D, H, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(safetensors.numpy.load(safetensors.torch.save(theirs.state_dict())))
    for key, value in theirs.state_dict().items():
        assert np.array_equal(ours.state_dict()[key].numpy(), value.numpy())

    fresh = getattr(nn, name)(D, H, **options)
    file = safetensors.numpy.save({key: value.numpy() for key, value in fresh.state_dict().items()})
    theirs.load_state_dict(safetensors.torch.load(file))
    for key, value in theirs.state_dict().items():
        assert np.array_equal(fresh.state_dict()[key].numpy(), value.numpy())


def test_the_constructors_take_their_arguments_in_the_order_of_pytorch(torch):
    import inspect

    for name in ("RNNCell", "LSTMCell", "GRUCell"):
        theirs = inspect.signature(getattr(torch.nn, name)).parameters
        ours = inspect.signature(getattr(nn, name)).parameters
        shared = {key: p.default for key, p in theirs.items() if key not in ("device", "dtype")}
        assert {key: p.default for key, p in ours.items()} == shared
        assert list(ours) == list(shared)
    positional = {
        "RNN": (D, H, 2, "relu", False, True, 0.5, True),
        "LSTM": (D, H, 2, False, True, 0.5, True, 1),
        "GRU": (D, H, 2, False, True, 0.5, True),
    }
    for name, arguments in positional.items():
        ours, theirs = getattr(nn, name)(*arguments), getattr(torch.nn, name)(*arguments)
        for key in ("num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size"):
            assert getattr(ours, key) == getattr(theirs, key)
        assert {k: v.shape for k, v in ours.state_dict().items()} == {
            k: tuple(v.shape) for k, v in theirs.state_dict().items()
        }


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_an_empty_batch_and_one_step_are_as_in_pytorch(torch, name):
    ours, theirs = pair(torch, name, {"num_layers": 2, "bidirectional": True})
    for shape in ((T, 0, D), (1, N, D), (1, 0, D)):
        x = np.random.default_rng(0).normal(size=shape)
        compare(torch, ours, theirs, [x], ours, theirs)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_float32_agrees_in_float32(torch, name):
    theirs, ours = getattr(torch.nn, name)(D, H, 2), getattr(nn, name)(D, H, 2)
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    x = draw(name, {})[0].astype(np.float32) * 3
    y, _ = ours(tn.tensor(x))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.numpy(), theirs(torch.tensor(x))[0].detach().numpy(), rtol=1e-5, atol=1e-6)
