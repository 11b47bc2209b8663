"""AveragedModel and SWALR: the averages and the rates are PyTorch's."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn, optim
from tinygrad_norm.optim import swa_utils

AVERAGES = {
    "plain": lambda s: {},
    "plain, all at once": lambda s: {"multi_avg_fn": s.get_swa_multi_avg_fn()},
    "moving": lambda s: {"avg_fn": s.get_ema_avg_fn(0.9)},
    "moving, all at once": lambda s: {"multi_avg_fn": s.get_ema_multi_avg_fn(0.9), "use_buffers": True},
    "own": lambda s: {"avg_fn": lambda mean, param, number: mean * 0.5 + param * number},
}


@pytest.mark.parametrize("name", AVERAGES)
def test_averages_are_pytorchs(name, torch):
    states = []
    for m, s in ((tn, swa_utils), (torch, torch.optim.swa_utils)):
        rng = np.random.default_rng(0)
        model = m.nn.Sequential(m.nn.Linear(3, 4), m.nn.BatchNorm1d(4)).double()
        options = AVERAGES[name](s)
        averaged = s.AveragedModel(model, **options)
        for _ in range(5):
            with m.no_grad():
                for x in (*model.parameters(), *model.buffers()):
                    value = np.asarray(rng.normal(size=tuple(x.shape)) * 5)
                    x.copy_(m.tensor(value).to(x.dtype))
            averaged.update_parameters(model)
        states.append(averaged.state_dict())
    ours, theirs = states
    assert set(ours) == set(theirs)
    rtol = 1e-6 if name == "plain, all at once" else 1e-12  # PyTorch's factor there is a float32
    for key, value in theirs.items():
        if not (options.get("use_buffers") and "num_batches" in key):
            np.testing.assert_allclose(ours[key].numpy(), value.numpy(), rtol=rtol, err_msg=key)


def test_the_model_is_not_changed_and_the_average_computes():
    model = nn.Linear(2, 1)
    averaged = swa_utils.AveragedModel(model)
    before = model.weight.detach().clone()
    averaged.update_parameters(model)
    with tn.no_grad():
        model.weight.add_(2.0)
    averaged.update_parameters(model)
    assert averaged.n_averaged.item() == 2
    x = tn.ones(3, 2)
    expected = x @ (before + 1).T + model.bias
    assert tn.allclose(averaged(x), expected)
    assert tn.allclose(model.weight, before + 2)


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("epochs", [0, 1, 5])
def test_the_rates_are_pytorchs(strategy, epochs, torch):
    seen = []
    for o, s in (
        (optim.SGD([nn.Parameter(tn.zeros(2))], lr=0.1), swa_utils),
        (torch.optim.SGD([torch.zeros(2)], lr=0.1), torch.optim.swa_utils),
    ):
        schedule, lrs = s.SWALR(o, 0.05, epochs, strategy), []
        for _ in range(8):
            lrs.append(o.param_groups[0]["lr"])
            o.step()
            schedule.step()
        seen.append(lrs)
    np.testing.assert_allclose(*seen, rtol=1e-12)


def test_errors():
    layer = nn.Linear(2, 1)
    with pytest.raises(TypeError, match="takes a Module, got int"):
        swa_utils.AveragedModel(1)
    with pytest.raises(ValueError, match="not both"):
        swa_utils.AveragedModel(
            layer, avg_fn=swa_utils.get_swa_avg_fn(), multi_avg_fn=swa_utils.get_swa_multi_avg_fn()
        )
    with pytest.raises(ValueError, match="other parameters"):
        swa_utils.AveragedModel(layer).update_parameters(nn.Linear(3, 1))
    with pytest.raises(ValueError, match="between 0 and 1"):
        swa_utils.get_ema_multi_avg_fn(1.5)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="'sin'"):
        swa_utils.SWALR(optimizer, 0.05, anneal_strategy="sin")
    with pytest.raises(TypeError, match="swa_lr must be a number"):
        swa_utils.SWALR(optimizer, "fast")
