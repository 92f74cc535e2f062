"""Score images and write anomaly maps, heat-map overlays, masks, segmentations and open-set maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomseg.cli.arguments import (
    DETECTOR_HELP,
    add_network,
    add_run,
    named_detectors,
    open_detectors,
    open_segmenter_for,
)
from anomseg.cli.video import add_video
from anomseg.errors import EXIT_ERROR, EXIT_OK, EXIT_PARTIAL, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jsonargparse import ArgumentParser, Namespace

    from anomseg.cli.output import Progress
    from anomseg.inference import PredictSummary
    from anomseg.inference import Progress as Report


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("inputs", type=str, nargs="+", help="images, folders, globs, @list.txt, or videos")
    parser.add_argument(
        "--task",
        type=str,
        default="anomaly",
        help="anomaly: maps of what no class explains; failure: maps of where the network's own segmentation is likely "
        "wrong, and the IoU or Dice to expect of each class",
    )
    parser.add_argument("--mask", type=str, default=None, help="mask of a volume (NIfTI), with --task failure")
    parser.add_argument(
        "--labels",
        type=str,
        default=None,
        help="values of that mask, as 1:pancreas+2:tumour; else in the detector's order",
    )
    add_network(parser, default=None)
    parser.add_argument("--detector", type=str, action="append", help=DETECTOR_HELP)
    parser.add_argument(
        "--out", type=str, default="anomseg-out", help="folder of the results; several detectors get a subfolder each"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=None,
        help="scores at or above it are anomalous (or wrong): writes a mask, and of anomalies a picture of classes and "
        "anomaly in one; where not given, the one that 'anomseg calibrate --rule' stored with the detector, if any",
    )
    parser.add_argument(
        "--false-alarms",
        type=float,
        default=None,
        help="the threshold that 'anomseg calibrate' stored for this share of false alarms, instead of --threshold",
    )
    parser.add_argument(
        "--format",
        type=str,
        default="png,npy",
        help="any of png (pictures), npy, hdf5 (as SegmentMeIfYouCan exchanges maps), coco (components at the "
        "threshold as COCO annotations), separated by commas",
    )
    parser.add_argument("--dtype", type=str, default="float32", help="of npy maps: float32 or float16")
    parser.add_argument("--range", type=float, nargs=2, default=None, help="scores at both ends of the colours")
    parser.add_argument(
        "--calibrated",
        action="store_true",
        help="scores on the scale that 'anomseg calibrate' saved with the detector, in [0, 1); --threshold and --range "
        "are on it too",
    )
    parser.add_argument("--roi", type=str, default=None, help="mask image; scores count where it is not zero")
    add_video(parser)
    parser.add_argument("--batch-size", type=int, default=1, help="images in one forward pass")
    parser.add_argument("--overwrite", action="store_true", help="redo images whose results are there already")
    add_run(parser)


def run(options: Namespace) -> int:
    """Predict with each detector."""
    from pathlib import Path

    from anomseg.cli.output import Progress, say, warn
    from anomseg.cli.video import names_videos
    from anomseg.cli.video import predict as predict_videos
    from anomseg.cli.volumes import names_volumes
    from anomseg.cli.volumes import predict as predict_volume
    from anomseg.detectors import network_of, segmenter_matches
    from anomseg.inference import (
        predict_to_directory,
        quality_text,
        read_quality,
        threshold_at_false_alarms,
        threshold_of,
    )

    if options.mask is not None or names_volumes(options.inputs):
        return predict_volume(options)
    if names_videos(options.inputs):
        return predict_videos(options)
    if options.smooth:
        raise ConfigError("--smooth goes with videos; leave it out for images")
    if options.task == "failure" and options.false_alarms is not None:
        raise ConfigError("--false-alarms is a threshold of anomalies; give --threshold with --task failure")
    if options.threshold is not None and options.false_alarms is not None:
        raise ConfigError("--threshold and --false-alarms both set the threshold; give one of them")
    detectors = open_detectors(named_detectors(options), options.seed)
    segmenter = open_segmenter_for([detector for _, detector in detectors], options)
    formats = [part.strip() for part in options.format.split(",") if part.strip()]
    code = EXIT_OK
    for name, detector in detectors:
        out = Path(options.out) / name if len(detectors) > 1 else Path(options.out)
        mismatch = segmenter_matches(detector, network_of(detector, segmenter))
        if mismatch is not None:
            warn(mismatch)
        threshold = options.threshold
        if options.false_alarms is not None:
            threshold = threshold_at_false_alarms(detector, options.false_alarms, calibrated=options.calibrated)
            say(
                f"{name}: threshold {threshold:g} for a share of false alarms of {options.false_alarms:g}",
                options.quiet,
            )
        stored = threshold_of(detector) if threshold is None and options.task == "anomaly" else None
        if stored is not None:
            say(f"{name}: stored threshold {stored[0]:g} by {stored[1].title}: {stored[1].told}", options.quiet)
        with Progress(f"predicting with {name}", options.quiet) as progress:
            summary = predict_to_directory(
                options.inputs,
                segmenter,
                detector,
                out,
                formats,
                dtype=options.dtype,
                threshold=threshold,
                roi=options.roi,
                batch_size=options.batch_size,
                on_progress=_relay(progress),
                seed=options.seed,
                range=tuple(options.range) if options.range else None,
                overwrite=options.overwrite,
                calibrated=options.calibrated,
                task=options.task,
            )
        for item, reason in summary.skipped:
            warn(f"skipped {item}: {reason}")
        if options.task == "failure":
            table = quality_text(read_quality(out, sorted((*summary.done, *summary.kept))))
            say(table or f"{name} judges pixels and says nothing of single classes", options.quiet)
        say(f"{name}: {_describe(summary)}; results in {out}", options.quiet)
        if summary.skipped:
            code = EXIT_PARTIAL if summary.done or summary.kept else EXIT_ERROR
    return code


def _relay(progress: Progress) -> Callable[[Report], None]:
    return lambda report: progress(report.finished, report.total)


def _describe(summary: PredictSummary) -> str:
    parts = [f"{len(summary.done)} done"]
    if summary.kept:
        parts.append(f"{len(summary.kept)} kept from before")
    if summary.skipped:
        parts.append(f"{len(summary.skipped)} skipped")
    return ", ".join(parts) + f" in {summary.seconds:.1f} s ({summary.throughput:.2f} images/s)"
