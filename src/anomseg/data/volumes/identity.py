"""Identity of cases, by which it is known again what a detector was trained on, and what a result is of."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from anomseg.data.volumes.case import Case
from anomseg.files import sha256_of_file


def case_fingerprint(case: Case) -> str:
    """Identity of a case's image: whatever is made of one scan, it is the same scan.

    Returns:
        The first 16 hexadecimal digits of the SHA-256 of the image file, of the identity that a generated case has in
        its ``meta``, or of the voxels where there is neither.
    """
    path, identity = case.meta.get("path"), case.meta.get("identity")
    if path and Path(path).is_file():
        return sha256_of_file(path)[:16]
    if identity:
        return hashlib.sha256(str(identity).encode()).hexdigest()[:16]
    voxels = np.ascontiguousarray(case.image())
    return hashlib.sha256(repr(voxels.shape).encode() + voxels.tobytes()).hexdigest()[:16]


def file_fingerprints(case: Case) -> list[str | None]:
    """Identity of all files of a case: of the image, of predicted and true mask, of probabilities; empty without files.

    Returns:
        16 hexadecimal digits of each; None for those that are not there.
    """
    if not case.meta.get("path"):
        return []
    paths = [case.meta["path"], *case.meta.get("masks", ())]
    return [sha256_of_file(path)[:16] if path and Path(path).is_file() else None for path in paths]
