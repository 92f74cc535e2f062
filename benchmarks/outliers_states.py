"""Histograms of the bands around objects and of the paste control, and how far pasted inliers are flagged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from learned_states import SAMPLES, in_blocks, judged_in_blocks
from numpy.typing import NDArray

from anomseg.errors import DataError
from anomseg.evaluation.checkpoint import Checkpoint
from anomseg.evaluation.states import FOLDER
from anomseg.metrics import JudgedImages, PerImage
from anomseg.metrics.bootstrap import resample_weights
from anomseg.metrics.counts import scores_of_keys

Json = dict[str, Any]
RECALL = 0.95
CELLS = 1 << 22
"""Resamples times scores that are held at once."""


def band_state(folder: Path, width: int) -> PerImage | None:
    """The histograms of one detector's results in a band around objects, in blocks; None where none were asked for."""
    path = _parts(folder).get(f"band{width}_images")
    return in_blocks(PerImage.load(path)) if path is not None else None


def control_state(folder: Path) -> JudgedImages | None:
    """Those of untouched inliers (``right``) and pasted ones (``wrong``), in blocks; None where none were pasted."""
    found = [_parts(folder).get(f"{name}_images") for name in ("untouched", "pasted")]
    if found[0] is None or found[1] is None:
        return None
    return judged_in_blocks(JudgedImages(PerImage.load(found[0]), PerImage.load(found[1])))


def _parts(folder: Path) -> dict[str, Path]:
    found = Checkpoint(folder / FOLDER).read()
    if found is None:
        raise DataError(f"{folder} holds no finished evaluation")
    return dict(found[1])


def paste_gap(images: JudgedImages) -> Json | None:
    """How many pasted inliers are flagged, and untouched ones of their classes, where 95 % of the anomalies are.

    Args:
        images: Of `control_state`.

    Returns:
        ``pasted`` and ``untouched``, shares with intervals over groups, and ``gap``, the first less the second; every
        resample has its own threshold. None where there are no such pixels.
    """
    groups = sorted({figures.group for figures in images.right.figures()})
    places = {name: place for place, name in enumerate(groups)}
    parts = [
        _counts(frames, kind, places)
        for frames, kind in ((images.right, "anomaly"), (images.right, "inlier"), (images.wrong, "inlier"))
    ]
    keys = np.unique(np.concatenate([own for own, _, _ in parts]))[::-1]  # the highest score first
    tables = [_table(part, keys, len(groups)) for part in parts]
    if not all(table.any() for table in tables):
        return None
    value = _shares(tables, np.ones((1, len(groups))))
    shown = {name: {"value": float(own[0]), "ci95": []} for name, own in value.items()}
    if len(groups) > 1:
        weights = resample_weights(len(groups), SAMPLES, 0)
        # Hundreds of thousands of scores times all resamples would be gigabytes.
        step = max(1, CELLS // keys.size)
        parts_drawn = [_shares(tables, weights[start : start + step]) for start in range(0, SAMPLES, step)]
        for name in value:
            drawn = np.concatenate([part[name] for part in parts_drawn])
            kept = drawn[np.isfinite(drawn)]
            shown[name]["ci95"] = [float(one) for one in np.quantile(kept, [0.025, 0.975])]
    return {**shown, "groups": len(groups)}


_Counted = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]


def _counts(frames: PerImage, kind: str, places: dict[str, int]) -> _Counted:
    """Scores, their group and how many pixels have them, over all frames."""
    scores, group, count = [np.zeros(0, np.float32)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for figures, histogram in frames.histograms():
        found = scores_of_keys(getattr(histogram, f"{kind}_bins"))
        scores.append(found)
        group.append(np.full(found.size, places[figures.group]))
        count.append(getattr(histogram, f"{kind}_counts"))
    return np.concatenate(scores), np.concatenate(group), np.concatenate(count)


def _table(part: _Counted, scores: NDArray[np.float32], groups: int) -> NDArray[np.float64]:
    """``(G, K)``: pixels of each group at or above each score, which fall."""
    own, group, count = part
    table = np.zeros((groups, scores.size))
    column = scores.size - 1 - np.searchsorted(scores[::-1], own)
    np.add.at(table, (group, column), count)
    return table.cumsum(1)


def _shares(tables: list[NDArray[np.float64]], weights: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    anomalies = weights @ tables[0]
    # The highest score at or above which enough of the anomalies lie.
    place = (anomalies >= RECALL * anomalies[:, -1:]).argmax(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        untouched, pasted = (
            np.take_along_axis(drawn, place[:, None], 1)[:, 0] / drawn[:, -1]
            for drawn in (weights @ table for table in tables[1:])
        )
    return {"pasted": pasted, "untouched": untouched, "gap": pasted - untouched}
