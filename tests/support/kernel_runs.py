"""Ops and array functions run on the emulator, and how far they are from the same in float64."""

import numpy as np
import pytest
from kernels import KERNELS

import tinygrad_norm as tn
from tinygrad_norm.autograd import grad
from tinygrad_norm.autograd.tensor import Tensor
from tinygrad_norm.backends import emulator, to_numpy
from tinygrad_norm.gradient_check.registered import cotangent
from tinygrad_norm.registry import REGISTRY, Case, integers

TOLERANCE = {"float64": 1e-11, "float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}
OPS = [
    "layer_norm",
    "rms_norm",
    "batch_norm",
    "group_norm",
    "instance_norm",
    "normalize",
    "add_layer_norm",
    "add_rms_norm",
    "softmax",
    "log_softmax",
    "cross_entropy",
]
WINDOWS = ["subtractive_norm", "divisive_norm", "local_contrast_norm"]
OTHERS = [*WINDOWS, "embedding", "max_pool1d", "max_pool2d", "max_pool3d"]  # not through rows
OTHERS += ["sinkhorn"]  # matrices
OTHERS += ["lp_norm", "lp_batch_norm", "weight_norm", "spectral_norm"]  # every length: in their own tests
OTHERS += ["weight_demodulation"]
CASES = [
    pytest.param(REGISTRY[name], case, id=f"{name}-{k}")
    for name in (*OPS, *OTHERS)
    for k, case in enumerate(REGISTRY[name].cases)
]


def error(a, b):
    a, b = to_numpy(a).astype(np.float64), np.asarray(b, np.float64)
    assert a.shape == b.shape
    return float(abs(a - b).max(initial=0.0) / max(abs(b).max(initial=0.0), 1.0))


def run(op, arrays, options):
    """The outputs of an op, and the gradients of every floating-point input."""
    inputs = [None if x is None else Tensor(x, requires_grad=wanted) for x, wanted in arrays]
    result = op.call(inputs, options)
    ys = result if isinstance(result, tuple) else (result,)
    reached = [y for y in ys if y.requires_grad]
    dys = [cotangent(y.shape, k).astype(to_numpy(y.array).dtype) for k, y in enumerate(reached)]
    xs = [x for x in inputs if x is not None and x.requires_grad]
    dxs = grad(reached, xs, dys, allow_unused=True) if xs else ()
    return [*(y.array for y in ys), *(dx.array for dx in dxs if dx is not None)]


def worst_error(op, case, dtype):
    """Run a case on the emulator in `dtype`, and on NumPy in float64 from the same numbers."""
    drawn = [(None, False) if one is None else one for one in case.draw()]
    rounded = [
        (x.astype(dtype), wanted) if x is not None and x.dtype.kind == "f" else (x, wanted)
        for x, wanted in drawn
    ]
    exact = [
        (x.astype(np.float64), wanted) if x is not None and x.dtype.kind == "f" else (x, wanted)
        for x, wanted in rounded
    ]
    reference = [to_numpy(x).copy() for x in run(op, exact, case.options)]
    with tn.use_backend("emulator"), emulator.record() as launches:
        found = run(op, rounded, case.options)
    if found[0].size:
        assert any(launch.name.startswith(tuple(kernel.name for kernel in KERNELS)) for launch in launches)
    return max(error(a, b) for a, b in zip(found, reference, strict=True))


def row_case(name, D):
    N = 3 if D < 5000 else 2
    return {
        "layer_norm": Case(((N, D), (D,), (D,)), {"normalized_shape": (D,)}),
        # Its default eps depends on the dtype.
        "rms_norm": Case(((N, D), (D,)), {"normalized_shape": (D,), "eps": 1e-5}),
        "normalize": Case(((N, D),)),
        "add_layer_norm": Case(((N, D), (N, D), (D,), (D,)), {"normalized_shape": (D,)}),
        "add_rms_norm": Case(((N, D), (N, D), (D,)), {"normalized_shape": (D,), "eps": 1e-5}),
        "softmax": Case(((N, D),), {"dim": 1}),
        "log_softmax": Case(((N, D),), {"dim": 1}),
        "cross_entropy": Case(((N, D), integers(D, N), None)),
        "instance_norm": Case(((N, 2, D), None, None, (2,), (2,))),
        "batch_norm": Case(((N, 2, D), None, None, (2,), (2,)), {"training": True}),
        "group_norm": Case(((N, 4, D), (4,), (4,)), {"num_groups": 2}),
    }[name]
