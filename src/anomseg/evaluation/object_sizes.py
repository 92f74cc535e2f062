"""How well objects of each size are found: anomalous pixels by the size of their object, as an additive state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from anomseg.metrics import PixelCurve
from anomseg.metrics.counts import run_lengths, score_keys
from anomseg.metrics.runs import SortedRuns
from anomseg.metrics.statefile import open_state, write_state
from anomseg.types import ANOMALY, UInt8Array

#: Shares of a frame's pixels at which one class of sizes ends and the next begins.
LIMITS = (0.001, 0.01, 0.1)


class ObjectSizes:
    """Scores of anomalous pixels, told apart by the share of the frame that their object covers.

    An object is an 8-connected component of the label. Shares and not pixels are compared, since frames of one set
    may differ in size. Inliers are not counted here: those of the pooled curve stand against every class.

    Example:
        >>> label = np.zeros((40, 50), np.uint8)
        >>> label[0, :2], label[10:30, 10:30] = 1, 1
        >>> state = ObjectSizes()
        >>> state.update(np.full(label.shape, 0.5, np.float32), label)
        >>> state.objects.tolist(), state.pixels
        ([0, 1, 0, 1], [0, 2, 0, 400])
    """

    def __init__(self) -> None:
        self.objects: NDArray[np.int64] = np.zeros(len(LIMITS) + 1, np.int64)
        self._runs = [SortedRuns() for _ in self.objects]

    @property
    def pixels(self) -> list[int]:
        """Anomalous pixels of each class of sizes, small to large."""
        return [runs.total for runs in self._runs]

    def update(self, score: NDArray[np.float32], label: UInt8Array) -> None:
        """Count one frame.

        Args:
            score: ``(H, W)`` finite float32.
            label: ``(H, W)`` 0 inlier, 1 anomaly, 255 void.
        """
        rows, objects = size_classes(label)
        self.objects += objects
        keys = score_keys(score[label == ANOMALY])
        for row, runs in enumerate(self._runs):
            runs.add(*run_lengths(np.sort(keys[rows == row])))

    def merge(self, *others: ObjectSizes) -> ObjectSizes:
        """A new state over the frames of this one and of others, which have no frame in common."""
        merged = ObjectSizes()
        for state in (self, *others):
            merged.objects += state.objects
            for target, runs in zip(merged._runs, state._runs, strict=True):
                target.add(*runs.consolidated())
        return merged

    def save(self, path: Path) -> None:
        """Write the state to one file, atomically.

        Raises:
            DataError: The file cannot be written.
        """
        arrays: dict[str, Any] = {"objects": self.objects}
        for row, runs in enumerate(self._runs):
            arrays[f"keys{row}"], arrays[f"counts{row}"] = runs.consolidated()
        write_state(path, type(self).__name__, {"limits": list(LIMITS)}, arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            DataError: The file is missing or damaged.
            CompatibilityError: It holds another kind of state.
        """
        state = cls()
        with open_state(path, cls.__name__) as reader:
            state.objects = reader.array("objects")
            for row, runs in enumerate(state._runs):
                runs.add(reader.array(f"keys{row}"), reader.array(f"counts{row}"))
        return state

    def card(self, curve: PixelCurve) -> list[dict[str, Any]]:
        """AP of each class of sizes against all inliers, small to large, JSON-ready.

        Args:
            curve: The pooled curve of the same frames.

        Returns:
            ``share`` (two ends, as shares of the frame), ``objects``, ``pixels``, ``ap`` and the AP of ``chance``; the
            last two None where no object is of that size.
        """
        ends = (0.0, *LIMITS, 1.0)
        return [
            {
                "share": list(ends[row : row + 2]),
                "objects": int(self.objects[row]),
                "pixels": runs.total,
                "ap": curve.ap_against(*runs.consolidated()) if runs.total else None,
                "chance": runs.total / (runs.total + curve.inlier) if runs.total else None,
            }
            for row, runs in enumerate(self._runs)
        ]


def size_classes(label: UInt8Array, limits: Sequence[float] = LIMITS) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The class of sizes of each anomalous pixel, and how many objects each class has.

    Args:
        label: ``(H, W)`` 0 inlier, 1 anomaly, 255 void.
        limits: Shares of the frame's pixels, ascending; an object that covers exactly one of them is above it.

    Returns:
        ``(N,)`` for the anomalous pixels in row-major order, and ``(len(limits) + 1,)``.
    """
    from scipy import ndimage  # noqa: PLC0415 - slow to import, and only needed here

    mask = label == ANOMALY
    components, count = ndimage.label(mask, structure=np.ones((3, 3), np.int8))
    members = components[mask] - 1
    shares = np.bincount(members, minlength=count) / label.size
    classes = np.searchsorted(np.asarray(limits), shares, side="right")
    return classes[members], np.bincount(classes, minlength=len(limits) + 1)
