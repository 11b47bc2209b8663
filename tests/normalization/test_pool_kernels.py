"""Normalizations that share kernels with others, on the emulator: pools of any length, every dtype.

The ops whose kernels these are have their rows of every length in backends/cuda/test_kernels.py.
"""

import math
import shutil

import numpy as np
import pytest
from kernel_runs import OPS, TOLERANCE, worst_error

from tinygrad_norm.backends import KERNELS, emulator
from tinygrad_norm.learn.ladder import kernels_of
from tinygrad_norm.registry import REGISTRY, Case, Input, fixed, positive, uniform

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
LENGTHS = [1, 2, 31, 32, 33, 1023, 4096, pytest.param(65537, marks=pytest.mark.slow)]
DTYPES = ["float32", *(pytest.param(dtype, marks=pytest.mark.slow) for dtype in ("float64", "float16"))]
RUNNING = (Input((2,), differentiable=False), positive(2, differentiable=False))


def sequences(S):
    """Two steps of S sequences, of which the last, if there are more than two, has ended after the first."""
    N = max(S, 2)
    valid = [[True] * N, [True] * (N - 1) + [N == 2]]
    return Case(((2, N, 2), fixed(valid), None, None, (2,), (2,)), {"training": True, "mode": "sequence"})


def _constant(D):
    return Input((D,), differentiable=False)


def _graphs(N):
    """Two graphs in any order, of at least two nodes; a third is empty."""
    return fixed((np.arange(N) * 7 // 3 + N) % 2)


POOLS = {  # a case with pools, or rows with windows, of S numbers: of 2 where one has no variance
    "activation_norm": lambda S: Case(((2, 2, S), (2,), (2,))),
    "batch_instance_norm": lambda S: Case(  # small weights: the gate's gradient is a difference of large sums
        ((2, 2, max(S, 2)), uniform(0.0, 1.0, 2), None, None, uniform(0.05, 0.2, 2), (2,)), {"training": True}
    ),
    "switchable_norm": lambda S: Case(
        ((2, 2, max(S, 2)), (3,), (3,), None, None, (2,), (2,)), {"training": True}
    ),
    "batch_renorm": lambda S: Case(((2, 2, S), *RUNNING, (2,), (2,)), {"training": True, "momentum": 0.0}),
    "ghost_batch_norm": lambda S: Case(
        ((4, 2, S), None, None, (2,), (2,)), {"training": True, "ghost_batch_size": 2}
    ),
    "moving_average_batch_norm": lambda S: Case(
        ((2, 2, S), RUNNING[1], (2,), (2,)), {"training": True, "momentum": 0.0}
    ),
    "noisy_batch_norm": lambda S: Case(((2, 2, S), (2,), (2,), None, None, (2,), (2,)), {"training": True}),
    "sequence_batch_norm": sequences,
    "mean_only_batch_norm": lambda S: Case(((2, 2, S), None, (2,)), {"training": True}),
    "range_batch_norm": lambda S: Case(((2, 2, S), None, None, (2,), (2,)), {"training": True}),
    "source_target_batch_norm": lambda S: Case(((2, 2, S), *RUNNING, (2,), (2,))),
    "weighed_batch_norm": lambda S: Case(
        ((2, 2, max(S, 2)), *RUNNING, (2,), (2,)), {"inference_weight": 0.3}
    ),
    "lp_batch_norm": lambda S: Case(((2, 2, S), None, None, (2,), (2,)), {"training": True, "p": 1.0}),
    "lp_batch_norm, p = inf": lambda S: Case(
        ((2, 2, S), None, None, (2,), (2,)), {"training": True, "p": math.inf}
    ),
    "batch_group_norm": lambda S: Case(
        ((4, 4, S), None, None, (4,), (4,)), {"training": True, "num_groups": 2, "sample_groups": 2}
    ),
    "batch_channel_norm": lambda S: Case(
        ((2, 4, S), None, None, (4,), (4,), (4,), (4,)), {"training": True, "num_groups": 2}
    ),
    "online_norm": lambda S: Case(
        ((2, 2, S), *RUNNING), {"training": True, "alpha_fwd": 0.9, "alpha_bkw": 0.8}
    ),
    "power_norm": lambda S: Case(
        ((S, 3), positive(3, differentiable=False), _constant(3), (3,), (3,)),
        {"training": True, "momentum": 0.0, "warming_up": True},
    ),
    "adaptive_instance_norm": lambda S: Case(((2, 2, max(S, 2)), (2, 2, S + 1))),
    "pcen": lambda S: Case((positive(2, 2, S), positive(2), positive(2), positive(2)), {"smoothing": 0.3}),
    "reversible_instance_norm": lambda S: Case(((2, max(S, 2), 2), (2,), (2,))),
    "reversible_instance_denorm": lambda S: Case(
        ((2, S, 2), (2, 1, 2), positive(2, 1, 2), positive(2), (2,))
    ),
    "adaptive_layer_norm": lambda S: Case(((2, 2, S), (2, S), (2, S))),
    "adaptive_group_norm": lambda S: Case(((2, 4, S), (2, 4), (2, 4)), {"num_groups": 2}),
    "crms_norm": lambda S: Case(((3, S),)),
    "dynamic_erf": lambda S: Case(((3, S), (1,), (1,), (S,), (S,))),
    "dynamic_isru": lambda S: Case(((3, S), positive(1), (S,), (S,))),
    "evo_norm_b0": lambda S: Case(((2, 2, max(S, 2)), None, (2,), (2,), (2,)), {"training": True}),
    "evo_norm_s0": lambda S: Case(((2, 4, S), (4,), (4,), (4,)), {"num_groups": 2}),
    "conditional_batch_norm": lambda S: Case(
        ((2, 2, S), fixed([1, 0]), None, None, (2, 2), (2, 2)), {"training": True}
    ),
    "conditional_instance_norm": lambda S: Case(((2, 2, max(S, 2)), fixed([1, 0]), (2, 2), (2, 2))),
    "dynamic_tanh": lambda S: Case(((3, S), (1,), (S,), (S,))),
    "seed_norm": lambda S: Case(((3, S), (S,), (S,), (S,))),
    "partial_rms_norm": lambda S: Case(((3, S), (S,), (S,)), {"p": 0.5 if S > 1 else -1.0}),
    "standard_score": lambda S: Case(((3, max(S, 2)),)),
    "scale_norm": lambda S: Case(((3, S), (1,))),
    "logit_norm": lambda S: Case(((3, S),), {"tau": 1.0}),
    "lp_norm": lambda S: Case(((3, S), (S,)), {"normalized_shape": (S,), "p": 3.0, "eps": 1e-5}),
    "lp_norm, p = inf": lambda S: Case(
        ((3, S), (S,)), {"normalized_shape": (S,), "p": math.inf, "eps": 1e-5}
    ),
    "global_response_norm": lambda S: Case(((2, 2, S), (2,), (2,))),
    "graph_norm": lambda S: Case(((S + 2, 3), _graphs(S + 2), (3,), (3,), (3,)), {"batch_size": 3}),
    "pair_norm": lambda S: Case(((S + 2, 3), _graphs(S + 2)), {"batch_size": 3}),
    "pair_norm, single nodes": lambda S: Case(
        ((S + 2, 3), _graphs(S + 2)), {"batch_size": 3, "scale_individually": True}
    ),
    "gdn": lambda S: Case(((2, 3, S), positive(3), uniform(0.0, 1.0, 3, 3))),
    "filter_response_norm": lambda S: Case(((2, 2, S), (2,), (2,), (2,))),
    "gated_rms_norm": lambda S: Case(
        ((3, 2 * S), (3, 2 * S), (2 * S,)), {"group_size": S, "norm_before_gate": True}
    ),
    "gated_rms_norm, gate first": lambda S: Case(
        ((3, 2 * S), (3, 2 * S), (2 * S,)), {"group_size": S, "norm_before_gate": False}
    ),
    "group_rms_norm": lambda S: Case(((3, 2 * S), (2 * S,)), {"group_size": S}),
    "pixel_norm": lambda S: Case(((2, S, 3),)),
    "positional_norm": lambda S: Case(((2, S, 3),)),
    "local_response_norm": lambda S: Case(((2, S, 3),), {"size": 5, "alpha": 1.0}),
    "subtractive_norm": lambda S: Case(((1, 2, 3, S),), {"kernel_size": (3, 5)}),
    "divisive_norm": lambda S: Case(((1, 2, 3, S),), {"kernel_size": (3, 5)}),
    "local_contrast_norm": lambda S: Case(((1, 2, 3, S),), {"kernel_size": (3, 5)}),
    "decorrelated_batch_norm": lambda S: Case(
        ((6, 2, S), None, None, (2,), (2,)), {"training": True, "eps": 0.1}
    ),
    "orthogonal_weight_norm": lambda S: Case(((2, max(S, 4)),)),
    "memory_efficient_layer_norm": lambda S: Case(((3, S), positive(S), (S,)), {"normalized_shape": (S,)}),
    "memory_efficient_rms_norm": lambda S: Case(
        ((3, S), positive(S)), {"normalized_shape": (S,), "eps": 1e-5}
    ),
    "inplace_abn": lambda S: Case(((2, 2, S), positive(2), (2,), None, None)),
    "iter_norm": lambda S: Case(((6, 2, S), None, None, (2,), (2,)), {"training": True, "eps": 0.1}),
    "spectral_norm": lambda S: Case(((3, S), _constant(3), _constant(S))),
    "cosine_linear": lambda S: Case(((3, S), (2, S))),
    "weight_demodulation": lambda S: Case(((3, S, 2), (2, S))),
    "magnitude_preserving_weight": lambda S: Case(((3, S),)),
    "weight_norm": lambda S: Case(((3, S), (3, 1))),
    "weight_standardization": lambda S: Case(((3, max(S, 2)), (3, 1))),
    "scaled_weight_standardization": lambda S: Case(((3, max(S, 2)), (3, 1))),
}
OF_POOLS = {name.partition(",")[0] for name in POOLS}
TWO_LAYERS = {"batch_channel_norm"}  # half types are rounded between the first and the second


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(OF_POOLS))
def test_every_case_is_as_exact_as_its_dtype(name, dtype):
    op = REGISTRY[name]
    roundings = 1 + (name in TWO_LAYERS and dtype == "float16")
    assert max(worst_error(op, case, dtype) for case in op.cases) < roundings * TOLERANCE[dtype]


@pytest.mark.parametrize("S", LENGTHS)
@pytest.mark.parametrize("name", POOLS)
def test_pools_of_any_length(name, S):
    assert worst_error(REGISTRY[name.partition(",")[0]], POOLS[name](S), "float32") < TOLERANCE["float32"]


@pytest.mark.slow
@pytest.mark.parametrize("S", [2, 33, 1023])
@pytest.mark.parametrize("name", POOLS)
def test_pools_with_every_access_checked_in_other_orders(name, S):
    for seed in range(2):
        with emulator.schedule(seed=seed, checked=True):
            assert (
                worst_error(REGISTRY[name.partition(",")[0]], POOLS[name](S), "float32")
                < TOLERANCE["float32"]
            )


def test_every_normalization_with_kernels_has_pools_of_any_length():
    """In POOLS, or in `row_case` of tests/support/kernel_runs.py."""
    normalizations = {op.name for op in REGISTRY.values() if op.kind == "normalization"} - set(OPS)
    with_kernels = {
        name for name in normalizations if any("cuda" in KERNELS[k].versions for k in kernels_of(name))
    }
    assert with_kernels == OF_POOLS
