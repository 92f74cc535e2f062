"""What a run knows of a detector with respect to classes: misclassified inliers, open-set segmentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import CompatibilityError
from anomseg.evaluation.judging import Judgement
from anomseg.metrics import (
    JudgedImages,
    Misclassified,
    OpenSetCurve,
    OpenSetHalves,
    PerImage,
    ScoreCounts,
    count_judged,
)
from anomseg.types import Frame, UInt8Array

_PARTS = ("misclassified", "right_images", "wrong_images", "open_set")
_SECOND = "_second"


@dataclass
class ClassState:
    """Additive states of one detector beside the classes of the network that it scores.

    Attributes:
        names: The data set's classes.
        known: Indices of those over which means are taken.
        misclassified: Scores of the inliers that the network classifies wrongly.
        images: Figures and histograms of each frame.
        open_set: Open-set segmentation by the network's class map, in two halves where there are two.
        own: The same by the detector's own class map; None where it has none.
        second: Groups whose frames make up the second half; empty where there are no halves.
    """

    names: tuple[str, ...]
    known: tuple[int, ...]
    misclassified: Misclassified
    images: JudgedImages
    open_set: OpenSetHalves
    own: OpenSetHalves | None = None
    second: frozenset[str] = frozenset()

    @classmethod
    def empty(
        cls,
        names: tuple[str, ...],
        known: tuple[int, ...],
        images: JudgedImages,
        memory: int,
        *,
        segments: bool,
        second: frozenset[str] = frozenset(),
    ) -> Self:
        """A state without frames.

        Args:
            names: The data set's classes.
            known: Indices of those over which means are taken.
            images: An empty state with the rules of the run.
            memory: Bytes that counts may take in memory.
            segments: The detector has a class map of its own.
            second: Groups whose frames make up the second half.
        """
        open_set, own = (OpenSetHalves.empty(len(names) + 1, halved=bool(second)) for _ in range(2))
        return cls(names, known, Misclassified(memory), images, open_set, own if segments else None, second)

    def update(
        self,
        frame: Frame,
        score: NDArray[np.float32],
        label: UInt8Array,
        counts: ScoreCounts,
        judgement: Judgement,
        own: Judgement | None = None,
    ) -> None:
        """Count one frame.

        Args:
            frame: For its id and group.
            score: ``(H, W)`` finite float32.
            label: ``(H, W)`` 0 inlier, 1 anomaly, 255 void.
            counts: `count_scores` of both.
            judgement: Of the network's class map.
            own: Of the detector's own; given where ``own`` is.
        """
        judged = count_judged(counts, score, label, judgement.judged)
        self.misclassified.add(judged, frame.id)
        self.images.add(judged, frame.id, frame.group)
        second = frame.cluster in self.second
        self.open_set.add(judgement.kinds, score, frame.id, second=second)
        if self.own is not None and own is not None:
            self.own.add(own.kinds, score, frame.id, second=second)

    def merge(self, *others: ClassState) -> ClassState:
        """A new state over the frames of this one and of others.

        Raises:
            DataError: A frame is in two of them.
            CompatibilityError: Their classes or rules differ.
        """
        if any((other.names, other.known) != (self.names, self.known) for other in others):
            raise CompatibilityError("states with different classes do not merge; use one label table")
        if any(other.second != self.second for other in others if other.second and self.second):
            raise CompatibilityError("states with different halves do not merge; evaluate the shards of one run")
        rest = [other.own for other in others if other.own is not None]
        halved = all(state.second for state in (self, *others))
        return ClassState(
            self.names,
            self.known,
            self.misclassified.merge(*(other.misclassified for other in others)),
            self.images.merge(*(other.images for other in others)),
            self.open_set.merge(*(other.open_set for other in others)),
            self.own.merge(*rest) if self.own is not None else None,
            self.second if halved else frozenset(),
        )

    def meta(self) -> dict[str, Any]:
        """What `load` needs beside the parts, JSON-ready."""
        return {"names": list(self.names), "known": list(self.known), "second_half": sorted(self.second)}

    def parts(self) -> dict[str, Callable[[Path], None]]:
        """For each part the function that writes it to a path."""
        saves = (self.misclassified.save, self.images.right.save, self.images.wrong.save, self.open_set.first.save)
        parts: dict[str, Callable[[Path], None]] = dict(zip(_PARTS, saves, strict=True))
        if self.open_set.second is not None:
            parts[f"open_set{_SECOND}"] = self.open_set.second.save
        if self.own is not None:
            parts["own_open_set"] = self.own.first.save
            if self.own.second is not None:
                parts[f"own_open_set{_SECOND}"] = self.own.second.save
        return parts

    @classmethod
    def load(cls, meta: Mapping[str, Any], paths: Mapping[str, Path], memory: int) -> Self:
        """Read what was written.

        Args:
            meta: From `meta`.
            paths: Files of `parts`.
            memory: Bytes that counts may take in memory.

        Raises:
            DataError: A file is missing or damaged.
        """
        misclassified, right, wrong, _ = (paths[name] for name in _PARTS)
        return cls(
            tuple(str(name) for name in meta["names"]),
            tuple(int(index) for index in meta["known"]),
            Misclassified.load(misclassified, memory),
            JudgedImages(PerImage.load(right), PerImage.load(wrong)),
            _halves("open_set", paths),
            _halves("own_open_set", paths) if "own_open_set" in paths else None,
            frozenset(str(name) for name in meta.get("second_half", [])),
        )


def _halves(name: str, paths: Mapping[str, Path]) -> OpenSetHalves:
    """Both halves of a part; earlier versions, and runs of one group, have all frames in the first."""
    second = paths.get(f"{name}{_SECOND}")
    return OpenSetHalves(OpenSetCurve.load(paths[name]), OpenSetCurve.load(second) if second is not None else None)
