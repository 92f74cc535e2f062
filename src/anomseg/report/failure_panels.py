"""Panels of frames in the task of failure detection: what was predicted, where it is wrong, where that was expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from anomseg.detectors import network_of
from anomseg.evaluation import Answer, MapSource, Plan
from anomseg.inference.colour import FloatArray, Range, blend, colour_classes, grey, heat_overlay, score_range
from anomseg.inference.legend import add_colour_bar, add_legend, beside
from anomseg.report.panels import CELL_WIDTH, GAP, captioned, most_frequent, resized, titled
from anomseg.types import VOID, Frame, UInt8Array

WRONG_COLOUR = (228, 26, 28)


def failure_panel(
    image: UInt8Array,
    segmentation: UInt8Array,
    judged: UInt8Array,
    error_map: FloatArray | None,
    palette: Sequence[Sequence[int]],
    *,
    classes: Sequence[str] = (),
    title: str = "",
    score_name: str = "error score",
    limits: Range | None = None,
    bounded: bool = False,
    cell_width: int = CELL_WIDTH,
) -> UInt8Array:
    """One frame in a row: image, segmentation, its wrong pixels, error map with colour bar.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        segmentation: ``(H, W)`` predicted class indices.
        judged: ``(H, W)`` uint8: 0 right, 1 wrong (red), 255 void (pale).
        error_map: ``(H, W)`` finite, higher = more likely wrong; None where single pixels are not judged.
        palette: One RGB triple a class.
        classes: Class names, for a legend of those that occur.
        title: Above the row.
        score_name: Written along the colour bar.
        limits: Scores at both ends of the colours; by `score_range` when not given.
        bounded: The score lies in [0, 1] by construction.
        cell_width: Pixels a picture, along its longer side.

    Returns:
        ``(h, w, 3)`` uint8.
    """
    height, width = image.shape[:2]
    scale = min(cell_width / width, cell_width / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    photo = resized(image, size, Image.Resampling.LANCZOS)
    predicted = resized(segmentation, size, Image.Resampling.NEAREST)
    truth = resized(judged, size, Image.Resampling.NEAREST)
    picture = blend(grey(photo), colour_classes(predicted, palette), 0.7)
    if classes:
        picture = add_legend(picture, classes, palette, most_frequent(predicted, len(classes), size[1]))
    wrong, valid = int((judged == 1).sum()), int((judged != VOID).sum())
    caption = f"wrong: {100 * wrong / max(1, valid):.2g} %" + (", void pale" if (judged == VOID).any() else "")
    cells = [
        captioned(photo, "image"),
        captioned(picture, "segmentation"),
        captioned(_draw_wrong(photo, truth), caption),
    ]
    if error_map is not None:
        limits = limits or score_range(error_map, bounded=bounded, inside=judged != VOID if valid else None)
        method = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
        heat = heat_overlay(photo, resized(error_map.astype(np.float32), size, method), limits)
        cells.append(captioned(add_colour_bar(heat, limits, score_name), "likely wrong"))
    row = beside(*cells, gap=GAP)
    return titled(row, title) if title else row


def _draw_wrong(photo: UInt8Array, truth: UInt8Array) -> UInt8Array:
    base = grey(photo)
    pale = blend(base, np.full_like(base, 255), 0.6)
    red = blend(base, np.broadcast_to(np.asarray(WRONG_COLOUR, np.uint8), base.shape), 0.8)
    return np.where((truth == 1)[..., None], red, np.where((truth == VOID)[..., None], pale, base))


@dataclass(frozen=True)
class FailurePanels:
    """Draws the answers of a run's detectors, each beside what its network has wrong.

    Args:
        plan: The run.
        source: Where its answers come from.
        captions: By detector and frame, what to write above the panel.
    """

    plan: Plan
    source: MapSource
    captions: Mapping[str, Mapping[str, str]]

    def __call__(self, frame: Frame, image: UInt8Array, answer: Answer) -> UInt8Array | None:
        """One panel; None where the frame has no ground truth."""
        prediction, label = self.source.prediction(answer.folder), frame.label
        if prediction is None or label is None:
            return None
        network = network_of(self.plan.detectors[answer.folder], self.plan.segmenter)
        assert network is not None  # noqa: S101 - the plan asks for one
        return failure_panel(
            image,
            prediction,
            self.plan.failure_judges[answer.folder].judge(prediction, frame.classes, label).judged,
            answer.score,
            network.palette,
            classes=network.classes,
            title=self.captions.get(answer.folder, {}).get(frame.id, frame.id),
            score_name=answer.folder,
        )
