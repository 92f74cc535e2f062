"""Near-duplicates: negatives that are evaluation images in another size, encoding or mirror."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from anomseg.data.negatives.folder import FolderNegatives
from anomseg.data.negatives.negative import Negative
from anomseg.errors import ConfigError, DataError, FrameError
from anomseg.types import UInt8Array

_SIDE, _KEPT = 32, 8
BITS = _KEPT * _KEPT


class HasImage(Protocol):
    """Anything with an id and pixels on demand: a `Frame` or a `Negative`."""

    @property
    def id(self) -> str:
        """Its name."""

    def image(self) -> UInt8Array:
        """Decode now to uint8 RGB ``(H, W, 3)``."""


def perceptual_hash(image: UInt8Array) -> np.uint64:
    """64 bits that change little when an image is resized or encoded anew.

    The image is made grey and 32x32, its cosine transform computed, and each of the 64 coefficients of
    frequencies 0 to 7 along either axis gives one bit: whether it is above their median.

    Args:
        image: ``(H, W, 3)`` uint8.

    Returns:
        The hash; distances are counted by `hamming`.
    """
    grey = Image.fromarray(np.ascontiguousarray(image)).convert("L")
    small = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), np.float64)
    basis = _cosines()
    waves = basis @ small @ basis.T
    bits = (waves > np.median(waves)).ravel()
    return np.packbits(bits).view(np.uint64)[0]


def hamming(hashes: np.ndarray, other: np.uint64) -> np.ndarray:
    """How many of the 64 bits differ, for each of ``hashes`` (uint64, any shape).

    Example:
        >>> hamming(np.array([0, 1, 7], np.uint64), np.uint64(0)).tolist()
        [0, 1, 3]
    """
    differing = np.ascontiguousarray(hashes ^ other)[..., None].view(np.uint8)
    return np.unpackbits(differing, axis=-1).sum(axis=-1)


@dataclass(frozen=True)
class Duplicate:
    """A negative that is an evaluation image.

    Attributes:
        negative: Its id.
        frame: Id of the evaluation image.
        distance: Bits by which their hashes differ.
    """

    negative: str
    frame: str
    distance: int


@dataclass(frozen=True)
class Screened:
    """Negatives after screening.

    Attributes:
        kept: Those that may be learned from.
        duplicates: Those that are evaluation images.
        unreadable: Ids of those that could not be decoded; they are not among the kept ones.
    """

    kept: list[Negative]
    duplicates: list[Duplicate]
    unreadable: list[str]


class NearDuplicates:
    """Recognises the images an evaluation uses, so that no negative is one of them.

    Compared are whole source images, never patches. Copies in another size (the aspect ratio may differ), another
    encoding, grey, and mirrored left to right are recognised; crops of more than the margins and rotations are not.
    Copies of RoadAnomaly's and RoadAnomaly21's images differ by at most 8 bits (re-encoded ones by 2), while the
    nearest of a thousand ImageNet images differs by 14 and two of their own by 16.

    Args:
        evaluation: The images that negatives must not be: frames of `load_frames`, or a folder.
        threshold: Hashes that differ in at most so many of their 64 bits count as the same image.

    Raises:
        DataError: There are no images, or none can be read.
        ConfigError: The threshold is not 0..63.
    """

    def __init__(self, evaluation: Iterable[HasImage] | str | Path, threshold: int = 8) -> None:
        if not 0 <= threshold < BITS:
            raise ConfigError(f"a threshold of {threshold} bits is out of range; give 0 to {BITS - 1}")
        images = FolderNegatives().find(Path(evaluation)) if isinstance(evaluation, str | Path) else evaluation
        self.threshold = threshold
        self.ids: list[str] = []
        hashes: list[np.uint64] = []
        unreadable: list[str] = []
        for one in images:
            try:
                pixels = one.image()
            except FrameError as error:
                unreadable.append(str(error))
                continue
            self.ids.append(one.id)
            # Either of the pair may be the mirrored one, and mirroring both changes nothing: one side is enough.
            hashes += [perceptual_hash(pixels), perceptual_hash(pixels[:, ::-1])]
        if not hashes:
            reason = f"; the first: {unreadable[0]}" if unreadable else ""
            raise DataError(f"there are no evaluation images to compare negatives with{reason}")
        if unreadable:
            warnings.warn(f"{len(unreadable)} evaluation images are not compared: {unreadable[0]}", stacklevel=2)
        self._hashes = np.array(hashes, np.uint64)

    def nearest(self, image: UInt8Array) -> tuple[str, int]:
        """The evaluation image nearest to an image ``(H, W, 3)``: its id, and by how many bits they differ."""
        distances = hamming(self._hashes, perceptual_hash(image))
        index = int(distances.argmin())
        return self.ids[index // 2], int(distances[index])

    def screen(self, negatives: Sequence[Negative]) -> Screened:
        """Part negatives into those that may be learned from and those that are evaluation images; decodes each."""
        screened = Screened([], [], [])
        for negative in negatives:
            try:
                frame, distance = self.nearest(negative.image())
            except FrameError:
                screened.unreadable.append(negative.id)
                continue
            if distance <= self.threshold:
                screened.duplicates.append(Duplicate(negative.id, frame, distance))
            else:
                screened.kept.append(negative)
        return screened


@cache
def _cosines() -> np.ndarray:
    """``(8, 32)``: cosines of frequencies 0 to 7, type II."""
    frequency, place = np.arange(_KEPT)[:, None], np.arange(_SIDE)[None]
    return np.cos(np.pi * (2 * place + 1) * frequency / (2 * _SIDE))
