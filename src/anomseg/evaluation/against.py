"""A data set's inliers against whole negative images, at equal numbers of pixels: the protocol of LSUN and WildDash."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomseg._version import __version__
from anomseg.calibration import valid_pixels
from anomseg.detectors import Detector, overlapping_frames
from anomseg.errors import DataError, FrameError
from anomseg.evaluation.maps import MapCache
from anomseg.evaluation.progress import Progress, silent
from anomseg.files import write_json
from anomseg.inference.predict import stream
from anomseg.inference.predictor import Predictor
from anomseg.inference.provenance import plain, state_hash
from anomseg.inference.sources import ImageLike, Source, sources_of
from anomseg.metrics import PixelCurve, equal_pixel_ap
from anomseg.metrics.equal_pixels import REPEATS
from anomseg.segmenters import Segmenter
from anomseg.segmenters.base import Size
from anomseg.types import INLIER, VOID, Frame

CARD_FILE, STATE_FILE = "against.json", "inliers.npz"
TASK = "against_negatives"


def against_negatives(
    frames: Sequence[Frame],
    negatives: Iterable[ImageLike],
    segmenter: Segmenter | None,
    detectors: Mapping[str, Detector],
    out: str | Path | None = None,
    *,
    size: Size | None = None,
    device: str | torch.device | None = None,
    repeats: int = REPEATS,
    seed: int = 0,
    on_progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Average precision of the pixels of negative images against those of a data set, over repeated draws.

    Of the frames the pixels count that their labels call neither void nor anomalous, of frames without labels all; of
    negative images every pixel. See `anomseg.metrics.equal_pixel_ap` for the draws.

    Args:
        frames: The data set.
        negatives: Images none of whose content is known: paths, folders, globs, or images in memory.
        segmenter: The network; None where every detector carries its own or needs none.
        detectors: Detectors by their folder in the results.
        out: Folder of results, ``out/<detector>/against.json`` and the state of the inliers; None writes nothing.
        size: Working size ``(height, width)`` that overrides the network's.
        device: Where networks run; None leaves them where they are.
        repeats: Draws.
        seed: Of the draws, and of detectors that sample.
        on_progress: Called after each image and each draw.

    Returns:
        One card a detector.

    Raises:
        DataError: No frame or no negative image can be used, or the negatives have too few pixels.
        ConfigError: There is nothing to repeat.
        CompatibilityError: A detector does not fit the network, or has not been fitted.
    """
    sources = list(sources_of(negatives))
    cards = []
    for folder, detector in detectors.items():
        # One image at a time, as in evaluate, so that the figures do not hang on how images were batched.
        predictor = Predictor(segmenter, detector, size=size, device=device, seed=seed, segmentation=False)
        skipped: list[dict[str, str]] = []
        curve = _inliers(predictor, frames, skipped, on_progress)
        with tempfile.TemporaryDirectory(prefix="anomseg-") as temporary:
            cache = MapCache(temporary)
            names = _write_maps(predictor, sources, cache, skipped, on_progress)
            result = equal_pixel_ap(
                curve,
                names,
                cache.read,
                repeats=repeats,
                seed=seed,
                on_draw=lambda done, total: on_progress(done, total, "draw negatives"),
            )
        seen = overlapping_frames(detector, frames)
        card = plain(
            {
                "schema": 1,
                "library_version": __version__,
                "task": TASK,
                "folder": folder,
                "dataset": frames[0].meta.get("dataset") if frames else None,
                "split": frames[0].meta.get("split") if frames else None,
                "frames": len(curve.frames),
                "negatives": {"images": len(names), "sha256": _hash_of(sources, names)},
                "detector": {**detector.card(), "state_sha256": state_hash(detector.state())},
                "segmenter": predictor.segmenter.identity() if predictor.segmenter is not None else None,
                "size": list(size) if size else None,
                "seed": seed,
                "repeats": repeats,
                "pixels": result.pixels,
                "images_per_draw": list(result.images),
                "ap": {"mean": result.mean, "std": result.std, "draws": list(result.aps)},
                "overlap": seen,
                "skipped": skipped,
            }
        )
        if out is not None:
            curve.save(Path(out) / folder / STATE_FILE)
            write_json(Path(out) / folder / CARD_FILE, card)
        cards.append(card)
    return cards


def _inliers(
    predictor: Predictor, frames: Sequence[Frame], skipped: list[dict[str, str]], on_progress: Progress
) -> PixelCurve:
    """A state that counts the inliers of the frames."""
    curve, by_id = PixelCurve(), {frame.id: frame for frame in frames}
    sources = [Source(frame.id, frame.image) for frame in frames]
    with closing(stream(predictor, sources)) as results:
        for done, (source, result) in enumerate(results, 1):
            try:
                if isinstance(result, FrameError):
                    raise result
                valid = valid_pixels(by_id[source.name])
                score = result.anomaly_map
                label = np.full(score.shape, INLIER, np.uint8) if valid is None else np.where(valid, INLIER, VOID)
                curve.update(score, label.astype(np.uint8), source.name)
            except FrameError as error:
                skipped.append({"frame": source.name, "reason": str(error)})
            on_progress(done, len(sources), f"score {source.name}")
    if not curve.inlier:
        reason = f"; the first because: {skipped[0]['reason']}" if skipped else ""
        raise DataError(f"none of {len(frames)} frames gives an inlier pixel{reason}")
    return curve


def _write_maps(
    predictor: Predictor,
    sources: Sequence[Source],
    cache: MapCache,
    skipped: list[dict[str, str]],
    on_progress: Progress,
) -> list[str]:
    """Maps of the negative images, and the names of those that have one."""
    names = []
    with closing(stream(predictor, sources)) as results:
        for done, (source, result) in enumerate(results, 1):
            if isinstance(result, FrameError):
                skipped.append({"frame": source.name, "reason": str(result)})
            else:
                cache.write(source.name, result.anomaly_map)
                names.append(source.name)
            on_progress(done, len(sources), f"score negative {source.name}")
    if not names:
        raise DataError(
            f"none of {len(sources)} negative images can be used; the first because: {skipped[-1]['reason']}"
        )
    return names


def _hash_of(sources: Sequence[Source], names: Sequence[str]) -> str | None:
    """One hash of all negative images, in the order of their names; None where some have no file."""
    used, digest = set(names), hashlib.sha256()
    for source in sorted(sources, key=lambda source: source.name):
        if source.name in used:
            content = source.describe()["sha256"]
            if content is None:
                return None
            digest.update(f"{source.name}={content}\n".encode())
    return digest.hexdigest()
