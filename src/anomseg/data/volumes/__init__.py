"""Volumes: CT with predicted and true masks, from files, from generated phantoms, and on one working grid."""

from anomseg.data.volumes.case import FOREGROUND, Case, Mask, Volume, with_targets
from anomseg.data.volumes.catalog import CASES, load_cases
from anomseg.data.volumes.grid import WorkingGrid, resample
from anomseg.data.volumes.identity import case_fingerprint, file_fingerprints
from anomseg.data.volumes.overlap import dice_overlap

__all__ = [
    "CASES",
    "FOREGROUND",
    "Case",
    "Mask",
    "Volume",
    "WorkingGrid",
    "case_fingerprint",
    "dice_overlap",
    "file_fingerprints",
    "load_cases",
    "resample",
    "with_targets",
]
