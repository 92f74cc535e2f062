"""Fit a detector on in-distribution frames and save it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anomseg.cli.arguments import DETECTOR_HELP, add_network, add_run, open_detectors, open_segmenter, parse_data
from anomseg.errors import EXIT_OK, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonargparse import ArgumentParser, Namespace

    from anomseg.types import Frame


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("--detector", type=str, required=True, help=DETECTOR_HELP.replace("detectors:", "one detector:"))
    add_network(parser)
    parser.add_argument(
        "--data", type=str, nargs="+", required=True, help="in-distribution frames: NAME=ROOT[@SPLIT] ..., split train "
        "where not given; a single NAME goes with --root"
    )
    parser.add_argument("--root", type=str, default=None, help="folder of a single --data NAME")
    parser.add_argument("--limit", type=int, default=None, help="use the first frames of each data set only")
    parser.add_argument("--out", type=str, required=True, help="directory of the saved detector")
    add_run(parser)


def run(options: Namespace) -> int:
    """Fit and save."""
    from anomseg.cli.output import Progress, say  # noqa: PLC0415
    from anomseg.data import load_frames  # noqa: PLC0415 - kept out of start-up
    from anomseg.detectors import save_detector  # noqa: PLC0415

    named = open_detectors([options.detector])
    if len(named) != 1:
        raise ConfigError("anomseg fit takes one detector at a time")
    (name, detector), segmenter = named[0], open_segmenter(options)
    if options.root and len(options.data) != 1:
        raise ConfigError("--root goes with a single --data NAME; write NAME=ROOT for several")
    texts = [f"{options.data[0]}={options.root}"] if options.root else options.data
    sources = [parse_data(text) for text in texts]
    frames: list[Frame] = []
    for benchmark, root, split in sources:
        frames += load_frames(benchmark, root=root, split=split or "train", limit=options.limit)
    detector.needs(segmenter)
    with Progress(f"fitting {name}", options.quiet) as progress:
        detector.fit(segmenter, _counted(frames, progress))
    detector.fitted_on = {
        **(detector.fitted_on or {}),
        "data": [f"{benchmark}@{split or 'train'}" for benchmark, _, split in sources],
    }
    save_detector(detector, options.out, segmenter)
    say(f"{name} fitted on {len(frames)} frames, saved to {Path(options.out)}", options.quiet)
    return EXIT_OK


def _counted(frames: list[Frame], progress: object) -> Iterator[Frame]:
    for done, frame in enumerate(frames, 1):
        yield frame
        progress(done, len(frames))  # type: ignore[operator]
