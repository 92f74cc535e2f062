"""Procedural street scenes with exact labels and odd objects, for demonstrations and tests without a download."""

from anomseg.data.generated.dataset import generated_frames, write_dataset
from anomseg.data.generated.odd_objects import OBJECT_KINDS
from anomseg.data.generated.scene import CLASS_NAMES, GeneratedScene, generate_scene

__all__ = ["CLASS_NAMES", "OBJECT_KINDS", "GeneratedScene", "generate_scene", "generated_frames", "write_dataset"]
