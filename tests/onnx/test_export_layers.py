"""onnxruntime computes what every layer computes in evaluation, also for other batch sizes."""

import numpy
import pytest
from onnx_models import MODELS, N

from tinygrad_norm import Tensor, no_grad
from tinygrad_norm import onnx as tn_onnx

pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


QUICK = ("Conv2d", "BatchNorm2d", "GroupNorm", "MultiheadAttention", "GRU", "FilterResponseNorm2d")


def outputs(result):
    if isinstance(result, Tensor):
        return [result.numpy()]
    return [] if result is None else [array for part in result for array in outputs(part)]


def export(model, module, path, **options):
    args = [Tensor(array) for array in model.arrays(N)]
    names = [f"x{i}" for i in range(len(args))]
    axes = {name: {model.batch: "batch"} for name in names}
    tn_onnx.export(module, args, path, input_names=names, dynamic_axes=axes, **options)


def run_with_onnxruntime(path, arrays):
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {f"x{i}": array for i, array in enumerate(arrays)})


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)
def test_onnxruntime_gives_the_same_numbers(name, tmp_path):
    model = MODELS[name]
    module = model.module()
    export(model, module, tmp_path / "model.onnx")
    for n, seed in ((N, 5), (7, 6), (model.smallest, 7)):
        arrays = model.arrays(n, seed)
        with no_grad():
            expected = outputs(module(*map(Tensor, arrays)))
        found = run_with_onnxruntime(tmp_path / "model.onnx", arrays)
        assert len(found) == len(expected)
        for y, y_expected in zip(found, expected, strict=True):
            assert y.dtype == y_expected.dtype
            numpy.testing.assert_allclose(y, y_expected, rtol=1e-5, atol=1e-5)
