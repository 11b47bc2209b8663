"""AdaBN and TENT, and the entropy that TENT makes small."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.autograd import grad
from tinygrad_norm.nn import functional as F
from tinygrad_norm.nn.utils import ada_bn_, tent_, tent_step

RNG = np.random.default_rng(0)
X = RNG.normal(2.0, 3.0, (12, 4))


def network():
    tn.manual_seed(0)
    first = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.5)
    return nn.Sequential(*first, nn.Linear(5, 3), nn.BatchNorm1d(3)).double()


def test_a_uniform_row_has_the_most_entropy_and_no_gradient_and_minus_infinity_takes_no_part():
    x = tn.tensor([[0.7, 0.7, 0.7], [1.0, 2.0, -np.inf], [1000.0, 0.0, 0.0]], requires_grad=True)
    H = F.softmax_entropy(x)
    two = np.array([1, np.e]) / (1 + np.e)
    np.testing.assert_allclose(H.detach().numpy(), [np.log(3), -(two * np.log(two)).sum(), 0], 1e-6, 1e-7)
    dx = grad(H, x, tn.ones(3))[0].numpy()
    np.testing.assert_allclose(dx[0], 0, atol=1e-7)
    assert np.isfinite(dx).all()
    np.testing.assert_allclose(dx.sum(1), 0, atol=1e-7)


def test_the_gradient_of_the_mean_entropy_is_the_closed_form_and_pytorch_s(torch):
    z = tn.tensor(X, requires_grad=True)
    (dz,) = grad(F.softmax_entropy(z, 1).mean(), z)
    p = np.exp(X - X.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    H = -(p * np.log(p)).sum(1, keepdims=True)
    np.testing.assert_allclose(dz.numpy(), -p * (np.log(p) + H) / len(X), 1e-10, 1e-14)
    t = torch.tensor(X, requires_grad=True)
    (-(t.softmax(1) * t.log_softmax(1)).sum(1).mean()).backward()
    np.testing.assert_allclose(dz.numpy(), t.grad.numpy(), 1e-10, 1e-14)


def test_ada_bn_gives_every_layer_the_statistics_of_the_target_as_evaluation_sees_it():
    model = network()
    before = {name: p.numpy().copy() for name, p in model.named_parameters()}
    assert ada_bn_(model, [tn.tensor(X[:5]), tn.tensor(X[5:])]) is model
    model.eval()
    x = tn.tensor(X)
    for i, layer in enumerate(model):
        if i in (1, 5):
            np.testing.assert_allclose(layer.running_mean.numpy(), x.detach().numpy().mean(0), 1e-12)
            np.testing.assert_allclose(layer.running_var.numpy(), x.detach().numpy().var(0, ddof=1), 1e-12)
        x = layer(x)
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(p.numpy(), before[name], name)


def test_tent_learns_the_scale_and_shift_of_normalizations_alone():
    model = network().eval()
    learned = tent_(model)
    assert [p.shape for p in learned] == [(5,), (5,), (3,), (3,)]
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert names == {"1.weight", "1.bias", "5.weight", "5.bias"}
    before = {name: p.numpy().copy() for name, p in model.named_parameters()}
    expected = model(tn.tensor(X)).detach().numpy()
    entropies, optimizer = [], optim.SGD(learned, 0.05)
    for _ in range(5):
        logits = tent_step(model, optimizer, tn.tensor(X))
        entropies.append(F.softmax_entropy(logits).mean().item())
        if len(entropies) == 1:  # those from before the step
            np.testing.assert_array_equal(logits.numpy(), expected)
    assert entropies == sorted(entropies, reverse=True)
    changed = {name for name, p in model.named_parameters() if (p.numpy() != before[name]).any()}
    assert changed == names


def test_tent_normalizes_each_batch_by_itself_in_evaluation_too():
    model = nn.Sequential(nn.BatchNorm1d(4)).double().eval()
    tent_(model)
    y = model(tn.tensor(X)).detach().numpy()
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(0), 1, 1e-5)
    assert "0.running_mean" not in model.state_dict()


def test_tent_takes_the_steps_of_the_published_method(torch):
    model = network().eval()
    twin = torch.nn.Sequential(
        torch.nn.Linear(4, 5),
        torch.nn.BatchNorm1d(5, track_running_stats=False),
        torch.nn.ReLU(),
        torch.nn.Linear(5, 3),
        torch.nn.BatchNorm1d(3, track_running_stats=False),
    ).double()
    names = {"0": "0", "1": "1", "4": "3", "5": "4"}
    state = {
        f"{names[name.split('.')[0]]}.{name.split('.')[1]}": torch.tensor(p.numpy().copy())
        for name, p in model.named_parameters()
    }
    twin.load_state_dict(state)
    ours = optim.Adam(tent_(model), 0.01)
    norms = [p for i in (1, 4) for p in (twin[i].weight, twin[i].bias)]
    theirs = torch.optim.Adam(norms, 0.01)
    for _ in range(3):
        logits = tent_step(model, ours, tn.tensor(X))
        outputs = twin(torch.tensor(X))
        np.testing.assert_allclose(logits.numpy(), outputs.detach().numpy(), 1e-8, 1e-10)
        theirs.zero_grad()
        (-(outputs.softmax(1) * outputs.log_softmax(1)).sum(1)).mean(0).backward()
        theirs.step()


def test_a_model_without_batch_normalizations_is_refused():
    with pytest.raises(ValueError, match="batch normalizations that have weight or bias"):
        tent_(nn.Linear(2, 2))


def test_a_model_that_is_not_prepared_or_another_optimizer_is_refused_and_nothing_learns():
    x, model, prepared, copy = tn.tensor(X), network().eval(), network().eval(), network().eval()
    before = {name: p.numpy().copy() for name, p in model.named_parameters()}
    learned, others = tent_(prepared), tent_(copy)
    with pytest.raises(ValueError, match=r"'0\.weight' requires a gradient: call learned = tent_"):
        tent_step(model, optim.SGD(model.parameters(), 0.1), x)
    model.requires_grad_(False)
    model[1].requires_grad_(True)
    with pytest.raises(ValueError, match="that tent_ has prepared"):
        tent_step(model, optim.SGD(model[1].parameters(), 0.1), x)
    with pytest.raises(ValueError, match="that tent_ has prepared"):
        tent_step(nn.Sequential(), optim.SGD(learned, 0.1), x)
    for params in (others, [*learned, *others], prepared.parameters()):
        with pytest.raises(ValueError, match=r"has 4 tensors of (4|8) that are no"):
            tent_step(prepared, optim.SGD(params, 0.1), x)
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(p.numpy(), before[name], name)
    tent_step(prepared, optim.SGD(learned[:2], 0.1), x)


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 0, 2), (0, 2, 1)], ids=["input first", "swapped", "end"])
def test_arguments_in_another_order_are_refused(order):
    model = network().eval()
    arguments = model, optim.SGD(tent_(model), 0.1), tn.tensor(X)
    with pytest.raises(TypeError, match="takes a module, an optimizer, and then the inputs, got"):
        tent_step(*(arguments[i] for i in order))


@pytest.mark.parametrize(
    ("loader", "error", "message"),
    [
        (lambda x: [], ValueError, "the loader has no batches"),
        (lambda x: iter([x, x]), TypeError, r"once per layer, and a list_iterator .* pass list\(loader\)"),
        (lambda x: (x for _ in range(2)), TypeError, "once per layer, and a generator can be only once"),
        (lambda x: x, TypeError, r"must yield batches, got one Tensor: pass \[x\]"),
    ],
    ids=["empty", "iterator", "generator", "tensor"],
)
def test_loaders_that_cannot_be_measured_are_refused(loader, error, message):
    model = network()
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    with pytest.raises(error, match=message):
        ada_bn_(model, loader(tn.tensor(X)))
    assert model.training
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name], name)


@pytest.mark.parametrize(
    ("layer", "buffer"),
    [
        (lambda: nn.IterNorm(4, 2), "running_mean"),
        (lambda: nn.EvoNorm2dB0(4), "running_var"),
        (lambda: nn.PowerNorm(4), "running_rms"),
        (lambda: nn.RangeBatchNorm2d(4), "running_mean"),
        (lambda: nn.LpBatchNorm2d(4), "running_mean"),
        (lambda: nn.SequenceBatchNorm(4), "running_mean"),
        (lambda: nn.BatchNormRNN(4, 4), "running_mean_l0"),
    ],
    ids=["iter", "evo", "power", "range", "lp", "sequence", "recurrent"],
)
def test_a_layer_whose_running_statistics_would_stay_is_named(layer, buffer):
    model = nn.Sequential(nn.BatchNorm2d(4), nn.Sequential(layer()))
    message = rf"would leave {buffer} of 1\.0 \({type(model[1][0]).__name__}\) as it is"
    for call in (lambda: ada_bn_(model, []), lambda: tent_(model)):
        with pytest.raises(ValueError, match=message):
            call()
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("layer", [nn.InPlaceABN, nn.SourceTargetBatchNorm, nn.SwitchableNorm2d])
def test_tent_names_a_layer_that_ada_bn_serves(layer):
    model, x = nn.Sequential(nn.BatchNorm2d(4), layer(4)), tn.tensor(X[:8].reshape(2, 4, 2, 2))
    with pytest.raises(ValueError, match=rf"would leave running_mean of 1 \({layer.__name__}\)"):
        tent_(model)
    ada_bn_(model.double(), [x])
    assert model[1].num_batches_tracked.item() == 1


def test_layers_that_keep_their_statistics_are_no_obstacle():
    kept = nn.FrozenBatchNorm2d(4), nn.InstanceNorm2d(4, track_running_stats=True)
    model = nn.Sequential(nn.BatchNorm2d(4), *kept, nn.IterNorm(4, 2, track_running_stats=False)).double()
    ada_bn_(model, [tn.tensor(X[:8].reshape(2, 4, 2, 2))])
    assert [p.shape for p in tent_(model)] == [(4,), (4,)]
