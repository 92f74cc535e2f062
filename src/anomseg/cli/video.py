"""Videos on the command line: what `predict` does where its inputs are videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anomseg.errors import EXIT_ERROR, EXIT_OK, EXIT_PARTIAL, ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonargparse import ArgumentParser, Namespace

    from anomseg.cli.output import Progress
    from anomseg.inference.video import VideoProgress, VideoSummary


def add_video(parser: ArgumentParser) -> None:
    """``--smooth``."""
    parser.add_argument(
        "--smooth",
        type=float,
        default=0.0,
        help="of videos: weight of the past in each map, in [0, 1); 0 takes every frame by itself",
    )


def names_videos(inputs: Sequence[str]) -> bool:
    """Whether inputs are videos.

    Raises:
        ConfigError: Some are and some are not.
    """
    from anomseg.inference.video_reading import is_video

    videos = [one for one in inputs if is_video(one)]
    if videos and len(videos) < len(inputs):
        raise ConfigError("videos and images do not go in one command; run it once for each")
    return bool(videos)


def predict(options: Namespace) -> int:
    """Score videos with each detector; one that cannot be read is named, the others are done."""
    from anomseg.cli.arguments import named_detectors, open_detectors, open_segmenter_for
    from anomseg.cli.output import Progress, say, warn
    from anomseg.detectors import network_of, segmenter_matches
    from anomseg.inference import threshold_at_false_alarms
    from anomseg.inference.inputs import number_duplicates, safe_name
    from anomseg.inference.video import Smoothing, predict_video
    from anomseg.inference.video_reading import require_av

    if options.task != "anomaly":
        raise ConfigError("videos go with --task anomaly; give single frames for others")
    if options.threshold is not None and options.false_alarms is not None:
        raise ConfigError("--threshold and --false-alarms both set the threshold; give one of them")
    require_av()
    Smoothing(options.smooth)  # an option out of range is told before any network is opened
    detectors = open_detectors(named_detectors(options), options.seed)
    segmenter = open_segmenter_for([detector for _, detector in detectors], options)
    names = number_duplicates([safe_name(Path(one).stem) for one in options.inputs])
    done = bad = 0
    for title, detector in detectors:
        out = Path(options.out) / title if len(detectors) > 1 else Path(options.out)
        mismatch = segmenter_matches(detector, network_of(detector, segmenter))
        if mismatch is not None:
            warn(mismatch)
        threshold = options.threshold
        if options.false_alarms is not None:
            threshold = threshold_at_false_alarms(detector, options.false_alarms, calibrated=options.calibrated)
        for path, name in zip(options.inputs, names, strict=True):
            try:
                with Progress(f"predicting {name} with {title}", options.quiet) as progress:
                    summary = predict_video(
                        path,
                        segmenter,
                        detector,
                        out,
                        name=name,
                        threshold=threshold,
                        smooth=options.smooth,
                        roi=options.roi,
                        seed=options.seed,
                        range=tuple(options.range) if options.range else None,
                        calibrated=options.calibrated,
                        on_progress=_relay(progress),
                    )
            except DataError as error:
                warn(f"skipped {name}: {error}")
                bad += 1
                continue
            done += 1
            bad += bool(summary.stopped)
            for text in _warnings(summary):
                warn(text)
            say(f"{title}: {_describe(summary)}", options.quiet)
    return EXIT_OK if not bad else EXIT_PARTIAL if done else EXIT_ERROR


def _relay(progress: Progress) -> VideoProgress:
    # A total that is not known, or wrong, must not look like the end.
    return lambda frames, expected: progress(frames, max(expected, frames if expected == frames else frames + 1))


def _warnings(summary: VideoSummary) -> list[str]:
    height, width = summary.size
    told = []
    if summary.resized is not None:
        told.append(
            f"{summary.name}: from frame {summary.resized} on there are frames of another size; "
            f"they were brought to {width}x{height}"
        )
    if summary.stopped:
        told.append(f"stopped early: {summary.stopped}; the {summary.frames} frames before it are kept")
    return told


def _describe(summary: VideoSummary) -> str:
    return (
        f"{summary.frames} frames in {summary.seconds:.1f} s ({summary.throughput:.2f} frames/s); "
        f"{summary.overlay} and {summary.table}"
    )
