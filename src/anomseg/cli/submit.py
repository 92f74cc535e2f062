"""Write maps for the hidden test sets of SegmentMeIfYouCan and Fishyscapes, read back and checked."""

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
from anomseg.errors import EXIT_OK, ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from anomseg.detectors import Detector
    from anomseg.segmenters import Segmenter


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument(
        "--benchmark", type=str, required=True, help="road_anomaly_21, road_obstacle_21, or fishyscapes"
    )
    parser.add_argument(
        "--root",
        type=str,
        required=True,
        help="folder of its data, in the official layout; of fishyscapes the folder of *_rgb.png",
    )
    add_network(parser, default=None)
    parser.add_argument("--detector", type=str, default=None, help=DETECTOR_HELP.replace("detectors:", "one detector:"))
    parser.add_argument("--out", type=str, required=True, help="folder of the submission; an interrupted one goes on")
    parser.add_argument("--method", type=str, default=None, help="name of the method; the detector's where not given")
    parser.add_argument(
        "--calibrated", action="store_true", help="scores on the scale that 'anomseg calibrate' saved with the detector"
    )
    parser.add_argument("--zip", action="store_true", help="also write OUT/METHOD-DATASET.zip")
    parser.add_argument(
        "--allow-missing", action="store_true", help="go on where frames are missing: a trial, no whole submission"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace maps of other settings")
    add_run(parser)


def run(options: Namespace) -> int:
    """Score all frames, check all files, say what the rounding to float16 changed."""
    from anomseg.cli.output import Progress, say, warn
    from anomseg.detectors import network_of, segmenter_matches
    from anomseg.evaluation import submit
    from anomseg.evaluation.fishyscapes_files import NAME as FISHYSCAPES

    named = open_detectors(named_detectors(options), options.seed)
    if len(named) != 1:
        raise ConfigError("anomseg submit takes one detector at a time")
    name, detector = named[0]
    segmenter = open_segmenter_for([detector], options)
    mismatch = segmenter_matches(detector, network_of(detector, segmenter))
    if mismatch is not None:
        warn(mismatch)
    if options.benchmark == FISHYSCAPES:
        return _fishyscapes(options, segmenter, detector)
    with Progress(f"submission of {name}", options.quiet) as progress:
        made = submit(
            options.benchmark,
            options.root,
            segmenter,
            detector,
            options.out,
            method=options.method or name,
            seed=options.seed,
            calibrated=options.calibrated,
            archive=options.zip,
            allow_missing=options.allow_missing,
            overwrite=options.overwrite,
            on_progress=progress,
        )
    for note in made.notes:
        warn(note)
    say(f"{made.frames} maps ({made.kept} kept from before), read back and checked: {made.folder}", options.quiet)
    if made.ap is not None:
        say(
            f"AP on the {made.labelled} frames with ground truth: {made.ap['direct']:.4f} from the scores, "
            f"{made.ap['submitted']:.4f} from the maps (rounding to float16: {made.ap['rounding']:+.1e})",
            options.quiet,
        )
    if made.archive is not None:
        say(f"archive: {made.archive}", options.quiet)
    return EXIT_OK


def _fishyscapes(options: Namespace, segmenter: Segmenter | None, detector: Detector) -> int:
    from anomseg.cli.output import Progress, say, warn
    from anomseg.evaluation import submit_fishyscapes

    if options.zip or options.allow_missing or options.method:
        raise ConfigError("--zip, --method and --allow-missing belong to SegmentMeIfYouCan; leave them out here")
    with Progress("maps for Fishyscapes", options.quiet) as progress:
        made = submit_fishyscapes(
            options.root,
            segmenter,
            detector,
            options.out,
            seed=options.seed,
            calibrated=options.calibrated,
            overwrite=options.overwrite,
            on_progress=progress,
        )
    for note in made.notes:
        warn(note)
    say(
        f"{made.frames} images ({made.kept} kept from before), maps read back and checked: {made.folder}", options.quiet
    )
    return EXIT_OK
