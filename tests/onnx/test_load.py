"""A loaded file computes what the exported model computed, can be trained, and errors are named."""

import numpy
import pytest
from onnx_models import MODELS, N

import tinygrad_norm as tn
from tinygrad_norm import Parameter, Tensor, nn, no_grad
from tinygrad_norm import onnx as tn_onnx

onnx = pytest.importorskip("onnx")

QUICK = ("Conv2d", "GroupNorm", "MultiheadAttention", "LSTM", "FilterResponseNorm2d")


def outputs(result):
    if isinstance(result, Tensor):
        return [result.numpy()]
    return [] if result is None else [array for part in result for array in outputs(part)]


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)
def test_a_loaded_file_gives_the_same_numbers(name, tmp_path):
    model = MODELS[name]
    module = model.module()
    args = [Tensor(array) for array in model.arrays(N)]
    names = [f"x{i}" for i in range(len(args))]
    axes = {name: {model.batch: "batch"} for name in names}
    tn_onnx.export(module, args, tmp_path / "m.onnx", input_names=names, dynamic_axes=axes)
    loaded = tn_onnx.load(tmp_path / "m.onnx")
    for n in (N, 7):
        inputs = [Tensor(array) for array in model.arrays(n, 3)]
        with no_grad():
            found, expected = outputs(loaded(*inputs)), outputs(module(*inputs))
        for y, y_expected in zip(found, expected, strict=True):
            numpy.testing.assert_allclose(y, y_expected, rtol=1e-6, atol=1e-6)


def test_a_loaded_model_has_the_parameters_and_their_gradients(tmp_path):
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2)).eval()
    x = tn.randn(4, 6)
    tn_onnx.export(model, x, tmp_path / "m.onnx")
    loaded = tn_onnx.load(tmp_path / "m.onnx")
    assert {name for name, _ in loaded.named_parameters()} == {name for name, _ in model.named_parameters()}
    for module in (model, loaded):
        module.train()
        module(x).square().sum().backward()
    for name, parameter in model.named_parameters():
        numpy.testing.assert_allclose(
            loaded.get_parameter(name).grad.numpy(), parameter.grad.numpy(), rtol=1e-5, atol=1e-6
        )
    numpy.testing.assert_allclose(
        loaded.get_buffer("1.running_mean").numpy(), model[1].running_mean.numpy(), rtol=1e-6
    )
    assert all(isinstance(parameter, Parameter) for parameter in loaded.parameters())


def written(path, nodes, opset=20, inputs="x", **initializers):
    helper = onnx.helper
    info = [helper.make_tensor_value_info(name, 1, ["n"]) for name in inputs]
    graph = helper.make_graph(
        nodes,
        "g",
        info,
        [helper.make_tensor_value_info("y", 1, ["n"])],
        [onnx.numpy_helper.from_array(array, name) for name, array in initializers.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("own", 1)]
    onnx.save_model(helper.make_model(graph, opset_imports=opsets), path)
    return path


def test_all_unsupported_operators_are_named_at_once(tmp_path):
    make = onnx.helper.make_node
    path = written(
        tmp_path / "m.onnx",
        [
            make("Det", ["x"], ["a"], name="first"),
            make("Own", ["a"], ["b"], domain="own"),
            make("Det", ["b"], ["y"]),
        ],
    )
    with pytest.raises(tn_onnx.OnnxError, match=r"Det \(first, node 2\); own\.Own \(node 1\)"):
        tn_onnx.load(path)


def test_an_unsupported_opset_is_named(tmp_path):
    path = written(tmp_path / "m.onnx", [onnx.helper.make_node("Relu", ["x"], ["y"])], opset=9)
    with pytest.raises(tn_onnx.OnnxError, match="has opset 9, supported are 13 to"):
        tn_onnx.load(path)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x01"], ids=["empty", "text", "no graph"])
def test_a_file_that_is_not_onnx_is_named(content, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(tn_onnx.OnnxError, match=r"m\.onnx is not"):
        tn_onnx.load(path)
    with pytest.raises(FileNotFoundError):
        tn_onnx.load(tmp_path / "none.onnx")


def test_the_wrong_number_of_inputs_is_named(tmp_path):
    path = written(tmp_path / "m.onnx", [onnx.helper.make_node("Relu", ["x"], ["y"])])
    with pytest.raises(TypeError, match="takes the tensors x, got none"):
        tn_onnx.load(path)()


def test_names_that_cannot_be_attributes_are_kept_apart(tmp_path):
    weight = numpy.ones(2, numpy.float32)
    path = written(
        tmp_path / "m.onnx",
        [
            onnx.helper.make_node("Add", ["x", "a.b"], ["s"]),
            onnx.helper.make_node("Add", ["s", "a"], ["t"]),
            onnx.helper.make_node("Add", ["t", "forward"], ["y"]),
        ],
        **{"a.b": weight, "a": weight, "forward": weight},
    )
    loaded = tn_onnx.load(path)
    assert len(list(loaded.parameters())) == 3
    numpy.testing.assert_array_equal(loaded(Tensor(weight)).detach().numpy(), 4 * weight)


def test_a_path_without_a_file_is_explained(tmp_path):
    (tmp_path / "empty.onnx").touch()
    for path, error, message in (
        (tmp_path / "nothere.onnx", FileNotFoundError, "there is no file .*: write one with"),
        (tmp_path, IsADirectoryError, "is a folder: pass the path of an ONNX file"),
        (tmp_path / "empty.onnx", tn_onnx.OnnxError, "it is empty"),
        (3, TypeError, "takes the path of an ONNX file, got int"),
    ):
        with pytest.raises(error, match=message):
            tn_onnx.load(path)
