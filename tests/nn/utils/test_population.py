"""Population statistics: the running statistics of the whole data, layer by layer or at once."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.data import DataLoader

X = np.random.default_rng(0).normal(2.0, 3.0, (50, 4)).astype("float32")
T = np.zeros(50, int)


def network():
    tn.manual_seed(0)
    return nn.Sequential(
        nn.BatchNorm1d(4), nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3), nn.BatchRenorm1d(3)
    ).eval()


def population(model, k):
    """The mean and the unbiased variance of what evaluation feeds to layer k."""
    with tn.no_grad():
        x = (
            nn.Sequential(*list(model)[:k])(tn.tensor(X)).numpy().astype("float64")
            if k
            else X.astype("float64")
        )
    return x.mean(0), x.var(0, ddof=1)


def errors(model):
    found = []
    for k in (0, 2, 5):
        mean, var = population(model, k)
        layer = model[k]
        found.append(
            max(abs(layer.running_mean.numpy() - mean).max(), abs(layer.running_var.numpy() - var).max())
        )
    return found


def test_layer_by_layer_is_exact_and_all_at_once_is_not():
    loader = DataLoader((X, T), 16)  # batches of 16, 16, 16 and 2 samples
    exact, at_once = network(), network()
    nn.utils.update_bn(loader, exact, layer_by_layer=True)
    nn.utils.update_bn(loader, at_once)
    assert max(errors(exact)) < 1e-5
    assert errors(at_once)[0] < 1e-5  # nothing before the first layer depends on the batch
    assert min(errors(at_once)[1:]) > 1e-3
    assert exact[0].num_batches_tracked.item() == at_once[5].num_batches_tracked.item() == 4


@pytest.mark.parametrize("layer_by_layer", [False, True])
def test_nothing_else_changes(layer_by_layer):
    model = network()
    model[2].train()
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    nn.utils.update_bn([tn.tensor(X), tn.tensor(X[:9])], model, layer_by_layer=layer_by_layer)
    after = model.state_dict()
    changed = {name for name, values in before.items() if not np.array_equal(values, after[name].numpy())}
    assert {name.partition(".")[2] for name in changed} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    assert len(changed) == 9
    assert [module.training for module in model] == [False, False, True, False, False, False]
    assert "forward" not in model[0].__dict__


def test_after_it_evaluation_normalizes_the_training_data():
    model = network()
    nn.utils.update_bn(DataLoader((X, T), 7), model, layer_by_layer=True)
    y = nn.Sequential(*list(model)[:3])(tn.tensor(X)).numpy()
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(y.var(0, ddof=1), 1, 1e-3)


def test_the_mode_comes_back_after_an_error():
    model = network()
    with pytest.raises(ValueError, match="4 channels"):
        nn.utils.update_bn([tn.tensor(X), tn.ones(3, 5)], model)
    assert not model.training
    assert "forward" not in model[0].__dict__


def test_a_model_or_data_without_statistics_raise():
    with pytest.raises(ValueError, match="with batch normalizations that track"):
        nn.utils.update_bn([tn.tensor(X)], nn.Sequential(nn.Linear(4, 3), nn.InstanceNorm1d(3)))
    with pytest.raises(ValueError, match="at least two values per channel, BatchNorm1d saw 1"):
        nn.utils.update_bn([tn.tensor(X[:1])], network(), layer_by_layer=True)
