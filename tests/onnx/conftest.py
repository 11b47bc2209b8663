"""ONNX tests run the plain bodies: there is nothing to compile, and the models are small."""

import pytest

from tinygrad_norm import use_loops


@pytest.fixture(autouse=True)
def _plain_bodies():
    with use_loops("off"):
        yield
