"""Load an ONNX file as a Module that computes the same and can be trained further."""

import os
from pathlib import Path
from typing import Any

import numpy

from ..autograd.tensor import Tensor
from ..module import Module, Parameter
from . import run_activations, run_layers, run_primitives  # noqa: F401  (each adds its operators to the table)
from .onnx_package import OLDEST_READ, OnnxError, newest_opset, onnx_package
from .running import RUNNERS, Node


class OnnxModule(Module):
    """The graph of an ONNX file. Float initializers are its parameters, by their names in the file.

    Takes the inputs of the graph in order and returns its output, or a tuple of them. It starts in
    evaluation mode; after `train()`, batch normalization and dropout do what they do in training.
    `input_names` and `output_names` are those of the file.
    """

    def __init__(self, proto: Any) -> None:
        super().__init__()
        graph = proto.graph
        opset = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
        stored = {tensor.name: _array(tensor) for tensor in graph.initializer}
        self.input_names = [x.name for x in graph.input if x.name not in stored]
        self.output_names = [y.name for y in graph.output]
        self._constants: dict[str, Tensor] = {}
        self._places: dict[str, str] = {}  # of parameters and buffers, by name in the file
        statistics = {
            name for node in graph.node if node.op_type == "BatchNormalization" for name in node.input[3:5]
        }
        for name, array in stored.items():
            if array.dtype.kind != "f":
                self._constants[name] = Tensor(array)
            else:
                self._store(name, Tensor(array) if name in statistics else Parameter(array))
        self._nodes: list[Node] = []
        for position, entry in enumerate(graph.node):
            if entry.op_type == "Constant":
                self._constants[entry.output[0]] = Tensor(_constant(entry))
            else:
                self._nodes.append(_node(entry, position, opset, self))
        self._lasts = _last_uses(self._nodes, self.output_names)
        self.eval()

    def _store(self, name: str, tensor: Tensor) -> None:
        """Register a tensor under its dotted name, in modules of its own; with _ for . if that is taken."""
        *path, last = name.split(".")
        module: Module = self
        if not all(part.isidentifier() or part.isdigit() for part in (*path, last)) or hasattr(Module, last):
            path, last = [], f"{name}".replace(".", "_")
        for part in path:
            if part not in module._modules:
                if hasattr(module, part):
                    module, last = self, name.replace(".", "_")
                    break
                module.register_module(part, Module())
            module = module._modules[part]  # type: ignore[assignment]
        while hasattr(module, last):
            last += "_"
        if isinstance(tensor, Parameter):
            module.register_parameter(last, tensor)
        else:
            module.register_buffer(last, tensor)
        found = {id(t): place for place, t in [*self.named_parameters(), *self.named_buffers()]}
        self._places[name] = found[id(tensor)]

    def forward(self, *inputs: Tensor) -> Any:
        """Run the nodes in order.

        Raises:
            TypeError: if the number of inputs is not that of the graph, or one is not a tensor.
        """
        if len(inputs) != len(self.input_names) or not all(isinstance(x, Tensor) for x in inputs):
            given = ", ".join(type(x).__name__ for x in inputs)
            raise TypeError(
                f"the graph takes the tensors {', '.join(self.input_names)}, got {given or 'none'}"
            )
        values: dict[str, Any] = dict(zip(self.input_names, inputs, strict=True)) | self._constants
        for name, place in self._places.items():
            path, _, last = place.rpartition(".")
            values[name] = getattr(self.get_submodule(path), last)
        values[""] = None
        for node, done in zip(self._nodes, self._lasts, strict=True):
            result = RUNNERS[node.kind](node, *[values[name] for name in node.inputs])
            results = result if isinstance(result, tuple) else (result,)
            values.update(zip(node.outputs, results, strict=False))
            for name in done:
                values.pop(name, None)
        outputs = tuple(values[name] for name in self.output_names)
        return outputs[0] if len(outputs) == 1 else outputs

    def extra_repr(self) -> str:
        return f"{', '.join(self.input_names)} → {', '.join(self.output_names)}, nodes={len(self._nodes)}"


def load(file: str | Path) -> OnnxModule:
    """Return the model of an ONNX file as a Module that computes the same.

    Raises:
        OnnxError: if the file is not ONNX, or its opset or some of its operators are not supported; the
            message names all of these operators and their nodes.
        RuntimeError: if the package onnx is not installed.
        TypeError: if `file` is not a path.
        OSError: if the file cannot be read.
    """
    onnx = onnx_package()
    path, content = _read(file)
    try:
        proto = onnx.load_model_from_string(content)
        onnx.external_data_helper.load_external_data_for_model(proto, str(path.parent))
        onnx.checker.check_model(proto)
    except OSError:
        raise
    except Exception as error:  # protobuf's and the checker's, which have no common base
        if onnx.checker.ValidationError is type(error) and proto.graph.node:
            raise OnnxError(
                f"{path} is not a valid ONNX file: {str(error).strip().splitlines()[0]}"
            ) from None
        raise OnnxError(f"{path} is not an ONNX file: write one with tinygrad_norm.onnx.export") from None
    _check_opset(path, proto)
    _check_operators(path, proto.graph)
    return OnnxModule(proto)


def _read(file: Any) -> tuple[Path, bytes]:
    if not isinstance(file, str | os.PathLike):
        raise TypeError(f"load takes the path of an ONNX file, got {type(file).__name__}")
    path = Path(file)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        message = f"there is no file {path}: write one with tinygrad_norm.onnx.export"
        raise FileNotFoundError(message) from None
    except OSError as error:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder: pass the path of an ONNX file") from None
        raise type(error)(f"{path} cannot be read: {error.strerror}") from None
    if not content:
        raise OnnxError(f"{path} is not an ONNX file, it is empty: write it with tinygrad_norm.onnx.export")
    return path, content


def _check_opset(path: Path, proto: Any) -> None:
    versions = [entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    newest = newest_opset()
    if not versions or not OLDEST_READ <= versions[0] <= newest:
        found = versions[0] if versions else "none"
        raise OnnxError(
            f"{path} has opset {found}, supported are {OLDEST_READ} to {newest}: "
            "convert it with onnx.version_converter, or write it anew"
        )


def _check_operators(path: Path, graph: Any) -> None:
    """Raise an error that names every operator that is not supported."""
    unknown: dict[str, list[str]] = {}
    for position, node in enumerate(graph.node):
        kind = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        if kind not in RUNNERS:
            unknown.setdefault(kind, []).append(node.name or f"node {position}")
    if unknown:
        listed = "; ".join(f"{kind} ({', '.join(names)})" for kind, names in sorted(unknown.items()))
        raise OnnxError(f"{path} has operators that are not supported: {listed}")


def _array(tensor: Any) -> numpy.ndarray:
    onnx = onnx_package()
    array: numpy.ndarray = onnx.numpy_helper.to_array(tensor)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise OnnxError(f"the tensor {tensor.name} has elements of {array.dtype}, which are not supported")
    return array.copy()


def _constant(entry: Any) -> numpy.ndarray:
    helper = onnx_package().helper
    (attribute,) = entry.attribute
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return _array(value)
    kinds = {"value_int": "int64", "value_ints": "int64", "value_float": "float32", "value_floats": "float32"}
    if attribute.name not in kinds:
        raise OnnxError(f"Constant ({entry.name or entry.output[0]}): {attribute.name} is not supported")
    return numpy.array(value, kinds[attribute.name])


def _node(entry: Any, position: int, opset: int, module: Module) -> Node:
    helper = onnx_package().helper
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in entry.attribute}
    for name, value in attributes.items():
        if type(value).__name__ == "TensorProto":
            attributes[name] = _array(value)
    return Node(
        entry.op_type,
        entry.name or f"node {position}",
        tuple(entry.input),
        tuple(entry.output),
        attributes,
        opset,
        lambda: module.training,
    )


def _last_uses(nodes: list[Node], outputs: list[str]) -> list[list[str]]:
    """Return, for each node, the values that no later node reads: they are freed."""
    seen: set[str] = {"", *outputs}
    freed: list[list[str]] = []
    for node in reversed(nodes):
        last = [name for name in dict.fromkeys((*node.inputs, *node.outputs)) if name not in seen]
        seen.update(last)
        freed.append(last)
    return freed[::-1]
