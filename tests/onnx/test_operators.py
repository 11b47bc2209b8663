"""The node tests that the onnx package ships, for every operator that a loaded file may have."""

import re
import warnings

import numpy
import pytest

from tinygrad_norm import Tensor, no_grad
from tinygrad_norm import onnx as tn_onnx
from tinygrad_norm.onnx.onnx_package import OLDEST_READ
from tinygrad_norm.onnx.running import RUNNERS

onnx = pytest.importorskip("onnx")

REFUSED = (  # what a loaded file may not have, each named with its node
    r"Attention \(node \d\): a cache, several outputs and",
    r"AveragePool \(node 0\): dilations",
    r"BatchNormalization \(node 0\): training_mode=1",
    r"Dropout \(node 0\): training_mode=True",
    r"GRU \(node 0\): sequence lengths",
    r"LSTM \(node 0\): other activations, clip",
    r"MaxPool \(node 0\): storage_order",
)


def cases():
    """Yield the tests of supported operators with ordinary tensors, in an opset that is read."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():  # of NumPy, about the numbers in them
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    for case in found:
        nodes, opset = case.model.graph.node, case.model.opset_import[0]
        if not all(node.op_type in RUNNERS and not node.domain for node in nodes):
            continue
        if opset.version < OLDEST_READ:
            if any(_since(node, OLDEST_READ) > opset.version for node in nodes):
                continue
            opset.version = OLDEST_READ  # the operator is the same there
        arrays, expected = case.data_sets[0]
        plain = (isinstance(a, numpy.ndarray | numpy.generic) for a in (*arrays, *expected))
        if all(plain) and all(a.dtype.kind in "biuf" for a in (*arrays, *expected)):
            yield case, arrays, expected


def _since(node, opset):
    return onnx.defs.get_schema(node.op_type, opset).since_version


@pytest.mark.slow
def test_the_node_tests_of_the_onnx_package(tmp_path):
    path, run, failed, refused = tmp_path / "m.onnx", set(), [], 0
    for case, arrays, expected in cases():
        onnx.save_model(case.model, path)
        try:
            loaded = tn_onnx.load(path)
            with no_grad():
                result = loaded(*map(Tensor, arrays))
            found = [y.numpy() for y in (result if isinstance(result, tuple) else (result,))]
            for y, y_expected in zip(found, expected, strict=True):
                assert (y.shape, y.dtype) == (y_expected.shape, y_expected.dtype)
                numpy.testing.assert_allclose(y, y_expected, rtol=case.rtol, atol=max(case.atol, 1e-6))
            run |= {node.op_type for node in case.model.graph.node}
        except tn_onnx.OnnxError as error:
            refused += 1
            if not any(re.search(reason, str(error)) for reason in REFUSED):
                failed.append(f"{case.name}: {error}")
        except Exception as error:
            failed.append(f"{case.name}: {type(error).__name__} {error}"[:300])
    assert not failed, "\n".join(failed)
    assert RUNNERS.keys() <= run
    assert refused < 80  # most are attention with a cache
