"""The inside of a phantom: which tissue each voxel is, drawn organ over organ."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from anomseg.data.volumes.case import Mask
from anomseg.data.volumes.phantoms.fields import Field, coordinates, ellipsoid, smooth_field

Size = tuple[int, int, int]
EXTENT = (96.0, 224.0, 224.0)
"""Millimetres of the region that a phantom shows, ``(z, y, x)``; a voxel of 24 x 64 x 64 has 4 x 3.5 x 3.5 mm."""


class Tissue(IntEnum):
    """What a voxel can be."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    LIVER = 3
    SPLEEN = 4
    KIDNEY = 5
    BONE = 6
    VESSEL = 7
    BOWEL = 8
    GAS = 9
    ORGAN = 10
    TUMOUR = 11


@dataclass(frozen=True)
class Anatomy:
    """A phantom's tissues.

    Attributes:
        tissue: ``(D, H, W)`` uint8 of `Tissue`.
        spacing: Millimetres, ``(z, y, x)``.
    """

    tissue: Mask
    spacing: tuple[float, float, float]

    @property
    def classes(self) -> Mask:
        """The true mask: 1 the organ, 2 its tumour."""
        return ((self.tissue == Tissue.ORGAN) + 2 * (self.tissue == Tissue.TUMOUR)).astype(np.uint8)


def draw_anatomy(rng: np.random.Generator, size: Size) -> Anatomy:
    """Draw the tissues of one phantom: a slab of an upper abdomen, its pancreas-like organ and a tumour in it.

    Args:
        rng: Where all its choices come from.
        size: ``(D, H, W)`` voxels for the whole region.

    Returns:
        The tissues; organ and tumour have at least one voxel each.
    """
    spacing = tuple(extent / side for extent, side in zip(EXTENT, size, strict=True))
    axes = _warped(rng, size, spacing)  # type: ignore[arg-type]
    rough = 3.0 * smooth_field(rng, size, (4, 8, 8))
    tissue = np.zeros(size, np.uint8)
    body = ellipsoid(axes, (0, 10, 0), (900, rng.uniform(108, 125), rng.uniform(128, 150)))
    wall = rng.uniform(6, 22)
    tissue[body < 0] = Tissue.FAT
    tissue[(body < -wall) & (body > -wall - 11)] = Tissue.MUSCLE
    _spine(rng, axes, tissue)
    inside = body < -wall - 11
    for kind, centre, radii in _organs(rng):
        tissue[(ellipsoid(axes, centre, radii) + rough < 0) & inside] = kind
    _vessels(rng, axes, tissue)
    _bowel(rng, axes, rough, tissue, inside)
    _target(rng, axes, rough, tissue)
    return Anatomy(tissue, spacing)  # type: ignore[arg-type]


def _warped(rng: np.random.Generator, size: Size, spacing: tuple[float, float, float]) -> list[Field]:
    """Coordinates bent by a few millimetres, so that no organ is an exact ellipsoid."""
    return [axis + 7.0 * smooth_field(rng, size, (3, 4, 4)) for axis in coordinates(size, spacing)]


def _spine(rng: np.random.Generator, axes: list[Field], tissue: Mask) -> None:
    _, y, x = axes
    middle, side = 62 + rng.uniform(-4, 4), rng.uniform(-4, 4)
    for sign in (-1, 1):
        tissue[ellipsoid(axes, (0, middle + 18, side + sign * 36), (500, 20, 24)) < 0] = Tissue.MUSCLE
    tissue[(np.hypot(y - middle, x - side) < rng.uniform(17, 21))] = Tissue.BONE
    tissue[np.hypot(y - middle - 26, x - side) < 8] = Tissue.MUSCLE


def _organs(rng: np.random.Generator) -> list[tuple[Tissue, tuple[float, float, float], tuple[float, float, float]]]:
    """Kind, centre and radii of the large organs; the liver is on the left of a picture, as radiologists look."""
    shift = rng.uniform(-8, 8, (5, 3))
    scale = rng.uniform(0.85, 1.15, (5, 3))
    plan = [
        (Tissue.LIVER, (10, -20, -82), (70, 62, 52)),
        (Tissue.SPLEEN, (15, 30, 98), (38, 32, 22)),
        (Tissue.KIDNEY, (-25, 48, -56), (45, 22, 24)),
        (Tissue.KIDNEY, (-15, 48, 58), (45, 22, 24)),
        (Tissue.BOWEL, (20, -38, 48), (45, 28, 40)),
    ]
    return [
        (kind, tuple(np.add(centre, shift[row])), tuple(np.multiply(radii, scale[row])))
        for row, (kind, centre, radii) in enumerate(plan)
    ]


def _vessels(rng: np.random.Generator, axes: list[Field], tissue: Mask) -> None:
    _, y, x = axes
    for place, radius in ((8, rng.uniform(8, 11)), (-20, rng.uniform(8, 12))):
        tissue[np.hypot(y - 32 - rng.uniform(-3, 3), x - place - rng.uniform(-3, 3)) < radius] = Tissue.VESSEL
    tissue[np.hypot(y - 12 - rng.uniform(-3, 3), x - rng.uniform(-6, 2)) < 5] = Tissue.VESSEL


def _bowel(rng: np.random.Generator, axes: list[Field], rough: Field, tissue: Mask, inside: NDArray[np.bool_]) -> None:
    """Loops with fluid, some with gas on top, only where fat was."""
    for _ in range(int(rng.integers(4, 9))):
        centre = (rng.uniform(-48, 48), rng.uniform(-70, 10), rng.uniform(-60, 90))
        radii = tuple(rng.uniform(9, 18, 3))
        loop = (ellipsoid(axes, centre, radii) + 0.5 * rough < 0) & inside & (tissue == Tissue.FAT)
        tissue[loop] = Tissue.BOWEL
        if rng.random() < 0.4:
            tissue[loop & (axes[1] < centre[1] - 0.3 * radii[1])] = Tissue.GAS


def _target(rng: np.random.Generator, axes: list[Field], rough: Field, tissue: Mask) -> None:
    """A bent tube from the right to the left of the body, and a lobed tumour somewhere on it."""
    start = np.array([rng.uniform(-30, -8), rng.uniform(8, 22), rng.uniform(-42, -28)])
    middle = np.array([rng.uniform(-10, 15), rng.uniform(-22, 0), rng.uniform(-5, 15)])
    end = np.array([rng.uniform(0, 30), rng.uniform(5, 35), rng.uniform(50, 82)])
    share = np.linspace(0, 1, 12)[:, None]
    curve = (1 - share) ** 2 * start + 2 * share * (1 - share) * middle + share**2 * end
    radius = np.interp(share[:, 0], [0, 0.4, 1], [rng.uniform(13, 18), rng.uniform(8, 11), rng.uniform(8, 13)])
    tube = np.full(tissue.shape, np.inf, np.float32)
    for point, reach in zip(curve, radius, strict=True):
        z, y, x = (axis - place for axis, place in zip(axes, point, strict=True))
        np.minimum(tube, np.sqrt(z * z + y * y + x * x) - np.float32(reach), out=tube)
    # Bones, great vessels and kidneys keep their place.
    free = ~np.isin(tissue, (Tissue.AIR, Tissue.BONE, Tissue.VESSEL, Tissue.MUSCLE, Tissue.KIDNEY))
    tissue[(tube + 0.6 * rough < 0) & free] = Tissue.ORGAN
    seat = curve[int(rng.integers(1, 11))] + rng.uniform(-6, 6, 3)
    radii = tuple(rng.uniform(10, 30) * rng.uniform(0.75, 1.3, 3))
    tumour = (ellipsoid(axes, tuple(seat), radii) + 1.2 * rough < 0) & free
    tissue[tumour] = Tissue.TUMOUR
    for kind, place in ((Tissue.ORGAN, curve[0]), (Tissue.TUMOUR, seat)):
        if not (tissue == kind).any():  # on a coarse grid a small one may fall between the voxels
            nearest = sum(np.square(axis - middle) for axis, middle in zip(axes, place, strict=True))
            nearest = np.where(tissue == (Tissue.TUMOUR if kind == Tissue.ORGAN else Tissue.ORGAN), np.inf, nearest)
            tissue[np.unravel_index(int(np.argmin(nearest)), tissue.shape)] = kind
