"""`predict_to_directory`: many images to files, skipping what is bad and keeping what was done before."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomseg.detectors.base import Detector
from anomseg.errors import ConfigError, DataError, FrameError
from anomseg.files import read_json
from anomseg.inference.assessment import FailureAssessment
from anomseg.inference.coco import join_coco
from anomseg.inference.colour import Range
from anomseg.inference.image_predictor import ImagePredictor
from anomseg.inference.outputs import Outputs
from anomseg.inference.predict import stream
from anomseg.inference.prediction import Prediction
from anomseg.inference.quality_table import read_quality, write_quality
from anomseg.inference.roi import load_roi
from anomseg.inference.sources import ImageLike, Source, sources_of
from anomseg.inference.tasks import Task, make_predictor
from anomseg.inference.thresholds import threshold_of
from anomseg.inference.writers import MapDtype
from anomseg.segmenters.base import Segmenter, Size


@dataclass(frozen=True)
class PredictSummary:
    """What a run did.

    Attributes:
        done: Names of the images scored and written now.
        kept: Names of those whose files of the same provenance were there already.
        skipped: ``(name, reason)`` of those that could not be used.
        seconds: Wall time of the whole run.
    """

    done: tuple[str, ...]
    kept: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    seconds: float

    @property
    def throughput(self) -> float:
        """Images scored and written a second; 0 when none was."""
        return len(self.done) / self.seconds if self.done and self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Progress:
    """How far a run is, after each image.

    Attributes:
        name: The image just dealt with.
        status: ``done``, ``kept`` or ``skipped``.
        reason: Why it was skipped.
        finished: Images dealt with so far.
        total: Images in all.
        seconds: Since the start.
        throughput: Images scored a second so far.
        remaining: Seconds left at this rate; None while nothing was scored.
    """

    name: str
    status: str
    reason: str
    finished: int
    total: int
    seconds: float
    throughput: float
    remaining: float | None


def predict_to_directory(
    inputs: str | os.PathLike[str] | Iterable[ImageLike],
    segmenter: Segmenter | None,
    detector: Detector,
    out: str | Path,
    formats: Sequence[str] = ("png", "npy"),
    *,
    dtype: MapDtype = "float32",
    threshold: float | None = None,
    roi: str | Path | np.ndarray | None = None,
    batch_size: int = 1,
    on_progress: Callable[[Progress], None] | None = None,
    size: Size | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    range: Range | None = None,
    overwrite: bool = False,
    calibrated: bool = False,
    task: Task = "anomaly",
) -> PredictSummary:
    """Score images and write what was found, one set of files an image.

    A bad image is named and skipped, the rest is done. Files that the same settings made from the same image are
    kept, so an interrupted run is finished by repeating it. Ctrl-C and a full disk leave every finished image and
    no half-written file.

    Args:
        inputs: Files, folders, globs, ``@list.txt`` (see `expand_inputs`), or images in memory.
        segmenter: The network; None for a detector that needs none or carries its own.
        detector: Ready to score.
        out: Folder of the results, made if missing; images in it are never taken for inputs.
        formats: Any of png, npy, hdf5, coco; see `Prediction.save`. ``coco`` also writes the components of all images
            into one file, ``all.coco.json``.
        dtype: Of the ``npy`` maps.
        threshold: Score from which a pixel counts as anomalous; the one stored with the detector where not given, if
            there is any.
        roi: Mask file or array; scores count where it is non-zero.
        batch_size: Images scored together, where consecutive ones share a working size.
        on_progress: Called after each image.
        size: Working size ``(height, width)`` that overrides the segmenter's.
        device: ``"cpu"``, ``"cuda"``, ``"auto"``; None leaves the network where it is.
        seed: For detectors with random passes.
        range: Scores at both ends of the overlays' colours, to compare images by eye.
        overwrite: Redo also what is there already.
        calibrated: Write scores on the scale of the detector's calibration; ``threshold`` and ``range`` are then
            on it, too.
        task: ``anomaly``; or ``failure``: where the segmentation is likely wrong, see `FailureAssessment.save`, with
            the expected quality of all classes in ``class_quality.csv``.

    Returns:
        What was done, kept and skipped.

    Raises:
        DataError: An input does not exist, nothing was found, or a file cannot be written.
        ConfigError: A format is unknown or the batch size is not positive.
        CompatibilityError: The detector does not fit the segmenter.
        KeyboardInterrupt: The user stopped it; what was finished is kept.
    """
    if task != "anomaly" and "coco" in formats:
        raise ConfigError("the format coco is of anomalous components; leave it out with --task failure")
    rule = None
    if threshold is None and task == "anomaly":
        threshold, rule = _stored(detector, calibrated=calibrated)
    outputs = Outputs(tuple(formats), dtype, threshold, range, rule)
    if batch_size < 1:
        raise ConfigError(f"batch size {batch_size} is not positive; use 1 or more")
    started = time.perf_counter()
    folder = Path(out)
    sources = list(sources_of([inputs] if isinstance(inputs, (str, os.PathLike)) else inputs, exclude=folder))
    predictor: ImagePredictor[Any, Prediction | FailureAssessment] = make_predictor(
        task,
        segmenter,
        detector,
        size=size,
        device=device,
        roi=load_roi(roi),
        seed=seed,
        drawn="png" in formats,
        calibrated=calibrated,
    )
    done: list[str] = []
    kept: list[str] = []
    skipped: list[tuple[str, str]] = []

    def report(name: str, status: str, reason: str = "") -> None:
        if on_progress is None:
            return
        seconds = time.perf_counter() - started
        finished = len(done) + len(kept) + len(skipped)
        left = len(sources) - finished
        rate = len(done) / seconds if done and seconds > 0 else 0.0
        on_progress(
            Progress(name, status, reason, finished, len(sources), seconds, rate, left / rate if rate else None)
        )

    pending: list[Source] = []
    for source in sources:
        if not overwrite and is_finished(folder, source, predictor, outputs):
            kept.append(source.name)
            report(source.name, "kept")
        else:
            pending.append(source)
    with closing(stream(predictor, pending, batch_size)) as results:
        for source, result in results:
            try:
                if isinstance(result, FrameError):
                    raise result
                result.write(folder, outputs)
            except FrameError as error:
                skipped.append((source.name, str(error)))
                report(source.name, "skipped", str(error))
            else:
                done.append(source.name)
                report(source.name, "done")
    written = {*done, *kept}
    _write_joint(folder, [source.name for source in sources if source.name in written], task, formats)
    return PredictSummary(tuple(done), tuple(kept), tuple(skipped), time.perf_counter() - started)


def _stored(detector: Detector, *, calibrated: bool) -> tuple[float | None, str | None]:
    """The threshold that a detector carries and the name of its rule; None without one."""
    stored = threshold_of(detector, calibrated=calibrated)
    return (None, None) if stored is None else (stored[0], stored[1].title)


def _write_joint(folder: Path, names: Sequence[str], task: Task, formats: Sequence[str]) -> None:
    """Files on all images together."""
    if "coco" in formats and names:
        join_coco(folder, names)
    quality = read_quality(folder, names) if task == "failure" else []
    if quality:
        write_quality(folder, quality)


def is_finished(folder: Path, source: Source, predictor: ImagePredictor[Any, Any], outputs: Outputs) -> bool:
    """Whether the files of an image are there, made by the same settings from the same bytes."""
    sidecar = folder / f"{source.name}.json"
    if not sidecar.is_file():
        return False
    try:
        written = read_json(sidecar)
        expected = outputs.fingerprint(predictor.provenance(source.describe()))
    except (DataError, FrameError):
        return False
    if not isinstance(written, dict) or written.get("fingerprint") != expected:
        return False
    return all((folder / Path(str(name)).name).is_file() for name in written.get("files", []))
