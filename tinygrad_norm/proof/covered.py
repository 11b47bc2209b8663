"""Which array functions with CUDA kernels are proved equal to their kernels, and why others are not.

Three tables name every such function once, two more name exceptions:

    BY_OPS        the op whose registered cases call it, forward or backward
    BY_CALLS      calls on arrays of random numbers, where no algebraic op leads to it
    NOT_EXACT     why it is not compared
    PARTLY        in which cases it is
    NOT_LAUNCHED  why a kernel is never launched
"""

import numpy

from ..normalization.core.gaussian import Window
from .kernels import Call

BY_OPS = {
    "sqrt_backward": "sqrt",
    "relu_backward": "relu",
    "leaky_relu_forward": "leaky_relu",
    "leaky_relu_backward": "leaky_relu",
    "threshold_forward": "threshold",
    "threshold_backward": "threshold",
    "hardtanh_forward": "hardtanh",
    "hardtanh_backward": "hardtanh",
    "hardsigmoid_forward": "hardsigmoid",
    "hardsigmoid_backward": "hardsigmoid",
    "hardswish_forward": "hardswish",
    "hardswish_backward": "hardswish",
    "softsign_forward": "softsign",
    "softsign_backward": "softsign",
    "max_pool_forward": "max_pool2d",
    "embedding_forward": "embedding",
    "layer_norm_forward": "layer_norm",
    "layer_norm_backward": "layer_norm",
    "add_layer_norm_forward": "add_layer_norm",
    "add_layer_norm_backward": "add_layer_norm",
    "adaptive_affine_backward": "adaptive_layer_norm",
    "rms_norm_forward": "rms_norm",
    "rms_norm_backward": "rms_norm",
    "add_rms_norm_forward": "add_rms_norm",
    "add_rms_norm_backward": "add_rms_norm",
    "group_rms_norm_forward": "group_rms_norm",
    "group_rms_norm_backward": "group_rms_norm",
    "filter_response_norm_backward": "filter_response_norm",
    "dynamic_isru_backward": "dynamic_isru",
    "batch_norm_forward": "batch_norm",
    "batch_norm_backward": "batch_norm",
    "batch_norm_eval_forward": "mean_only_batch_norm",
    "batch_norm_eval_backward": "mean_only_batch_norm",
    "lp_batch_norm_forward": "lp_batch_norm",
    "lp_batch_norm_backward": "lp_batch_norm",
    "root_mean_squares": "power_norm",
    "power_norm_forward": "power_norm",
    "power_norm_backward": "power_norm",
    "group_norm_forward": "group_norm",
    "group_norm_backward": "group_norm",
    "instance_norm_forward": "instance_norm",
    "instance_norm_backward": "instance_norm",
    "positional_norm_forward": "positional_norm",
    "positional_norm_backward": "positional_norm",
    "gdn_forward": "gdn",
    "gdn_backward": "gdn",
    "local_response_norm_forward": "local_response_norm",
    "local_response_norm_backward": "local_response_norm",
    "lp_norm_forward": "lp_norm",
    "lp_norm_backward": "lp_norm",
    "normalize_forward": "normalize",
    "normalize_backward": "normalize",
    "scale_norm_forward": "scale_norm",
    "scale_norm_backward": "scale_norm",
    "weight_norm_forward": "cosine_linear",
    "weight_norm_backward": "cosine_linear",
    "weight_demodulation_forward": "weight_demodulation",
    "weight_demodulation_backward": "weight_demodulation",
    "largest_of_rows": "spectral_norm",
    "spectral_norm_forward": "spectral_norm",
    "spectral_norm_backward": "spectral_norm",
}

PARTLY = {
    "normalize_forward": "p = 1, 2 and ∞: kernels take other powers as exp2(p·log2|x|)",
    "normalize_backward": "p = 1, 2 and ∞",
    "lp_norm_forward": "p = 1, 2 and ∞",
    "lp_norm_backward": "p = 1, 2 and ∞",
    "local_response_norm_forward": "beta = 0 and 1/2: kernels take other powers as exp2(-2·beta·log2 √b)",
}
"""Functions that are compared in some cases only, and in which."""

_INDEX = numpy.array([2, 0, 2, 3, 0, 2])  # segment 1 is empty

_IMAGE = {"x": (2, 3, 2, 3), "rows": (3,), "columns": (3,), "scale": (2, 3)}
_SMALL = {"x": (1, 2, 2, 2), "rows": (3,), "columns": (3,), "scale": (2, 2)}
_OF_WINDOW = ("rows", "columns", "scale")
_ADAM = {
    "step": 1,
    "lr": 0.1,
    "betas": (0.5, 0.75),
    "eps": 1e-8,
    "weight_decay": 0.01,
    "decoupled": False,
    "maximize": False,
}
_SGD = {"first": False, "lr": 0.1, "momentum": 0.9, "dampening": 0.25, "weight_decay": 0.01}
_MOMENTS = {"param": (6,), "grad": (6,), "m": (6,), "v": (6,), "largest": (6,), "work": (2, 6)}
_LSTM = {
    "dy": (3, 2, 2),
    "dh": (2, 2),
    "dc": (2, 2),
    "x": (3, 2, 4),
    "weight_ih": (8, 4),
    "weight_hh": (8, 2),
    "h": (3, 2, 2),
    "c": (3, 2, 2),
    "tanh_c": (3, 2, 2),
    "gates": (3, 2, 8),
}
_GRU = {
    "dy": (3, 2, 2),
    "dh": (2, 2),
    "x": (3, 2, 4),
    "weight_ih": (6, 4),
    "weight_hh": (6, 2),
    "h": (3, 2, 2),
    "q_n": (3, 2, 2),
    "gates": (3, 2, 6),
}

BY_CALLS: dict[str, tuple[Call, ...]] = {
    name: calls if isinstance(calls, tuple) else (calls,)
    for name, calls in {
        "sigmoid_backward": Call({"dy": (3, 5), "y": (3, 5)}, lambda dy, y: (dy, y)),
        "tanh_backward": Call({"dy": (3, 5), "y": (3, 5)}, lambda dy, y: (dy, y)),
        "softmax_backward": Call({"dy": (3, 7), "y": (3, 7)}, lambda dy, y: (dy, y)),
        "softmax_gradient": Call({"ds": (2, 3, 5), "p": (2, 3, 5)}, lambda ds, p: (ds, p)),
        "sinkhorn_forward": Call({"p": (2, 3, 3)}, lambda p: (p, 3, 0.001), positive=("p",)),
        "sinkhorn_backward": Call(
            {"dy": (2, 3, 3), "y": (2, 3, 3), "rows": (2, 2, 3), "columns": (2, 3, 3)},
            lambda dy, y, rows, columns: (dy, y, rows, columns),
            positive=("y", "rows", "columns"),
        ),
        "moving_average_forward": Call({"x": (3, 6)}, lambda x: (x, 0.25)),
        "moving_average_backward": Call({"dy": (3, 6)}, lambda dy: (dy, 0.25)),
        "move_statistics": Call(
            {"mean": (5,), "var": (5,), "new_mean": (5,), "new_var": (5,)},
            lambda mean, var, new_mean, new_var: (mean, var, new_mean, new_var, 0.9, 0.1, 0.125),
        ),
        "segment_moments": (
            Call({"x": (6, 3)}, lambda x: (x, None, _INDEX, 4)),
            Call({"x": (6, 3), "factor": (3,)}, lambda x, factor: (x, factor, _INDEX, 4)),
        ),
        "segment_sums": Call(
            {"dy": (6, 3), "x": (6, 3), "shift": (4, 3)}, lambda dy, x, shift: (dy, x, shift, _INDEX)
        ),
        "segment_rows": (
            Call(
                {"x": (6, 3), "shift": (4, 3), "scale": (4, 1), "offset": (4, 3)},
                lambda x, shift, scale, offset: (x, shift, scale, offset, _INDEX),
            ),
            Call(
                {
                    "x": (6, 3),
                    "shift": (4, 3),
                    "scale": (4, 3),
                    "offset": (4, 1),
                    "dy": (6, 3),
                    "slope": (4, 3),
                },
                lambda x, shift, scale, offset, dy, slope: (x, shift, scale, offset, _INDEX, dy, slope),
            ),
        ),
        "subtractive_norm_forward": Call(_IMAGE, lambda x, **w: (x, Window(**w)), positive=_OF_WINDOW),
        "subtractive_norm_backward": Call(_IMAGE, lambda x, **w: (x, Window(**w)), positive=_OF_WINDOW),
        "divisive_norm_forward": Call(
            _SMALL, lambda x, **w: (x, Window(**w), 0.001, True), positive=_OF_WINDOW
        ),
        "divisive_norm_backward": Call(
            {"dy": (1, 2, 2, 2), **_SMALL, "deviation": (1, 1, 2, 2), "least": (1, 1, 1, 1)},
            lambda dy, x, deviation, least, **w: (dy, x, deviation, least, Window(**w), 0.001),
            positive=(*_OF_WINDOW, "deviation", "least"),
        ),
        "lstm_backward": Call(
            _LSTM,
            lambda dy, dh, dc, x, weight_ih, weight_hh, h, c, tanh_c, gates: (
                *(dy, dh, dc, x, weight_ih, weight_hh, None, None, False, h, c, tanh_c, gates),
                [True] * 7 + [False],
            ),
        ),
        "gru_backward": Call(
            _GRU,
            lambda dy, dh, x, weight_ih, weight_hh, h, q_n, gates: (
                *(dy, dh, x, weight_ih, weight_hh, None, False, h, q_n, gates),
                [True] * 6,
            ),
        ),
        "adam_step": (
            Call(
                _MOMENTS,
                lambda param, grad, m, v, largest, work: (param, grad, m, v, None, work),
                _ADAM,
                ("v",),
            ),
            Call(
                _MOMENTS,
                lambda param, grad, m, v, largest, work: (param, grad, m, v, largest, work),
                {**_ADAM, "decoupled": True, "maximize": True},
                ("v", "largest"),
            ),
        ),
        "sgd_step": tuple(
            Call(
                {"param": (6,), "grad": (6,), "buffer": (6,), "work": (2, 6)},
                lambda param, grad, buffer, work: (param, grad, buffer, work),
                {**_SGD, "nesterov": nesterov, "maximize": not nesterov},
            )
            for nesterov in (False, True)
        ),
    }.items()
}

_EXP, _TANH, _LOG = "exp is not algebraic", "tanh is not algebraic", "log is not algebraic"

NOT_EXACT: dict[str, str] = {
    "logistic": _EXP,
    "silu_forward": _EXP,
    "silu_backward": _EXP,
    "mish_forward": _EXP,
    "mish_backward": _EXP,
    "gelu_forward": "erf is not algebraic",
    "gelu_backward": "erf is not algebraic",
    "gelu_tanh_forward": _TANH,
    "gelu_tanh_backward": _TANH,
    "exponential_unit_forward": _EXP,
    "exponential_unit_backward": _EXP,
    "softplus_forward": _EXP,
    "softplus_backward": _EXP,
    "logsigmoid_forward": _EXP,
    "logsigmoid_backward": _EXP,
    "softcap_forward": _TANH,
    "softcap_backward": _TANH,
    "softcap_gradient": _TANH,
    "erf_forward": "erf is not algebraic",
    "erf_backward": _EXP,
    "erfc_forward": "erf is not algebraic",
    "softmax_forward": _EXP,
    "log_softmax_forward": _LOG,
    "log_softmax_backward": _EXP,
    "cross_entropy_forward": _LOG,
    "cross_entropy_backward": _EXP,
    "write_attention_weights": _EXP,
    "lstm_forward": _TANH,
    "gru_forward": _TANH,
    "dynamic_tanh_backward": _TANH,
    "dynamic_erf_backward": _EXP,
    "gated_rms_norm_forward": "exp is not algebraic; group_rms_norm has the same kernels without a gate",
    "gated_rms_norm_backward": "exp is not algebraic; group_rms_norm has the same kernels without a gate",
    "symmetric_eigen": "an iteration, which ends where rounding does",
    "random_dropout": "random bits and a product",
    "embedding_backward": "sorts integers, and adds rows",
    "running_sums": "has no kernel: it is CuPy's cumsum",
}

NOT_LAUNCHED: dict[str, str] = {
    "adam_rates": "pow is not algebraic",
    "attention_weights": _EXP,
    "largest_magnitudes": "before attention_weights",
    "power_of_two_above": "before attention_weights",
    "lstm_step": _TANH,
    "gru_step": _TANH,
    "count_digits": "sorts integers",
    "sum_counts": "sorts integers",
    "sort_by_digit": "sorts integers",
    "embedding_backward_pieces": "adds rows that were sorted",
}
"""Kernels that no comparison launches, beside those of the same name as a function in `NOT_EXACT`."""
