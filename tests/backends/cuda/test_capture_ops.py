"""Every registered op as a captured step: replays compute, from new numbers at the same addresses, what plain
calls compute; what cannot be captured is a list, and docs/gpu.md has it.
"""

import shutil
from pathlib import Path

import fake_cupy
import numpy as np
import pytest
from strict_cupy import record_waits

import tinygrad_norm as tn
from tinygrad_norm.autograd import grad
from tinygrad_norm.backends import to_numpy
from tinygrad_norm.backends.cuda.capture import Graph
from tinygrad_norm.gradient_check.registered import (
    COMPOSED_TOLERANCE,
    Result,
    cotangent,
    differences,
    draw,
    evaluate,
)
from tinygrad_norm.registry import REGISTRY

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")

FROM_CPU, LOOKS = "copied between the CPU and the GPU", "waits for the device"
REFUSED = {  # op: which of its cases cannot be captured, and the words of the error
    "getitem": (lambda case: _has_mask(case.options["key"]), LOOKS),
    "one_hot": (lambda case: "num_classes" not in case.options, LOOKS),
    "sequence_batch_norm": (lambda case: case.inputs[1] is not None, FROM_CPU),
    # These compute on the CPU.
    "cummax": (lambda case: True, FROM_CPU),
    "cummin": (lambda case: True, FROM_CPU),
    "ctc_loss": (lambda case: True, FROM_CPU),
    "embedding_bag": (lambda case: case.inputs[2:3] not in ((), (None,)), FROM_CPU),  # reads the offsets
    # The registered function makes a tensor of its rows.
    "index_put": (lambda case: True, FROM_CPU),
    # These functions make a module first, whose parameters come from the CPU.
    "multihead_attention": (lambda case: True, FROM_CPU),
    "qk_norm_attention": (lambda case: True, FROM_CPU),
    "ngpt_block": (lambda case: True, FROM_CPU),
    "learned_positions": (lambda case: True, FROM_CPU),
    "transformer_encoder_layer": (lambda case: True, FROM_CPU),
    "transformer_decoder_layer": (lambda case: True, FROM_CPU),
}
# Functions that wait for the GPU where they are refused; the others only copy to it.
WAITING = (
    "getitem",
    "one_hot",
    "sequence_batch_norm",
    "cummax",
    "cummin",
    "ctc_loss",
    "embedding_bag",
    "index_put",
)
QUICK = ["matmul", "adaptive_avg_pool1d", "one_hot"]


def _has_mask(key):
    return any(np.asarray(k).dtype == bool for k in (key if type(key) is tuple else (key,)))


def replayed(op, case):
    """Return what a replay computes from inputs and dy that were written after the capture."""
    inputs, left = draw(case), {}

    def outputs():
        result = op.call(inputs, case.options)
        ys = result if isinstance(result, tuple) else (result,)
        return ys, [y for y in ys if y.requires_grad]

    dys = [tn.Tensor(cotangent(y.shape, k)) for k, y in enumerate(outputs()[1])]
    xs = {i: x for i, x in enumerate(inputs) if x is not None and x.requires_grad}

    def step():
        ys, differentiable = outputs()
        dxs = grad(differentiable, list(xs.values()), dys, allow_unused=True) if differentiable else ()
        left["ys"], left["dxs"] = ys, dict(zip(xs, dxs, strict=False))

    graph = Graph(step, warm_up=2)
    for x, new in zip(inputs, draw(case, seed=1), strict=True):
        if x is not None:
            x.array[...] = new.array
    for k, dy in enumerate(dys):
        dy.array[...] = tn.Tensor(cotangent(dy.shape, k, seed=1)).array
    graph()
    gradients = {
        i: np.zeros(xs[i].shape) if dx is None else to_numpy(dx.array) for i, dx in left["dxs"].items()
    }
    return Result(tuple(to_numpy(y.array) for y in left["ys"]), gradients)


def check(name, backend="emulator"):
    op = REGISTRY[name]
    refused, words = REFUSED.get(name, (lambda case: False, ""))
    words = words if backend == "emulator" else ""  # CUDA has its own
    for case in op.cases:
        with pytest.MonkeyPatch.context() as monkeypatch:
            if backend == "emulator":
                fake_cupy.install(monkeypatch)
            with tn.use_backend(backend):
                if refused(case):
                    with pytest.raises(RuntimeError, match=f"cannot be captured.*{words}"):
                        replayed(op, case)
                    continue
                found = replayed(op, case)
        expected = evaluate(op, op.function, case, seed=1)
        assert max(differences(found, expected).values()) <= COMPOSED_TOLERANCE, str(case)


def test_the_list_in_the_documentation_has_every_op_that_is_refused():
    text = (Path(__file__).parents[3] / "docs" / "gpu.md").read_text()
    section = text.partition("## What a captured step refuses")[2].partition("\n## ")[0]
    assert [name for name in REFUSED if f"`{name}`" not in section] == []


@pytest.mark.parametrize("name", QUICK)
def test_common_ops_are_captured(name):
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in REGISTRY if name not in QUICK])
def test_every_op_is_captured_or_on_the_list(name):
    check(name)


@pytest.mark.slow
@pytest.mark.cuda  # not run on a GPU so far
@pytest.mark.parametrize("name", REGISTRY)
def test_every_op_is_captured_on_a_gpu(name):
    check(name, "cupy")


@pytest.mark.slow
@pytest.mark.cuda  # on a GPU, only the stand-in notes what waits
@pytest.mark.parametrize("name", REGISTRY)
def test_no_op_waits_for_the_gpu(name):
    op = REGISTRY[name]
    with tn.use_backend("cupy"):
        for case in op.cases:
            if name in WAITING and REFUSED[name][0](case):
                continue
            inputs = draw(case)
            with record_waits() as waits:
                result = op.call(inputs, case.options)
                ys = [y for y in (result if isinstance(result, tuple) else (result,)) if y.requires_grad]
                xs = [x for x in inputs if x is not None and x.requires_grad]
                if ys:
                    grad(ys, xs, [tn.ones_like(y) for y in ys], allow_unused=True)
            assert waits == [], str(case)
