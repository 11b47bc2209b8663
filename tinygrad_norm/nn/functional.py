"""F: the functions of the layers, with the names, argument order and behaviour of PyTorch's."""

# ruff: noqa: F401, F403
# isort: off

# Weighted sums.
from .linear import bilinear, linear
from .convolution.conv import conv1d, conv2d, conv3d
from .convolution.modulatedconv import modulated_conv2d
from .convolution.convtranspose import conv_transpose1d, conv_transpose2d, conv_transpose3d
from .magnitude import mp_silu, mp_sum
from .cosine import cosine_conv2d

# Pools and windows.
from .pooling.maxpool import max_pool1d, max_pool2d, max_pool3d
from .pooling.avgpool import avg_pool1d, avg_pool2d, avg_pool3d
from .pooling.lppool import lp_pool1d, lp_pool2d, lp_pool3d
from .pooling.matrixsqrtpool import matrix_sqrt_pool
from .pooling.adaptivepool import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from .pooling.adaptivepool import adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d
from .windows.folding import fold, unfold
from .windows.padding import pad
from .windows.interpolation import interpolate
from .windows.pixel_shuffle import channel_shuffle, pixel_shuffle, pixel_unshuffle

# Activations.
from .activation.rectifiers import relu, leaky_relu, prelu, threshold
from .activation.piecewise import relu6, hardtanh, hardsigmoid, hardswish
from .activation.exponentials import elu, selu, celu
from .activation.gated import gelu, silu, mish, glu
from .activation.sigmoids import softplus, softsign, logsigmoid
from ..ops import sigmoid, tanh
from .activation.softcap import softcap
from .activation.sinkhorn import sinkhorn
from .activation.softmax import softmax, log_softmax, softmin
from .activation.sinksoftmax import softmax_with_sink

# Normalizations.
from ..normalization.functions import *

# Sequences.
from .recurrent.rnn import rnn_layer, rnn_tanh_cell, rnn_relu_cell
from .recurrent.lstm import lstm_layer, lstm_cell
from .recurrent.gru import gru_layer, gru_cell

# Lookup.
from .embedding import embedding, one_hot
from .embedding_bag import embedding_bag

# Attention.
from .attention.scaleddotproduct import scaled_dot_product_attention

# Dropout.
from .dropout import dropout
from .channel_dropout import dropout1d, dropout2d, dropout3d
from .alpha_dropout import alpha_dropout, feature_alpha_dropout

# Losses.
from .loss.crossentropy import cross_entropy
from .loss.nll import nll_loss
from .loss.softmaxentropy import softmax_entropy
from .loss.zloss import z_loss
from .loss.advantages import group_advantages
from .loss.regression import mse_loss, l1_loss, smooth_l1_loss, huber_loss
from .loss.divergence import binary_cross_entropy, binary_cross_entropy_with_logits, kl_div
from .loss.likelihood import gaussian_nll_loss, poisson_nll_loss
from .loss.soft_margin import multilabel_soft_margin_loss, soft_margin_loss
from .loss.multi_margin import multi_margin_loss, multilabel_margin_loss
from .loss.ctc import ctc_loss
from .loss.similarity import cosine_similarity
from .loss.distance import pairwise_distance
from .loss.ranking import (
    margin_ranking_loss,
    hinge_embedding_loss,
    cosine_embedding_loss,
    triplet_margin_loss,
)
