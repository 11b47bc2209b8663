"""F: every function of a layer, without the layer. Named, ordered and behaving as PyTorch's."""

# ruff: noqa: F401
# isort: off

# Weighted sums.
from .linear import bilinear, linear
from .conv import conv1d, conv2d, conv3d
from .convtranspose import conv_transpose1d, conv_transpose2d, conv_transpose3d

# Pools and windows.
from .maxpool import max_pool1d, max_pool2d, max_pool3d
from .avgpool import avg_pool1d, avg_pool2d, avg_pool3d
from .adaptivepool import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from .adaptivepool import adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d
from .folding import fold, unfold
from .padding import pad

# Activations.
from .rectifiers import relu, leaky_relu, prelu, threshold
from .clipped import relu6, hardtanh, hardsigmoid, hardswish
from .exponentials import elu, selu, celu
from .gates import gelu, silu, mish, glu
from .sigmoids import softplus, softsign, logsigmoid
from ..ops import sigmoid, tanh
from .softmax import softmax, log_softmax, softmin

# Normalizations.
from ..normalization import batch_norm, group_norm, instance_norm, layer_norm, normalize, rms_norm
from ..normalization import local_response_norm, add_layer_norm, add_rms_norm

# Sequences.
from .rnn import rnn_layer, rnn_tanh_cell, rnn_relu_cell
from .lstm import lstm_layer, lstm_cell
from .gru import gru_layer, gru_cell

# Lookup.
from .embedding import embedding, one_hot

# Attention.
from .attention import scaled_dot_product_attention

# Chance.
from .dropout import dropout

# Losses.
from .crossentropy import cross_entropy
from .nll import nll_loss
from .loss import mse_loss, l1_loss, smooth_l1_loss, huber_loss
from .divergence import binary_cross_entropy, binary_cross_entropy_with_logits, kl_div
from .similarity import cosine_similarity
