"""The examples of second derivatives: what they show, and numbers beside a dense Hessian and PyTorch."""

import numpy
import pytest
from example_scripts import load

import tinygrad_norm as tn
from tinygrad_norm.nn.utils.parameter_swap import functional_call


def test_a_gradient_penalty_holds_the_slopes_of_a_critic_near_1(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = tmp_path / "critics.png"
    found = load("gradient_penalty").main(["--steps", "80", "--out", str(path)])
    slopes = {name: numpy.median(looks[-1][2]) for name, looks in found.items()}
    assert 0.5 < slopes["gradient penalty"] < 2
    assert slopes["plain"] > 5
    assert [step for step, *_ in found["plain"]] == [16, 32, 48, 64, 80]
    assert capsys.readouterr().out.count("clipped weights") == 5
    assert path.stat().st_size > 10_000


@pytest.mark.slow
def test_a_critic_with_a_gradient_penalty_leads_to_all_gaussians():
    found = load("gradient_penalty").main(["--steps", "900"])
    _, samples, slopes, gaussians, share = found["gradient penalty"][-1]
    assert samples.shape == (1000, 2)
    assert numpy.median(abs(slopes - 1)) < 0.5
    assert gaussians >= 6
    assert share > 0.2 > found["clipped weights"][-1][4]


def test_the_gradient_of_a_gradient_penalty_is_pytorch_s(torch):
    example, rng = load("gradient_penalty"), numpy.random.default_rng(0)
    tn.manual_seed(0)
    critic = example.make_mlp(2, 1, tn.nn.Tanh).double()
    real, fake = rng.normal(size=(2, 7, 2))
    norms = example.slopes(critic, tn.tensor(real), tn.tensor(fake), numpy.random.default_rng(1), True)
    ((norms - 1) ** 2).mean().backward()

    layers = [torch.nn.Linear(2, 128), torch.nn.Linear(128, 128), torch.nn.Linear(128, 1)]
    a, b, c = layers
    twin = torch.nn.Sequential(a, torch.nn.Tanh(), b, torch.nn.Tanh(), c).double()
    twin.load_state_dict({name: torch.tensor(value.numpy()) for name, value in critic.state_dict().items()})
    t = numpy.random.default_rng(1).uniform(size=(7, 1)).astype(numpy.float32)
    x = torch.tensor(t * real + (1 - t) * fake, requires_grad=True)
    (dx,) = torch.autograd.grad(twin(x).sum(), x, create_graph=True)
    numpy.testing.assert_allclose(norms.detach().numpy(), dx.norm(dim=1).detach().numpy(), rtol=1e-12)
    ((dx.norm(dim=1) - 1) ** 2).mean().backward()
    *weights, _ = critic.parameters()  # the last bias changes no slope
    *others, _ = twin.parameters()
    for weight, other in zip(weights, others, strict=True):
        numpy.testing.assert_allclose(weight.grad.numpy(), other.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_the_sharpness_of_gradient_descent_goes_to_2_over_lr(tmp_path, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    path = tmp_path / "sharpness.png"
    found = load("hessian_sharpness").main(["--steps", "200", "--out", str(path)])
    for lr in (0.1, 0.2, 0.4):
        looks = found["without BatchNorm", lr]
        assert looks[0][2] == pytest.approx(3.5, rel=0.02)
        assert looks[-1][2] > 6
    for lr in (0.1, 0.2):
        looks = found["with BatchNorm", lr]
        assert looks[0][2] == pytest.approx(45.7, rel=0.02)
        assert looks[-1][2] == pytest.approx(2 / lr, rel=0.15)
        assert looks[-1][1] < 0.1 * found["without BatchNorm", lr][-1][1]
    assert not numpy.isfinite(found["with BatchNorm", 0.4][-1][1])
    assert "sharpness: first" in capsys.readouterr().out
    assert path.stat().st_size > 10_000


def small_network(norm):
    """Return a small network in float64, and a batch for it."""
    tn.manual_seed(1)
    rng = numpy.random.default_rng(1)
    hidden = tn.nn.Linear(3, 4), *([tn.nn.BatchNorm1d(4)] if norm else []), tn.nn.Tanh()
    model = tn.nn.Sequential(*hidden, tn.nn.Linear(4, 2)).double()
    return model, tn.tensor(rng.normal(size=(9, 3))), tn.tensor(rng.normal(size=(9, 2)))


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "batch norm"])
def test_the_largest_eigenvalue_is_that_of_the_dense_hessian(norm):
    example, (model, inputs, targets) = load("hessian_sharpness"), small_network(norm)
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    product = example.hessian_product(model, inputs, targets)
    n = sum(weight.numel() for weight in model.parameters())
    found = example.largest_eigenvalue(product, tn.randn(n).double(), 1e-5, 10_000)
    for name, value in model.state_dict().items():
        numpy.testing.assert_array_equal(value.numpy(), before[name], err_msg=name)
    assert all(weight.grad is None for weight in model.parameters())

    names, weights = zip(*model.named_parameters(), strict=True)

    def loss(*weights):
        outputs = functional_call(model, dict(zip(names, weights, strict=True)), (inputs,))
        return 0.5 * ((outputs - targets) ** 2).sum(1).mean()

    blocks = tn.autograd.functional.hessian(loss, weights)
    sizes = [weight.numel() for weight in weights]
    dense = numpy.block(
        [[blocks[i][j].numpy().reshape(m, n) for j, n in enumerate(sizes)] for i, m in enumerate(sizes)]
    )
    numpy.testing.assert_allclose(dense, dense.T, atol=1e-12)
    assert found == pytest.approx(numpy.linalg.eigvalsh(dense)[-1], rel=1e-6)


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "batch norm"])
def test_the_largest_eigenvalue_is_pytorch_s(torch, norm):
    example, (model, inputs, targets) = load("hessian_sharpness"), small_network(norm)
    n = sum(weight.numel() for weight in model.parameters())
    product = example.hessian_product(model, inputs, targets)
    found = example.largest_eigenvalue(product, tn.randn(n).double(), 1e-5, 10_000)

    hidden = torch.nn.Linear(3, 4), *([torch.nn.BatchNorm1d(4)] if norm else []), torch.nn.Tanh()
    twin = torch.nn.Sequential(*hidden, torch.nn.Linear(4, 2)).double()
    twin.load_state_dict({name: torch.tensor(value.numpy()) for name, value in model.state_dict().items()})
    outputs = twin(torch.tensor(inputs.numpy()))
    loss = 0.5 * ((outputs - torch.tensor(targets.numpy())) ** 2).sum(1).mean()
    weights = list(twin.parameters())
    rows = torch.cat([dw.flatten() for dw in torch.autograd.grad(loss, weights, create_graph=True)])
    dense = [
        torch.cat([dw.flatten() for dw in torch.autograd.grad(row, weights, retain_graph=True)])
        for row in rows
    ]
    assert found == pytest.approx(torch.linalg.eigvalsh(torch.stack(dense))[-1].item(), rel=1e-6)


@pytest.mark.parametrize(
    ("eigenvalues", "largest"),
    [
        pytest.param([1, 2, -3], 2, id="a negative one has the largest magnitude"),
        pytest.param([-1, -2, -3], -1, id="all negative"),
        pytest.param([0, 1, 4], 4, id="a zero"),
        pytest.param([-2], -2, id="one"),
        pytest.param([0], 0, id="nothing"),
    ],
)
def test_power_iteration_finds_the_largest_eigenvalue_not_the_largest_magnitude(eigenvalues, largest):
    rng, n = numpy.random.default_rng(0), len(eigenvalues)
    basis = numpy.linalg.qr(rng.normal(size=(n, n)))[0]
    A = tn.tensor(basis * eigenvalues @ basis.T)
    find = load("hessian_sharpness").largest_eigenvalue
    found = find(lambda v: A @ v, tn.tensor(rng.normal(size=n)), 1e-7, 10_000)
    assert found == pytest.approx(largest, abs=1e-9)
