"""The loops that Numba compiles, uncompiled on exact numbers: equal to the bodies, entry by entry."""

import inspect

import pytest

from tinygrad_norm.backends import KERNELS
from tinygrad_norm.backends.cpu.loops import Loop
from tinygrad_norm.proof.proving import PROVED, REFUTED, prove_op
from tinygrad_norm.registry import REGISTRY

LOOPS = {
    "layer_norm": ("layer_norm_backward", "layer_norm_forward"),
    "add_layer_norm": ("add_layer_norm_backward", "add_layer_norm_forward"),
    "rms_norm": ("rms_norm_backward", "rms_norm_forward"),
    "add_rms_norm": ("add_rms_norm_backward", "add_rms_norm_forward"),
    "group_norm": ("group_norm_backward", "group_norm_forward"),
    "instance_norm": ("instance_norm_backward", "instance_norm_forward"),
    "power_norm": ("power_norm_backward", "power_norm_forward"),
    "normalize": ("normalize_backward", "normalize_forward"),
    "weight_norm": ("weight_norm_backward", "weight_norm_forward"),
    "weight_demodulation": ("weight_demodulation_backward", "weight_demodulation_forward"),
    "cumsum": ("running_sums", "sums_to_the_end"),
    "avg_pool2d": ("avg_pool_backward", "avg_pool_forward"),
    "max_pool2d": ("max_pool_backward", "max_pool_forward"),
    "relu": ("relu_backward",),
}


@pytest.mark.parametrize("name", LOOPS)
def test_loops_give_the_numbers_of_their_bodies(name):
    proof = prove_op(REGISTRY[name], points=1)
    assert proof.verdict == PROVED
    assert set(LOOPS[name]) <= set(proof.loops)


def mutated(loop, right, wrong):
    """The loop with `wrong` in place of `right` in its source."""
    source = inspect.getsource(loop.function)
    assert source.count(right) == 1
    source = source[source.index("def ") :].replace(right, wrong)
    scope = dict(loop.function.__globals__)
    exec(source, scope)
    return Loop(scope[loop.function.__name__])


@pytest.mark.parametrize(
    ("op", "kernel", "right", "wrong", "what"),
    [
        (
            "layer_norm",
            "layer_norm_backward",
            "x_hat * mean_g_x_hat)",
            "x_hat * mean_g_x_hat * (1 + 1e-13))",
            "loops: gradient of input 0",
        ),
        (
            "layer_norm",
            "layer_norm_backward",
            "dweight[i] += dy[n, i] * x_hat",
            "dweight[i] += dy[n, i] * x_hat * 1.0000000001",
            "loops: gradient of input 1",
        ),
        ("rms_norm", "rms_norm_forward", "+ eps", "+ eps * 1.01", "loops: output 0"),
    ],
    ids=["dx of layer norm", "dweight of layer norm", "eps of RMS norm"],
)
def test_a_wrong_coefficient_in_a_loop_is_refuted(op, kernel, right, wrong, what, monkeypatch):
    pool_loop = KERNELS[kernel].cpu_version
    monkeypatch.setattr(pool_loop, "loop", mutated(pool_loop.loop, right, wrong))
    proof = prove_op(REGISTRY[op], points=1)
    assert proof.verdict == REFUTED
    assert proof.refutation.difference.what == what


def test_ordinary_arrays_know_nothing_of_it():
    prove_op(REGISTRY["layer_norm"], points=1)
    assert all(
        kernel.versions["numpy"] is kernel.numpy_version
        for kernel in KERNELS.values()
        if kernel.cpu_version is not None
    )
