"""Frames with pasted objects as a benchmark: building a folder, its manifest, its maps of pasted inliers."""

from anomseg.data.pasted.build import build_pasted, rebuild_pasted
from anomseg.data.pasted.control import control_map, has_control
from anomseg.data.pasted.manifest import Manifest, Paste, PastedFrame, read_manifest
from anomseg.data.pasted.options import PasteOptions, paste_options

__all__ = [
    "Manifest",
    "Paste",
    "PasteOptions",
    "PastedFrame",
    "build_pasted",
    "control_map",
    "has_control",
    "paste_options",
    "read_manifest",
    "rebuild_pasted",
]
