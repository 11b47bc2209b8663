"""However threads share pools of values, kernels give the exact numbers of their bodies."""

import dataclasses
import random
import shutil

import pytest

from tinygrad_norm.backends.cuda import launch
from tinygrad_norm.proof.kernels import Call, Compared, compare_call

SLOW = pytest.mark.slow
pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++: apt install g++")

EPS = 1e-5


def rows(D):
    """Calls over 2 rows of D values, or pools of D values, by the name of the array function."""
    row, vector, column = (2, D), (D,), (2, 1)
    pools, channel, of_pool = (2, 2, D), (1, 2, 1), (2, 2, 1)
    grouped, of_group = (1, 2, 3, D), (1, 2, 3, 1)
    affine = {"w": channel, "b": channel}
    gradient = {"dy": pools, "x": pools, "w": channel}
    return {
        "layer_norm_forward": Call({"x": row, "w": vector, "b": vector}, lambda x, w, b: (x, w, b, EPS)),
        "layer_norm_backward": Call(
            {"dy": row, "x": row, "w": vector, "mean": column, "rstd": column},
            lambda dy, x, w, mean, rstd: (dy, x, w, mean, rstd),
            positive=("rstd",),
        ),
        "rms_norm_forward": Call({"x": row, "w": vector}, lambda x, w: (x, w, EPS)),
        "rms_norm_backward": Call(
            {"dy": row, "x": row, "w": vector, "rstd": column},
            lambda dy, x, w, rstd: (dy, x, w, rstd),
            positive=("rstd",),
        ),
        "normalize_forward": Call({"x": row}, lambda x: (x, 2.0, 1e-12)),
        "weight_norm_forward": Call({"v": row, "g": column}, lambda v, g: (v, g)),
        "softmax_backward": Call({"dy": row, "y": row}, lambda dy, y: (dy, y)),
        "instance_norm_forward": Call({"x": pools, **affine}, lambda x, w, b: (x, w, b, EPS)),
        "instance_norm_backward": Call(
            {**gradient, "mean": of_pool, "rstd": of_pool},
            lambda dy, x, w, mean, rstd: (dy, x, w, mean, rstd),
            positive=("rstd",),
        ),
        "batch_norm_forward": Call({"x": pools, **affine}, lambda x, w, b: (x, w, b, EPS)),
        "batch_norm_backward": Call(
            {**gradient, "mean": channel, "rstd": channel},
            lambda dy, x, w, mean, rstd: (dy, x, w, mean, rstd),
            positive=("rstd",),
        ),
        "group_norm_forward": Call(
            {"x": grouped, "w": of_group, "b": of_group}, lambda x, w, b: (x, w, b, EPS)
        ),
        "group_norm_backward": Call(
            {"dy": grouped, "x": grouped, "w": of_group, "mean": (1, 2, 1, 1), "rstd": (1, 2, 1, 1)},
            lambda dy, x, w, mean, rstd: (dy, x, w, mean, rstd),
            positive=("rstd",),
        ),
    }


SIZES = [
    *((name, 516) for name in rows(1)),
    *((name, D) for name in ("layer_norm_forward", "layer_norm_backward") for D in (1, 70, 3001, 9000)),
]


@SLOW
@pytest.mark.parametrize(("name", "D"), SIZES)
def test_pools_of_every_size(name, D):
    assert compare_call(name, rows(D)[name], random.Random(0)) == Compared(equal={name: 1})


@SLOW
@pytest.mark.parametrize("name", ["layer_norm_forward", "layer_norm_backward", "rms_norm_backward"])
def test_rows_that_shared_memory_cannot_hold(name, monkeypatch):
    machine_of = launch.machine_of
    monkeypatch.setattr(
        launch, "machine_of", lambda x: dataclasses.replace(machine_of(x), shared_memory=16 * 1024)
    )
    assert compare_call(name, rows(9000)[name], random.Random(0)) == Compared(equal={name: 1})
