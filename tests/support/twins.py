"""Two modules, ours and PyTorch's, from the same weights: do they compute, differentiate and learn alike?"""

import numpy as np

from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor, grad
from tinygrad_norm.gradient_check.registered import relative_error
from tinygrad_norm.optim import SGD

TOLERANCE = 1e-8


def twins(torch, make, seed=0):
    """Both modules in float64, with PyTorch's weights and, where it starts with zeros, random biases."""
    torch.manual_seed(seed)
    theirs = make(torch.nn).double()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.ndim == 1:
                parameter += torch.tensor(rng.normal(size=parameter.shape) / 2)
    ours = make(nn).double()
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    return ours, theirs


def to_torch(torch, value):
    """A NumPy array, or options that hold some, as PyTorch takes them."""
    if isinstance(value, dict):
        return {key: to_torch(torch, entry) for key, entry in value.items()}
    return torch.tensor(value) if isinstance(value, np.ndarray) else value


def to_ours(value):
    if isinstance(value, dict):
        return {key: to_ours(entry) for key, entry in value.items()}
    return Tensor(value) if isinstance(value, np.ndarray) else value


def tensors_of(result):
    return [y for y in (result if isinstance(result, tuple) else (result,)) if y is not None]


def close(a, b, what=""):
    error = relative_error(a.numpy(), b.detach().numpy())
    assert error <= TOLERANCE, f"{what}: {error:.1e}"


def compare_gradients(torch, ours, theirs, inputs, options, times=1):
    """Outputs, and the gradients of all inputs and parameters, contracted with a random dy.

    The inputs are passed `times` times, as the same tensors.
    """
    xs = [Tensor(x, requires_grad=True) for x in inputs]
    ys = tensors_of(ours(*xs * times, **to_ours(options)))
    torch_xs = [torch.tensor(x, requires_grad=True) for x in inputs]
    torch_ys = tensors_of(theirs(*torch_xs * times, **to_torch(torch, options)))
    assert len(ys) == len(torch_ys)
    for k, (y, expected) in enumerate(zip(ys, torch_ys, strict=True)):
        close(y, expected, f"output {k}")
    dys = [np.random.default_rng(k + 1).normal(size=y.shape) for k, y in enumerate(ys)]
    names = [*(f"input {i}" for i in range(len(xs))), *(name for name, _ in ours.named_parameters())]
    dxs = grad(ys, [*xs, *ours.parameters()], dys)
    expected = torch.autograd.grad(
        torch_ys, [*torch_xs, *theirs.parameters()], [torch.tensor(dy) for dy in dys]
    )
    for name, dx, torch_dx in zip(names, dxs, expected, strict=True):
        close(dx, torch_dx, f"gradient of {name}")


def compare_training(torch, ours, theirs, inputs, options, steps=20, lr=0.02):
    """The weights after some steps of SGD towards a random target."""
    xs, torch_xs = [Tensor(x) for x in inputs], [torch.tensor(x) for x in inputs]
    target = np.random.default_rng(9).normal(size=tensors_of(ours(*xs, **to_ours(options)))[0].shape)
    optimizer = SGD(ours.parameters(), lr, momentum=0.9)
    torch_optimizer = torch.optim.SGD(theirs.parameters(), lr, momentum=0.9)
    before = [parameter.numpy().copy() for parameter in ours.parameters()]
    for _ in range(steps):
        loss = ((tensors_of(ours(*xs, **to_ours(options)))[0] - Tensor(target)) ** 2).mean()
        torch_y = tensors_of(theirs(*torch_xs, **to_torch(torch, options)))[0]
        torch_loss = ((torch_y - torch.tensor(target)) ** 2).mean()
        for step, result in ((optimizer, loss), (torch_optimizer, torch_loss)):
            step.zero_grad()
            result.backward()
            step.step()
    close(loss.detach(), torch_loss, "loss")
    for (name, own), other, start in zip(ours.named_parameters(), theirs.parameters(), before, strict=True):
        close(own.detach(), other, name)
        assert not np.array_equal(own.numpy(), start), f"{name} did not move"


def exchange_states(pair, others, folder):
    """Save from each, load into another one of the other kind, through safetensors."""
    from safetensors.numpy import load_file, save_file
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    (ours, theirs), (other_ours, other_theirs) = pair, others
    assert list(ours.state_dict()) == list(theirs.state_dict())
    save_file({key: value.numpy().copy() for key, value in ours.state_dict().items()}, folder / "ours")
    other_theirs.load_state_dict(load_torch(folder / "ours"))
    save_torch(theirs.state_dict(), folder / "theirs")
    other_ours.load_state_dict(load_file(folder / "theirs"))
    for key, value in theirs.state_dict().items():
        for other in (other_theirs, other_ours):
            assert np.array_equal(other.state_dict()[key].numpy(), value.numpy()), key
