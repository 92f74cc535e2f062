"""Reading what callers pass: NumPy arrays or tensors, checked before anything is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import FrameError
from anomseg.types import ANOMALY, INLIER, VOID


def as_numpy(value: Any) -> NDArray[Any]:
    """A NumPy view of an array, tensor or nested list, on the host.

    Tensors are told by their ``detach`` method, so that torch is not imported for NumPy callers; bfloat16, which
    NumPy lacks, becomes float32.

    Example:
        >>> as_numpy([[1, 2]]).shape
        (1, 2)
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
        return value.numpy()
    return np.asarray(value)


def frame_name(frame: str | None) -> str:
    """How a message names a frame that may have no id."""
    return "this frame" if frame is None else f"frame {frame!r}"


def check_finite(score: NDArray[Any], frame: str | None = None) -> None:
    """Refuse NaN and infinity, anywhere in the map.

    Raises:
        FrameError: Some score is not a finite number.
    """
    finite = np.isfinite(score)
    if not finite.all():
        bad = int(finite.size - np.count_nonzero(finite))
        raise FrameError(
            f"{frame_name(frame)}: {bad} of {finite.size} scores are NaN or infinite; write finite float32 scores"
        )


def check_same_shape(first: NDArray[Any], second: NDArray[Any], what: str, frame: str | None = None) -> None:
    """Refuse two maps of different shape.

    Raises:
        FrameError: The shapes differ.
    """
    if first.shape != second.shape:
        raise FrameError(
            f"{frame_name(frame)}: {what} differ in shape, {first.shape} and {second.shape}; bring both to label size"
        )


def check_values(label: NDArray[Any], allowed: NDArray[np.bool_], frame: str | None, table: str) -> None:
    """Refuse label values outside a table.

    Args:
        label: Any label map.
        allowed: True where the value is one of the table's, same shape.
        frame: Id for the message.
        table: The legal values, for the message.

    Raises:
        FrameError: Some value is not in the table; the message lists them.
    """
    if not allowed.all():
        wrong = np.unique(label[~allowed])
        listed = ", ".join(str(value) for value in wrong[:8].tolist()) + (", ..." if wrong.size > 8 else "")
        raise FrameError(
            f"{frame_name(frame)}: label values {listed} are not in the table ({table}); "
            "check the benchmark's value table"
        )


def scores_and_label(
    score: Any, label: Any, frame: str | None = None, dtype: Any = np.float32
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Check a score map and its label against each other.

    Args:
        score: Finite scores of any shape, NumPy or tensor.
        label: 0 inlier, 1 anomaly, 255 void, same shape.
        frame: Id for messages.
        dtype: What scores are converted to.

    Returns:
        Scores of ``dtype`` and the label, both as NumPy arrays.

    Raises:
        FrameError: Shapes differ, scores are not finite (after conversion) or label values are not in {0, 1, 255}.
    """
    if label is None:
        raise FrameError(f"{frame_name(frame)} has no ground truth; leave it out of the evaluation")
    scores, labels = as_numpy(score), as_numpy(label)
    check_same_shape(scores, labels, "score and label", frame)
    with np.errstate(over="ignore"):
        scores = scores.astype(dtype, copy=False)
    check_finite(scores, frame)
    check_values(
        labels, (labels == INLIER) | (labels == ANOMALY) | (labels == VOID), frame, "0 inlier, 1 anomaly, 255 void"
    )
    return scores, labels
