"""What is done to whole networks: clipping of gradients, folding of normalizations into weights, and
weights that are computed from others."""

from ...normalization.gradient.clipping import (
    adaptive_clip_grad_,
    clip_grad_norm_,
    clip_grad_value_,
    get_total_norm,
)
from . import parametrizations, parametrize
from .fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
