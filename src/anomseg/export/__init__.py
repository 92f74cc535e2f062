"""Deployment: a segmenter and a detector leave as one file that runs without this library."""

from anomseg.export.onnx_file import Exported, export_onnx
from anomseg.export.parity import Parity

__all__ = ["Exported", "Parity", "export_onnx"]
