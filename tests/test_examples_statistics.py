"""The examples of the statistics that today's models add: what they show."""

import numpy as np
import pytest
from example_scripts import load

import tinygrad_norm as tn


def test_revin_forecasts_a_series_in_other_units_as_well(capsys):
    found = load("shifted_series").main(["--steps", "40"])
    assert found["RevIN"][1] == pytest.approx(found["RevIN"][0], rel=1e-3)
    assert found["plain"][1] > 20 * found["plain"][0]
    assert "5y + 20" in capsys.readouterr().out


def test_a_flow_that_its_first_batch_sets_starts_near_the_data(capsys):
    found = load("ring_flow").main(["--steps", "5"])
    assert found["ActNorm"][0] < 4 < 200 < found["no ActNorm"][0]
    assert found["ActNorm"][2] == pytest.approx(1, abs=0.01)
    assert capsys.readouterr().out.count("ActNorm") == 3


@pytest.mark.parametrize("option", ["--layers 0", "--steps -1"], ids=["layers", "steps"])
def test_a_flow_without_layers_or_with_negative_steps_is_refused(option, capsys):
    with pytest.raises(SystemExit):
        load("ring_flow").main(option.split())
    name, got = option.split()
    assert f"{name} must be at least {int(got) + 1}, got {got}" in capsys.readouterr().err


def test_the_density_of_a_flow_has_the_log_det_of_its_jacobian():
    example = load("ring_flow")
    tn.manual_seed(0)
    flow = example.Flow(2, "set").double()
    for parameter in flow.parameters():
        parameter.array[...] += 0.3 * np.random.default_rng(1).normal(size=parameter.shape)
    flow(tn.tensor(example.rings(64, np.random.default_rng(0)).astype(float)))
    x = tn.tensor(example.rings(1, np.random.default_rng(2)).astype(float))

    def end(x):
        for step in flow.steps:
            x, _ = step(x)
        return x

    z, J = end(x).detach().numpy(), tn.autograd.functional.jacobian(end, x).numpy().reshape(2, 2)
    expected = -np.log(2 * np.pi) - 0.5 * (z**2).sum() + np.linalg.slogdet(J)[1]
    assert flow(x).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
def test_statistics_of_the_test_domain_repair_another_contrast_and_sorted_batches_break_them(capsys):
    pytest.importorskip("sklearn")
    found = load("shifted_digits").main([])
    for name in ("mix", "batch", "AdaBN", "TENT"):
        assert found[name, "other contrast"] > found["source", "other contrast"] + 0.1
    for name in ("mix", "batch", "TENT"):
        assert found[name, "sorted by label"] < found[name, "as in training"] - 0.01
    for name in ("source", "AdaBN"):
        assert found[name, "and sorted"] == pytest.approx(found[name, "other contrast"], abs=0.005)
    assert found["domain BN", "other contrast"] > found["one BN", "other contrast"]
    assert capsys.readouterr().out.count("TENT") == 1


def test_targets_that_grow_leave_popart_what_it_knew(capsys):
    example = load("richer_targets")
    model = example.Network()
    model.last.update(tn.tensor(np.full((3, 1), 50.0, "float32")))
    before = example.error(model, -1, 0)
    targets = tn.tensor(np.array([[0.0], [1000.0]], "float32"))
    example.move_statistics(model.last, targets, correct=True)
    assert example.error(model, -1, 0) == pytest.approx(before, rel=1e-4)
    example.move_statistics(model.last, targets, correct=False)
    assert example.error(model, -1, 0) > 1.5 * before
    found = example.main(["--steps", "40"])
    assert set(found) == {(method, lr) for method in example.METHODS for lr in example.RATES}
    assert capsys.readouterr().out.count("PopArt") == 3


@pytest.mark.slow
def test_pcen_hears_any_loudness_until_it_learns_one(capsys):
    found = load("loud_and_quiet").main([])
    assert found["PCEN"][1] > found["PCEN"][0] - 0.05 > 0.6
    for way in ("energies", "logarithms", "PCEN, learned"):
        assert found[way][1] < 0.5 < 0.95 < found[way][0]
    assert capsys.readouterr().out.count("PCEN") == 2
