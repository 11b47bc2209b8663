"""onnxruntime computes what every layer computes in evaluation, also for other batch sizes."""

import numpy
import pytest
from onnx_models import MODELS, N

from tinygrad_norm import Module, Tensor, nn, no_grad
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


CONTAINERS = {"Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList"}
WITHOUT = {"CTCLoss"}  # its recursion depends on the lengths of the targets


def test_every_layer_is_exported():
    layers = {name for name, c in vars(nn).items() if isinstance(c, type) and issubclass(c, Module)}
    lazy = {name for name in layers if name.startswith("Lazy")}  # after the first batch: the plain layers
    missing = layers - lazy - CONTAINERS - WITHOUT - {name.partition("-")[0] for name in MODELS}
    assert not missing, f"add {sorted(missing)} to tests/support/onnx_models.py"


BODIES = {
    "angles": lambda x: (x.tanh().asin() + x.atan() + x.sinh() + x.cosh().acosh() + x.tan()) * x.cos(),
    "logarithms": lambda x: x.abs().log2() + x.abs().log10() + x.exp2(),
    "rounding": lambda x: x.floor() + 2 * x.ceil() + 3 * x.round() + 5 * x.trunc(),
    "comparisons": lambda x: nn.functional.relu(x).masked_fill(x < -0.5, 2.0) + (x * 2).where(x >= 0.3, x),
    "slices": lambda x: x[:, 1:5:2] + x[:, -2:].flip(1) + x[:, 3, None],
    "joins": lambda x: nn.functional.normalize(x.repeat(1, 2).roll(2, 1).cumsum(1), p=3.0),
    "extremes": lambda x: x.max(1).values + x.min(1).values + x.amax((0, 1)) + x.norm(3, 1),
    "moments": lambda x: (x - x.mean(0)) / (x.var(0) + 1e-3).sqrt() + x.std(1, keepdim=True),
    "shapes": lambda x: x.reshape(len(x) * 2, 3).T.reshape(3, len(x), 2).movedim(1, 0).flatten(1).softmax(1),
    "products": lambda x: (x @ x.T @ x).prod(1) + x.logsumexp(1),
}


class _Body(Module):
    def __init__(self, name):
        super().__init__()
        self.name = name

    def forward(self, x):
        return BODIES[self.name](x)


@pytest.mark.slow
@pytest.mark.parametrize("name", BODIES)
def test_primitives_are_exported_and_loaded(name, tmp_path):
    module, path = _Body(name), tmp_path / "m.onnx"
    export(MODELS["Linear"], module, path)
    loaded = tn_onnx.load(path)
    for n in (N, 8):
        (x,) = MODELS["Linear"].arrays(n, 4)
        with no_grad():
            expected, again = module(Tensor(x)).numpy(), loaded(Tensor(x)).numpy()
        (found,) = run_with_onnxruntime(path, [x])
        numpy.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        numpy.testing.assert_allclose(again, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("opset", [17, 20])
def test_files_of_older_opsets_give_the_same_numbers(opset, tmp_path):
    for name, model in MODELS.items():
        module = model.module()
        export(model, module, tmp_path / "model.onnx", opset_version=opset)
        arrays = model.arrays(4, 5)
        with no_grad():
            expected = outputs(module(*map(Tensor, arrays)))
        for y, y_expected in zip(
            run_with_onnxruntime(tmp_path / "model.onnx", arrays), expected, strict=True
        ):
            numpy.testing.assert_allclose(y, y_expected, rtol=1e-5, atol=1e-5, err_msg=name)
