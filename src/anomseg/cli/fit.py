"""Fit a detector on in-distribution frames and save it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomseg.cli.arguments import DETECTOR_HELP, add_network, add_run, open_detectors, open_segmenter, parse_data
from anomseg.cli.frames import add_selection, open_frames
from anomseg.errors import EXIT_OK, EXIT_PARTIAL, ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from anomseg.detectors import Detector
    from anomseg.types import Frame


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument(
        "--detector", type=str, required=True, help=DETECTOR_HELP.replace("detectors:", "one detector:")
    )
    add_network(parser)
    parser.add_argument(
        "--data",
        type=str,
        nargs="+",
        default=None,
        help="in-distribution frames: NAME=ROOT[@SPLIT] ..., split train "
        "(or the set's own) where not given; a single NAME goes with --root; none for a detector "
        "of several networks, such as ensemble:members=DIR+DIR, which is saved with copies of them",
    )
    parser.add_argument("--root", type=str, default=None, help="folder of a single --data NAME")
    parser.add_argument(
        "--anomalies",
        type=str,
        nargs="+",
        default=None,
        help="labelled anomalies: NAME=ROOT[@SPLIT] ..., for a detector that picks something on them, such as "
        "maskomaly:profile=+anomaly; --limit holds for them too",
    )
    add_selection(parser)
    parser.add_argument("--out", type=str, required=True, help="directory of the saved detector")
    add_run(parser)


def run(options: Namespace) -> int:
    """Fit and save; exit code 1 where frames had to be skipped."""
    from anomseg.cli.output import Progress, say, warn
    from anomseg.detectors import AnomalyFitted, check_writable, is_fitted_on_frames, save_detector

    named = open_detectors([options.detector], options.seed)
    if len(named) != 1:
        raise ConfigError("anomseg fit takes one detector at a time")
    name, detector = named[0]
    if detector.flags.owns_network and not is_fitted_on_frames(detector):
        return _pack(name, detector, options)
    _check_data(name, detector, options)
    segmenter = open_segmenter(options)
    check_writable(options.out)
    data = [f"{options.data[0]}={options.root}"] if options.root else options.data or ()
    frames = open_frames(data, options, "train")
    anomalies = _anomalies(options)
    detector.needs(segmenter)
    with Progress(f"fitting {name}", options.quiet) as progress:
        report = progress.over_frames(len(frames) + len(anomalies))
        if isinstance(detector, AnomalyFitted):
            detector.fit(segmenter, frames, anomalies=anomalies, progress=report)
        else:
            detector.fit(segmenter, frames, progress=report)
    save_detector(detector, options.out, segmenter)
    for text in detector.warnings:
        warn(text)
    skipped = (detector.fitted_on or {}).get("skipped") or []
    count = len(frames) + len(anomalies) - len(skipped)
    say(f"{name} fitted on {count} frames, saved to {options.out}", options.quiet)
    return EXIT_PARTIAL if skipped else EXIT_OK


def _check_data(name: str, detector: Detector, options: Namespace) -> None:
    """Refuse frames that the detector would not look at, and ask for those that it needs."""
    from anomseg.detectors import AnomalyFitted

    reads_anomalies = isinstance(detector, AnomalyFitted) and detector.reads_anomalies
    if options.anomalies and not reads_anomalies:
        raise ConfigError(f"{name} as asked for picks nothing on labelled anomalies; leave --anomalies out")
    if reads_anomalies and not options.anomalies:
        raise ConfigError(f"{name} picks queries on labelled anomalies; give --anomalies NAME=ROOT")
    if isinstance(detector, AnomalyFitted) and not detector.reads_frames:
        if options.data and reads_anomalies:
            raise ConfigError(f"{name} as asked for looks at labelled anomalies alone; leave --data out")
    elif not options.data:
        raise ConfigError("anomseg fit needs frames; write --data NAME=ROOT, such as --data camvid=CamVid")
    if options.root and len(options.data or ()) != 1:
        raise ConfigError("--root goes with a single --data NAME; write NAME=ROOT for several")


def _anomalies(options: Namespace) -> list[Frame]:
    """The labelled anomalies, of the set's own split where none was named."""
    from anomseg.data import load_frames

    frames: list[Frame] = []
    for text in options.anomalies or ():
        benchmark, root, split = parse_data(text, "--anomalies")
        frames += load_frames(benchmark, root=root, split=split, limit=options.limit)
    return frames


def _pack(name: str, detector: Detector, options: Namespace) -> int:
    """Save a detector that has nothing to fit with the networks that it carries."""
    from anomseg.cli.output import say
    from anomseg.detectors import save_detector

    if options.data:
        raise ConfigError(f"{name} needs no fitting, only its networks are saved; leave --data out")
    detector.needs(None)
    save_detector(detector, options.out)
    say(f"{name} needs no fitting; saved with {len(detector.networks())} networks to {options.out}", options.quiet)
    return EXIT_OK
