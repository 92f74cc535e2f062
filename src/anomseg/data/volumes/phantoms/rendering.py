"""The CT of a phantom: Hounsfield units with texture, blur between tissues, and noise."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from anomseg.data.volumes.case import Volume
from anomseg.data.volumes.phantoms.anatomy import Anatomy, Tissue
from anomseg.data.volumes.phantoms.fields import smooth_field

#: Lowest and highest mean of a tissue over phantoms, and how strong its texture is; a portal-venous phase.
HOUNSFIELD: dict[Tissue, tuple[float, float, float]] = {
    Tissue.AIR: (-1000, -1000, 0),
    Tissue.FAT: (-110, -90, 6),
    Tissue.MUSCLE: (50, 65, 6),
    Tissue.LIVER: (90, 125, 6),
    Tissue.SPLEEN: (105, 135, 5),
    Tissue.KIDNEY: (140, 200, 14),
    Tissue.BONE: (220, 420, 40),
    Tissue.VESSEL: (140, 190, 5),
    Tissue.BOWEL: (5, 60, 14),
    Tissue.GAS: (-900, -700, 20),
    Tissue.ORGAN: (80, 125, 10),
    Tissue.TUMOUR: (20, 70, 10),
}
BRIGHT = 0.2
"""Share of the tumours that take up more contrast medium than the organ around them."""
BRIGHTER = (145.0, 185.0)


def draw_ct(rng: np.random.Generator, anatomy: Anatomy) -> Volume:
    """Draw the CT of an anatomy.

    Args:
        rng: Where all its choices come from.
        anatomy: The tissues.

    Returns:
        Hounsfield units, float32 ``(D, H, W)``, whole numbers as scanners write them.
    """
    tissue = anatomy.tissue
    mean = np.zeros(len(Tissue), np.float32)
    for kind, (low, high, _) in HOUNSFIELD.items():
        mean[kind] = rng.uniform(low, high)
    if rng.random() < BRIGHT:
        mean[Tissue.TUMOUR] = rng.uniform(*BRIGHTER)
    strength = np.array([HOUNSFIELD[kind][2] for kind in Tissue], np.float32)
    sides = tissue.shape
    texture = smooth_field(rng, sides, tuple(max(side // 3, 1) for side in sides))
    slow = smooth_field(rng, sides, (2, 3, 3))
    values = mean[tissue] + strength[tissue] * (1.4 * texture + slow)
    # Voxels on a border hold some of both tissues.
    values = ndimage.gaussian_filter(values, (0.3, 0.5, 0.5))
    grain = ndimage.gaussian_filter(rng.standard_normal(sides).astype(np.float32), (0, 0.5, 0.5))
    values += rng.uniform(8, 18) * grain / grain.std()
    return np.clip(np.rint(values), -1024, 3071).astype(np.float32)
