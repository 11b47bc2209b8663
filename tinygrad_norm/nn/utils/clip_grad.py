"""The deep import path that PyTorch has: the functions are in normalization/gradient/."""

from ...normalization.gradient.adaptiveclipping import adaptive_clip_grad_
from ...normalization.gradient.centralization import centralize_grad_
from ...normalization.gradient.clipping import (
    clip_grad_norm_,
    clip_grad_value_,
    get_total_norm,
    normalize_grad_,
)

__all__ = [
    "adaptive_clip_grad_",
    "centralize_grad_",
    "clip_grad_norm_",
    "clip_grad_value_",
    "get_total_norm",
    "normalize_grad_",
]
