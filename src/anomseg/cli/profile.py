"""Measure time and memory: the network alone, and what each detector adds to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomseg.cli.arguments import (
    DETECTOR_HELP,
    add_network,
    add_run,
    named_detectors,
    open_detectors,
    open_segmenter,
    parse_size,
    settle_owned_networks,
)
from anomseg.errors import EXIT_ERROR, EXIT_OK, EXIT_PARTIAL, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonargparse import ArgumentParser, Namespace

SCHEMA = 1


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of this command."""
    add_network(parser, sizes=["512x1024", "1024x2048"])
    parser.add_argument("--detector", type=str, action="append", help=DETECTOR_HELP)
    parser.add_argument("--batch", type=str, default="1,4", help="images in a batch, separated by commas")
    parser.add_argument("--repeats", type=int, default=10, help="timed runs of each step")
    parser.add_argument("--warmup", type=int, default=2, help="runs of each step before them")
    parser.add_argument("--out", type=str, default=None, help="folder of profile.json and profile.md")
    add_run(parser)


def run(options: Namespace) -> int:
    """Measure, show the table, write it; exit code 1 where a step failed, 2 where all did."""
    from anomseg.cli.output import Progress
    from anomseg.files import write_json, write_text
    from anomseg.inference.costs import describe_run, measure_costs
    from anomseg.inference.predictor import find_device
    from anomseg.report.profile import profile_markdown

    sizes = [size for text in options.size for part in text.split(",") if (size := parse_size(part))]
    batches = parse_batches(options.batch)
    detectors = dict(open_detectors(named_detectors(options), options.seed))
    options.size = None
    segmenter = open_segmenter(options)
    device = find_device(options.device)
    settle_owned_networks(detectors.values(), options)
    profile: dict[str, Any] = {
        "schema": SCHEMA,
        **describe_run(segmenter, device),
        "repeats": options.repeats,
        "warmup": options.warmup,
        "interrupted": False,
        "rows": [],
    }

    def write() -> None:
        if options.out:
            write_json(Path(options.out) / "profile.json", profile)
            write_text(Path(options.out) / "profile.md", profile_markdown(profile))

    try:
        with Progress("profiling", options.quiet) as progress:
            for rows in measure_costs(
                segmenter,
                detectors,
                sizes=sizes,
                batches=batches,
                repeats=options.repeats,
                warmup=options.warmup,
                on_step=progress,
            ):
                profile["rows"] += [row.as_dict() for row in rows]
                write()
    except KeyboardInterrupt:
        profile["interrupted"] = True
        if profile["rows"]:
            write()
            _show(profile, options)
        raise
    _show(profile, options)
    if not any(row["repeats"] for row in profile["rows"]):
        return EXIT_ERROR
    return EXIT_PARTIAL if any(row["error"] for row in profile["rows"]) else EXIT_OK


def parse_batches(text: str) -> Sequence[int]:
    """Read whole numbers separated by commas.

    Raises:
        ConfigError: There is something else, or a number below 1.

    Example:
        >>> parse_batches("1,4")
        [1, 4]
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"--batch {text!r} is not a list of whole numbers from 1, such as 1,4")
    return [int(part) for part in parts]


def _show(profile: dict[str, Any], options: Namespace) -> None:
    from anomseg.cli.output import say, warn
    from anomseg.report.profile import print_profile

    if not options.quiet:
        print_profile(profile)
    for row in profile["rows"]:
        if row["error"]:
            size = "x".join(str(side) for side in row["size"])
            warn(f"{row['name']} at {size}, batch {row['batch']}: {row['error']}")
    if options.out:
        say(f"written to {Path(options.out) / 'profile.json'} and profile.md", options.quiet)
