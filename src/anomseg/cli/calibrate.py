"""Find out what a detector's scores mean in false alarms on in-distribution frames, and save it so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomseg.cli.arguments import (
    DETECTOR_HELP,
    add_network,
    add_run,
    open_detectors,
    open_segmenter_for,
)
from anomseg.cli.frames import add_selection, open_frames
from anomseg.errors import EXIT_OK, EXIT_PARTIAL, ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from anomseg.calibration import ThresholdRule


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument(
        "--detector", type=str, required=True, help=DETECTOR_HELP.replace("detectors:", "one detector:")
    )
    add_network(parser, default=None)
    parser.add_argument(
        "--data",
        type=str,
        nargs="+",
        required=True,
        help="in-distribution frames that the detector was not fitted on: NAME=ROOT[@SPLIT] ..., split val (or the "
        "set's own) where not given",
    )
    add_selection(parser)
    parser.add_argument(
        "--decades",
        type=float,
        default=6.0,
        help="powers of ten of the false-alarm rate that the calibrated score spans: 1 stands for 1 in 10^DECADES",
    )
    parser.add_argument(
        "--rule",
        type=str,
        default=None,
        help="also store a threshold: quantile (a share of all in-distribution pixels), conformal (a bound on the "
        "expected false alarms of a new frame), best_f1 (an oracle, on labelled anomalies)",
    )
    parser.add_argument("--risk", type=float, default=None, help="false alarms that quantile or conformal may allow")
    parser.add_argument(
        "--loss",
        type=str,
        default="pixels",
        help="what conformal bounds: pixels (the share of a frame's pixels called anomalous) or frames (the chance of "
        "any false alarm in a frame)",
    )
    parser.add_argument(
        "--block",
        type=int,
        default=1,
        help="consecutive frames of a sequence that conformal counts as one, since they are no independent draws",
    )
    parser.add_argument("--out", type=str, required=True, help="directory of the saved detector")
    add_run(parser)


def run(options: Namespace) -> int:
    """Calibrate and save; exit code 1 where frames had to be skipped."""
    from anomseg.calibration import calibrate_detector, notes_on, stored_threshold
    from anomseg.cli.output import Progress, say, warn
    from anomseg.detectors import check_writable, save_detector

    rule = _rule(options)
    named = open_detectors([options.detector], options.seed)
    if len(named) != 1:
        raise ConfigError("anomseg calibrate takes one detector at a time")
    name, detector = named[0]
    check_writable(options.out)
    frames = open_frames(options.data, options, "val")
    segmenter = open_segmenter_for([detector], options)
    with Progress(f"calibrating {name}", options.quiet) as progress:
        report = progress.over_frames(len(frames))
        made = calibrate_detector(
            detector, segmenter, frames, decades=options.decades, rule=rule, seed=options.seed, progress=report
        )
    save_detector(detector, options.out)
    for note in notes_on(made):
        warn(note)
    skipped = made.content["skipped"]
    say(
        f"{name} calibrated on {made.content['pixels']:,} pixels of {made.content['frames']} frames, "
        f"saved to {options.out}",
        options.quiet,
    )
    threshold = stored_threshold(made)
    if threshold is not None:
        say(f"threshold {threshold.value:g} by {threshold.title}: {threshold.told}", options.quiet)
    return EXIT_PARTIAL if skipped else EXIT_OK


def _rule(options: Namespace) -> ThresholdRule | None:
    from anomseg.calibration import ThresholdRule

    if options.rule is None:
        if options.risk is not None or options.loss != "pixels" or options.block != 1:
            raise ConfigError("--risk, --loss and --block go with a --rule; give for instance --rule conformal")
        return None
    return ThresholdRule(options.rule, options.risk, options.loss, options.block)
