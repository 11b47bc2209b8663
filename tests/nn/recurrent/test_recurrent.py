"""What the comparison with PyTorch does not test: padding, randomness, extreme values, errors."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.nn import functional as F

T, N, D, H = 5, 4, 3, 6
LENGTHS = np.array([3, 5, 0, 1])
OVER = np.arange(T)[:, None] >= LENGTHS

NETWORKS = {
    "RNN": lambda **options: nn.RNN(D, H, **options),
    "RNN relu": lambda **options: nn.RNN(D, H, nonlinearity="relu", **options),
    "LSTM": lambda **options: nn.LSTM(D, H, **options),
    "LSTM projected": lambda **options: nn.LSTM(D, H, proj_size=2, **options),
    "GRU": lambda **options: nn.GRU(D, H, **options),
}
CELLS = {"RNNCell": nn.RNNCell, "LSTMCell": nn.LSTMCell, "GRUCell": nn.GRUCell}
networks = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
cells = pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def parts(result):
    return [y for part in result for y in parts(part)] if isinstance(result, tuple) else [result]


def gradients(module, x, lengths, dys):
    x = Tensor(x, requires_grad=True)
    return grad(parts(module(x, None, lengths)), [x, *module.parameters()], dys)


# -- lengths


@networks
def test_every_sequence_of_a_padded_batch_is_as_if_alone(make):
    module = make(num_layers=2, bidirectional=True).double()
    x = normal(T, N, D)
    y, last = module(Tensor(x), None, LENGTHS)
    assert not y.numpy()[OVER].any()
    for n, length in enumerate(LENGTHS):
        if length:
            alone, alone_last = module(Tensor(x[:length, n]))
            np.testing.assert_allclose(y.numpy()[:length, n], alone.numpy(), rtol=1e-12)
            for a, b in zip(parts(last), parts(alone_last), strict=True):
                np.testing.assert_allclose(a.numpy()[:, n], b.numpy(), rtol=1e-12)
        else:
            assert not any(state.numpy()[:, n].any() for state in parts(last))


@networks
def test_a_sequence_without_steps_passes_its_state_and_its_gradient_on(make):
    module = make().double()
    h0 = [Tensor(normal(1, N, size), requires_grad=True) for size in (module.proj_size or H, H)]
    h0 = h0 if isinstance(module, nn.LSTM) else h0[:1]
    _, last = module(Tensor(normal(T, N, D)), tuple(h0) if len(h0) > 1 else h0[0], LENGTHS)
    dlast = [normal(*state.shape, seed=k) for k, state in enumerate(parts(last))]
    dh0 = grad(parts(last), h0, dlast)
    empty = list(LENGTHS).index(0)
    for before, after, dbefore, dafter in zip(h0, parts(last), dh0, dlast, strict=True):
        assert np.array_equal(after.numpy()[:, empty], before.numpy()[:, empty])
        assert np.array_equal(dbefore.numpy()[:, empty], dafter[:, empty])
        assert not np.array_equal(dbefore.numpy(), dafter)


@networks
@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e300], ids=str)
def test_nothing_leaks_out_of_the_padding(make, poison):
    module = make(num_layers=2, bidirectional=True).double()
    x, poisoned = normal(T, N, D), normal(T, N, D)
    poisoned[OVER] = poison
    ys = parts(module(Tensor(x), None, LENGTHS))
    for y, same in zip(ys, parts(module(Tensor(poisoned), None, LENGTHS)), strict=True):
        assert np.array_equal(y.numpy(), same.numpy())
    dys = [normal(*y.shape, seed=k) for k, y in enumerate(ys)]
    expected = gradients(module, x, LENGTHS, dys)
    assert not expected[0].numpy()[OVER].any()
    dys[0][OVER] = poison
    for dx, same in zip(expected, gradients(module, poisoned, LENGTHS, dys), strict=True):
        assert np.array_equal(dx.numpy(), same.numpy())


@networks
@pytest.mark.parametrize("lengths", [(3, 5, 0, 1), [3, 5, 0, 1], LENGTHS.astype(np.uint8), Tensor(LENGTHS)])
def test_lengths_come_in_any_form(make, lengths):
    module, x = make(batch_first=True), Tensor(normal(N, T, D).astype(np.float32))
    expected = module(x, None, LENGTHS)[0].numpy()
    assert np.array_equal(module(x, None, lengths)[0].numpy(), expected)


@networks
def test_full_lengths_change_nothing(make):
    module, x = make(), tn.tensor(normal(T, N, D))
    for a, b in zip(parts(module.double()(x)), parts(module(x, None, [T] * N)), strict=True):
        assert np.array_equal(a.numpy(), b.numpy())


# -- layers, directions, randomness


@networks
def test_a_stack_is_its_layers_with_dropout_between(make):
    module = make(num_layers=2, dropout=0.5).double()
    state = module.state_dict()
    lower = make().double()
    lower.load_state_dict({key: value for key, value in state.items() if key.endswith("_l0")})
    x = Tensor(normal(T, N, D))

    tn.manual_seed(3)
    y, last = module(x)
    tn.manual_seed(3)
    between = F.dropout(lower(x)[0], 0.5)
    layer = {nn.RNN: F.rnn_layer, nn.LSTM: F.lstm_layer, nn.GRU: F.gru_layer}[type(module)]
    extra = {"nonlinearity": module.nonlinearity} if isinstance(module, nn.RNN) else {}
    weights = {key.removesuffix("_l1"): value for key, value in state.items() if key.endswith("_l1")}
    expected = layer(between, None, **weights, **extra)
    assert np.array_equal(y.numpy(), expected[0].numpy())
    assert np.array_equal(parts(last)[0].numpy()[1], expected[1].numpy())
    assert (between.numpy() == 0).any()
    assert not np.array_equal(module(x)[0].numpy(), y.numpy())

    module.eval()
    assert np.array_equal(module(x)[0].numpy(), module(x)[0].numpy())


@networks
def test_the_reverse_direction_is_the_forward_one_on_the_reversed_sequence(make):
    module = make(bidirectional=True).double()
    state = module.state_dict()
    for key, value in state.items():
        if key.endswith("_reverse"):
            value.copy_(state[key.removesuffix("_reverse")])
    x = normal(T, N, D)
    y, last = module(Tensor(x))
    mirrored, mirrored_last = module(Tensor(x[::-1].copy()))
    P = y.shape[-1] // 2
    np.testing.assert_allclose(y.numpy()[..., P:], mirrored.numpy()[::-1, :, :P], rtol=1e-12)
    for a, b in zip(parts(last), parts(mirrored_last), strict=True):
        np.testing.assert_allclose(a.numpy()[1], b.numpy()[0], rtol=1e-12)


def test_dropout_without_a_second_layer_warns():
    with pytest.warns(UserWarning, match="num_layers=1"):
        nn.GRU(D, H, dropout=0.5)


@pytest.mark.parametrize("size", [16, 400])
def test_parameters_start_uniform_below_one_over_the_root_of_hidden_size(size):
    for module in (nn.LSTM(3, size), nn.GRUCell(3, size)):
        for parameter in module.parameters():
            values = parameter.numpy() * size**0.5
            assert abs(values).max() <= 1 + 1e-6
            assert abs(values).max() > 0.8
            assert abs(values.mean()) < 0.35


@cells
def test_a_cell_step_by_step_is_the_network(make):
    cell = make(D, H).double()
    network = getattr(nn, make.__name__.removesuffix("Cell"))(D, H).double()
    network.load_state_dict({f"{key}_l0": value for key, value in cell.state_dict().items()})
    x, state = normal(T, N, D), None
    for t in range(T):
        state = cell(Tensor(x[t]), state)
    for a, b in zip(parts(state), parts(network(Tensor(x))[1]), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy()[0], rtol=1e-12)


# -- numbers


@networks
def test_half_precision_accumulates_in_float32(make):
    low = make(num_layers=2).half()
    high = make(num_layers=2).double()
    high.load_state_dict(low.state_dict())
    x = normal(T, N, D).astype(np.float16)
    dys = [normal(*y.shape, seed=k) for k, y in enumerate(parts(low(Tensor(x))))]
    assert {y.dtype for y in parts(low(Tensor(x)))} == {np.dtype(np.float16)}
    for a, b in zip(parts(low(Tensor(x))), parts(high(Tensor(x.astype(float)))), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-3)
    expected = gradients(high, x.astype(float), LENGTHS, dys)
    for a, b in zip(gradients(low, x, LENGTHS, dys), expected, strict=True):
        assert a.dtype == np.float16
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=5e-3 * max(1, abs(b.numpy()).max()))


@networks
@pytest.mark.parametrize("scale", [1e-30, 1e4, 1e30], ids="scale {:g}".format)
def test_any_scale_of_float32_gives_finite_results_without_warnings(make, scale):
    module = make(num_layers=2, bidirectional=True)
    x = (normal(T, N, D) * scale).astype(np.float32)
    ys = parts(module(Tensor(x)))
    dxs = gradients(module, x, None, [normal(*y.shape) for y in ys])
    assert all(np.isfinite(a.numpy()).all() for a in (*ys, *dxs))


def test_an_overflow_is_infinite_not_a_warning():
    module = nn.RNN(1, 1, nonlinearity="relu", bias=False)
    module.weight_hh_l0.fill_(1e30)
    module.weight_ih_l0.fill_(1.0)
    y, _ = module(tn.ones(4, 1, 1))
    assert np.isinf(y.numpy()[-1]).all()


def test_the_memory_cell_carries_a_gradient_through_many_steps():
    """dc_{t-1} = dc·f: with an open forget gate the gradient lives, in a plain RNN it vanishes."""
    steps = 200
    norms = {}
    for name in ("LSTM", "RNN"):
        tn.manual_seed(0)
        module = getattr(nn, name)(D, H).double()
        if name == "LSTM":
            module.bias_ih_l0.detach()[H : 2 * H] = 10.0
        x = Tensor(normal(steps, 1, D), requires_grad=True)
        y, _ = module(x)
        (dx,) = grad(y[-1], x, normal(1, H))
        norms[name] = np.linalg.norm(dx.numpy()[0])
    assert norms["LSTM"] > 1e-4
    assert norms["RNN"] < 1e-12


# -- the tape


@networks
def test_backward_can_run_twice_if_the_graph_is_kept(make):
    module = make().double()
    x = Tensor(normal(T, N, D), requires_grad=True)
    y, _ = module(x, None, LENGTHS)
    dy = normal(*y.shape)
    first = grad(y, [x, *module.parameters()], dy, retain_graph=True)
    second = grad(y, [x, *module.parameters()], dy)
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.numpy(), b.numpy())


@networks
def test_changing_the_output_in_place_before_backward_is_detected(make):
    module = make()
    y, _ = module(Tensor(normal(T, N, D).astype(np.float32)))
    y.data[0] = 0.0
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


@networks
def test_changing_the_last_state_in_place_leaves_the_output_alone(make):
    y, last = make()(Tensor(normal(T, N, D).astype(np.float32)))
    before = y.numpy().copy()
    for state in parts(last):
        state.data[...] = 7.0
    assert np.array_equal(y.numpy(), before)


@networks
def test_each_gradient_can_be_computed_alone(make):
    module = make().double()
    x = Tensor(normal(T, N, D), requires_grad=True)
    leaves = [x, *module.parameters()]
    y, _ = module(x)
    dy = normal(*y.shape)
    expected = grad(y, leaves, dy)
    for leaf in leaves:
        leaf.requires_grad_(False)
    for leaf, alone in zip(leaves, expected, strict=True):
        leaf.requires_grad_()
        module(x)[0].backward(dy)
        assert np.array_equal(leaf.grad.numpy(), alone.numpy())
        leaf.requires_grad_(False)
    with tn.no_grad():
        assert not module(x)[0].requires_grad


@networks
def test_the_last_state_alone_can_be_the_loss(make):
    module = make(num_layers=2).double()
    x = Tensor(normal(T, N, D), requires_grad=True)
    _, last = module(x)
    h = parts(last)[0]
    dh = normal(*h.shape)
    (dx,) = grad(h, x, dh)
    y, _ = module(x)
    (of_y,) = grad(y[-1], x, dh[1])
    h = parts(module(x)[1])[0]
    (of_h,) = grad(h[1], x, dh[1])
    np.testing.assert_allclose(of_y.numpy(), of_h.numpy(), rtol=1e-12)
    assert abs(dx.numpy() - of_h.numpy()).max() > 1e-6


# -- errors


@networks
def test_wrong_shapes_say_what_was_received_and_what_was_expected(make):
    module = make(num_layers=2, batch_first=True)
    for shape in ((N, T, D + 1), (D,), (1, N, T, D)):
        with pytest.raises(ValueError, match=rf"\(N, T, D\).*input_size = {D}.*got shape"):
            module(tn.ones(shape))
    with pytest.raises(ValueError, match="at least one time step"):
        module(tn.ones(N, 0, D))
    with pytest.raises(ValueError, match=r"lengths has shape \(2,\), expected \(4,\)"):
        module(tn.ones(N, T, D), None, [1, 2])
    with pytest.raises(ValueError, match="one sequence: slice it"):
        module(tn.ones(T, D), None, [T])
    with pytest.raises(TypeError, match="Tensor"):
        module(np.ones((N, T, D)))
    with pytest.raises(TypeError, match="float64"):
        module(tn.ones(N, T, D).double())
    P = module.proj_size or H
    h = tn.ones(1, N, P)
    with pytest.raises(ValueError, match=rf"\(2, {N}, {P}\), got shape \(1, {N}, {P}\)"):
        module(tn.ones(N, T, D), (h, h) if isinstance(module, nn.LSTM) else h)
    with pytest.raises(ValueError, match=rf"\(2, {P}\), got shape \(2, 1, {P}\)"):
        wrong = tn.ones(2, 1, P)
        module(tn.ones(T, D), (wrong, wrong) if isinstance(module, nn.LSTM) else wrong)


def test_the_state_of_an_lstm_is_a_pair_and_of_others_a_tensor():
    h = tn.ones(1, N, H)
    with pytest.raises(TypeError, match="a pair"):
        nn.LSTM(D, H)(tn.ones(T, N, D), h)
    with pytest.raises(ValueError, match=rf"\(1, {N}, {H}\), got shape \(1, {N}, 2\)"):
        nn.LSTM(D, H)(tn.ones(T, N, D), (h, tn.ones(1, N, 2)))
    for network in (nn.GRU(D, H), nn.RNN(D, H)):
        with pytest.raises(TypeError, match="got tuple"):
            network(tn.ones(T, N, D), (h, h))


@cells
def test_cells_raise_on_wrong_shapes(make):
    cell = make(D, H)
    pair = make is nn.LSTMCell
    for shape in ((N, D + 1), (T, N, D)):
        with pytest.raises(ValueError, match=f"input_size = {D}"):
            cell(tn.ones(shape))
    h = tn.ones(N + 1, H)
    with pytest.raises(ValueError, match=rf"\({N}, {H}\), got shape \({N + 1}, {H}\)"):
        cell(tn.ones(N, D), (tn.ones(N, H), h) if pair else h)
    with pytest.raises(TypeError, match=r"got (float|tuple)"):
        cell(tn.ones(N, D), (1.0, 1.0))
    with pytest.raises(TypeError, match="float64"):
        cell(tn.ones(N, D).double())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.GRU(D, 0), "hidden_size must be at least 1"),
        (lambda: nn.GRU(0, H), "input_size must be at least 1"),
        (lambda: nn.RNN(D, H, 0), "num_layers must be at least 1"),
        (lambda: nn.LSTM(D, H, proj_size=H), "smaller than hidden_size"),
        (lambda: nn.LSTM(D, H, proj_size=-1), "smaller than hidden_size"),
        (lambda: nn.LSTM(D, H, 2, dropout=1.5), "probability"),
        (lambda: nn.RNN(D, H, nonlinearity="gelu"), "'tanh' or 'relu'"),
        (lambda: nn.RNNCell(D, H, nonlinearity="gelu"), "'tanh' or 'relu'"),
        (lambda: nn.LSTMCell(D, -1), "hidden_size must be at least 1"),
    ],
)
def test_impossible_networks_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_repr_names_what_is_not_default():
    assert repr(nn.GRU(3, 4)) == "GRU(3, 4)"
    assert repr(nn.LSTM(3, 4, 2, proj_size=2)) == "LSTM(3, 4, proj_size=2, num_layers=2)"
    assert repr(nn.GRU(3, 4, bias=False, bidirectional=True)) == "GRU(3, 4, bias=False, bidirectional=True)"
    assert repr(nn.RNNCell(3, 4, nonlinearity="relu")) == "RNNCell(3, 4, nonlinearity='relu')"
