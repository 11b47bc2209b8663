"""EmbeddingBag beside PyTorch, where the registered cases do not reach."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn import functional as F

WORDS, WEIGHT = np.array([4, 2, 4, 0, 1, 1, 3, 1]), np.random.default_rng(0).normal(size=(5, 3))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding_idx", [None, 1])
def test_bags_of_any_length_are_pytorchs_with_their_gradient(mode, padding_idx, torch):
    offsets = np.array([0, 0, 3, 4, 6, 8])  # the first and the last are empty; one has only padding
    options = {"mode": mode, "padding_idx": padding_idx}
    weight, weight_there = tn.tensor(WEIGHT, requires_grad=True), torch.tensor(WEIGHT, requires_grad=True)
    y = F.embedding_bag(tn.tensor(WORDS), weight, tn.tensor(offsets), **options)
    there = torch.nn.functional.embedding_bag
    y_there = there(torch.tensor(WORDS), weight_there, torch.tensor(offsets), **options)
    np.testing.assert_allclose(y.detach().numpy(), y_there.detach().numpy(), rtol=1e-12)
    dy = np.random.default_rng(1).normal(size=(6, 3))
    y.backward(tn.tensor(dy))
    y_there.backward(torch.tensor(dy))
    np.testing.assert_allclose(weight.grad.numpy(), weight_there.grad.numpy(), rtol=1e-12, atol=1e-15)


def test_the_layer_starts_and_prints_as_pytorchs(torch):
    layer = nn.EmbeddingBag(5, 3, mode="sum", padding_idx=-1)
    assert repr(layer) == repr(torch.nn.EmbeddingBag(5, 3, mode="sum", padding_idx=-1))
    assert not layer.weight[4].any()
    assert layer.weight[:4].all()
    words, factors = tn.tensor(WORDS[:6].reshape(2, 3)), tn.tensor(np.arange(6.0).reshape(2, 3)).float()
    y = layer(words, per_sample_weights=factors)
    rows = layer.weight.detach().numpy()[WORDS[:6]].reshape(2, 3, 3)
    np.testing.assert_allclose(y.detach().numpy(), (rows * factors.numpy()[..., None]).sum(1), rtol=1e-6)


def test_a_pretrained_weight_is_shared_and_frozen():
    weight = tn.tensor(WEIGHT)
    layer = nn.EmbeddingBag.from_pretrained(weight, mode="max")
    assert not layer.weight.requires_grad
    assert layer.mode == "max"
    assert nn.EmbeddingBag.from_pretrained(weight, freeze=False).weight.requires_grad
    with pytest.raises(ValueError, match="num_embeddings"):
        nn.EmbeddingBag.from_pretrained(tn.ones(5))


def test_bags_without_any_index():
    for words in (tn.zeros(2, 0).long(), tn.zeros(0, 3).long()):
        for mode in ("sum", "mean", "max"):
            y = F.embedding_bag(words, tn.ones(5, 3), mode=mode)
            assert y.shape == (len(words), 3)
            assert not y.any()
    y = F.embedding_bag(tn.zeros(0).long(), tn.ones(5, 3), tn.tensor([0, 0]))
    assert y.tolist() == [[0.0] * 3] * 2


def test_nan_in_a_padding_row_does_not_spread():
    weight = tn.tensor([[float("nan")], [1.0], [2.0]])
    for mode, expected in (("sum", 3.0), ("mean", 1.5), ("max", 2.0)):
        y = F.embedding_bag(tn.tensor([[0, 1, 2]]), weight, mode=mode, padding_idx=0)
        assert y.tolist() == [[expected]]


def test_a_bag_keeps_its_nan_to_itself():
    weight = tn.ones(3, 2, requires_grad=True)
    factors = tn.tensor([np.nan, 1.0, 2.0], requires_grad=True)
    y = F.embedding_bag(
        tn.tensor([0, 1, 2]), weight, tn.tensor([0, 2]), mode="sum", per_sample_weights=factors
    )
    y.backward(tn.tensor([[0.0, 0.0], [1.0, 3.0]]))
    assert np.isnan(y.detach().numpy()[0]).all()
    assert y[1].tolist() == [2, 2]
    assert weight.grad[2].tolist() == [2, 6]
    assert factors.grad.tolist() == [0, 0, 4]
