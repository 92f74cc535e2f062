"""Which queries overlap the ground, or anomalies: what a fit of Maskomaly finds, and how it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anomseg.detectors.base import Progress
from anomseg.detectors.fitting import FitLog, digest_of
from anomseg.detectors.maskomaly.queries import add_overlap, queries_of
from anomseg.errors import CompatibilityError, DataError
from anomseg.scores import QueryOverlap
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import Frame

REGIONS = {"ground": "road and sidewalk", "anomaly": "anomalies"}


@dataclass(frozen=True)
class Picked:
    """Queries of one kind.

    Attributes:
        queries: Their numbers, best first; maybe none.
        iou: ``(Q,)`` float32, the mean IoU of every query with the region.
    """

    queries: list[int]
    iou: Tensor

    def state(self, kind: str) -> dict[str, Tensor]:
        """Tensors to save."""
        return {f"{kind}_queries": torch.tensor(self.queries, dtype=torch.int64), f"{kind}_iou": self.iou.clone()}

    @classmethod
    def from_state(cls, kind: str, state: Mapping[str, Tensor]) -> Picked:
        """Take back what `state` returned.

        Raises:
            CompatibilityError: These are no numbers of queries with their IoUs.
        """
        queries, iou = state[f"{kind}_queries"], state[f"{kind}_iou"]
        fits = queries.ndim == iou.ndim == 1 and queries.dtype == torch.int64 and iou.is_floating_point()
        if not fits or not bool(((iou >= 0) & (iou <= 1)).all() and ((queries >= 0) & (queries < len(iou))).all()):
            raise CompatibilityError(
                f"the state of maskomaly holds no {kind} queries with an IoU from 0 to 1 each; fit it again"
            )
        return cls(queries.tolist(), iou.to(torch.float32))


def pick_queries(
    kind: str,
    segmenter: Segmenter,
    frames: Iterable[Frame],
    region: Callable[[Frame], tuple[Tensor, Tensor]],
    *,
    threshold: float,
    min_iou: float,
    top_k: int,
    crop: bool,
    size: Size | None = None,
    progress: Progress | None = None,
) -> tuple[Picked, dict[str, Any]]:
    """Find the queries whose masks overlap a region best, in one pass over labelled frames.

    Args:
        kind: ``"ground"`` or ``"anomaly"``.
        segmenter: The mask transformer.
        frames: Labelled frames; those without what is looked for are skipped and named.
        region: Gives of a frame where the region is, and where that is known.
        threshold: A mask is what lies above this.
        min_iou: Queries of a smaller mean IoU are left out.
        top_k: At most so many are picked.
        crop: Take the padding off first.
        size: Working size that overrides the segmenter's.
        progress: Called after each frame.

    Returns:
        What was picked, and the log of it, JSON-ready.

    Raises:
        DataError: No frame could be used, or none shows the region.
    """
    found: list[QueryOverlap] = []

    def use(frame: Frame, scene: Scene) -> None:
        shown, valid = region(frame)
        _, masks = queries_of(scene.output, frame.id)
        if not found:
            found.append(QueryOverlap(masks.shape[1]))
        add_overlap(found[0], scene.output, shown, valid, threshold, crop)

    log = FitLog(f"maskomaly's {kind} queries")
    log.run(segmenter, frames, use, size=size, progress=progress)
    if kind == "anomaly" and not log.fingerprints and not log.skipped:
        raise DataError("maskomaly's profile +anomaly needs labelled anomalies; give --anomalies NAME=ROOT")
    record = log.record(None)
    overlap = found[0]
    if not overlap.images:
        raise DataError(f"none of the {record['frames']} frames to pick {kind} queries on shows {REGIONS[kind]}")
    picked = Picked(overlap.best(min_iou, top_k), overlap.iou.to(torch.float32))
    return picked, {**record, **_told(kind, picked, overlap, min_iou)}


def _told(kind: str, picked: Picked, overlap: QueryOverlap, min_iou: float) -> dict[str, Any]:
    """What was found, and a warning where that is nothing."""
    iou, share = overlap.iou.tolist(), overlap.share.tolist()
    best = max(range(len(iou)), key=iou.__getitem__)
    warnings = []
    if not picked.queries:
        warnings.append(
            f"no query reaches an IoU of {min_iou:g} with {REGIONS[kind]} (the best, query {best}, has "
            f"{iou[best]:.3f}), so maskomaly scores without {kind} queries"
        )
    return {
        "images": overlap.images,
        "picked": [{"query": q, "iou": round(iou[q], 4), "share": round(share[q], 4)} for q in picked.queries],
        "best": {"query": best, "iou": round(iou[best], 4), "share": round(share[best], 4)},
        "warnings": warnings,
    }


def merge_records(segmenter: Segmenter, records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The ``fitted_on`` of both kinds together: frames of either are known again by their fingerprints.

    Args:
        segmenter: The network.
        records: The logs of `pick_queries` by kind.
    """
    fingerprints = sorted(digest for record in records.values() for digest in record["fingerprints"])
    apart = ("fingerprints", "skipped", "segmenter", "warnings")
    return {
        "data": "; ".join(f"{kind}: {record['data']}" for kind, record in records.items()),
        "frames": len(fingerprints),
        "sha256": digest_of(fingerprints),
        "fingerprints": fingerprints,
        "skipped": [frame for record in records.values() for frame in record["skipped"]],
        "segmenter": segmenter.identity(),
        "warnings": [text for record in records.values() for text in record["warnings"]],
        **{kind: {key: value for key, value in record.items() if key not in apart} for kind, record in records.items()},
    }
