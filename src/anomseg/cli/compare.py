"""Compare detectors on the same benchmarks: figures, controls, time and memory of each, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anomseg.errors import EXIT_OK, ConfigError, unknown_name

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

KNOWN = {
    "--config": True,
    "--out": True,
    "--limit": True,
    "--device": True,
    "--no-pictures": False,
    "--template": False,
    "--quiet": False,
    "--debug": False,
    "--help": False,
    "-h": False,
}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument(
        "--config",
        type=str,
        default=None,
        help="YAML file of benchmarks, network and detectors; --root.NAME DIR changes where a benchmark lies",
    )
    parser.add_argument("--out", type=str, default=None, help="folder of the results; what is finished in it is kept")
    parser.add_argument("--limit", type=int, default=None, help="the first frames of each benchmark only")
    parser.add_argument("--device", type=str, default="cpu", help="cpu, cuda, cuda:1, mps, or auto: cuda if there")
    parser.add_argument("--no-pictures", action="store_true", help="leave the best and worst frames out of the report")
    parser.add_argument("--template", action="store_true", help="print a configuration with every detector, and stop")
    parser.add_argument("--quiet", action="store_true", help="show no progress and no summary")


def more_help() -> str:
    """A configuration as an example."""
    from anomseg.compare.template import EXAMPLE

    return EXAMPLE


def run(options: Namespace) -> int:
    """Compare; exit code 1 where a row failed or frames were skipped, 2 where no row has figures."""
    from anomseg.cli.output import Progress, say, warn
    from anomseg.compare import compare, read_config, table_markdown, template
    from anomseg.compare.text import failed

    if options.template:
        say(template().rstrip())
        return EXIT_OK
    if options.config is None or options.out is None:
        raise ConfigError("give --config FILE and --out DIR; 'anomseg compare --template' prints a file to start from")
    config = read_config(options.config, parse_roots(getattr(options, "overrides", None) or []))
    with Progress("comparing", options.quiet) as progress:
        found = compare(
            config,
            options.out,
            device=options.device,
            limit=options.limit,
            pictures=not options.no_pictures,
            say=lambda text: say(text, options.quiet),
            progress=progress,
        )
    for table in found.tables:
        say("\n".join([f"\n{table.title}", *table_markdown(table)]), options.quiet)
        for one in failed(table):
            warn(f"{one['title']} failed on {table.title}: {one['reason']}")
    say(f"report: {Path(options.out) / 'report.html'}", options.quiet)
    return found.code


def parse_roots(arguments: Sequence[str]) -> dict[str, str]:
    """Read ``--root.NAME DIR`` and ``--root.NAME=DIR``.

    Raises:
        ConfigError: There is something else, or a folder is missing.

    Example:
        >>> parse_roots(["--root.road_anomaly", "data/RoadAnomaly"])
        {'road_anomaly': 'data/RoadAnomaly'}
    """
    roots: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("--root."):
            raise unknown_name("option of compare", name, [*KNOWN, "--root.NAME"])
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ConfigError(f"{name} needs a folder, such as {name} DIR")
            value = rest.pop(0)
        roots[name.removeprefix("--root.")] = value
    return roots
