"""The deep import path that PyTorch has: the functions are in normalization/gradient/clipping.py."""

from ...normalization.gradient.clipping import (
    adaptive_clip_grad_,
    clip_grad_norm_,
    clip_grad_value_,
    get_total_norm,
)

__all__ = ["adaptive_clip_grad_", "clip_grad_norm_", "clip_grad_value_", "get_total_norm"]
