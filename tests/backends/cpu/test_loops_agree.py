"""Loops against the NumPy bodies: every registered op, compiled and as plain Python, and for hard inputs.

A loop that is faster but not right everywhere is no twin. What is compared with PyTorch, with finite
differences and with float64 runs the loops too, where Numba is installed.
"""

import inspect
import pickle
import textwrap

import numpy as np
import pytest
from kernel_runs import row_case
from loop_runs import LOOPED, MODES, in_mode, needs_numba, recorded, typed

import tinygrad_norm as tn
from tinygrad_norm.backends import KERNELS
from tinygrad_norm.backends.cpu import blocks
from tinygrad_norm.backends.cpu.pool_loops import MOST_ROWS, PoolLoop
from tinygrad_norm.gradient_check import GradcheckError, gradcheck
from tinygrad_norm.registry import REGISTRY, Case, integers

OPS = [pytest.param(op, id=op.name) for op in REGISTRY.values()]
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}
ROWS = ["layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm", "normalize"]
ROWS += ["add_layer_norm", "add_rms_norm", "softmax", "log_softmax", "cross_entropy"]
LARGE = {
    "layer_norm": Case(((1500, 400), (400,), (400,)), {"normalized_shape": (400,)}),
    "rms_norm": Case(((1500, 400), (400,)), {"normalized_shape": (400,)}),
    "add_layer_norm": Case(((1500, 400), (1500, 400), (400,), (400,)), {"normalized_shape": (400,)}),
    "add_rms_norm": Case(((1500, 400), (1500, 400), (400,)), {"normalized_shape": (400,)}),
    "batch_norm": Case(((30, 24, 30, 30), None, None, (24,), (24,)), {"training": True}),
    "group_norm": Case(((30, 24, 30, 30), (24,), (24,)), {"num_groups": 6}),
    "instance_norm": Case(((30, 24, 30, 30), None, None, (24,), (24,))),
    "normalize": Case(((1500, 400),)),
    "softmax": Case(((1500, 400),), {"dim": 1}),
    "log_softmax": Case(((1500, 400),), {"dim": 1}),
    "cross_entropy": Case(((1500, 400), integers(400, 1500), None)),
    "gelu": Case(((1500, 400),)),
    "weight_demodulation": Case(((64, 32, 3, 3), (40, 32))),
}


LAYOUTS = ("columns first", "reversed", "every second", "read-only")


def distance(a, b):
    """The largest |a - b| where b is finite, in units of max |b| or 1; elsewhere they must be equal."""
    assert a.shape == b.shape
    finite = np.isfinite(b)
    np.testing.assert_array_equal(np.where(finite, 0, a), np.where(finite, 0, b))
    a, b = np.where(finite, a, 0), np.where(finite, b, 0)
    return abs(a - b).max(initial=0.0) / max(1.0, abs(b).max(initial=0.0))


def in_float64(drawn):
    return [(x.astype(np.float64) if x is not None and x.dtype.kind == "f" else x, w) for x, w in drawn]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("op", OPS)
def test_loops_agree_with_the_bodies(op, dtype, mode):
    for case in op.cases:
        drawn = typed(case, dtype)
        with recorded() as loops:
            results = in_mode(mode, op, drawn, case.options)
        if not loops:
            continue
        bodies, exact = (in_mode("off", op, inputs, case.options) for inputs in (drawn, in_float64(drawn)))
        for found, body, right in zip(results, bodies, exact, strict=True):
            assert found.dtype == body.dtype
            rounding = distance(body, right)  # what a deep op makes of the rounding of its first step
            assert distance(found, right) <= max(8 * TOLERANCE[dtype], 3 * rounding)


@pytest.mark.parametrize("pickled", [False, True])
def test_registered_cases_reach_every_loop(pickled):
    with recorded() as seen:
        for op in REGISTRY.values():
            for dtype in TOLERANCE:
                for case in op.cases:
                    drawn = typed(case, dtype)
                    if pickled:  # such an array has a dtype object of its own
                        drawn = pickle.loads(pickle.dumps(drawn))
                    in_mode("python", op, drawn, case.options)
    steps = {"sgd_step", "adam_step", "move_statistics"}  # of optimizers and modules, which are no ops
    assert {(name, dtype) for name in LOOPED.keys() - steps for dtype in TOLERANCE} <= seen


def hard(case, how):
    """The inputs of a case in float32, the first of them made hard."""
    drawn = typed(case, "float32")
    x = drawn[0][0]
    if how == "constant rows":
        x[0] = 7.5
    elif how == "a large mean":
        x *= 1e-2
        x += 1e4
    elif how == "one large number":
        x.flat[-1] = 1e30
    else:
        x *= float(how)
    return drawn


@needs_numba
@pytest.mark.parametrize("how", ["constant rows", "a large mean", "one large number", "1e30", "1e-30", "0"])
@pytest.mark.parametrize("name", ROWS)
def test_loops_are_right_for_hard_numbers(name, how):
    op, case = REGISTRY[name], row_case(name, 200)
    if name == "cross_entropy":
        case = Case(case.inputs, {"reduction": "none"})
    drawn = hard(case, how)
    expected = in_mode("off", op, drawn, case.options)
    for found, right in zip(in_mode("compiled", op, drawn, case.options), expected, strict=True):
        scale = abs(right).max()
        assert np.isfinite(found).all()
        # Rounding of x itself moves x̂ by up to |mean|/std units in the last place.
        assert abs(found - right).max() <= (1e-3 if how == "a large mean" else 2e-5) * scale


@needs_numba
@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm", "group_norm", "instance_norm", "batch_norm"])
def test_without_eps_a_pool_without_variance_is_zero(name, eps):
    op, case = REGISTRY[name], row_case(name, 50)
    drawn = hard(case, "constant rows")
    drawn[0][0][:] = 0
    for found in in_mode("compiled", op, drawn, {**case.options, "eps": eps}):
        assert np.isfinite(found).all()


@needs_numba
@pytest.mark.parametrize("op", OPS)
def test_a_layout_does_not_change_a_result(op):
    for case in op.cases:
        drawn = typed(case, "float32")
        with recorded() as loops:
            expected = in_mode("compiled", op, drawn, case.options)
        for layout in LAYOUTS if loops else ():
            laid_out = [(x if x is None else as_laid_out(x, layout), wanted) for x, wanted in drawn]
            for found, right in zip(in_mode("compiled", op, laid_out, case.options), expected, strict=True):
                assert distance(found, right) <= 8 * TOLERANCE["float32"], layout


def as_laid_out(x, layout):
    if layout == "columns first":
        return np.asfortranarray(x) if x.ndim > 1 else x
    if layout == "reversed":
        return x[::-1].copy()[::-1] if x.ndim else x
    if layout == "every second":
        return np.repeat(x, 2, -1)[..., ::2] if x.ndim else x
    x = x.copy()
    x.flags.writeable = False
    return x


@needs_numba
@pytest.mark.parametrize("name", LARGE)
def test_results_are_the_same_for_any_number_of_threads(name):
    op, case = REGISTRY[name], LARGE[name]
    drawn = typed(case, "float32")
    expected = in_mode("compiled", op, drawn, case.options)
    for threads in (2, 3):
        with blocks.settings(threads=threads):
            for found, right in zip(in_mode("compiled", op, drawn, case.options), expected, strict=True):
                np.testing.assert_array_equal(found, right)


@needs_numba
@pytest.mark.parametrize("name", LARGE)
def test_large_inputs_are_exact(name):
    op, case = REGISTRY[name], LARGE[name]
    drawn = typed(case, "float32")
    expected = in_mode("off", op, in_float64(drawn), case.options)
    for found, right in zip(in_mode("compiled", op, drawn, case.options), expected, strict=True):
        assert abs(found - right).max() <= 2e-6 * max(1.0, abs(right).max())


@needs_numba
def test_sums_over_many_rows_keep_their_digits():
    x = np.random.default_rng(0).normal(1.0, 0.5, (MOST_ROWS * 600 + 7, 4)).astype(np.float32)
    dy = np.random.default_rng(1).normal(1.0, 0.5, x.shape).astype(np.float32)
    for name in ("layer_norm", "rms_norm"):
        forward, backward = (KERNELS[f"{name}_{way}"] for way in ("forward", "backward"))
        sums = {}
        for dtype in (np.float32, np.float64):
            a, b, w = x.astype(dtype), dy.astype(dtype), np.ones(4, dtype)
            more = (None,) if name == "layer_norm" else ()
            _, *statistics = forward(a, w, *more, 1e-5)
            _, *sums[dtype] = backward(b, a, w, *statistics)
        for found, right in zip(sums[np.float32], sums[np.float64], strict=True):
            assert abs(found - right).max() <= 1e-7 * len(x)  # of the sum of |dy·x̂|, not of what it leaves


MISTAKES = {
    "layer_norm_backward": ("g - mean_g - x_hat", "g - x_hat"),
    "layer_norm_forward": ("(x[n, i] - m) * (x[n, i] - m)", "x[n, i] * x[n, i]"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kernel", MISTAKES)
def test_a_planted_mistake_in_a_loop_is_found(kernel, mode, monkeypatch, tmp_path):
    op, right = REGISTRY[kernel.rpartition("_")[0]], KERNELS[kernel].cpu_version
    case = op.cases[0]
    inputs = [tn.tensor(x, requires_grad=True) for x, _ in typed(case, "float64")]

    def check():
        with tn.use_loops(mode):
            return gradcheck(lambda *given: op.call(list(given), case.options), inputs)

    assert check()
    monkeypatch.setattr(KERNELS[kernel], "cpu_version", with_mistake(right, *MISTAKES[kernel], tmp_path))
    with pytest.raises(GradcheckError):
        check()


def with_mistake(right, old, new, folder):
    """The twin of a kernel, with `old` replaced by `new` in its loop."""
    source = inspect.getsource(right.loop.function)
    assert old in source
    source = source[source.index("def ") :].replace(old, new)
    file = folder / "mistaken.py"
    file.write_text("from __future__ import annotations\n" + textwrap.dedent(source))
    scope = dict(right.loop.function.__globals__)
    exec(compile(file.read_text(), file, "exec"), scope)
    wrong = PoolLoop.__new__(PoolLoop)
    wrong.__dict__.update(right.__dict__, loop=type(right.loop)(scope[right.loop.function.__name__]))
    return wrong
