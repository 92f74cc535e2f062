"""Component metrics of SegmentMeIfYouCan: how well each object is found, whatever its size.

Chan et al., "SegmentMeIfYouCan: A Benchmark for Anomaly Segmentation", NeurIPS 2021 datasets and benchmarks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import CompatibilityError, FrameError
from anomseg.metrics.frames import FrameLedger
from anomseg.metrics.inputs import frame_name, scores_and_label
from anomseg.metrics.statefile import open_state, write_state
from anomseg.types import ANOMALY, VOID

F1_PERCENT = tuple(range(25, 80, 5))
Fractions = NDArray[np.int64]


@dataclass(frozen=True)
class ComponentResult:
    """Figures over the components of all frames.

    Attributes:
        siou: Mean adjusted IoU over anomaly components; NaN when there are none.
        ppv: Mean positive predictive value over predicted components; 0 when nothing is predicted.
        f1_star: Mean F1 over the eleven thresholds.
        f1: F1 at each threshold ``"0.25"``, ``"0.30"``, ... ``"0.75"``; NaN when there is no component at all.
        anomaly_components: Anomaly components that are large enough.
        predicted_components: Predicted components that are large enough.
        threshold: ``score > threshold`` was predicted.
        frames: Frames counted.
    """

    siou: float
    ppv: float
    f1_star: float
    f1: dict[str, float]
    anomaly_components: int
    predicted_components: int
    threshold: float
    frames: int


def component_fractions(
    predicted: NDArray[np.bool_], label: NDArray[Any], min_prediction: int = 500, min_anomaly: int = 100
) -> tuple[Fractions, Fractions]:
    """Adjusted IoU of each anomaly component and PPV of each predicted one, as exact fractions.

    Void pixels are cleared from the prediction before its components are found, so void can split one. Components
    are 8-connected. Predicted ones smaller than ``min_prediction`` are dropped; anomaly components smaller than
    ``min_anomaly`` become void, which takes away predicted pixels lying on them. With P(k) the predicted components
    that touch anomaly component k, ``sIoU(k) = |k n P(k)| / (|P(k) u k| - A(k))``, where A(k) counts the pixels of
    P(k) on other anomaly components; ``PPV(p) = |p n anomaly| / |p|``.

    Args:
        predicted: ``(H, W)`` bool, or ``(B, H, W)``: a component never reaches from one map of a batch into another.
        label: The same shape, 0 inlier, 1 anomaly, 255 void.
        min_prediction: Least size of a predicted component in pixels.
        min_anomaly: Least size of an anomaly component in pixels.

    Returns:
        Two int64 arrays ``(n, 2)`` of numerators and denominators: sIoU and PPV.
    """
    truth, truth_count = label_components(label == ANOMALY)
    guess, guess_count = label_components(predicted & (label != VOID))
    truth_sizes = np.bincount(truth.ravel(), minlength=truth_count + 1)
    guess_sizes = np.bincount(guess.ravel(), minlength=guess_count + 1)

    # Contingency table of the two labellings, as a short list of cells that occur.
    width = guess_count + 1
    touched = (truth > 0) | (guess > 0)
    pairs, counts = np.unique(truth[touched].astype(np.int64) * width + guess[touched], return_counts=True)
    row, column = pairs // width, pairs % width

    keep_truth = truth_sizes >= min_anomaly
    keep_guess = guess_sizes >= min_prediction
    keep_truth[0], keep_guess[0] = True, False
    counts[~keep_truth[row]] = 0  # small anomaly components are void

    inside = keep_guess[column]
    size = _sums(column[inside], counts[inside], width)
    on_truth = _sums(column[inside & (row > 0)], counts[inside & (row > 0)], width)

    cell = inside & (row > 0) & keep_truth[row]
    hits = _sums(row[cell], counts[cell], truth_count + 1)
    # Pixels of touching predictions that lie on no anomaly: the union less its adjustment, without k itself.
    stray = _sums(row[cell], (size - on_truth)[column[cell]], truth_count + 1)
    kept = np.flatnonzero(keep_truth)[1:]
    siou = np.stack([hits[kept], truth_sizes[kept] + stray[kept]], axis=1)
    present = np.flatnonzero(size)
    return siou.astype(np.int64), np.stack([on_truth[present], size[present]], axis=1)


def label_components(mask: NDArray[np.bool_]) -> tuple[NDArray[Any], int]:
    """Connected components, 8 neighbours to a pixel.

    Args:
        mask: ``(H, W)`` bool, or ``(B, H, W)``: no component reaches from one map of a batch into another.

    Returns:
        Numbers 1 .. n of the components, 0 elsewhere, same shape; and n.
    """
    from scipy import ndimage  # noqa: PLC0415 - slow to import, and only needed here

    neighbours = np.zeros((3,) * mask.ndim, np.int8)
    neighbours[(1,) * (mask.ndim - 2)] = 1
    return ndimage.label(mask, structure=neighbours)


def _sums(index: NDArray[np.int64], values: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    sums = np.zeros(length, np.int64)
    np.add.at(sums, index, values)
    return sums


class ComponentScore:
    """Additive state of the component metrics.

    Args:
        min_prediction: Least size of a predicted component in pixels; 500 for RoadAnomaly21, 50 for RoadObstacle21.
        min_anomaly: Least size of an anomaly component in pixels; 100 and 10.
        threshold: ``score > threshold`` is predicted; the benchmark takes the best-F1 threshold of the pooled pixel
            curve of the same detector on the same frames.

    Example:
        >>> label = np.zeros((4, 8), np.uint8); label[:, :2] = 1
        >>> score = np.zeros((4, 8)); score[:, :4] = 1
        >>> state = ComponentScore(min_prediction=1, min_anomaly=1, threshold=0.5)
        >>> state.update(score, label, "a")
        >>> result = state.compute()
        >>> result.siou, result.ppv, result.f1["0.50"], round(result.f1_star, 3)
        (0.5, 0.5, 1.0, 0.545)
    """

    def __init__(self, min_prediction: int = 500, min_anomaly: int = 100, threshold: float = 0.5) -> None:
        self.min_prediction = min_prediction
        self.min_anomaly = min_anomaly
        self.threshold = float(threshold)
        self._frames = FrameLedger()
        self._siou: list[Fractions] = []
        self._ppv: list[Fractions] = []

    @property
    def frames(self) -> list[str]:
        """Ids of the counted frames, sorted."""
        return self._frames.ids

    def update(self, score: Any, label: Any, frame: str | None = None) -> None:
        """Count one frame.

        Args:
            score: ``(H, W)`` or ``(B, H, W)`` finite scores, higher = more anomalous, NumPy or tensor; converted to
                float32.
            label: The same shape, 0 inlier, 1 anomaly, 255 void.
            frame: Its id.

        Raises:
            FrameError: The frame cannot be used; the state is unchanged.
            DataError: The frame was counted before.
        """
        self._frames.check(frame)
        scores, labels = scores_and_label(score, label, frame)
        if scores.ndim < 2:
            raise FrameError(f"{frame_name(frame)} has shape {scores.shape}; components need maps (height, width)")
        predicted = scores > _float32_at_most(self.threshold)
        siou, ppv = component_fractions(predicted, labels, self.min_prediction, self.min_anomaly)
        self._siou.append(siou)
        self._ppv.append(ppv)
        self._frames.add(frame)

    def _settings(self) -> tuple[int, int, float]:
        return self.min_prediction, self.min_anomaly, self.threshold

    def merge(self, *others: ComponentScore) -> ComponentScore:
        """A new state over the frames of this one and of others.

        Raises:
            DataError: A frame is in two of them.
            CompatibilityError: Sizes or thresholds differ.
        """
        merged = ComponentScore(*self._settings())
        for state in (self, *others):
            if state._settings() != self._settings():
                raise CompatibilityError(
                    "component states with different sizes or thresholds do not merge; use one threshold"
                )
            merged._frames = merged._frames.union(state._frames)
            merged._siou += state._siou
            merged._ppv += state._ppv
        return merged

    def missing(self, expected: Iterable[str]) -> list[str]:
        """Expected frames that have not been counted."""
        return self._frames.missing(expected)

    def compute(self) -> ComponentResult:
        """The figures; NaN where they are undefined."""
        siou, ppv = _joined(self._siou), _joined(self._ppv)
        f1 = {}
        for percent in F1_PERCENT:
            found = int(np.count_nonzero(_at_least(siou, percent)))
            false = len(ppv) - int(np.count_nonzero(_at_least(ppv, percent)))
            total = found + len(siou) + false  # 2 TP + FN + FP
            f1[f"{percent / 100:.2f}"] = 2 * found / total if total else math.nan
        return ComponentResult(
            siou=_mean(siou, math.nan),
            ppv=_mean(ppv, 0.0),
            f1_star=math.fsum(f1.values()) / len(f1),
            f1=f1,
            anomaly_components=len(siou),
            predicted_components=len(ppv),
            threshold=self.threshold,
            frames=len(self._frames),
        )

    def save(self, path: str | Path) -> None:
        """Write the state to one file, atomically.

        Raises:
            DataError: The file cannot be written.
        """
        meta = {
            "min_prediction": self.min_prediction,
            "min_anomaly": self.min_anomaly,
            "threshold": self.threshold.hex(),
            "frames": self._frames.to_json(),
        }
        write_state(path, type(self).__name__, meta, {"siou": _joined(self._siou), "ppv": _joined(self._ppv)})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a state that `save` wrote.

        Raises:
            DataError: The file is missing or damaged.
            CompatibilityError: It holds another kind of state.
        """
        with open_state(path, cls.__name__) as reader:
            meta = reader.meta
            state = cls(meta["min_prediction"], meta["min_anomaly"], float.fromhex(meta["threshold"]))
            state._siou, state._ppv = [reader.array("siou")], [reader.array("ppv")]
            state._frames = FrameLedger.from_json(meta["frames"])
        return state


def _float32_at_most(threshold: float) -> np.float32:
    """The largest float32 not above a threshold: float32 scores exceed it exactly when they exceed the threshold.

    Comparing with the float64 itself would depend on the NumPy version, older ones rounding it to float32.
    """
    with np.errstate(over="ignore"):
        near = np.float32(threshold)
    return np.nextafter(near, np.float32(-np.inf)) if float(near) > threshold else near


def _joined(parts: list[Fractions]) -> Fractions:
    return np.concatenate(parts) if parts else np.zeros((0, 2), np.int64)


def _at_least(fractions: Fractions, percent: int) -> NDArray[np.bool_]:
    return fractions[:, 0] * 100 >= fractions[:, 1] * percent


def _mean(fractions: Fractions, empty: float) -> float:
    # An exactly rounded sum, so that the order of merging does not matter.
    return math.fsum((fractions[:, 0] / fractions[:, 1]).tolist()) / len(fractions) if len(fractions) else empty
