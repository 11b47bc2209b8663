"""Models as ONNX files: `export` writes one, `load` reads one."""

from .exporting import export
from .onnx_module import OnnxModule, load
from .onnx_package import OnnxError
