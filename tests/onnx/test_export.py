"""What an exported file contains, and what export says when it cannot write one."""

import numpy
import pytest

import tinygrad_norm as tn
from tinygrad_norm import Module, Tensor, nn
from tinygrad_norm import onnx as tn_onnx
from tinygrad_norm.autograd.function import Function

onnx = pytest.importorskip("onnx")


class Block(Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.conv(x)).relu()


def exported(path, module, *args, **options):
    tn_onnx.export(module, [Tensor(numpy.asarray(x)) for x in args], path, **options)
    return onnx.load(path)


IMAGES = numpy.ones((2, 2, 5, 5), numpy.float32)


def test_names_read_like_the_module_path(tmp_path):
    model = nn.Sequential(Block(), nn.Flatten(), nn.Linear(36, 3))
    graph = exported(tmp_path / "m.onnx", model, IMAGES).graph
    kinds = ["Conv", "BatchNormalization", "Relu", "Reshape", "Gemm"]
    assert [node.op_type for node in graph.node] == kinds
    assert [node.name for node in graph.node][:3] == ["0.conv/Conv", "0.norm/BatchNormalization", "0/Relu"]
    assert set(dict(model.named_parameters())) < {tensor.name for tensor in graph.initializer}


def test_a_parametrized_weight_is_written_as_its_value(tmp_path):
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(5, 3))
    graph = exported(tmp_path / "m.onnx", nn.Sequential(layer), IMAGES[0, 0]).graph
    (weight,) = (tensor for tensor in graph.initializer if tensor.name == "0.weight")
    numpy.testing.assert_array_equal(onnx.numpy_helper.to_array(weight), layer.weight.detach().numpy())
    assert len(graph.node) == 1


def test_dynamic_axes_have_their_names(tmp_path):
    model = nn.Flatten(0, 1)
    graph = exported(tmp_path / "m.onnx", model, IMAGES, dynamic_axes={"x": {0: "batch"}}).graph
    sizes = [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
    assert sizes == ["batch", 2, 5, 5]
    fixed = exported(tmp_path / "m.onnx", model, IMAGES).graph
    assert [d.dim_value for d in fixed.output[0].type.tensor_type.shape.dim] == [4, 5, 5]


def test_an_older_opset_has_primitives_instead(tmp_path):
    model = exported(tmp_path / "m.onnx", nn.RMSNorm(5), IMAGES, opset_version=17)
    assert model.opset_import[0].version == 17
    assert "RMSNormalization" not in {node.op_type for node in model.graph.node}


def test_the_model_is_not_changed(tmp_path):
    model = Block().train()
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    exported(tmp_path / "m.onnx", model, IMAGES)
    assert model.training
    assert model.norm.training
    assert not model._forward_hooks
    for name, tensor in model.state_dict().items():
        numpy.testing.assert_array_equal(tensor.numpy(), before[name])


def test_a_sum_in_place_is_exported(tmp_path):
    class Residual(Module):
        def forward(self, x):
            y = x * 2
            y += x
            return y

    graph = exported(tmp_path / "m.onnx", Residual(), IMAGES).graph
    assert [node.op_type for node in graph.node] == ["Constant", "Mul", "Add"]


class Double(Function):
    """y = 2x · dx = 2dy"""

    def forward(self, x):
        return 2 * x

    def backward(self, dy):
        return 2 * dy


class Own(Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(x)


def _written(x):
    y = x * 2
    with tn.no_grad():
        y.add_(1)
    return y


FAILURES = {
    "an operator without a form": (lambda x: Double.apply(x), "Double in 0 has no operator"),
    "numpy": (lambda x: x + Tensor(numpy.cumsum(x.detach().numpy(), 0)), "Add in 0: a tensor"),
    "a number": (lambda x: x * float(x.detach().mean()), "Mul in 0: the number"),
    "in place": (_written, "Mul in 0 is changed in place"),
    "a mask": (lambda x: x[x > 0.9], "Index in 0: indexing with a mask"),
    "no tensor": (lambda x: None, "returns no tensor"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_cannot_be_exported_is_named(name, tmp_path):
    body, message = FAILURES[name]
    with pytest.raises(tn_onnx.OnnxError, match=message):
        exported(tmp_path / "m.onnx", nn.Sequential(Own(body)), IMAGES)
    assert not list(tmp_path.iterdir())


def test_bad_arguments_are_named(tmp_path):
    model, path = nn.ReLU(), tmp_path / "m.onnx"
    for options, error, message in (
        ({"opset_version": 16}, ValueError, "from 17 to"),
        ({"opset_version": 999}, ValueError, "from 17 to"),
        ({"input_names": ["a", "b"]}, ValueError, "input_names must be 1"),
        ({"output_names": "yy"}, ValueError, "output_names must be 1"),
        ({"output_names": ["x"]}, ValueError, "must differ"),
        ({"dynamic_axes": {"x": {4: "n"}}}, ValueError, "has no axis 4"),
        ({"dynamic_axes": {"x": {0: "n", 2: "n"}}}, ValueError, "use two names"),
        ({"dynamic_axes": {"q": [0]}, "output_names": ["y"]}, ValueError, "dynamic_axes names"),
        ({"dynamic_axes": {"input": {0: "batch"}}}, ValueError, r"names \['input'\], .* are \['x', 'y'\]"),
        ({"dynamic_axes": {"y": {7: "n"}}}, ValueError, "y has no axis 7"),
        ({"dynamic_axes": {"x": {0: 3}}}, TypeError, "got 3 as the name of a size of 'x'"),
        ({"dynamic_axes": {"x": 0}}, TypeError, "got 0 for 'x'"),
        ({"dynamic_axes": ["x"]}, TypeError, "must be as in"),
    ):
        with pytest.raises(error, match=message):
            exported(path, model, IMAGES, **options)
    with pytest.raises(TypeError, match="args are the tensors"):
        tn_onnx.export(model, [3.0], path)
    with pytest.raises(TypeError, match="takes a module"):
        tn_onnx.export(len, Tensor(IMAGES), path)
    assert not list(tmp_path.iterdir())
