"""CTC: the loss is PyTorch's, and after log_softmax the gradient is too."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn

LOGITS = np.random.default_rng(0).normal(size=(9, 3, 5)) * 2
CASES = {
    "padded": ([[1, 2, 2, 4], [3, 3, 3, 0], [4, 1, 0, 0]], [9, 8, 5], [4, 3, 2], {}),
    "end to end": ([1, 2, 2, 3, 4], [9, 8, 9], [3, 0, 2], {"reduction": "sum"}),
    "each": ([[1, 2], [2, 1], [1, 1]], [9, 2, 3], [2, 2, 2], {"reduction": "none", "blank": 4}),
    "too long": ([[1, 1], [2, 1], [1, 1]], [9, 2, 2], [2, 2, 2], {"zero_infinity": True}),
}


@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients_are_pytorchs(name, torch):
    targets, times, lengths, options = CASES[name]
    results = []
    for m in (tn, torch):
        logits = m.tensor(LOGITS, requires_grad=True)
        given = (m.tensor(np.array(targets)), m.tensor(np.array(times)), m.tensor(np.array(lengths)))
        loss = m.nn.CTCLoss(**options)(m.log_softmax(logits, 2), *given)
        (loss * m.tensor(np.arange(1.0, 1 + np.prod(loss.shape)).reshape(tuple(loss.shape)))).sum().backward()
        results.append((loss.detach().numpy(), logits.grad.numpy()))
    for mine, other in zip(*results, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-12)


def test_a_text_that_no_path_gives_has_an_infinite_loss_and_no_gradient():
    x = tn.log_softmax(tn.tensor(LOGITS[:2, :1]), 2).detach().requires_grad_()
    loss = nn.CTCLoss(reduction="sum")(x, tn.tensor([[1, 1]]), (2,), (2,))
    loss.backward()
    assert loss.item() == np.inf
    assert (x.grad == 0).all()
