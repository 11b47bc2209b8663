"""The networks of `bench step`: the same in every program, and each of ours on its rung."""

import dataclasses
from functools import partial

import numpy as np
import pytest
from typer.testing import CliRunner

from tinygrad_norm import nn, use_loops
from tinygrad_norm.backends.cpu.loop_mode import loop_mode
from tinygrad_norm.bench import network_baselines, training_epochs, training_step
from tinygrad_norm.bench.benchmark_network import NETWORKS, Program, cnn, encoder
from tinygrad_norm.bench.rungs import LOOPS, NUMPY, on_rung
from tinygrad_norm.cli import app

SMALL = {
    "mlp": NETWORKS["mlp"],
    **{
        name: dataclasses.replace(
            NETWORKS[name], build=partial(cnn, norm=name[4:], side=6), shape=(4, 1, 6, 6), labels=4
        )
        for name in ("cnn-batch", "cnn-group", "cnn-layer")
    },
    "encoder": dataclasses.replace(
        NETWORKS["encoder"], build=partial(encoder, features=8), shape=(2, 5, 8), labels=10
    ),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch, from within
@pytest.mark.parametrize("name", NETWORKS)
def test_all_programs_learn_the_same(monkeypatch, name):
    monkeypatch.setenv("CXX", "no-compiler")  # torch.compile takes seconds
    network = SMALL[name]
    inputs, labels = network.batch()
    losses = {}
    for program_name, program in network_baselines.programs(network).items():
        with on_rung(program.rung):
            x, y = program.tensor(inputs), program.tensor(labels)
            losses[program_name] = [program.step(x, y) for _ in range(4)]
    for program_name, values in losses.items():
        np.testing.assert_allclose(
            values, losses["tinygrad_norm, NumPy"], rtol=2e-3, err_msg=f"{name}, {program_name}"
        )
    assert losses["tinygrad_norm, NumPy"][-1] < losses["tinygrad_norm, NumPy"][0]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_have_the_same_state_in_pytorch(torch, name):
    ours, theirs = NETWORKS[name].build(nn), NETWORKS[name].build(torch.nn)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in theirs.state_dict().items()
    }


def test_the_networks_are_those_of_the_goals():
    assert [network.shape for network in NETWORKS.values()] == [
        (64, 64),
        *[(64, 1, 28, 28)] * 3,
        (8, 128, 96),
    ]
    assert NETWORKS["encoder"].build(nn)[0].norm_first


@pytest.fixture
def modes(monkeypatch):
    """The modes of the loops in which each program makes its steps."""
    seen = {LOOPS: set(), NUMPY: set()}

    def programs(*network):
        return {
            rung: Program(lambda x: x, lambda x, y, rung=rung: seen[rung].add(loop_mode.mode) or 1.0, rung)
            for rung in seen
        }

    for module in (training_step, training_epochs):
        monkeypatch.setattr(module, "programs", programs)
    return seen


def test_steps_and_epochs_run_on_their_rung(modes):
    with use_loops("python"):
        training_step.measure(NETWORKS["mlp"], 0)
        assert modes == {LOOPS: {"python"}, NUMPY: {"off"}}
    pytest.importorskip("sklearn")
    with use_loops("python"):
        for seen in modes.values():
            seen.clear()
        training_epochs.train(1)
        assert modes == {LOOPS: {"python"}, NUMPY: {"off"}}


def test_programs_that_compile_are_not_measured_again_with_the_default_malloc(monkeypatch):
    pytest.importorskip("jax")
    monkeypatch.setenv("CXX", "no-compiler")
    assert "JAX, jit" in network_baselines.programs()
    assert "JAX, jit" not in training_step.ratios_to_eager("mlp", 0)


def test_an_unknown_network_raises_before_measuring():
    result = CliRunner().invoke(app, ["bench", "step", "cnn-bach"])
    assert result.exit_code == 2
    assert "cnn-batch" in result.output
