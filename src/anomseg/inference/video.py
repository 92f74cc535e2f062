"""`predict_video`: a video in, an overlay video and a table of its frames out, in constant memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from anomseg.detectors.base import Detector
from anomseg.errors import ConfigError, DataError, FrameError
from anomseg.files import write_json
from anomseg.inference.colour import FloatArray, Range, score_range
from anomseg.inference.inputs import safe_name
from anomseg.inference.loading import Prefetch
from anomseg.inference.outputs import check_range
from anomseg.inference.predict import raised
from anomseg.inference.prediction import Prediction
from anomseg.inference.predictor import Predictor
from anomseg.inference.provenance import plain
from anomseg.inference.roi import load_roi
from anomseg.inference.sources import Source
from anomseg.inference.video_reading import VideoFrame, VideoReader
from anomseg.inference.video_table import FrameTable, frame_row
from anomseg.inference.video_writing import VideoWriter
from anomseg.segmenters.base import Segmenter, Size
from anomseg.types import UInt8Array

#: Called after each frame with the frames done and about how many there are, 0 where nothing tells.
VideoProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class VideoSummary:
    """What became of a video.

    Attributes:
        name: Names its files.
        frames: Frames scored and written.
        size: ``(height, width)`` of the first frame, and of the overlay.
        threshold: Scores at or above it are outlined and counted; None without one.
        range: Scores at both ends of the overlay's colours, in the last frame.
        resized: Number of the first frame of another size, which it and all like it were brought from; None where all
            are alike.
        stopped: Why it ends before the video's end; empty where it does not.
        seconds: Wall time.
        overlay: The video written.
        table: The table written.
    """

    name: str
    frames: int
    size: Size
    threshold: float | None
    range: Range
    resized: int | None
    stopped: str
    seconds: float
    overlay: Path
    table: Path

    @property
    def throughput(self) -> float:
        """Frames scored and written a second."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0


@dataclass
class Smoothing:
    """Exponential smoothing of maps over time: ``weight`` times what was, the rest what is.

    Args:
        weight: In [0, 1); 0 leaves every map as it is.

    Raises:
        ConfigError: The weight is out of range.

    Example:
        >>> smooth = Smoothing(0.75)
        >>> [smooth(np.full((1, 1), value, np.float32)).item() for value in (0, 4, 4)]
        [0.0, 1.0, 1.75]
    """

    weight: float = 0.0
    _state: FloatArray | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.weight < 1:
            raise ConfigError(f"a smoothing of {self.weight:g} is not in [0, 1); 0 is none, 0.8 is strong")

    def __call__(self, scores: FloatArray) -> FloatArray:
        """The smoothed map, float32; all maps are of one size."""
        if self.weight == 0:
            return scores
        if self._state is None:
            self._state = scores
        else:
            self._state = (self.weight * self._state + (1 - self.weight) * scores).astype(np.float32)
        return self._state


def predict_video(
    path: str | Path,
    segmenter: Segmenter | None,
    detector: Detector,
    out: str | Path,
    *,
    name: str | None = None,
    threshold: float | None = None,
    smooth: float = 0.0,
    roi: str | Path | np.ndarray | None = None,
    size: Size | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    range: Range | None = None,
    calibrated: bool = False,
    on_progress: VideoProgress | None = None,
) -> VideoSummary:
    """Score each frame of a video; write ``<name>_overlay.mp4``, ``<name>_frames.csv`` and ``<name>_video.json``.

    Frames are decoded, scored and encoded one by one, so memory does not grow with the video. Where a frame cannot be
    decoded or scored, and where the file breaks off, what was done is kept, as whole files, and the summary says why
    it ends there; Ctrl-C keeps it too. Frames of another size are brought to that of the first.

    Args:
        path: The video.
        segmenter: The network; None for a detector that needs none or carries its own.
        detector: Ready to score.
        out: Folder of the results, made if missing; results of an earlier run on the same video are replaced.
        name: Names the files; the video's own name where not given.
        threshold: Scores at or above it are outlined and counted; the one stored with the detector where not given,
            if there is one.
        smooth: Weight of the past in [0, 1): each map is ``smooth`` times the map before it and the rest its own.
        roi: Mask file or array; scores count where it is non-zero.
        size: Working size ``(height, width)`` that overrides the segmenter's.
        device: ``"cpu"``, ``"cuda"``, ``"auto"``; None leaves the network where it is.
        seed: For detectors with random passes.
        range: Scores at both ends of the colours; where not given, the widest range of the frames so far, so that
            colours mean the same from one frame to the next once it has settled.
        calibrated: Scores on the scale of the detector's calibration; ``threshold`` and ``range`` are then on it, too.
        on_progress: Called after each frame.

    Returns:
        What was done.

    Raises:
        ConfigError: PyAV is not installed, or an option is out of range.
        DataError: The file is no video, not one frame of it can be used, or a file cannot be written.
        CompatibilityError: The detector does not fit the segmenter.
    """
    started = time.perf_counter()
    stem, folder = safe_name(name or Path(path).stem), Path(out)
    smoothing = Smoothing(smooth)
    predictor = Predictor(
        segmenter,
        detector,
        size=size,
        device=device,
        roi=load_roi(roi),
        seed=seed,
        segmentation=False,
        pictures=False,
        calibrated=calibrated,
        threshold=threshold,
    )
    run = _Run(stem, predictor, smoothing, check_range(range) if range is not None else None)
    overlay, table = folder / f"{stem}_overlay.mp4", folder / f"{stem}_frames.csv"
    stopped = ""
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(path))
        rows = stack.enter_context(FrameTable(table))
        pictures = stack.enter_context(VideoWriter(overlay, reader.rate))
        frames = stack.enter_context(Prefetch(reader, lambda frame: frame, depth=1))
        try:
            for frame, _ in frames:
                prediction, picture = run.score(frame)
                pictures.add(picture, frame.seconds)
                rows.add(
                    frame_row(frame.index, frame.seconds, prediction.anomaly_map, predictor.threshold, prediction.roi)
                )
                run.frames += 1
                if on_progress is not None:
                    on_progress(run.frames, reader.expected)
        except FrameError as error:
            stopped = str(error)
    if run.size is None or not run.frames:
        raise DataError(stopped or f"{path} holds no frame; give a video with pictures")
    summary = VideoSummary(
        stem,
        run.frames,
        run.size,
        predictor.threshold,
        run.limits or (0.0, 1.0),
        run.resized,
        stopped,
        time.perf_counter() - started,
        overlay,
        table,
    )
    _write_sidecar(folder / f"{stem}_video.json", Path(path), predictor, summary, smooth)
    return summary


@dataclass
class _Run:
    """What passes from one frame to the next."""

    stem: str
    predictor: Predictor
    smoothing: Smoothing
    fixed: Range | None
    limits: Range | None = None
    size: Size | None = None
    resized: int | None = None
    frames: int = 0

    def score(self, frame: VideoFrame) -> tuple[Prediction, UInt8Array]:
        """The smoothed prediction of a frame, and its overlay.

        Raises:
            FrameError: It cannot be scored.
        """
        source = Source(f"{self.stem}-{frame.index:06d}", lambda: frame.image)
        image = self._fitted(frame)
        found = raised(self.predictor.run([source], [image], [{"path": None, "sha256": None}])[0])
        prediction = Prediction(
            image=image, anomaly_map=self.smoothing(found.anomaly_map), bounded=found.bounded, roi=found.roi
        )
        limits = self._limits(prediction)
        return prediction, prediction.overlay(limits, threshold=self.predictor.threshold, bar=False)

    def _fitted(self, frame: VideoFrame) -> UInt8Array:
        size = (frame.image.shape[0], frame.image.shape[1])
        self.size = self.size or size
        if size == self.size:
            return frame.image
        self.resized = frame.index if self.resized is None else self.resized
        wanted = (self.size[1], self.size[0])
        return np.asarray(Image.fromarray(frame.image).resize(wanted, Image.Resampling.BILINEAR))

    def _limits(self, prediction: Prediction) -> Range:
        if self.fixed is not None:
            self.limits = self.fixed
        else:
            own = score_range(prediction.anomaly_map, bounded=prediction.bounded, inside=prediction.roi)
            before = self.limits or own
            self.limits = (min(own[0], before[0]), max(own[1], before[1]))
        return self.limits


def _write_sidecar(path: Path, video: Path, predictor: Predictor, summary: VideoSummary, smooth: float) -> None:
    about = {"path": str(video), "bytes": video.stat().st_size}
    told = {
        "frames": summary.frames,
        "height": summary.size[0],
        "width": summary.size[1],
        "threshold": summary.threshold,
        "smooth": smooth,
        "overlay_range": {"min": summary.range[0], "max": summary.range[1]},
        "first_resized_frame": summary.resized,
        "stopped": summary.stopped or None,
        "files": [summary.overlay.name, summary.table.name],
    }
    write_json(path, plain({"schema": 1, "name": summary.name, **predictor.provenance(about), "output": told}))
