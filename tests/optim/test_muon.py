"""Muon: what the iteration does to singular values, steps beside PyTorch's, and which parameters it gets."""

import inspect

import numpy as np
import pytest

from tinygrad_norm import nn, optim
from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.module import Parameter
from tinygrad_norm.optim.newton_schulz import newton_schulz


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def p(x):
    return 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5


def five_times(x):
    for _ in range(5):
        x = p(x)
    return x


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (5, 5), (1, 4), (4, 1)])
def test_the_iteration_keeps_singular_vectors_and_moves_each_singular_value_by_p(shape):
    G = normal(*shape)
    U, S, Vt = np.linalg.svd(G, full_matrices=False)
    expected = U * five_times(S / np.linalg.norm(G)) @ Vt
    np.testing.assert_allclose(newton_schulz(G), expected, rtol=1e-10, atol=1e-12)


def test_singular_values_come_near_1_and_never_to_it():
    values = np.linalg.svd(newton_schulz(normal(64, 96)), compute_uv=False)
    assert 0.67 < values.min() < 0.72
    assert 1.1 < values.max() < 1.14
    assert five_times(1.0) == pytest.approx(0.696, abs=1e-3)


def test_extreme_and_zero_matrices():
    G = normal(4, 6).astype(np.float32)
    for scale in (1e-3, 1e30):
        np.testing.assert_allclose(newton_schulz(scale * G), newton_schulz(G), rtol=2e-3, atol=1e-4)
    assert not newton_schulz(np.zeros((3, 4), np.float32)).any()


class Twins:
    """The same matrices here and in PyTorch, with the same gradients."""

    def __init__(self, torch, shapes, **options):
        rng = self.rng = np.random.default_rng(0)
        values = [rng.normal(size=shape) for shape in shapes]
        self.torch = torch
        self.ours = [Parameter(value.copy()) for value in values]
        self.theirs = [torch.nn.Parameter(torch.tensor(value)) for value in values]
        self.a, self.b = (
            optim.Muon(self.ours, 0.02, **options),
            torch.optim.Muon(self.theirs, 0.02, **options),
        )

    def step(self):
        for ours, theirs in zip(self.ours, self.theirs, strict=True):
            dx = self.rng.normal(size=ours.shape)
            ours.grad, theirs.grad = Tensor(dx), self.torch.tensor(dx)
        self.a.step()
        self.b.step()

    def apart(self):
        pairs = zip(self.ours, self.theirs, strict=True)
        return max(abs(x.array - y.detach().numpy()).max() / abs(x.array).max() for x, y in pairs)


OPTIONS = [
    {},
    {"nesterov": False, "weight_decay": 0.0},
    {"momentum": 0.5, "adjust_lr_fn": "original"},
    {"adjust_lr_fn": "match_rms_adamw", "ns_steps": 3},
    {"ns_coefficients": (2.0, -1.5, 0.5), "eps": 0.1},
]
IDS = ["default", "plain momentum", "original", "match", "coefficients"]
SHAPES = [(5, 3), (3, 7), (4, 4)]


@pytest.fixture
def exact_iteration(torch, monkeypatch):
    """PyTorch's own code of the iteration, without its rounding to bfloat16."""
    module = pytest.importorskip("torch.optim._muon")
    source = inspect.getsource(module._zeropower_via_newtonschulz)
    assert "grad.bfloat16()" in source
    names = dict(vars(module))
    exec(source.replace("grad.bfloat16()", "grad.clone()"), names)
    monkeypatch.setattr(module, "_zeropower_via_newtonschulz", names["_zeropower_via_newtonschulz"])


@pytest.mark.parametrize("options", OPTIONS, ids=IDS)
def test_twenty_steps_are_pytorchs_without_its_rounding(torch, exact_iteration, options):
    twins = Twins(torch, SHAPES, **options)
    for _ in range(20):
        twins.step()
    assert twins.apart() < 1e-12


def test_with_its_rounding_to_bfloat16_pytorch_is_close(torch):
    pytest.importorskip("torch.optim._muon")
    twins = Twins(torch, SHAPES)
    for _ in range(20):
        twins.step()
    assert 1e-6 < twins.apart() < 0.02


def test_the_arguments_are_pytorchs(torch):
    muon = pytest.importorskip("torch.optim._muon").Muon
    ours, theirs = (dict(inspect.signature(m.__init__).parameters) for m in (optim.Muon, muon))
    assert [(n, q.default) for n, q in ours.items()] == [(n, q.default) for n, q in theirs.items()]


def test_split_muon_gives_the_matrices_between_layers_to_muon():
    model = nn.Sequential(
        nn.Embedding(5, 4), nn.LearnedPositions(3, 4), nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 5)
    )
    hidden, decayed, undecayed = optim.split_muon(model, 0.1)
    assert [q.shape for q in hidden["params"]] == [(6, 4)]
    assert [q.shape for q in decayed["params"]] == [(5, 4), (3, 4), (5, 6)]
    assert [q.shape for q in undecayed["params"]] == [(6,), (6,), (6,), (5,)]
    assert [g["use_muon"] for g in (hidden, decayed, undecayed)] == [True, False, False]


def test_filters_are_matrices_of_one_row_for_each_output():
    conv = nn.Conv2d(2, 3, 3)
    hidden, *_ = optim.split_muon(nn.Sequential(conv, nn.Flatten(), nn.Linear(3, 2)))
    assert [q.shape for q in hidden["params"]] == [(3, 2, 3, 3)]
    filters = Parameter(normal(3, 2, 3, 3))
    matrix = Parameter(filters.array.reshape(3, 18).copy())
    for parameter in (filters, matrix):
        parameter.grad = Tensor(normal(3, 18, seed=1).reshape(parameter.shape))
        optim.MuonWithAuxAdam([parameter], 0.1).step()
    np.testing.assert_array_equal(filters.array.reshape(3, 18), matrix.array)
    with pytest.raises(ValueError, match=r"Muon updates matrices, got a parameter of shape \(3, 2, 3, 3\)"):
        optim.Muon([filters])


def test_the_groups_of_adamw_take_its_steps():
    both = [[Parameter(normal(3, 4)), Parameter(normal(4, seed=1))] for _ in range(3)]
    groups = [{"params": both[0][:1]}, {"params": both[0][1:], "use_muon": False, "weight_decay": 0.3}]
    mixed = optim.MuonWithAuxAdam(groups, 0.1)
    muon = optim.Muon(both[1][:1], 0.1, adjust_lr_fn="match_rms_adamw")
    adam = optim.AdamW(both[2][1:], 0.1, weight_decay=0.3)
    for seed in range(5):
        for pair in both:
            for parameter in pair:
                parameter.grad = Tensor(normal(*parameter.shape, seed=seed))
        for optimizer in (mixed, muon, adam):
            optimizer.step()
    np.testing.assert_array_equal(both[0][0].array, both[1][0].array)
    np.testing.assert_array_equal(both[0][1].array, both[2][1].array)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_low_precision_and_empty_matrices(dtype):
    matrix, empty = Parameter(normal(4, 3).astype(dtype)), Parameter(np.zeros((0, 3), dtype))
    before = matrix.array.copy()
    optimizer = optim.Muon([matrix, empty], 0.1)
    for parameter in (matrix, empty):
        parameter.grad = Tensor(np.ones(parameter.shape, dtype))
    optimizer.step()
    assert matrix.dtype == dtype
    assert np.isfinite(matrix.array).all()
    assert (matrix.array != before).any()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: optim.Muon([Parameter(np.zeros(3))]),
            ValueError,
            r"matrices, got a parameter of shape \(3,\)",
        ),
        (lambda: optim.Muon([Parameter(np.zeros((2, 2)))], ns_steps=100), ValueError, "below 100"),
        (lambda: optim.Muon([Parameter(np.zeros((2, 2)))], ns_coefficients=(1, 2)), ValueError, "three"),
        (lambda: optim.Muon([Parameter(np.zeros((2, 2)))], adjust_lr_fn="orig"), ValueError, "original"),
        (lambda: optim.Muon([Parameter(np.zeros((2, 2)))], -1.0), ValueError, "lr must be a finite"),
    ],
    ids=["vector", "steps", "coefficients", "adjust", "lr"],
)
def test_bad_arguments_raise(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("eps", 1e-6, "AdamW has adam_eps in its place"),
        ("momentum", 0.9, r"AdamW has betas\[0\] in its place"),
        ("nesterov", False, "AdamW has nothing like it"),
        ("ns_coefficients", (2.0, -1.5, 0.5), "AdamW has nothing like it"),
        ("ns_steps", 3, "AdamW has nothing like it"),
        ("adjust_lr_fn", "original", "AdamW has nothing like it"),
        ("betas", (0.8, 0.9), "Muon has momentum in its place"),
        ("adam_eps", 1e-6, "Muon has eps in its place"),
    ],
    ids=["eps", "momentum", "nesterov", "coefficients", "steps", "adjust", "betas", "adam eps"],
)
def test_a_group_with_an_option_of_the_other_method_is_refused(name, value, message):
    matrix, other = Parameter(normal(3, 2)), Parameter(normal(3, 2))
    of_muon = name in ("betas", "adam_eps")
    for said in ({"use_muon": of_muon}, {}) if of_muon else ({"use_muon": False},):
        with pytest.raises(ValueError, match=f"use_muon={of_muon}.*{name!r} is an option of .*{message}"):
            optim.MuonWithAuxAdam([{"params": [matrix], name: value, **said}])
    right = optim.MuonWithAuxAdam([{"params": [matrix], "use_muon": not of_muon, name: value}])
    assert right.param_groups[0][name] == value
    with pytest.raises(ValueError, match=message):
        right.add_param_group({"params": [other], name: value, "use_muon": of_muon})
    assert len(right.param_groups) == 1


def test_split_muon_of_parameters_and_muon_with_groups_for_both_say_what_to_use():
    bias = Parameter(normal(3))
    with pytest.raises(TypeError, match="split_muon takes a module, got a list: pass the model itself"):
        optim.split_muon([bias])
    with pytest.raises(ValueError, match="MuonWithAuxAdam takes groups with use_muon"):
        optim.Muon([{"params": [bias], "use_muon": False}])
