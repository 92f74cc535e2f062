"""Generated CT-like phantoms and masks that fail in known ways."""

from anomseg.data.volumes.phantoms.anatomy import Anatomy, Tissue, draw_anatomy
from anomseg.data.volumes.phantoms.cases import CLASSES, SPLITS, Phantom, make_phantom, phantom_cases
from anomseg.data.volumes.phantoms.failures import FAILURES, Surroundings, failed_mask
from anomseg.data.volumes.phantoms.rendering import draw_ct

__all__ = [
    "CLASSES",
    "FAILURES",
    "SPLITS",
    "Anatomy",
    "Phantom",
    "Surroundings",
    "Tissue",
    "draw_anatomy",
    "draw_ct",
    "failed_mask",
    "make_phantom",
    "phantom_cases",
]
