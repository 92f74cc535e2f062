"""Maps for the hidden test sets of SegmentMeIfYouCan: written, read back and checked, all frames or an error."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from anomseg.benchmarks import Benchmark, get_benchmark
from anomseg.data import frame_fingerprint
from anomseg.detectors import Detector
from anomseg.detectors.fitting import overlapping_frames
from anomseg.errors import ConfigError, DataError, FrameError
from anomseg.evaluation.progress import Progress, silent
from anomseg.evaluation.submission_files import Folder, check_map, read_submitted
from anomseg.files import atomic_write, read_json, write_json
from anomseg.inference import Predictor, write_hdf5
from anomseg.inference.predict import stream
from anomseg.inference.provenance import digest, plain
from anomseg.inference.sources import Source
from anomseg.metrics import PixelCurve
from anomseg.segmenters import Segmenter
from anomseg.segmenters.base import Size
from anomseg.types import Frame

SCHEMA = 1


@dataclass(frozen=True)
class Track:
    """What the challenge calls a benchmark, and the splits that make it up.

    Attributes:
        dataset: Name of the folder that its maps go into.
        splits: All of them together are the track.
    """

    dataset: str
    splits: tuple[str, ...]


TRACKS: Mapping[str, Track] = {
    "road_anomaly_21": Track("AnomalyTrack-all", ("validation", "test")),
    "road_obstacle_21": Track("ObstacleTrack-all", ("validation", "test", "night", "snowstorm")),
    # Its other splits of test frames are parts of this one.
    "lost_and_found": Track("LostAndFound-test", ("test",)),
}


@dataclass(frozen=True)
class Submission:
    """What was written and found in order.

    Attributes:
        folder: Folder of the maps, ``OUT/anomaly_p/<method>/<dataset>``.
        frames: Maps in it.
        kept: Those that an earlier attempt had written.
        labelled: Frames with ground truth, on which average precision was compared.
        ap: ``direct`` from the scores themselves, ``submitted`` from the maps read back, and what the ``rounding`` to
            float16 changed; None where no frame has ground truth and anomalies.
        archive: The archive, where one was asked for.
        notes: What the submitter should know.
    """

    folder: Path
    frames: int
    kept: int
    labelled: int
    ap: Mapping[str, float] | None
    archive: Path | None = None
    notes: Sequence[str] = field(default=())


def submit(
    benchmark: str | Benchmark,
    root: str | Path,
    segmenter: Segmenter | None,
    detector: Detector,
    out: str | Path,
    *,
    method: str | None = None,
    size: Size | None = None,
    device: str | None = None,
    seed: int = 0,
    calibrated: bool = False,
    archive: bool = False,
    allow_missing: bool = False,
    overwrite: bool = False,
    on_progress: Progress = silent,
) -> Submission:
    """Write what the challenge takes and make sure that it is whole.

    Layout: ``OUT/anomaly_p/<method>/<dataset>/<frame id>.hdf5`` with one dataset ``value``, float16, gzip level 9, at
    the image's own size. The same call on the same ``out`` continues an interrupted one.

    Args:
        benchmark: A benchmark of the challenge.
        root: The folder that holds its data in the official layout.
        segmenter: The network; None for a detector that needs none or carries its own.
        detector: Ready to score.
        out: Folder of the submission; several benchmarks and methods may share it.
        method: Name of the method; the detector's own where not given.
        size: Working size ``(height, width)`` that overrides the segmenter's.
        device: Where to run; None leaves the network where it is.
        seed: For detectors with random passes.
        calibrated: Write scores on the scale of the detector's calibration.
        archive: Also write ``OUT/<method>-<dataset>.zip``.
        allow_missing: Go on where the folder lacks frames; the submission is then no whole one, and says so.
        overwrite: Score every frame anew, replacing what is there, of other settings too.
        on_progress: Called after each frame.

    Raises:
        ConfigError: The benchmark is none of the challenge's, the method's name cannot name a folder, or the folder
            holds maps of other settings.
        DataError: Frames are missing or cannot be scored, or a map that was read back is not what it should be.
        CompatibilityError: The detector does not fit the segmenter.
    """
    bench = get_benchmark(benchmark) if isinstance(benchmark, str) else benchmark
    track = TRACKS.get(bench.name)
    if track is None:
        raise ConfigError(f"{bench.name} is no track of SegmentMeIfYouCan; choose from {', '.join(TRACKS)}")
    method = method or detector.registry_name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", method):
        raise ConfigError(f"the method's name {method!r} cannot name a folder; use letters, digits, - and _")
    frames, notes = load_track(bench, track, root, allow_missing=allow_missing)
    predictor = Predictor(
        segmenter, detector, size=size, device=device, seed=seed, segmentation=False, calibrated=calibrated
    )
    folder = Folder(Path(out) / "anomaly_p" / method / track.dataset)
    record = Path(out) / f"{method}-{track.dataset}.json"
    identity = digest({"made_by": predictor.provenance({}), "frames": {f.id: frame_fingerprint(f) for f in frames}})
    claim_folder(folder, record, identity, overwrite=overwrite)
    # Frames with ground truth are few and scored anew, so that their direct figures are there to compare with.
    pending = [frame for frame in frames if frame.has_label or not folder.path(frame.id).is_file()]
    kept = len(frames) - len(pending)
    direct, rounded = _score(predictor, pending, folder, kept, on_progress)
    ap = check_submission(folder, frames, direct, rounded)
    overlap = overlapping_frames(detector, frames)
    if overlap:
        notes.append(f"the detector was fitted or calibrated on {len(overlap)} of these frames ({overlap[0]} ...)")
    target = _write_archive(Path(out), folder, frames, f"{method}-{track.dataset}.zip") if archive else None
    labelled = sum(frame.has_label for frame in frames)
    told = {
        "schema": SCHEMA,
        "identity": identity,
        "method": method,
        "benchmark": bench.name,
        "dataset": track.dataset,
        "format": "hdf5, dataset value, float16, gzip level 9",
        "frames": len(frames),
        "labelled_frames": labelled,
        "ap": ap,
        "notes": notes,
        "made_by": predictor.provenance({}),
        "checked": True,
    }
    write_json(record, plain(told))
    return Submission(folder.path_of_all, len(frames), kept, labelled, ap, target, tuple(notes))


def load_track(
    bench: Benchmark, track: Track, root: str | Path, *, allow_missing: bool = False
) -> tuple[list[Frame], list[str]]:
    """All frames of a track, with or without ground truth, in the official layout, whose names the challenge knows.

    Returns:
        The frames, and notes on those that are missing where that is allowed.

    Raises:
        DataError: Frames are missing.
    """
    frames: list[Frame] = []
    faults: list[str] = []
    for split in track.splits:
        expected = bench.spec.split(split).expected
        try:
            found = bench.load_frames(root, split, "official")
        except DataError as error:
            if not allow_missing:
                raise
            faults.append(str(error))
            continue
        if expected is not None and len(found) != expected:
            faults.append(f"split {split} of {bench.name} has {expected} frames, {len(found)} are in {root}")
        frames += found
    if faults and not allow_missing:
        raise DataError(
            f"{faults[0]}; a submission needs every frame, and 'anomseg data verify {bench.name}' names what differs "
            "(--allow-missing writes the rest, as a trial)"
        )
    if not frames:
        raise DataError(faults[0])
    return frames, [f"no whole submission: {fault}" for fault in faults]


def claim_folder(folder: Folder, record: Path, identity: str, *, overwrite: bool) -> None:
    """Take the folder of maps for these settings, going on where they are the same.

    Raises:
        ConfigError: It holds maps of other settings, or of nobody knows which.
    """
    earlier = read_json(record) if record.is_file() else None
    same = isinstance(earlier, dict) and earlier.get("identity") == identity
    if not same and folder.names() and not overwrite:
        raise ConfigError(
            f"{folder.path_of_all} holds maps of other settings or images; give --overwrite to replace them, or "
            "another --method or --out"
        )
    if overwrite or not same:
        folder.clear()
    write_json(record, {"schema": SCHEMA, "identity": identity, "checked": False})


def _score(
    predictor: Predictor, frames: Sequence[Frame], folder: Folder, kept: int, on_progress: Progress
) -> tuple[PixelCurve, PixelCurve]:
    """Write the maps of some frames; curves of those with ground truth, from the scores and from them as float16."""
    direct, rounded = PixelCurve(), PixelCurve()
    by_id = {frame.id: frame for frame in frames}
    failed: dict[str, str] = {}
    sources = [Source(frame.id, frame.image, Path(frame.meta["path"])) for frame in frames]
    with closing(stream(predictor, sources)) as results:
        for done, (source, result) in enumerate(results, 1):
            try:
                if isinstance(result, FrameError):
                    raise result
                label = by_id[source.name].label
                write_hdf5(folder.path(source.name), result.anomaly_map)
                if label is not None:
                    direct.update(result.anomaly_map, label, source.name)
                    rounded.update(result.anomaly_map.astype(np.float16), label, source.name)
            except FrameError as error:
                failed[source.name] = str(error)
            on_progress(kept + done, kept + len(frames), f"score {source.name}")
    if failed:
        name, reason = next(iter(failed.items()))
        raise DataError(
            f"{len(failed)} of {kept + len(frames)} frames could not be scored ({name}: {reason}); the submission is "
            "not whole, mend this and run the same command again"
        )
    return direct, rounded


def check_submission(
    folder: Folder, frames: Iterable[Frame], direct: PixelCurve, rounded: PixelCurve
) -> dict[str, float] | None:
    """Read every map back and compare.

    Args:
        folder: The maps.
        frames: All that have to be there.
        direct: Curve of the scores on the frames with ground truth.
        rounded: Curve of the same scores as float16.

    Returns:
        Average precision ``direct``, ``submitted``, and ``rounding``, their difference; None where it is undefined.

    Raises:
        DataError: A map is missing or too many, damaged, of another type or size, or not the one that was computed.
    """
    listed = list(frames)
    strangers = sorted(set(folder.names()) - {frame.id for frame in listed})
    if strangers:
        raise DataError(f"{folder.path(strangers[0])} is of no frame of this track; remove it")
    back = PixelCurve()
    for frame in listed:
        score = read_submitted(folder.path(frame.id))
        check_map(score, frame)
        label = frame.label
        if label is not None:
            back.update(score, label, frame.id)
    try:
        before, expected, found = (curve.compute().ap for curve in (direct, rounded, back))
    except DataError:
        return None
    if found != expected:
        raise DataError(
            f"maps read back from {folder.path_of_all} give AP {found:.6f}, the scores as float16 {expected:.6f}; the "
            "files are not what was written, check the disk and run again with --overwrite"
        )
    return {"direct": before, "submitted": found, "rounding": found - before}


def _write_archive(out: Path, folder: Folder, frames: Iterable[Frame], name: str) -> Path:
    """Zip the maps as they lie below OUT, with a fixed date so that equal maps give equal archives."""
    with atomic_write(out / name) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for frame in frames:
            path = folder.path(frame.id)
            member = zipfile.ZipInfo(path.relative_to(out).as_posix(), date_time=(1980, 1, 1, 0, 0, 0))
            member.external_attr = 0o644 << 16
            archive.writestr(member, path.read_bytes())
    return out / name
