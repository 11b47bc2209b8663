"""Equal, huge and tiny numbers in all cases of all normalizations: float32 is as float64."""

import shutil

import numpy as np
import pytest
from kernel_runs import run

import tinygrad_norm as tn
from tinygrad_norm import use_loops
from tinygrad_norm.backends import to_numpy
from tinygrad_norm.registry import REGISTRY

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")
EMULATOR = pytest.param("emulator", marks=[needs_compiler, pytest.mark.slow])
KINDS = {
    "zero": lambda x: 0 * x,
    "constant": lambda x: 0 * x + 3,
    "1e30": lambda x: 1e30 * x,
    "1e-30": lambda x: 1e-30 * x,
}
OPS = [op.name for op in REGISTRY.values() if op.kind == "normalization" and op.composed]
EPS_OF_DTYPE = {"rms_norm", "add_rms_norm", "lp_norm"}  # whose default differs between float32 and float64


def results(op, case, change, dtype):
    """Outputs and gradients with the first input changed, from numbers that are exact in float32."""
    drawn = [(None, False) if one is None else one for one in case.draw()]
    drawn[0] = change(drawn[0][0]), drawn[0][1]
    typed = [
        (x.astype("float32").astype(dtype), wanted) if x is not None and x.dtype.kind == "f" else (x, wanted)
        for x, wanted in drawn
    ]
    options = {"eps": 1e-5, **case.options} if op.name in EPS_OF_DTYPE else case.options
    return [to_numpy(a).astype("float64") for a in run(op, typed, options)]


@pytest.mark.parametrize("backend", ["numpy", "python", EMULATOR])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPS)
def test_extreme_numbers_are_as_in_float64(name, kind, backend):
    if (name, kind) == ("divisive_norm", "constant"):
        pytest.skip("the deviation and its mean are equal: which one divides is decided by rounding")
    op = REGISTRY[name]
    for case in op.cases:
        if not case.draw()[0][0].size:
            continue
        expected = results(op, case, KINDS[kind], "float64")
        with (
            tn.use_backend("numpy" if backend == "python" else backend),
            use_loops("python" if backend == "python" else "off"),
        ):
            found = results(op, case, KINDS[kind], "float32")
        for a, b in zip(found, expected, strict=True):
            assert np.isfinite(b).all()
            with np.errstate(over="ignore"):
                b = b.astype("float32").astype("float64")  # what is too large for float32 is infinite
            size = abs(b[np.isfinite(b)]).max(initial=0)
            # Of dy times 1/std, which is up to 1/√eps and 1e-30 beside 1e30, nothing may be left.
            rounding = 1e-35 if kind == "1e30" and a.shape == case.draw()[0][0].shape else 1e-4
            np.testing.assert_allclose(a, b, 1e-4, 2e-5 * size + rounding, err_msg=str(case))
