"""Put the shards of an evaluation together; the figures are those of one run, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anomseg.cli.arguments import add_run
from anomseg.cli.evaluate import finish

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument(
        "directories", type=str, nargs="+", help="what 'anomseg evaluate --shard i/n' wrote, all of them"
    )
    parser.add_argument("--out", type=str, required=True, help="folder of the merged results")
    parser.add_argument("--keep-maps", action="store_true", help="copy the shards' maps")
    parser.add_argument("--overwrite", action="store_true", help="replace another run's results in OUT")
    parser.add_argument("--no-report", action="store_true", help="write figures only, no pictures and no report.html")
    add_run(parser)


def run(options: Namespace) -> int:
    """Merge and report."""
    from anomseg.cli.output import Progress
    from anomseg.evaluation import merge

    with Progress("merging", options.quiet) as progress:
        cards = merge(
            options.directories,
            options.out,
            keep_maps=options.keep_maps,
            overwrite=options.overwrite,
            on_progress=progress,
        )
    return finish(options, cards, Path(options.out))
