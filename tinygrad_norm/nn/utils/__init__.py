"""Utilities for whole networks: gradients clipped, normalizations fused or measured, parametrizations."""

from ..residual.fixup import fixup_
from . import parametrizations, parametrize
from .adaptation import ada_bn_, tent_, tent_step
from .clip_grad import (
    adaptive_clip_grad_,
    centralize_grad_,
    clip_grad_norm_,
    clip_grad_value_,
    get_total_norm,
    normalize_grad_,
)
from .convert_parameters import parameters_to_vector, vector_to_parameters
from .data_dependent import data_dependent_init_
from .folding_norms import center_writers, fold_norm
from .fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from .population import update_bn
from .spectral_projection import SpectralProjection
