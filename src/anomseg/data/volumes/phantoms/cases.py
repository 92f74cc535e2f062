"""Phantoms as cases: any number of them, each made anew from its seed and index when it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from anomseg.data.volumes.case import Case, Mask, Volume
from anomseg.data.volumes.phantoms.anatomy import EXTENT, Anatomy, Size, draw_anatomy
from anomseg.data.volumes.phantoms.failures import FAILURES, failed_mask
from anomseg.data.volumes.phantoms.rendering import draw_ct
from anomseg.errors import ConfigError, unknown_name

CLASSES = ("background", "organ", "tumour")
SPLITS = {"generator": 0, "train": 100_000, "val": 200_000, "test": 300_000}
"""Index of the first phantom of each split: a phantom is in one split alone, whatever is made of it."""
_ROOM = 100_000


@dataclass(frozen=True)
class Phantom:
    """One phantom.

    Attributes:
        image: Hounsfield units, float32 ``(D, H, W)``.
        anatomy: Its tissues.
    """

    image: Volume
    anatomy: Anatomy


def phantom_cases(
    split: str = "test",
    count: int = 200,
    failures: int = 1,
    seed: int = 0,
    size: Size = (24, 64, 64),
    kinds: str = "",
) -> list[Case]:
    """Generated CT-like phantoms with masks of a tumour that fail in known ways.

    Nothing is held but the few phantoms looked at last; the same arguments give the same cases in any process.

    Args:
        split: ``generator``, ``train``, ``val`` or ``test``; no phantom is in two of them.
        count: Phantoms.
        failures: Failed masks of each phantom, of different kinds; a phantom is one group.
        seed: Of the phantoms.
        size: ``(D, H, W)`` voxels of the region of 96 x 224 x 224 mm.
        kinds: Kinds of failure, joined by ``+``; all where empty.

    Returns:
        The cases; ``meta`` holds ``kind`` and ``severity``.

    Raises:
        ConfigError: An unknown split or kind, or a number out of range.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    chosen = [part.strip() for part in kinds.split("+") if part.strip()] or list(FAILURES)
    for kind in chosen:
        if kind not in FAILURES:
            raise unknown_name("kind of failure", kind, FAILURES)
    if not 1 <= count <= _ROOM or not 1 <= failures <= len(chosen) or seed < 0 or min(size) < 2:
        raise ConfigError(
            f"phantoms: count {count} is from 1 to {_ROOM}, failures {failures} from 1 to {len(chosen)} (as many as "
            f"kinds), seed {seed} from 0, and each side of size {list(size)} 2 or more"
        )
    size = (size[0], size[1], size[2])
    spacing = tuple(extent / side for extent, side in zip(EXTENT, size, strict=True))
    cases = []
    for index in range(SPLITS[split], SPLITS[split] + count):
        # Kinds go round, so that each is as frequent as any other.
        first = index * failures
        for number in range(failures):
            kind = chosen[(first + number) % len(chosen)]
            severity = float(np.random.default_rng([seed, index, 2, number]).random())
            group = f"phantom-{index:06d}"
            cases.append(
                Case(
                    group if failures == 1 else f"{group}-{kind}",
                    partial(_image, seed, index, size),
                    partial(_prediction, seed, index, size, kind, severity, number),
                    partial(_truth, seed, index, size),
                    spacing,  # type: ignore[arg-type]
                    group=group,
                    meta={"kind": kind, "severity": severity, "identity": f"phantom {index} of seed {seed}"},
                    classes=CLASSES,
                )
            )
    return cases


@lru_cache(maxsize=2)
def make_phantom(seed: int, index: int, size: Size) -> Phantom:
    """The phantom of a seed and an index, always the same one; its arrays cannot be written to."""
    anatomy = draw_anatomy(np.random.default_rng([seed, index, 0]), size)
    image = draw_ct(np.random.default_rng([seed, index, 1]), anatomy)
    for array in (anatomy.tissue, image):
        array.flags.writeable = False
    return Phantom(image, anatomy)


def _image(seed: int, index: int, size: Size) -> Volume:
    return make_phantom(seed, index, size).image.copy()


def _truth(seed: int, index: int, size: Size) -> Mask:
    return make_phantom(seed, index, size).anatomy.classes


def _prediction(seed: int, index: int, size: Size, kind: str, severity: float, number: int) -> Mask:
    rng = np.random.default_rng([seed, index, 3, number])
    return failed_mask(make_phantom(seed, index, size).anatomy, kind, severity, rng)
