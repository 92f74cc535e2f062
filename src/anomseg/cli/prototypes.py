"""Show what lies nearest to each prototype: pictures, places, and how alike the prototypes are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomseg.cli.arguments import add_network, add_run, open_detectors, open_segmenter, open_segmenter_for
from anomseg.cli.frames import add_selection, open_frames
from anomseg.errors import EXIT_OK, EXIT_PARTIAL, CompatibilityError, ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from anomseg.detectors.prototypes import PrototypeDetector
    from anomseg.segmenters import Segmenter


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument(
        "what", type=str, help="a detector with prototypes, such as a saved pans, or a network with a cosine classifier"
    )
    parser.add_argument(
        "--data",
        type=str,
        nargs="+",
        required=True,
        help="frames to look through: NAME=ROOT[@SPLIT] ..., split train (or the set's own) where not given",
    )
    add_selection(parser)
    parser.add_argument("--count", type=int, default=8, help="patches of each prototype, at most one a frame")
    parser.add_argument("--patch", type=int, default=96, help="side of a patch in pixels of the frame")
    parser.add_argument("--out", type=str, required=True, help="directory of the picture and the tables")
    add_network(parser, default=None)
    add_run(parser)


def run(options: Namespace) -> int:
    """Look, write and print; exit code 1 where frames had to be skipped."""
    from anomseg.cli.output import Progress, say
    from anomseg.report.prototype_patches import find_patches
    from anomseg.report.prototype_sheet import PICTURE, summary_lines, write_prototypes

    if options.count < 1 or options.patch < 1:
        raise ConfigError("--count and --patch must be 1 or more")
    name, prototypes, network, features = _open(options)
    frames = open_frames(options.data, options, "train")
    with Progress(f"looking for patches of {name}", options.quiet) as progress:
        view = find_patches(
            prototypes,
            network,
            frames,
            count=options.count,
            side=options.patch,
            features=features,
            progress=progress.over_frames(len(frames)),
        )
    write_prototypes(view, options.out, f"nearest to each prototype of {name}, {view.frames} frames")
    for line in summary_lines(view):
        say(line, options.quiet)
    say(f"{options.out}/{PICTURE} shows the patches", options.quiet)
    return EXIT_PARTIAL if view.skipped else EXIT_OK


def _open(options: Namespace) -> tuple[str, PrototypeDetector, Segmenter, tuple[str, ...]]:
    """Name, prototypes, network and the feature maps that are read of it."""
    from pathlib import Path

    from anomseg.detectors import is_detector_directory, network_of, segmenter_matches
    from anomseg.detectors.prototypes import ClassPrototypes, PrototypeDetector
    from anomseg.registry import DETECTORS, split_parts

    if len(split_parts([options.what])) != 1:
        raise ConfigError("anomseg prototypes looks at one detector or network at a time")
    if not is_detector_directory(options.what) and options.what.partition(":")[0] not in DETECTORS:
        if options.segmenter is not None:
            raise ConfigError(f"{options.what} is a network itself; leave --segmenter out")
        options.segmenter = options.what
        segmenter = open_segmenter(options)
        return Path(options.what).name, ClassPrototypes(segmenter), segmenter, ()
    ((name, detector),) = open_detectors([options.what], options.seed)
    if not isinstance(detector, PrototypeDetector):
        raise CompatibilityError(f"{name} compares with no prototypes; name a detector that does, such as a saved pans")
    network = network_of(detector, open_segmenter_for([detector], options))
    needs = detector.needs(network)
    detector.require_fitted()
    if network is None:
        raise ConfigError(f"{name} scores a network's answers; give --segmenter")
    mismatch = segmenter_matches(detector, network)
    if mismatch is not None:
        raise CompatibilityError(mismatch)
    return name, detector, network, needs.features
