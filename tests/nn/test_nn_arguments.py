"""Arguments of layers: an error names the argument that is not a number or not in its range."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn import functional as F
from tinygrad_norm.ops.arguments import as_number, as_size

SIZES = {  # layer: arguments that make one, and those of them (and others) that are sizes
    nn.Embedding: ({"num_embeddings": 5, "embedding_dim": 3}, ()),
    nn.PReLU: ({"num_parameters": 3}, ()),
    nn.Conv2d: ({"in_channels": 2, "out_channels": 4, "kernel_size": 3}, ("groups",)),
    nn.ConvTranspose1d: ({"in_channels": 2, "out_channels": 4, "kernel_size": 3}, ("groups",)),
    nn.RNN: ({"input_size": 3, "hidden_size": 4}, ("num_layers",)),
    nn.LSTM: ({"input_size": 3, "hidden_size": 4}, ("num_layers", "proj_size")),
    nn.GRU: ({"input_size": 3, "hidden_size": 4}, ("num_layers",)),
    nn.RNNCell: ({"input_size": 3, "hidden_size": 4}, ()),
    nn.LSTMCell: ({"input_size": 3, "hidden_size": 4}, ()),
    nn.GRUCell: ({"input_size": 3, "hidden_size": 4}, ()),
    nn.MultiheadAttention: ({"embed_dim": 4, "num_heads": 2}, ("kdim", "vdim")),
    nn.LearnedPositions: ({"max_length": 5, "embedding_dim": 4}, ()),
    nn.SinusoidalPositions: ({"embedding_dim": 4}, ()),
    nn.Transformer: ({"d_model": 4, "nhead": 2, "dim_feedforward": 8}, ()),
}
NAMES = {"d_model": "embed_dim", "nhead": "num_heads"}  # as the attention inside calls them
OTHERWISE = {"dim_feedforward"}  # a size of the Linear inside


def size_arguments():
    for layer, (arguments, more) in SIZES.items():
        for name in (*arguments, *more):
            if name not in OTHERWISE:
                yield pytest.param(layer, arguments, name, id=f"{layer.__name__}-{name}")


@pytest.mark.parametrize("value", [-1, 2.5, "3", True], ids=repr)
@pytest.mark.parametrize(("layer", "arguments", "name"), list(size_arguments()))
def test_an_error_names_the_argument_that_is_not_a_size(layer, arguments, name, value):
    layer(**arguments)
    if name == "kernel_size" and value is True:
        pytest.skip("one of several sizes")
    with pytest.raises((TypeError, ValueError), match=NAMES.get(name, name)):
        layer(**(arguments | {name: value}))


def test_sizes_may_be_integers_of_numpy():
    x = tn.ones(2, 3, 4)
    assert nn.LSTM(np.int64(4), np.int32(2))(x)[0].shape == (2, 3, 2)
    assert nn.Conv1d(np.int64(3), 2, np.int64(2))(x).shape == (2, 2, 3)


def test_padding_row_must_be_an_int():
    with pytest.raises(TypeError, match="padding_idx must be an int"):
        nn.Embedding(5, 3, padding_idx=1.0)


NUMBERS = {
    "alpha of elu": (F.elu, {"alpha"}),
    "alpha of celu": (F.celu, {"alpha"}),
    "negative_slope": (F.leaky_relu, {"negative_slope"}),
    "softplus": (F.softplus, {"beta", "threshold"}),
    "hardtanh": (F.hardtanh, {"min_val", "max_val"}),
    "dropout": (F.dropout, {"p"}),
    "huber_loss": (lambda x, **options: F.huber_loss(x, x, **options), {"delta"}),
    "smooth_l1_loss": (lambda x, **options: F.smooth_l1_loss(x, x, **options), {"beta"}),
    "cosine_similarity": (lambda x, **options: F.cosine_similarity(x, x, **options), {"eps"}),
}


@pytest.mark.parametrize("value", ["1", None, [1.0]], ids=repr)
@pytest.mark.parametrize("name", NUMBERS)
def test_an_error_names_the_argument_that_is_not_a_number(name, value):
    function, options = NUMBERS[name]
    for option in sorted(options):
        with pytest.raises(TypeError, match=f"{option} must be a number"):
            function(tn.ones(2, 3), **{option: value})


@pytest.mark.parametrize("name", [name for name in NUMBERS if name != "dropout"])
def test_a_number_of_numpy_does_not_promote_the_result(name):
    function, options = NUMBERS[name]
    for option in sorted(options):
        value = np.float64(20.0 if option == "threshold" else 1.0)
        assert function(tn.ones(2, 3), **{option: value}).dtype == np.float32


def test_nll_loss_ignores_an_index_and_nothing_else():
    with pytest.raises(TypeError, match="ignore_index must be an int"):
        F.nll_loss(tn.ones(2, 3), tn.tensor([0, 1]), ignore_index=1.0)


def test_avg_pool_divides_by_an_int():
    with pytest.raises(TypeError, match="divisor_override must be an int"):
        F.avg_pool2d(tn.ones(1, 4, 4), 2, divisor_override=2.5)


@pytest.mark.parametrize("norm", [1, "rms"])
def test_norm_must_make_a_normalization(norm):
    with pytest.raises(TypeError, match="norm must make a normalization"):
        nn.TransformerEncoderLayer(4, 2, 8, norm=norm)


def test_group_norm_without_bias():
    layer = nn.GroupNorm(2, 4, bias=False)
    assert list(layer.state_dict()) == ["weight"]
    assert layer.bias is None
    assert not nn.GroupNorm(2, 4, affine=False).state_dict()
    x = tn.randn(3, 4, 5)
    np.testing.assert_array_equal(layer(x).array, F.group_norm(x, 2, layer.weight).array)


def test_unflatten_needs_sizes():
    with pytest.raises(TypeError, match="unflattened_size must be an int or a sequence"):
        nn.Unflatten(1, 2.5)


def test_as_size_and_as_number_return_python_numbers():
    assert type(as_size(np.int64(3), "n")) is int
    assert type(as_number(np.float64(0.1), "p")) is float
    assert as_size(-3, "n", None) == -3
    with pytest.raises(ValueError, match="n must be at least 0, got -1"):
        as_size(-1, "n", 0)


def test_an_error_names_the_integer_beyond_float64():
    with pytest.raises(ValueError, match=r"momentum must be less than 1\.8e308, got an integer of 1329 bits"):
        as_number(10**400, "momentum")


NOT_FINITE = {
    "mlp_ratio": lambda x: nn.NGPTBlock(4, 2, mlp_ratio=x),
    "mlp_ratio of DiT": lambda x: nn.DiTBlock(4, 2, mlp_ratio=x),
    "mlp_ratio of NGPT": lambda x: nn.NGPT(3, 4, 2, 1, mlp_ratio=x),
    "alpha": lambda x: nn.NGPTBlock(4, 2, alpha=x),
    "alpha of NFBlock": lambda x: nn.NFBlock(2, 2, alpha=x),
    "beta of NFBlock": lambda x: nn.NFBlock(2, 2, beta=x),
    "gamma": lambda x: nn.ScaledWSConv2d(2, 2, 3, gamma=x),
    "gamma of the function": lambda x: F.scaled_weight_standardization(tn.ones(2, 3), gamma=x),
}


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("name", NOT_FINITE)
def test_an_error_names_the_number_that_is_not_finite(name, value):
    with pytest.raises(ValueError, match=f"{name.split()[0]} must be finite, got {value}"):
        NOT_FINITE[name](value)
