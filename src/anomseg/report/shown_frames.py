"""The frames that a report lets its reader look into: photographs, truth, classes and score levels, all small."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from anomseg.report.pictures import drawing_url, photo_url
from anomseg.report.threshold_table import ThresholdTable
from anomseg.types import Frame, UInt8Array

SHOWN, MOST_SHOWN = 12, 100
WIDTH = 480
_LEAST_WIDTH = 32
#: Bytes of all pictures together, before base64 makes four of three.
BUDGET = 7_500_000
_PHOTOS, _LEVELS, _CLASSES, _TRUTH = 0.3, 0.55, 0.1, 0.05


@dataclass
class ShownFrames:
    """Collects what the page needs of each shown frame, within a budget of bytes.

    Score maps are kept as levels of the detector's `ThresholdTable` at every so many pixels, none of them averaged,
    so that a mask on the page is the mask of the very same scores.

    Args:
        ids: The frames to show, in order.
        tables: By detector folder.
        class_map: The class map ``(H, W)`` of a detector's network on the frame at hand; the same array for detectors
            that share a network, None where there is none.
        budget: Bytes of all pictures together.
    """

    ids: Sequence[str]
    tables: Mapping[str, ThresholdTable]
    class_map: Callable[[str], UInt8Array | None] = lambda _: None
    budget: int = BUDGET
    _kept: dict[str, dict[str, Any]] = field(default_factory=dict, init=False)
    _networks: dict[str, list[UInt8Array]] = field(default_factory=dict, init=False)

    def __contains__(self, frame_id: object) -> bool:
        return frame_id in self.ids

    def add(self, frame: Frame, image: UInt8Array, folder: str, score: np.ndarray) -> None:
        """Keep one detector's map of a frame; frames and detectors that are not shown are passed over.

        Args:
            frame: For its id and label.
            image: ``(H, W, 3)`` uint8.
            folder: The detector's.
            score: ``(H, W)`` finite float32.
        """
        if frame.id not in self.ids or folder not in self.tables:
            return
        kept = self._kept.get(frame.id)
        if kept is None:
            kept = self._kept[frame.id] = self._new(frame, image)
            self._networks = {frame.id: []}  # of the frame before nothing more will come
        share = self._share(_LEVELS) // len(self.tables)
        levels = png_within(self.tables[folder].levels(score), share)
        kept["maps"][folder] = {"levels": drawing_url(levels), "classes": self._class_place(frame.id, folder, kept)}

    def listed(self) -> list[dict[str, Any]]:
        """The frames of which something was kept, in order, JSON-ready; ``maps`` has one entry a detector or None."""
        return [
            {**kept, "maps": [kept["maps"].get(folder) for folder in self.tables]}
            for frame_id in self.ids
            if (kept := self._kept.get(frame_id)) is not None
        ]

    def _share(self, part: float) -> int:
        return int(part * self.budget / max(1, len(self.ids)))

    def _new(self, frame: Frame, image: UInt8Array) -> dict[str, Any]:
        return {
            "id": frame.id,
            "width": image.shape[1],
            "height": image.shape[0],
            "photo": photo_within(image, self._share(_PHOTOS)),
            "truth": drawing_url(png_within(frame.label, self._share(_TRUTH))) if frame.label is not None else None,
            "classes": [],
            "maps": {},
        }

    def _class_place(self, frame_id: str, folder: str, kept: dict[str, Any]) -> int | None:
        classes = self.class_map(folder)
        if classes is None:
            return None
        seen = self._networks.setdefault(frame_id, [])
        for place, other in enumerate(seen):
            if other is classes:
                return place
        seen.append(classes)
        kept["classes"].append(drawing_url(png_within(classes, self._share(_CLASSES))))
        return len(seen) - 1


def spread_frames(chosen: Sequence[Sequence[str]], order: Sequence[str], count: int = SHOWN) -> tuple[str, ...]:
    """Which frames to show: of each detector the most telling in turn, then others evenly from the rest.

    Args:
        chosen: For each detector its most telling frames, the most telling first.
        order: All frames of the run.
        count: How many, at most `MOST_SHOWN`.

    Returns:
        Ids in the order of the run.

    Example:
        >>> spread_frames([["a", "b"], ["c"]], ["a", "b", "c", "d", "e", "f"], count=4)
        ('a', 'b', 'c', 'd')
    """
    most = max(0, min(count, MOST_SHOWN))
    turns = itertools.chain.from_iterable(itertools.zip_longest(*chosen))
    known = set(order)
    picked = [name for name in dict.fromkeys(turns) if name in known][:most]
    rest = [name for name in order if name not in set(picked)]
    missing = min(most - len(picked), len(rest))
    picked += [rest[index * len(rest) // missing] for index in range(missing)]
    wanted = set(picked)
    return tuple(name for name in order if name in wanted)


def png_within(values: UInt8Array, allowed: int, width: int = WIDTH) -> bytes:
    """A map of bytes as a grey PNG, thinned until it takes no more than so many bytes.

    Args:
        values: ``(H, W)`` uint8; every shown value is one of these.
        allowed: Bytes; a picture of `_LEAST_WIDTH` pixels is given in any case.
        width: Pixels across, at most.
    """
    while True:
        data = _png(thinned(values, width))
        if len(data) <= allowed or width <= _LEAST_WIDTH:
            return data
        width = max(_LEAST_WIDTH, min(width - 8, int(min(width, values.shape[1]) * math.sqrt(allowed / len(data)))))


def thinned(values: UInt8Array, width: int) -> UInt8Array:
    """Every so many pixels of a map, in both directions alike, so that it is at most ``width`` pixels wide."""
    if values.shape[1] <= width:
        return values
    height = max(1, round(values.shape[0] * width / values.shape[1]))
    rows = ((np.arange(height) + 0.5) * values.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * values.shape[1] / width).astype(np.intp)
    return np.ascontiguousarray(values[rows[:, None], columns])


def photo_within(image: UInt8Array, allowed: int) -> str:
    """A photograph as a data URL of at most so many bytes before base64, made smaller until it fits."""
    width = min(WIDTH, image.shape[1])
    while True:
        size = (width, max(1, round(image.shape[0] * width / image.shape[1])))
        url = photo_url(np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)))
        if len(url) * 3 // 4 <= allowed or width <= _LEAST_WIDTH:
            return url
        width = max(_LEAST_WIDTH, width * 3 // 4)


def _png(values: UInt8Array) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, format="PNG", compress_level=6)
    return stream.getvalue()
