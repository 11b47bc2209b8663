"""Export a model: record what it does, write it as operators of ONNX, check the file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from ..autograd.function import Function
from ..autograd.tensor import Tensor
from ..files import replacing
from ..module import Module
from . import (  # noqa: F401  (each adds its converters to the table)
    convert_activations,
    convert_functions,
    convert_layers,
    convert_losses,
    convert_norms,
    convert_primitives,
    convert_shapes,
    convert_windows,
)
from .converters import CONVERTERS
from .decompositions import COMPOSED
from .graph_builder import GraphBuilder
from .onnx_package import OLDEST_WRITTEN, OnnxError, newest_opset, onnx_package
from .recorder import Recording, Rewrite, record
from .sizes import AnyShape, Merged, Size

DEFAULT_OPSET = 23
"""The first that has all normalizations and attention."""

Axes = Mapping[str, Mapping[int, str] | Sequence[int]]
"""By name of input or output: the axes whose size may change, with a name for the size."""

_EXPANDED = 2  # recordings with other sizes beside the first: two tell a + b from a·b


def export(
    model: Module,
    args: Tensor | Sequence[Tensor],
    file: str | Path,
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Axes | None = None,
    opset_version: int | None = None,
) -> None:
    """Write `model` in evaluation mode to an ONNX file.

    The model runs on `args` and is recorded; it is run again with other sizes on `dynamic_axes`. Operators
    that ONNX has become those operators, all others the primitives of their composed form. Parameters and
    buffers keep their names; parametrized weights are written as their values.

    Args:
        model: the module to export. It is not changed.
        args: the inputs, a tensor or several. Their shapes and dtypes become those of the file.
        file: the path to write to. It is replaced once the new file is complete.
        input_names: one for each input; without them x, or x0, x1, …
        output_names: one for each output tensor; without them y, or y0, y1, …
        dynamic_axes: as in PyTorch, {"x": {0: "batch"}} or {"x": [0]}. Axes of one name have one size.
            Without it, all sizes are fixed.
        opset_version: from 17 to the newest of the installed onnx; 23 if not given.

    Raises:
        TypeError: if the model is not a Module, an argument is not a tensor, or `dynamic_axes` is not
            as described.
        ValueError: if names or axes do not fit, or the opset is not supported. An OnnxError, which is one, if
            an operator cannot be exported; it names the operator and the layer.
        RuntimeError: if the package onnx is not installed.
        OSError: if the file cannot be written.
    """
    onnx = onnx_package()
    inputs = _checked_args(model, args)
    opset = _checked_opset(opset_version)
    names = _checked_names(input_names, len(inputs), "input_names", "x")
    _check_axes(dynamic_axes)
    symbols = _symbols(dynamic_axes or {}, names, inputs)
    recordings = _recordings(model, inputs, symbols, opset)
    merged = Merged(recordings)
    if not merged.outputs:
        raise OnnxError(f"{type(model).__name__} returns no tensor: there is nothing to export")
    ends = _checked_names(output_names, len(merged.outputs), "output_names", "y")
    if set(names) & set(ends):
        raise ValueError(f"input and output names must differ, got {sorted(set(names) & set(ends))} twice")
    if unknown := set(dynamic_axes or ()) - {*names, *ends}:
        raise ValueError(
            f"dynamic_axes names {sorted(unknown)}, but the inputs and outputs are {[*names, *ends]}"
        )
    for name, value in zip(ends, merged.outputs, strict=True):
        for axis in (dynamic_axes or {}).get(name, ()):
            _check_axis(name, value.shape, axis)
    graph = _graph(
        GraphBuilder(model, opset, recordings[0].weights), merged, names, ends, symbols, type(model).__name__
    )
    proto = onnx.helper.make_model(
        graph,
        producer_name="tinygrad_norm",
        opset_imports=[onnx.helper.make_opsetid("", opset)],
        ir_version=onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)]),
    )
    onnx.checker.check_model(proto, full_check=True)
    with replacing(file) as path:
        onnx.save_model(proto, str(path))


# -- arguments


def _checked_args(model: Any, args: Any) -> list[Tensor]:
    if not isinstance(model, Module):
        raise TypeError(f"export takes a module of tinygrad_norm.nn, got {type(model).__name__}")
    inputs = [args] if isinstance(args, Tensor) else list(args)
    for x in inputs:
        if not isinstance(x, Tensor):
            raise TypeError(f"args are the tensors that the model is called with, got {type(x).__name__}")
    if not inputs:
        raise ValueError("args must have at least one tensor: without an input there is nothing to compute")
    return inputs


def _checked_opset(opset: int | None) -> int:
    newest = newest_opset()
    chosen = min(DEFAULT_OPSET, newest) if opset is None else opset
    if type(chosen) is not int or not OLDEST_WRITTEN <= chosen <= newest:
        raise ValueError(
            f"opset_version must be an int from {OLDEST_WRITTEN} to {newest}, the newest that the installed "
            f"onnx knows, got {opset!r}"
        )
    return chosen


def _checked_names(names: Sequence[str] | None, count: int, what: str, letter: str) -> list[str]:
    if names is None:
        return [letter] if count == 1 else [f"{letter}{i}" for i in range(count)]
    if isinstance(names, str) or len(names) != count or len(set(names)) != count or not all(names):
        raise ValueError(f"{what} must be {count} different names, got {names!r}")
    return list(names)


def _check_axes(axes: Any) -> None:
    """Raise TypeError unless `axes` is None or has, by name, names by axis or the axes."""
    expected = 'dynamic_axes must be as in {"x": {0: "batch"}} or {"x": [0]}'
    if not isinstance(axes, Mapping | None):
        raise TypeError(f"{expected}, got {axes!r}")
    for name, given in (axes or {}).items():
        if not isinstance(given, Mapping | list | tuple):
            raise TypeError(f"{expected}, got {given!r} for {name!r}")
        if isinstance(given, Mapping):
            for symbol in given.values():
                if not isinstance(symbol, str) or not symbol:
                    raise TypeError(f"{expected}, got {symbol!r} as the name of a size of {name!r}")


def _check_axis(name: str, shape: AnyShape, axis: Any) -> None:
    if type(axis) is not int or not -len(shape) <= axis < len(shape):
        raise ValueError(
            f"dynamic_axes: {name} has no axis {axis!r}: its axes are the ints 0 to {len(shape) - 1}"
            if shape
            else f"dynamic_axes: {name} is a single number and has no axis {axis!r}: leave it out"
        )


def _symbols(axes: Axes, names: Sequence[str], inputs: Sequence[Tensor]) -> dict[str, dict[int, str]]:
    """Return, by input, the name of the size of each dynamic axis."""
    found: dict[str, dict[int, str]] = {}
    sizes: dict[str, tuple[int, str]] = {}
    for name, x in zip(names, inputs, strict=True):
        given = axes.get(name, {})
        by_axis = dict(given) if isinstance(given, Mapping) else {axis: f"{name}_{axis}" for axis in given}
        for axis, symbol in by_axis.items():
            _check_axis(name, x.shape, axis)
            size, first = sizes.setdefault(symbol, (x.shape[axis], name))
            if size != x.shape[axis]:
                raise ValueError(
                    f"dynamic_axes: {symbol!r} is {size} in {first} and {x.shape[axis]} in {name}: "
                    "use two names"
                )
        found[name] = {axis % x.ndim: symbol for axis, symbol in by_axis.items()}
    return found


# -- recording


def _recordings(
    model: Module, inputs: list[Tensor], symbols: dict[str, dict[int, str]], opset: int
) -> list[Recording]:
    """Record the model with these inputs, with other values, and with other sizes, a symbol at a time."""
    rewrite = _rewrite(opset)
    every = sorted({symbol for by_axis in symbols.values() for symbol in by_axis.values()})
    changes: list[dict[str, int]] = [{}, {}]
    changes += [{symbol: more} for symbol in every for more in range(1, _EXPANDED + 1)]
    recordings = []
    for i, change in enumerate(changes):
        variants = (
            inputs
            if not i
            else [
                _resized(x, {axis: change.get(symbol, 0) for axis, symbol in by_axis.items()})
                for x, by_axis in zip(inputs, symbols.values(), strict=True)
            ]
        )
        recordings.append(record(model, variants, rewrite))
    return recordings


def _resized(x: Tensor, more: dict[int, int]) -> Tensor:
    """Return x with other values, integers in another order, and longer along some axes."""
    array = numpy.roll(x.numpy(), 1)
    if array.dtype.kind == "f":
        array = array * array.dtype.type(0.75) + array.dtype.type(0.125)
    for axis, extra in more.items():
        if extra:
            array = array.take(numpy.arange(array.shape[axis] + extra) % max(array.shape[axis], 1), axis)
    return Tensor(array)


def _rewrite(opset: int) -> Rewrite:
    def rewrite(function: type[Function], inputs: Any, options: dict[str, Any], path: str) -> Any:
        converter = CONVERTERS.get(function)
        if converter is not None and converter.accepts(opset, inputs, options):
            return None
        where = f"{function.__name__.removesuffix('Function')} in {path or 'the model'}"
        composed = COMPOSED.get(function)
        if composed is None:
            raise OnnxError(
                f"{where} has no operator in ONNX opset {opset}, and no form of primitives here: "
                "replace it, or export the model without it"
            )

        def run(*inputs: Any, **options: Any) -> Any:
            try:
                return composed(*inputs, **options)
            except OnnxError as error:
                raise OnnxError(f"{where}: {error}") from None

        return run

    return rewrite


# -- the graph


def _graph(
    g: GraphBuilder,
    merged: Merged,
    names: list[str],
    ends: list[str],
    symbols: dict[str, dict[int, str]],
    title: str,
) -> Any:
    helper = g.onnx.helper
    known: dict[tuple[int, ...], str] = {}
    for value, name in zip(merged.inputs, names, strict=True):
        g.unique(name)
        g.name_value(value, name)
        for axis, symbol in symbols[name].items():
            size = value.shape[axis]
            if isinstance(size, Size):
                known[size.values] = symbol
    for name in ends:
        g.unique(name)
    for call in merged.calls:
        g.path = call.path
        result = CONVERTERS[call.function].emit(g, call)
        results = [result] if isinstance(result, str) else list(result)
        for value, made in zip(call.outputs, results, strict=False):
            g.name_value(value, made)
    g.path = ""
    for out, name in zip(merged.outputs, ends, strict=True):
        g.finish(out, name)
    info = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), _dims(x.shape, known))
        for x, name in zip([*merged.inputs, *merged.outputs], [*names, *ends], strict=True)
    ]
    return helper.make_graph(
        g.used_nodes(ends),
        title,
        info[: len(names)],
        info[len(names) :],
        initializer=g.used_initializers(),
    )


def _dims(shape: AnyShape, known: dict[tuple[int, ...], str]) -> list[int | str | None]:
    return [known.get(size.values) if isinstance(size, Size) else size for size in shape]
