"""Masks that are wrong in a known way: every kind of failure, from barely to wholly.

Each function takes a true mask and a severity in [0, 1] and returns the failed mask; 0 leaves the mask as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from anomseg.data.volumes.phantoms.anatomy import Anatomy, Tissue
from anomseg.data.volumes.phantoms.fields import smooth_field

Bits = NDArray[np.bool_]
GROWTH = 6.0
"""The largest excess, in sizes of the true mask: the Dice of the true mask and one so much too large is 2/(2+6)."""


@dataclass(frozen=True)
class Surroundings:
    """What a failure may run into.

    Attributes:
        tissue: ``(D, H, W)`` of `Tissue`.
        spacing: Millimetres, ``(z, y, x)``.
    """

    tissue: NDArray[np.uint8]
    spacing: tuple[float, float, float]


Failure = Callable[[Bits, float, Surroundings, np.random.Generator], Bits]


def missed(mask: Bits, severity: float, around: Surroundings, rng: np.random.Generator) -> Bits:
    """A part is not found: all beyond a plane is missing, ``severity`` of the voxels."""
    along = _along(mask.shape, around, rng)
    return _without(mask, along, severity)


def eroded(mask: Bits, severity: float, around: Surroundings, rng: np.random.Generator) -> Bits:
    """Drawn too tightly: ``severity`` of the voxels, those nearest to the border, are missing."""
    depth = ndimage.distance_transform_edt(mask, around.spacing) + rng.uniform(0, 0.01, mask.shape)
    return _without(mask, -depth, severity)


def holes(mask: Bits, severity: float, around: Surroundings, rng: np.random.Generator) -> Bits:
    """Blotches inside are missing, up to nine tenths of the voxels."""
    cells = tuple(max(round(side * step / 14), 1) for side, step in zip(mask.shape, around.spacing, strict=True))
    return _without(mask, smooth_field(rng, mask.shape, cells), 0.9 * severity)


def dilated(mask: Bits, severity: float, around: Surroundings, rng: np.random.Generator) -> Bits:
    """Drawn too widely: the voxels nearest outside are added, up to `GROWTH` times the mask's size."""
    distance = ndimage.distance_transform_edt(~mask, around.spacing) + rng.uniform(0, 0.01, mask.shape)
    return _with(mask, distance, severity)


def leaked(mask: Bits, severity: float, around: Surroundings, rng: np.random.Generator) -> Bits:
    """Runs out into a neighbour: voxels of one tissue next to the mask are added, nearest first."""
    distance = ndimage.distance_transform_edt(~mask, around.spacing)
    rim = (distance > 0) & (distance <= 2.5 * max(around.spacing))
    kinds, counts = np.unique(around.tissue[rim], return_counts=True)
    solid = ~np.isin(kinds, (Tissue.AIR, Tissue.GAS))
    if not solid.any():
        return mask.copy()
    kind = rng.choice(kinds[solid], p=counts[solid] / counts[solid].sum())
    toward = _along(mask.shape, around, rng)
    order = np.where(around.tissue == kind, distance - 0.5 * toward, np.inf)
    return _with(mask, order, severity)


def shifted(mask: Bits, severity: float, around: Surroundings, rng: np.random.Generator) -> Bits:
    """Lies beside its place: moved by up to four fifths of its extent, where little overlaps."""
    hit = np.argwhere(mask)
    extent = (hit.max(0) - hit.min(0) + 1) * np.array(around.spacing)
    direction = rng.standard_normal(3)
    direction /= np.abs(direction).max()
    steps = np.rint(0.8 * severity * direction * extent / np.array(around.spacing)).astype(int)
    moved = hit + steps
    moved = moved[((moved >= 0) & (moved < np.array(mask.shape))).all(1)]
    result = np.zeros_like(mask)
    result[tuple(moved.T)] = True
    return result


def false_blob(mask: Bits, severity: float, around: Surroundings, rng: np.random.Generator) -> Bits:
    """A second blob lies elsewhere in the body, up to `GROWTH` times as large as the mask."""
    seats = np.argwhere(~np.isin(around.tissue, (Tissue.AIR, Tissue.GAS, Tissue.BONE)) & ~mask)
    if not len(seats):
        return mask.copy()
    near = np.array(around.spacing) * (seats - np.argwhere(mask).mean(0))
    far = seats[np.linalg.norm(near, axis=1) > 40]
    seat = rng.choice(far if len(far) else seats)
    return _with(mask, _from(seat, mask.shape, around), severity)


def wrong_organ(mask: Bits, severity: float, around: Surroundings, rng: np.random.Generator) -> Bits:
    """``severity`` of the mask lies on a part of another organ instead."""
    others = (Tissue.LIVER, Tissue.SPLEEN, Tissue.KIDNEY, Tissue.BOWEL, Tissue.VESSEL)
    kinds = [kind for kind in others if (around.tissue == kind).any()]
    if not kinds:
        return missed(mask, severity, around, rng)
    other = around.tissue == kinds[int(rng.integers(len(kinds)))]
    seat = rng.choice(np.argwhere(other))
    order = np.where(other & ~mask, _from(seat, mask.shape, around), np.inf)
    astray = _first(order, round(severity * int(mask.sum())))
    return _without(mask, _along(mask.shape, around, rng), severity) | astray


def merged_slices(mask: Bits, severity: float, around: Surroundings, rng: np.random.Generator) -> Bits:
    """Slices run into one another: each shows all that up to six slices to one side of it show."""
    del around
    result = mask.copy()
    side = 1 if rng.random() < 0.5 else -1
    for step in range(1, round(6 * severity) + 1):
        if step < len(mask):
            kept = slice(step, None) if side > 0 else slice(None, -step)
            source = slice(None, -step) if side > 0 else slice(step, None)
            result[kept] |= mask[source]
    return result


FAILURES: dict[str, Failure] = {
    one.__name__: one
    for one in (missed, leaked, shifted, eroded, dilated, false_blob, wrong_organ, holes, merged_slices)
}
"""Every kind by its name."""


def failed_mask(anatomy: Anatomy, kind: str, severity: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A predicted mask of organ and tumour in which the tumour has failed; all borders are a little off.

    Args:
        anatomy: The phantom.
        kind: One of `FAILURES`.
        severity: From 0, no failure but the borders, to 1.
        rng: Where the choices come from.

    Returns:
        ``(D, H, W)`` uint8: 0 background, 1 organ, 2 tumour; empty of tumour where all of it is missed.
    """
    truth = anatomy.classes
    around = Surroundings(anatomy.tissue, anatomy.spacing)
    tumour = FAILURES[kind](truth == 2, severity, around, rng)
    organ = _roughened(truth > 0, around, rng)
    mask = organ.astype(np.uint8)
    mask[_roughened(tumour, around, rng) if tumour.any() else tumour] = 2
    return mask


def _roughened(mask: Bits, around: Surroundings, rng: np.random.Generator) -> Bits:
    """The mask with its border up to about a voxel off, as any segmentation's is."""
    wobble = smooth_field(rng, mask.shape, tuple(max(side // 4, 1) for side in mask.shape))
    hit = np.argwhere(mask)
    # Only what is near the mask can change, and distances over a whole volume take long.
    near = tuple(slice(max(low - 3, 0), high + 4) for low, high in zip(hit.min(0), hit.max(0), strict=True))
    inside = ndimage.distance_transform_edt(mask[near], around.spacing)
    outside = ndimage.distance_transform_edt(~mask[near], around.spacing)
    result = np.zeros_like(mask)
    result[near] = inside - outside + 0.6 * min(around.spacing) * wobble[near] > 0
    return result


def _along(shape: tuple[int, ...], around: Surroundings, rng: np.random.Generator) -> NDArray[np.float64]:
    """Millimetres of every voxel along a random direction."""
    direction = rng.standard_normal(3)
    direction /= np.linalg.norm(direction)
    places = np.ogrid[tuple(slice(0, side) for side in shape)]
    return sum(part * step * place for part, step, place in zip(direction, around.spacing, places, strict=True))


def _from(seat: NDArray[np.int64], shape: tuple[int, ...], around: Surroundings) -> NDArray[np.float64]:
    """Millimetres of every voxel from one of them."""
    places = np.ogrid[tuple(slice(0, side) for side in shape)]
    return np.sqrt(
        sum((step * (place - middle)) ** 2 for step, place, middle in zip(around.spacing, places, seat, strict=True))
    )


def _without(mask: Bits, order: NDArray[np.floating], share: float) -> Bits:
    """The mask without the share of its voxels that come last in an order."""
    result = np.zeros_like(mask)
    places = np.flatnonzero(mask)
    kept = places[np.argsort(order.ravel()[places], kind="stable")][: len(places) - round(share * len(places))]
    result.ravel()[kept] = True
    return result


def _with(mask: Bits, order: NDArray[np.floating], severity: float) -> Bits:
    """The mask with the voxels outside that come first in an order; infinite ones are never taken."""
    return mask | _first(np.where(mask, np.inf, order), round(GROWTH * severity**2 * int(mask.sum())))


def _first(order: NDArray[np.floating], count: int) -> Bits:
    result = np.zeros(order.shape, bool)
    places = np.argsort(order, axis=None, kind="stable")[:count]
    result.ravel()[places[np.isfinite(order.ravel()[places])]] = True
    return result
