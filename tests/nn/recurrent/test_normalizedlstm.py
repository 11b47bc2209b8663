"""LSTM with batch or layer normalization: what they are to an LSTM, to each other, and in evaluation."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F

RNG = np.random.default_rng(0)
T, N, D, H = 5, 6, 3, 4
X = RNG.normal(size=(T, N, D))
LENGTHS = [5, 2, 5, 3, 2, 5]


def gates(a, c):
    i, f, g, o = a.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return c, o.sigmoid()


def by_hand(layer, x, norms):
    """One layer as in the papers, with the public functions."""
    h = c = tn.tensor(np.zeros((x.shape[1], H)))
    ys = []
    for t in range(len(x)):
        p, q = x[t] @ layer.weight_ih_l0.T, h @ layer.weight_hh_l0.T
        a = norms(p, layer.gamma_ih_l0, None) + norms(q, layer.gamma_hh_l0, None) + layer.bias_l0
        c, o = gates(a, c)
        h = o * norms(c, layer.gamma_c_l0, layer.beta_c_l0).tanh()
        ys.append(h)
    return tn.stack(ys)


@pytest.mark.parametrize(
    ("cls", "norms"),
    [
        (nn.BatchNormLSTM, lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True)),
        (nn.LayerNormLSTM, lambda x, w, b: F.layer_norm(x, x.shape[1:], w, b)),
    ],
)
def test_it_is_what_the_paper_says_step_by_step(cls, norms):
    layer = cls(D, H).double()
    for parameter in layer.parameters():
        parameter.array[...] = RNG.normal(size=parameter.shape)
    x, dy = tn.tensor(X, requires_grad=True), tn.tensor(RNG.normal(size=(T, N, H)))
    inputs = [x, *layer.parameters()]
    found, expected = layer(x)[0], by_hand(layer, x, norms)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), 1e-9, 1e-12)
    for a, b in zip(grad(found, inputs, dy), grad(expected, inputs, dy), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-8, 1e-9)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cls", [nn.BatchNormLSTM, nn.LayerNormLSTM])
def test_padding_is_in_no_statistic_and_gets_output_and_gradient_0(cls, reverse):
    layer = cls(D, H, bidirectional=reverse).double()
    padding = np.arange(T)[:, None] >= LENGTHS
    x = tn.tensor(X, requires_grad=True)
    y, last = layer(x, lengths=LENGTHS)
    y.backward(tn.tensor(RNG.normal(size=y.shape)))
    spoiled = tn.tensor(np.where(padding[..., None], 1e9, X))
    np.testing.assert_array_equal(layer(spoiled, lengths=LENGTHS)[0].numpy(), y.numpy())
    assert not y.numpy()[padding].any()
    assert not x.grad.numpy()[padding].any()
    assert (x.grad.numpy()[~padding] != 0).all()
    ends = y.numpy()[np.array(LENGTHS) - 1, np.arange(N), :H]
    np.testing.assert_array_equal(last[0].numpy()[0], ends)


def test_the_scales_start_at_a_tenth_and_one():
    assert (nn.BatchNormLSTM(D, H).gamma_c_l0.numpy() == np.float32(0.1)).all()
    assert (nn.BatchNormLSTM(D, H, gamma=1.0).gamma_hh_l0.numpy() == 1).all()
    assert (nn.LayerNormLSTM(D, H).gamma_ih_l0.numpy() == np.float32(0.1)).all()
    assert (nn.BatchNormRNN(D, H).gamma_ih_l0.numpy() == np.float32(0.1)).all()
    layer = nn.BatchNormLSTM(D, H)
    layer.gamma_c_l0.array[...] = 3
    layer.reset_parameters()
    assert (layer.gamma_c_l0.numpy() == np.float32(0.1)).all()


def test_evaluation_has_the_statistics_of_each_step_and_past_the_last_those_of_the_last():
    layer = nn.BatchNormLSTM(D, H, max_length=4, momentum=1.0).double()
    x = tn.tensor(X)
    layer(x)
    p = X @ layer.weight_ih_l0.numpy().T
    np.testing.assert_allclose(layer.running_mean_ih_l0.numpy(), p[:4].mean(1), 1e-12)
    np.testing.assert_allclose(layer.running_var_ih_l0.numpy(), p[:4].var(1, ddof=1), 1e-12)
    assert layer.num_steps_tracked.item() == 4
    layer.eval()
    before = layer.running_var_c_l0.numpy().copy()
    y = layer(x)[0].numpy()
    np.testing.assert_array_equal(layer.running_var_c_l0.numpy(), before)
    longer = nn.BatchNormLSTM(D, H, max_length=5).double()
    state = {
        name: np.concatenate([a, a[-1:]]) if name.startswith("running") else a
        for name, a in ((name, value.numpy()) for name, value in layer.state_dict().items())
    }
    longer.load_state_dict({name: tn.tensor(a) for name, a in state.items()})
    longer.eval().num_steps_tracked.array[...] = 5
    np.testing.assert_array_equal(longer(x)[0].numpy(), y)


def test_evaluation_past_the_longest_batch_of_training_uses_its_last_step():
    layer = nn.BatchNormLSTM(D, H, max_length=50, momentum=1.0).double()
    layer(tn.tensor(X[:3]))
    short = nn.BatchNormLSTM(D, H, max_length=3, momentum=1.0).double()
    short.load_state_dict(
        {name: v[:3] if name.startswith("running") else v for name, v in layer.state_dict().items()}
    )
    y, expected = (one.eval()(tn.tensor(X))[0].numpy() for one in (layer, short))
    np.testing.assert_array_equal(y, expected)


def test_a_sample_in_evaluation_does_not_depend_on_its_batch():
    layer = nn.BatchNormLSTM(D, H, batch_first=True)
    x = tn.tensor(X.swapaxes(0, 1).astype("float32"))
    layer(x)
    layer.eval()
    np.testing.assert_allclose(layer(x[2:3])[0].numpy()[0], layer(x)[0].numpy()[2], 1e-5, 1e-6)


@pytest.mark.parametrize("cls", [nn.BatchNormLSTM, nn.LayerNormLSTM])
def test_the_size_of_the_weights_does_not_matter(cls):
    layer = cls(D, H, bias=False, eps=0.0).double()
    h0 = tn.tensor(RNG.normal(size=(1, N, H))), tn.tensor(RNG.normal(size=(1, N, H)))
    y = layer(tn.tensor(X), h0)[0].numpy()
    layer.weight_hh_l0.array[...] *= 7.0
    layer.weight_ih_l0.array[...] *= 1e-3
    np.testing.assert_allclose(layer(tn.tensor(X), h0)[0].numpy(), y, 1e-8)


def test_scales_of_one_saturate_tanh_and_gradients_vanish():
    """Cooijmans et al. 2016, on h_t = tanh(BN(h_{t-1}; γ)): w_hh is the identity, as at their start."""
    kept, slopes = {}, {}
    for gamma in (0.1, 1.0):
        rng = np.random.default_rng(0)
        h = tn.tensor(0.1 * rng.normal(size=(64, 64)), requires_grad=True)
        states = [h]
        for _ in range(50):
            h = F.batch_norm(h, weight=tn.tensor(np.full(64, gamma)), training=True).tanh()
            states.append(h)
        (dh,) = grad(h, states[30], tn.tensor(rng.normal(size=(64, 64))))
        kept[gamma], slopes[gamma] = np.sqrt((dh.numpy() ** 2).mean()), (1 - h.numpy() ** 2).mean()
    assert kept[0.1] > 0.9
    assert kept[1.0] < 0.01
    assert slopes[0.1] > 0.98
    assert slopes[1.0] < 0.6


def test_half_precision_comes_back_as_it_went_in():
    for cls in (nn.BatchNormLSTM, nn.LayerNormLSTM):
        layer = cls(D, H)
        wide = layer(tn.tensor(X.astype("float32")))[0].numpy()
        y = layer.to("float16")(tn.tensor(X.astype("float16")))[0]
        assert y.dtype == "float16"
        np.testing.assert_allclose(y.numpy(), wide, atol=2e-2)


LAYERS = [nn.BatchNormLSTM, nn.LayerNormLSTM, nn.BatchNormRNN]


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30, 1e37])
@pytest.mark.parametrize("cls", LAYERS)
def test_extreme_inputs_are_as_in_float64(cls, scale):
    layer = cls(D, H)
    wide = cls(D, H)
    wide.load_state_dict(layer.state_dict())
    values = X.astype("float32") * np.float32(scale)
    x = tn.tensor(values, requires_grad=True)
    y, _ = layer(x)
    y.backward(tn.tensor(RNG.normal(size=y.shape).astype("float32")))
    expected = wide.double()(tn.tensor(values.astype("float64")))[0]
    np.testing.assert_allclose(y.numpy(), expected.numpy(), 1e-3, 1e-5)
    assert np.isfinite(x.grad.numpy()).all()


def test_a_nan_spoils_its_sequence_and_with_batch_statistics_the_others_from_its_step_on():
    x = X.astype("float32")
    x[2, 1, 0] = np.nan
    spoiled = [np.isnan(cls(D, H)(tn.tensor(x))[0].numpy()).all(2) for cls in LAYERS[:2]]
    assert not spoiled[0][:2].any()
    assert spoiled[0][2:].all()
    np.testing.assert_array_equal(spoiled[1], (np.arange(T)[:, None] >= 2) & (np.arange(N) == 1))


@pytest.mark.cuda
@pytest.mark.parametrize("cls", LAYERS)
def test_on_a_gpu_it_is_the_same(cls):
    dy = RNG.normal(size=(T, N, 2 * H)).astype("float32")

    def results(state=None):
        layer, found = cls(D, H, num_layers=2, bidirectional=True), []
        if state:
            layer.load_state_dict({name: tn.tensor(value) for name, value in state.items()})
        state = {name: value.numpy().copy() for name, value in layer.state_dict().items()}
        for lengths in (None, LENGTHS):
            x = tn.tensor(X.astype("float32"), requires_grad=True)
            y, _ = layer(x, lengths=lengths)
            y.backward(tn.tensor(dy))
            found += [y.numpy(), x.grad.numpy()]
        return state, [*found, layer.eval()(tn.tensor(X.astype("float32")))[0].numpy()]

    state, expected = results()
    with tn.use_backend("cupy"):
        _, found = results(state)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, 1e-3, 1e-4)
