"""Compare a data set's pixels with those of negative images, equally many of both: mean and deviation of AP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomseg.cli.arguments import (
    DETECTOR_HELP,
    add_network,
    add_run,
    named_detectors,
    open_detectors,
    open_segmenter_for,
    parse_data,
    parse_size,
)
from anomseg.errors import EXIT_OK, EXIT_PARTIAL

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("--data", type=str, required=True, help="NAME=ROOT[@SPLIT], such as wilddash=WildDash@val")
    parser.add_argument(
        "--negatives", type=str, nargs="+", required=True, help="images of unknown content: folders, globs, @list.txt"
    )
    add_network(parser, default=None)
    parser.add_argument("--detector", type=str, action="append", help=DETECTOR_HELP)
    parser.add_argument("--out", type=str, required=True, help="folder of the results")
    parser.add_argument("--repeats", type=int, default=50, help="how often negative images are drawn")
    parser.add_argument("--limit", type=int, default=None, help="the first frames of the data set only")
    add_run(parser)


def run(options: Namespace) -> int:
    """Score both, draw, and say what came of it."""
    from anomseg.cli.output import Progress, say, warn
    from anomseg.data import load_frames
    from anomseg.evaluation import against_negatives

    name, root, split = parse_data(options.data)
    frames = load_frames(name, root, split, limit=options.limit)
    detectors = dict(open_detectors(named_detectors(options), options.seed))
    segmenter = open_segmenter_for(list(detectors.values()), options)
    with Progress(f"{name} against negatives", options.quiet) as progress:
        cards = against_negatives(
            frames,
            options.negatives,
            segmenter,
            detectors,
            options.out,
            size=parse_size(options.size),
            repeats=options.repeats,
            seed=options.seed,
            on_progress=progress,
        )
    for card in cards:
        low, high = card["images_per_draw"]
        say(
            f"{card['folder']}: AP {card['ap']['mean']:.4f} +- {card['ap']['std']:.4f} over {card['repeats']} draws of "
            f"{card['pixels']} pixels out of {low} to {high} negative images; chance is .5",
            options.quiet,
        )
        if card["overlap"]:
            warn(f"{card['folder']} was fitted or calibrated on {len(card['overlap'])} of these frames")
    skipped = {(item["frame"], item["reason"]) for card in cards for item in card["skipped"]}
    for frame, reason in sorted(skipped):
        warn(f"skipped {frame}: {reason}")
    return EXIT_PARTIAL if skipped else EXIT_OK
