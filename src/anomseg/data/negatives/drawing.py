"""Drawing negatives at random, past those that cannot be read."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from anomseg.data.negatives.categories import shown_as
from anomseg.data.negatives.negative import Negative, Region
from anomseg.errors import ConfigError, DataError, FrameError
from anomseg.types import UInt8Array

REDRAWS = 20


@dataclass(frozen=True)
class Drawn:
    """A negative with its pixels ``(H, W, 3)`` uint8 and one of its regions."""

    negative: Negative
    image: UInt8Array
    region: Region


class Urn:
    """Draws readable negatives.

    Draws are repeated while they hit unreadable ones, then the list is walked through from the last. Neither depends on
    which are known to be unreadable already, so the outcome is the same in every worker.

    Args:
        negatives: What to draw from.
        weights: How likely each is drawn, relative to the others; all alike when None.

    Attributes:
        unreadable: Id and reason of each unreadable negative met so far.
        misses: How often one was drawn.

    Raises:
        DataError: There are no negatives.
        ConfigError: The weights do not fit.
    """

    def __init__(self, negatives: Sequence[Negative], weights: Sequence[float] | None = None) -> None:
        if not negatives:
            raise DataError("there are no negatives to paste; name a source, or another regime")
        self.negatives = list(negatives)
        self.unreadable: dict[str, str] = {}
        self.misses = 0
        self._broken: set[int] = set()
        self._bounds = _upper_bounds(len(self.negatives), weights)

    def draw(self, rng: np.random.Generator) -> Drawn:
        """One negative and, all alike, one of its regions.

        Raises:
            DataError: Not one of the negatives can be read.
        """
        count, index, found = len(self.negatives), 0, None
        for _ in range(REDRAWS):
            index = int(np.searchsorted(self._bounds, rng.random(), side="right"))
            found = self._read(index)
            if found is not None:
                break
        else:
            for step in range(1, count + 1):
                found = self._read((index + step) % count)
                if found is not None:
                    index = (index + step) % count
                    break
        if found is None:
            raise DataError(
                f"none of the {count} negatives can be used; the first: {next(iter(self.unreadable.values()), '')}"
            )
        image, regions = found
        return Drawn(self.negatives[index], image, regions[int(rng.integers(len(regions)))])

    def _read(self, index: int) -> tuple[UInt8Array, list[Region]] | None:
        negative = self.negatives[index]
        if index not in self._broken:
            try:
                image = negative.image()
                whole = Region(shown_as(negative.categories), (0, 0, image.shape[0], image.shape[1]))
                return image, _checked(negative.id, negative.regions(), image) or [whole]
            except FrameError as error:
                self._broken.add(index)
                self.unreadable[negative.id] = str(error)
                if len(self._broken) == 1:
                    warnings.warn(f"{error}; this and any other unreadable negative is skipped", stacklevel=4)
        self.misses += 1
        return None


def mix_negatives(groups: Iterable[tuple[Sequence[Negative], float]]) -> tuple[list[Negative], list[float]]:
    """Join several sources, each drawn from with its own share however many images it has.

    Args:
        groups: Negatives and the share of each source, relative to the others; an empty source adds nothing.

    Returns:
        All negatives in a row and their weights, as `Paster` takes them.

    Example:
        >>> mix_negatives([([Negative("a", None)], 1.0), ([Negative("b", None), Negative("c", None)], 3.0)])[1]
        [1.0, 1.5, 1.5]
    """
    joined: list[Negative] = []
    weights: list[float] = []
    for negatives, share in groups:
        joined += negatives
        weights += [share / max(len(negatives), 1)] * len(negatives)
    return joined, weights


def _upper_bounds(count: int, weights: Sequence[float] | None) -> np.ndarray:
    """Upper bounds of the negatives' shares of [0, 1); the last is left out, so that searching stays in range."""
    given = np.ones(count) if weights is None else np.asarray(weights, np.float64)
    if given.shape != (count,) or not np.isfinite(given).all() or (given < 0).any() or not given.sum() > 0:
        raise ConfigError(f"weights of negatives: give {count} numbers from 0, not all 0")
    return np.cumsum(given)[:-1] / given.sum()


def _checked(name: str, regions: list[Region], image: UInt8Array) -> list[Region]:
    """The regions that have pixels.

    Raises:
        FrameError: A mask is not of the image's size, or a box leads out of the image.
    """
    height, width = image.shape[:2]
    for region in regions:
        top, left, bottom, right = region.box
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise FrameError(f"negative {name}: the box {region.box} does not lie in its image of {width}x{height}")
        if region.mask is not None and region.mask.shape != (height, width):
            shape = f"{region.mask.shape[1]}x{region.mask.shape[0]}"
            raise FrameError(f"negative {name}: the mask is {shape}, its image {width}x{height} (width x height)")
    return [region for region in regions if region.mask is None or region.mask.any()]
