"""Build an ONNX graph: nodes with readable names, initializers, and sizes that follow from the inputs'."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from ..module import Module
from .onnx_package import OnnxError, onnx_package
from .sizes import AnyShape, Call, Constant, Size, Value

Name = str


class GraphBuilder:
    """Collects the nodes and initializers of a graph. Converters call `op`, `value` and `constant`."""

    def __init__(self, model: Module, opset: int, weights: Mapping[int, Name]) -> None:
        self.opset, self.onnx = opset, onnx_package()
        self.nodes: list[Any] = []
        self.initializers: dict[str, numpy.ndarray] = {}
        self.path = ""
        self._names: dict[int, Name] = {}  # of Values and tensors, by id
        self._shared: dict[Any, Name] = {}  # of small constants and sizes
        self._known_sizes: dict[tuple[int, ...], tuple[Name, int]] = {}
        self._used: dict[str, int] = {}
        self._stored: set[Name] = set()  # float initializers; all other floats become Constant nodes
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            self._names[id(tensor)] = self._names[id(tensor.array)] = name
        self._names.update(weights)
        self._parameters = {name for name, _ in model.named_parameters()} | set(weights.values())

    # -- names

    def unique(self, wanted: str) -> Name:
        """Return `wanted`, with a number if it is in use."""
        while True:
            n = self._used[wanted] = self._used.get(wanted, -1) + 1
            name = f"{wanted}_{n}" if n else wanted
            if name not in self.initializers and (n == 0 or name not in self._used):
                return name

    def name_value(self, value: Value, name: Name) -> None:
        """Give a tensor its name in the file, and learn its sizes."""
        self._names[id(value)] = name
        for axis, size in enumerate(value.shape):
            if isinstance(size, Size):
                self._known_sizes.setdefault(size.values, (name, axis))

    # -- nodes and constants

    def op(self, kind: str, *inputs: Any, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        """Add a node and return the name of its output, or a list of names if there are several.

        Inputs are names, Values, Constants, arrays or None (not given). Attributes of None are left out.
        """
        names = [self.value(x) for x in inputs]
        while names and not names[-1]:
            names.pop()
        title = self.unique(f"{self.path}/{kind}" if self.path else kind)
        ends = [f"{title}_output" if outputs == 1 else f"{title}_output_{i}" for i in range(outputs)]
        kept = {name: value for name, value in attributes.items() if value is not None}
        self.nodes.append(self.onnx.helper.make_node(kind, names, ends, title, domain=domain, **kept))
        return ends[0] if outputs == 1 else ends

    def value(self, x: Any) -> Name:
        """Return the name of an input of a node."""
        if isinstance(x, str):
            return x
        if x is None:
            return ""
        if isinstance(x, Value):
            return self._names[id(x)]
        if isinstance(x, Constant):
            return self._constant_tensor(x)
        return self.constant(x)

    def constant(self, array: Any, dtype: Any = None, name: str = "constant", stored: bool = False) -> Name:
        """Return the name of a tensor with these values; small equal ones are shared.

        If it is `stored`, it becomes an initializer, which training may change, as parameters are.
        """
        values = numpy.asarray(array, dtype)
        key = (values.dtype.str, values.shape, values.tobytes()) if values.size <= 16 and not stored else None
        if key is not None and key in self._shared:
            return self._shared[key]
        known = self._names.get(id(array))
        if known is None:
            known = self.unique(f"{self.path}.{name}" if self.path else name)
        self.initializers[known] = values
        if key is not None:
            self._shared[key] = known
        if stored:
            self._stored.add(known)
        return known

    def _constant_tensor(self, x: Constant) -> Name:
        if any(isinstance(size, Size) for size in x.shape):
            one = x.array.size and (x.array == x.array.reshape(-1)[0]).all()
            row = x.array.reshape(-1)[0] if one else x.array
            return self.op("Expand", self.constant(row), self.sizes(x.shape))
        known = self.name_of(x)
        if known is not None:
            self.initializers[known] = x.array
            if known in self._parameters:
                self._stored.add(known)
            return known
        return self.constant(x.array)

    def name_of(self, x: Constant) -> Name | None:
        """Return the name of a parameter, a buffer or a parametrized weight of the model."""
        return self._names.get(id(x.tensor), self._names.get(id(x.array)))

    def cast(self, x: Any, dtype: Any, name: str = "constant") -> Name:
        """Return x with elements of type `dtype`; numbers become constants of that type."""
        dtype = numpy.dtype(dtype)
        if isinstance(x, Size):
            return self.cast_name(self.scalar(x), dtype)
        if isinstance(x, Value | Constant):
            return self.value(x) if x.dtype == dtype else self.cast_name(self.value(x), dtype)
        return self.constant(x, dtype, name)

    def cast_name(self, name: Name, dtype: Any) -> Name:
        """Return the tensor `name` with elements of type `dtype`."""
        return self.op("Cast", name, to=self.onnx.helper.np_dtype_to_tensor_dtype(numpy.dtype(dtype)))

    # -- the end

    def finish(self, out: Value | Constant, name: Name) -> None:
        """Give an output of the graph its name."""
        made = self.value(out)
        node = self.nodes[-1] if self.nodes else None
        if node is not None and made in node.output and list(node.output).count(made) == 1:
            node.output[list(node.output).index(made)] = name
        else:
            self.nodes.append(
                self.onnx.helper.make_node("Identity", [made], [name], self.unique(f"{name}/Identity"))
            )

    def used_nodes(self, ends: Sequence[Name]) -> list[Any]:
        """Return the nodes that the outputs depend on, in order, after those of constants."""
        needed, kept = set(ends), []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        self._needed = needed
        make, constant = self.onnx.helper.make_node, self.onnx.numpy_helper.from_array
        constants = [
            make("Constant", [], [name], f"{name}/Constant", value=constant(array, name))
            for name, array in self.initializers.items()
            if name in needed and not self._is_stored(name)
        ]
        return constants + kept[::-1]

    def _is_stored(self, name: Name) -> bool:
        return name in self._stored or self.initializers[name].dtype.kind != "f"

    def used_initializers(self) -> list[Any]:
        """Return the tensors that these nodes read."""
        make = self.onnx.numpy_helper.from_array
        return [
            make(array, name)
            for name, array in self.initializers.items()
            if name in self._needed and self._is_stored(name)
        ]

    # -- sizes

    def sizes(self, shape: AnyShape | Sequence[Any]) -> Name:
        """Return the name of a 1-d int64 tensor with these sizes."""
        if not any(isinstance(size, Size) for size in shape):
            return self.constant(numpy.array(shape, numpy.int64), name="sizes")
        parts = [
            self.size(s) if isinstance(s, Size) else self.constant(numpy.array([s], numpy.int64), name="size")
            for s in shape
        ]
        return self.op("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]

    def scalar(self, size: Size) -> Name:
        """Return the name of a 0-d int64 tensor."""
        return self.op("Squeeze", self.size(size), self.constant(numpy.array([0], numpy.int64)))

    def size(self, size: Size) -> Name:
        """Return the name of a 1-d int64 tensor with this one size, computed from known ones.

        Raises:
            OnnxError: if it is not a known size (plus, times, divided by a number) or a product of two.
        """
        if size not in self._shared:
            self._shared[size] = self._size(size)
        return self._shared[size]

    def _size(self, size: Size) -> Name:
        values = size.values
        known = self._known_sizes.get(values)
        if known is not None:
            name, axis = known
            return self.op("Shape", name, start=axis, end=axis + 1)
        for others in list(self._known_sizes):
            for kind, count in _relations(values, others):
                number = self.constant(numpy.array([count], numpy.int64), name="size")
                return self.op(kind, self.size(Size(others)), number)
        for first in list(self._known_sizes):
            for second in list(self._known_sizes):
                if values == tuple(a * b for a, b in zip(first, second, strict=True)):
                    return self.op("Mul", self.size(Size(first)), self.size(Size(second)))
        raise OnnxError(
            f"{self.path or 'the model'}: a size that is {' or '.join(map(str, values))} for inputs of "
            "other sizes cannot be computed from these: leave the axis out of dynamic_axes"
        )


def _relations(values: tuple[int, ...], others: tuple[int, ...]) -> Sequence[tuple[str, int]]:
    """Return how to compute the values from others with one number: (operator, number)."""
    pairs = list(zip(values, others, strict=True))
    found = []
    if all(b and a % b == 0 and a // b == values[0] // others[0] for a, b in pairs):
        found.append(("Mul", values[0] // others[0]))
    if all(a and b % a == 0 and b // a == others[0] // values[0] for a, b in pairs):
        found.append(("Div", others[0] // values[0]))
    if all(a - b == values[0] - others[0] for a, b in pairs):
        found.append(("Add", values[0] - others[0]))
    return found


def fail(call: Call, reason: str) -> OnnxError:
    """Return the error that names the operator and the layer."""
    return OnnxError(
        f"{call.function.__name__.removesuffix('Function')} in {call.path or 'the model'}: {reason}"
    )
