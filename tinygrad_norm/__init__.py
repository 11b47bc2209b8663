"""tinygrad_norm: normalization layers from scratch, forward and backward.

This file is the table of contents: the public names, which are those of PyTorch.
"""

# isort: off

# The engine: tensors and gradients.
from .autograd import Tensor, enable_grad, grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .gradient_check import gradcheck, gradgradcheck
from .backends import use_backend, use_loops
from .backends.random import manual_seed

# Memory shared with other libraries.
from .autograd import from_dlpack

# New tensors, and the types of their elements.
from .ops import tensor, as_tensor, from_numpy, zeros, ones, full, arange, linspace, eye
from .ops import rand, randn, randint, randperm, bernoulli, multinomial
from .ops import empty, empty_like, asarray, logspace, meshgrid
from .ops import zeros_like, ones_like, full_like, rand_like, randn_like
from .ops import float16, float32, float64, int32, int64, bool
from .ops.dtypes import uint8, int8, int16, half, float, double, short, int, long

# Arithmetic and functions of single numbers.
from .ops import add, sub, mul, div, neg, pow, floor_divide, remainder, fmod
from .ops import exp, expm1, log, log1p, sqrt, rsqrt, reciprocal, square, abs, sign
from .ops import sin, cos, tanh, sigmoid, erf, erfc, maximum, minimum
from .ops import clamp, clip, clone
from .ops import exp2, log2, log10, logaddexp, tan, asin, acos, atan, atan2, hypot
from .ops import sinh, cosh, asinh, acosh, atanh
from .ops import floor, ceil, round, trunc, frac, copysign, nan_to_num, lerp, addcmul, addcdiv
from .ops import subtract, multiply, divide, true_divide, negative, absolute, positive

# Over axes.
from .ops import sum, mean, var, std, var_mean, prod, cumsum, logsumexp, norm
from .ops import max, min, amax, amin, argmax, argmin, all, any
from .ops import cumprod, logcumsumexp, cummax, cummin, sort, argsort, topk, aminmax, std_mean
from .ops import median, nanmedian, quantile, nanquantile, kthvalue
from .ops import unique, unique_consecutive, bincount

# Shapes, indexing, joining and splitting.
from .ops import reshape, view, flatten, unflatten, permute, transpose, swapaxes, movedim, moveaxis
from .ops import squeeze, unsqueeze, expand, broadcast_to
from .ops import narrow, select, diff, where, masked_fill, gather, index_select, take_along_dim, tril, triu
from .ops import cat, stack, split, chunk, unbind, repeat, tile, flip, roll
from .ops import t, ravel, swapdims, diagonal, diag, trace, repeat_interleave, tensor_split
from .ops import scatter, scatter_add, scatter_reduce, index_add, index_put, masked_select, nonzero, argwhere
from .ops import vstack, hstack, dstack, column_stack, is_tensor, numel

# Matrix products.
from .ops import matmul, mm, mv, bmm, dot, outer, einsum
from .ops import addmm, addmv, baddbmm, cross, kron, inner, tensordot

# Comparisons.
from .ops import eq, ne, lt, le, gt, ge, isclose, allclose, equal, isfinite, isinf, isnan
from .ops import logical_and, logical_not, logical_or, logical_xor

# Activations that PyTorch also has at the top level; all others are in nn.functional.
from .nn.functional import relu, prelu, softmax, log_softmax

# Layers, data, training.
from . import data, distributed, nn, normalization, onnx, optim, training
from .module import Module, Parameter

# Claims of papers, measured.
from . import experiments

# Files.
from .training.saved_state import load, save

# Drawing of graphs, and exact proofs of gradients.
from .learn.draw import draw
from .learn.proofs import prove

# What PyTorch has and this package lacks: the AttributeError names the replacement.
from .not_here import answer as _answer

_answer(__name__)
