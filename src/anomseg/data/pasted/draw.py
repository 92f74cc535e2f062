"""Chooses what is pasted on a frame, how large and where, from a seed."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from anomseg.data.negatives import Region
from anomseg.data.negatives.paste import scaled_size
from anomseg.data.pasted.canvas import Canvas, Cutout, blank, covers, cut_out, grown, lay
from anomseg.data.pasted.manifest import INLIER_PASTE, OBJECT, Paste
from anomseg.data.pasted.options import Blending, PasteOptions
from anomseg.data.pasted.stock import Source, Stock, normal
from anomseg.errors import DataError, FrameError
from anomseg.types import Frame

TRIES, FRESH_STARTS = 200, 5


@dataclass
class Drawer:
    """Draws pastes; what comes out for a frame depends on its id, the options and what there is to draw from alone.

    Attributes:
        frames: All frames of the base data set, in order.
        stock: What can be pasted.
        options: How.
        unreadable: Sources that could not be read so far, and why; others are drawn instead.
    """

    frames: Sequence[Frame]
    stock: Stock
    options: PasteOptions
    unreadable: dict[str, str] = field(default_factory=dict)
    _objects: list[str] = field(init=False, repr=False)
    _known: list[tuple[int, Frame]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._objects = self.stock.with_categories(self.options.categories) if self.options.objects else []
        if self.options.objects and not self._objects:
            wanted = ", ".join(self.options.categories)
            raise DataError(f"no negative shows any of: {wanted}; name other --categories, or any")
        self._known = [(place, frame) for place, frame in enumerate(self.frames) if frame.id in self.stock.inliers]

    def paste_on(self, frame: Frame) -> tuple[Canvas, tuple[Paste, ...]]:
        """Objects first, then inlier pastes that leave them uncovered.

        Raises:
            FrameError: The frame cannot be read, or nothing that fits it was found.
        """
        rng = np.random.default_rng([self.options.seed, zlib.crc32(frame.id.encode())])
        empty = blank(frame)
        for _ in range(FRESH_STARTS - 1):
            try:
                return self._attempt(frame, empty, rng)
            except FrameError:  # what was pasted first may leave no room for the rest
                continue
        return self._attempt(frame, empty, rng)

    def _attempt(self, frame: Frame, canvas: Canvas, rng: np.random.Generator) -> tuple[Canvas, tuple[Paste, ...]]:
        pastes = []
        for kind in [OBJECT] * self.options.objects + [INLIER_PASTE] * self.options.inliers:
            names = self._objects if kind == OBJECT else self._others(frame)
            canvas, paste = self._one(kind, names, canvas, frame, rng)
            pastes.append(paste)
        return canvas, tuple(pastes)

    def _others(self, frame: Frame) -> list[str]:
        """Frames that inlier pastes for this one may come from: in its own light where its sequence has such."""
        at = next(place for place, other in enumerate(self.frames) if other.id == frame.id)
        apart = max(self.options.apart, 1)
        near = [o.id for place, o in self._known if o.cluster == frame.cluster and abs(place - at) >= apart]
        return near or [other.id for _, other in self._known if other.cluster != frame.cluster]

    def _one(
        self, kind: str, names: Sequence[str], canvas: Canvas, frame: Frame, rng: np.random.Generator
    ) -> tuple[Canvas, Paste]:
        taken = grown((canvas.label == 1) | (canvas.control == 1))
        for _ in range(TRIES if names else 0):
            source = self._read(kind, names[int(rng.integers(len(names)))])
            numbers = self._usable(kind, source) if source is not None else []
            if source is None or not numbers:
                continue
            number = numbers[int(rng.integers(len(numbers)))]
            region = source.regions[number]
            size = self._size(kind, region, canvas.size, rng)
            place = self._place(kind, region, size, canvas.size, rng) if size else None
            if size is None or place is None:
                continue
            cutout = cut_out(source.image, region, size, self.options.shape)
            if not self._covers_enough(cutout, canvas.size) or covers(cutout, place, taken):
                continue
            category = self.stock.category(kind, str(region.category))
            after = lay(canvas, cutout, place, self._blending(kind), category)
            return after, self._record(kind, source, number, cutout, place, canvas.size)
        what = "object" if kind == OBJECT else f"inlier ({', '.join(self.options.classes)})"
        raise FrameError(f"{frame.id}: found no {what} to paste that fits; widen --area, or name more to choose from")

    def _read(self, kind: str, name: str) -> Source | None:
        try:
            return self.stock.source(kind, name)
        except FrameError as error:
            self.unreadable[name] = str(error)
            return None

    def _usable(self, kind: str, source: Source) -> list[int]:
        """Numbers of the regions that may be pasted."""
        wanted = {normal(name) for name in (self.options.categories if kind == OBJECT else self.options.classes)}
        unwanted = {normal(name) for name in (self.options.without if kind == OBJECT else ())}
        return [
            number
            for number, region in enumerate(source.regions)
            if (not wanted or normal(str(region.category)) in wanted)
            and normal(str(region.category)) not in unwanted
            and (kind == INLIER_PASTE or self._complete(region, source))
        ]

    def _complete(self, region: Region, source: Source) -> bool:
        """Whether an object is large enough, and not cut off where it must not be."""
        if _pixels(region) < self.options.min_pixels:
            return False
        top, left, bottom, right = region.box
        height, width = source.image.shape[:2]
        return not self.options.whole or (top > 0 and left > 0 and bottom < height and right < width)

    def _size(
        self, kind: str, region: Region, frame_size: tuple[int, int], rng: np.random.Generator
    ) -> tuple[int, int] | None:
        """Height and width to bring a region to; None where it would not fit the frame or grow too much."""
        top, left, bottom, right = region.box
        rows, columns = bottom - top, right - left
        if kind == OBJECT and self.options.size == "share":
            low, high = self.options.area
            own = _pixels(region) / (frame_size[0] * frame_size[1])
            most = min(high, own * self.options.enlarge**2)
            if most < low:
                return None
            scale = math.sqrt(math.exp(rng.uniform(math.log(low), math.log(most))) / own)
            rows, columns = scaled_size((rows, columns), scale)
        return (rows, columns) if rows <= frame_size[0] and columns <= frame_size[1] else None

    def _place(
        self, kind: str, region: Region, size: tuple[int, int], frame_size: tuple[int, int], rng: np.random.Generator
    ) -> tuple[int, int] | None:
        if kind == INLIER_PASTE and self.options.inlier_place == "own":
            top, left = region.box[:2]
            inside = top + size[0] <= frame_size[0] and left + size[1] <= frame_size[1]
            return (top, left) if inside else None
        return int(rng.integers(frame_size[0] - size[0] + 1)), int(rng.integers(frame_size[1] - size[1] + 1))

    def _blending(self, kind: str) -> Blending:
        return self.options.blending if kind == OBJECT else self.options.inlier_blending

    def _covers_enough(self, cutout: Cutout, frame_size: tuple[int, int]) -> bool:
        share = int(cutout.mask.sum()) / (frame_size[0] * frame_size[1])
        low, high = self.options.area
        # Whole pixels keep a drawn share only about; it must not fall far below the least one.
        slack = 0.9 if self.options.size == "share" else 1.0
        return low * slack < share <= high / slack

    def _record(
        self, kind: str, source: Source, number: int, cutout: Cutout, place: tuple[int, int], size: tuple[int, int]
    ) -> Paste:
        region, pixels = source.regions[number], int(cutout.mask.sum())
        return Paste(
            kind,
            source.id,
            source.sha256,
            number,
            str(region.category or ""),
            region.box,
            (cutout.mask.shape[0], cutout.mask.shape[1]),
            place,
            self.options.shape,
            self._blending(kind),
            pixels,
            round(pixels / (size[0] * size[1]), 6),
        )


def _pixels(region: Region) -> int:
    top, left, bottom, right = region.box
    return (bottom - top) * (right - left) if region.mask is None else int(region.mask.sum())
