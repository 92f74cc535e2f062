"""Open-set intersection over union at thresholds that are chosen afterwards, from an additive state.

`OpenSetIoU` counts at one threshold. Here the pixels of each class are counted by score, on a grid of scores that
keeps the first 20 bits of a float32 (11 of its significand: steps of 1 in 2048 to 1 in 4096), so that the threshold of
95 % recall, known only after the last frame, needs no second pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import CompatibilityError, ConfigError
from anomseg.metrics.counts import Counts, Keys, keys_at_least, run_lengths, score_keys, scores_of_keys
from anomseg.metrics.frames import FrameLedger
from anomseg.metrics.openset import open_set_inputs
from anomseg.metrics.paged import PagedCounter
from anomseg.metrics.statefile import open_state, write_state
from anomseg.types import VOID

_DROPPED_BITS = 12
_GRID = 1 << (32 - _DROPPED_BITS)
_KINDS = 3
_MOST_CLASSES = ((1 << 32) // _GRID - 1) // _KINDS


@dataclass(frozen=True)
class OpenSetPoint:
    """Open-set figures at one threshold.

    Attributes:
        threshold: ``score >= threshold`` is called anomaly.
        iou: ``(K,)`` float64; known pixels called anomaly are false negatives of their class, anomalous pixels called
            a class are its false positives. NaN for a class without a known pixel.
        tpr: Share of the anomalous pixels called anomaly; NaN without any.
        fpr: Share of the known pixels called anomaly; NaN without any.
    """

    threshold: float
    iou: NDArray[np.float64]
    tpr: float
    fpr: float


class OpenSetCurve:
    """Additive state of open-set IoU over all thresholds of a grid.

    Args:
        num_classes: Number K of known classes, 1 to 1365.

    Raises:
        ConfigError: K is out of that range, which keys of 32 bits set.

    Example:
        >>> state = OpenSetCurve(1)
        >>> state.update(prediction=[0, 0, 0], score=[0.25, 0.5, 0.75], target=[0, 0, 1])
        >>> [state.at(threshold).iou.tolist() for threshold in (0.75, 0.5)]
        [[1.0], [0.5]]
        >>> state.closed().tolist()
        [1.0]
    """

    def __init__(self, num_classes: int) -> None:
        if not 1 <= num_classes <= _MOST_CLASSES:
            raise ConfigError(f"open-set IoU counts 1 to {_MOST_CLASSES} classes, got {num_classes}")
        self.num_classes = num_classes
        self._frames = FrameLedger()
        # One key for each pair of kind and grid score. A pixel's kind is its class where that is predicted, K more
        # than the predicted class where it is another one, and 2 K more on anomalous pixels.
        self._scores = PagedCounter()
        self._targets = np.zeros(num_classes, np.int64)

    @property
    def frames(self) -> list[str]:
        """Ids of the counted frames, sorted."""
        return self._frames.ids

    def update(self, prediction: Any, score: Any, target: Any, frame: str | None = None) -> None:
        """Count one frame.

        Args:
            prediction: Known classes 0 .. K - 1 of any shape, NumPy or tensor.
            score: Finite scores, same shape, higher = more anomalous; converted to float32.
            target: Known classes, K = anomaly, 255 void, same shape.
            frame: Its id.

        Raises:
            FrameError: Shapes differ, scores are not finite or a value is not in the table; the state is unchanged.
            DataError: The frame was counted before.
        """
        self._frames.check(frame)
        predicted, scores, targets, _ = open_set_inputs(prediction, score, target, self.num_classes, frame)
        self.add(pixel_kinds(predicted, targets, self.num_classes), scores.astype(np.float32, copy=False), frame)

    def add(self, kinds: PixelKinds, score: NDArray[np.float32], frame: str | None = None) -> None:
        """Count one frame whose pixels have been told apart already, see `update`.

        Args:
            kinds: From `pixel_kinds`; the same for all detectors of a network.
            score: Finite float32, of the shape of the targets.
            frame: Its id.
        """
        self._frames.add(frame)
        keys = kinds.base + (score_keys(score[kinds.valid]) >> _DROPPED_BITS)
        self._scores.add(*run_lengths(np.sort(keys)))
        self._targets += kinds.targets

    def merge(self, *others: OpenSetCurve) -> OpenSetCurve:
        """A new state over the frames of this one and of others.

        Raises:
            DataError: A frame is in two of them.
            CompatibilityError: The numbers of classes differ.
        """
        merged = OpenSetCurve(self.num_classes)
        for state in (self, *others):
            if state.num_classes != self.num_classes:
                raise CompatibilityError("states with different numbers of classes do not merge; use one label table")
            merged._frames = merged._frames.union(state._frames)
            merged._targets += state._targets
            for keys, counts in state._scores.items():
                merged._scores.add(keys, counts)
        return merged

    def missing(self, expected: Iterable[str]) -> list[str]:
        """Expected frames that have not been counted."""
        return self._frames.missing(expected)

    def at(self, threshold: float) -> OpenSetPoint:
        """The figures at the greatest threshold of the grid that is not above one; recall is not below its recall."""
        cell = int(np.atleast_1d(keys_at_least(threshold))[0]) >> _DROPPED_BITS
        starts = np.arange(_KINDS * self.num_classes, dtype=np.int64) * _GRID
        kept = self._below(starts + cell) - self._below(starts)
        total = self._totals()
        open_right, open_wrong, open_missed = np.split(kept, _KINDS)
        known = int(self._targets.sum())
        missed = int(np.split(total, _KINDS)[2].sum())
        return OpenSetPoint(
            float(scores_of_keys(np.array([cell << _DROPPED_BITS], np.uint32))[0]),
            self._iou(open_right, open_wrong + open_missed),
            1 - int(open_missed.sum()) / missed if missed else float("nan"),
            1 - int(open_right.sum() + open_wrong.sum()) / known if known else float("nan"),
        )

    def threshold_at_recall(self, recall: float = 0.95, *, strict: bool = False) -> float | None:
        """The greatest threshold of the grid at which a share of the anomalous pixels is found.

        Args:
            recall: The share.
            strict: It has to be exceeded, where that can be.

        Returns:
            The threshold; None without an anomalous pixel.
        """
        cells = np.zeros(_GRID, np.int64)
        for keys, counts in self._scores.items():
            odd = keys >> (32 - _DROPPED_BITS) >= 2 * self.num_classes
            np.add.at(cells, keys[odd] & (_GRID - 1), counts[odd])
        found = np.cumsum(cells[::-1])[::-1]
        if not found[0]:
            return None
        rate = found / found[0]
        reached = np.flatnonzero(rate > recall if strict and recall < 1 else rate >= recall)
        return float(scores_of_keys(np.array([reached[-1] << _DROPPED_BITS], np.uint32))[0])

    def closed(self) -> NDArray[np.float64]:
        """``(K,)`` closed-set IoU: no threshold, no anomalous pixels; NaN for a class without a known pixel."""
        right, wrong, _ = np.split(self._totals(), _KINDS)
        return self._iou(right, wrong)

    def accuracy(self) -> float:
        """Share of the known pixels that are classified rightly; NaN without any."""
        known = int(self._targets.sum())
        return int(self._totals()[: self.num_classes].sum()) / known if known else float("nan")

    def _iou(self, right: Counts, claimed: Counts) -> NDArray[np.float64]:
        present = self._targets > 0
        return np.where(present, right / np.maximum(self._targets + claimed, 1), np.nan)

    def _totals(self) -> Counts:
        starts = np.arange(_KINDS * self.num_classes, dtype=np.int64) * _GRID
        return self._below(starts + _GRID) - self._below(starts)

    def _below(self, keys: NDArray[np.int64]) -> Counts:
        return self._scores.total - self._scores.at_or_above(keys.astype(np.uint32))[0]

    def save(self, path: str | Path) -> None:
        """Write the state to one file, atomically.

        Raises:
            DataError: The file cannot be written.
        """
        meta = {"frames": self._frames.to_json()}
        write_state(path, type(self).__name__, meta, {"targets": self._targets, "scores": self._scores.pieces()})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a state that `save` wrote.

        Raises:
            DataError: The file is missing or damaged.
            CompatibilityError: It holds another kind of state.
        """
        with open_state(path, cls.__name__) as reader:
            targets = reader.array("targets")
            state = cls(len(targets))
            state._targets = targets
            state._scores.add_pieces(reader.pieces("scores"))
            state._frames = FrameLedger.from_json(reader.meta["frames"])
        return state


@dataclass(frozen=True)
class PixelKinds:
    """What the pixels of one frame are to a network, whatever their scores.

    Attributes:
        valid: Which pixels are not void, of the frame's shape.
        base: ``(n,)`` uint32, first key of each valid pixel's kind.
        targets: ``(K,)`` int64, pixels of each known class.
    """

    valid: NDArray[np.bool_]
    base: Keys
    targets: Counts


def pixel_kinds(prediction: NDArray[Any], target: NDArray[Any], classes: int) -> PixelKinds:
    """Tell the pixels of a frame apart.

    Args:
        prediction: Known classes 0 .. K - 1 on valid pixels.
        target: Known classes, K = anomaly, 255 void, same shape.
        classes: K.
    """
    valid = target != VOID
    predicted, targets = prediction[valid].astype(np.uint32), target[valid].astype(np.uint32)
    anomalous, right = targets == classes, targets == predicted
    kind = predicted + np.uint32(classes) * (2 * anomalous + (~anomalous & ~right)).astype(np.uint32)
    counts = np.bincount(targets, minlength=classes + 1)[:classes]
    return PixelKinds(valid, kind << np.uint32(32 - _DROPPED_BITS), counts.astype(np.int64))
