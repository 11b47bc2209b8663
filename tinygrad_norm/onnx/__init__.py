"""Models as ONNX files: `export` writes one, `load` reads one."""

from .exporting import export
from .loading import OnnxModule, load
from .onnx_package import OnnxError
