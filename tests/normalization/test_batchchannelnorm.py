"""Batch-channel normalization: two normalizations, one after the other, each with its own affine."""

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn

X = np.random.default_rng(0).normal(2.0, 3.0, (5, 4, 3, 3)).astype("float32")


def test_it_is_group_normalization_of_batch_normalization_in_training_and_evaluation():
    joint, first, second = nn.BatchChannelNorm2d(4, 2), nn.BatchNorm2d(4), nn.GroupNorm(2, 4)
    rng = np.random.default_rng(1)
    for name, layer in (("", first), ("group_", second)):
        for which in ("weight", "bias"):
            values = tn.tensor(rng.normal(size=4).astype("float32"))
            with tn.no_grad():
                getattr(layer, which).copy_(values)
                getattr(joint, f"{name}{which}").copy_(values)
    for _ in range(2):
        np.testing.assert_array_equal(joint(tn.tensor(X)).numpy(), second(first(tn.tensor(X))).numpy())
    np.testing.assert_array_equal(joint.running_var.numpy(), first.running_var.numpy())
    joint.eval(), first.eval()
    np.testing.assert_array_equal(joint(tn.tensor(X)).numpy(), second(first(tn.tensor(X))).numpy())


def test_one_sample_in_evaluation_is_normalized_over_its_groups():
    y = nn.BatchChannelNorm2d(4, 2).eval()(tn.tensor(X[:1])).numpy().reshape(2, 18)
    np.testing.assert_allclose(y.mean(1), 0, atol=1e-6)
    np.testing.assert_allclose(y.var(1), 1, 1e-4)


def test_its_state_has_the_names_of_both():
    assert list(nn.BatchChannelNorm2d(4, 2).state_dict()) == [
        "weight", "bias", "group_weight", "group_bias", "running_mean", "running_var", "num_batches_tracked",
    ]  # fmt: skip
