"""The package `onnx`, an extra: imported when it is needed, never by `import tinygrad_norm`."""

from types import ModuleType

OLDEST_READ, OLDEST_WRITTEN = 13, 17


class OnnxError(ValueError):
    """A model that cannot be exported, or a file that cannot be loaded."""


def onnx_package() -> ModuleType:
    """Return the module `onnx`.

    Raises:
        RuntimeError: if it is not installed.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        raise RuntimeError("ONNX files need the package onnx: pip install 'tinygrad_norm[onnx]'") from None
    return onnx


def newest_opset() -> int:
    """Return the newest opset that the installed `onnx` knows."""
    return int(onnx_package().defs.onnx_opset_version())
