"""The part of ``anomseg data`` that fetches data sets from public addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomseg.errors import EXIT_OK, EXIT_PARTIAL, ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of ``download``."""
    group = parser.add_argument_group("download")
    group.add_argument("--keep-archives", action="store_true", help="keep archives once they are unpacked")


def run(options: Namespace) -> int:
    """Fetch and print what came; exit code 1 where a part has to be fetched by hand, 2 where all of it has to."""
    from anomseg.cli.output import Progress, say, warn
    from anomseg.data.download import download

    out = options.out or options.root
    if out is None:
        raise ConfigError("anomseg data download needs the folder to fetch to: give --out DIR")
    with Progress(f"downloading {options.name} (MiB)", options.quiet) as progress:
        got = download(options.name, out, options.layout, keep=options.keep_archives, on_progress=progress)
    for name in got.present:
        say(f"{got.folder / name} is there already", options.quiet)
    for name in got.fetched:
        say(f"{got.folder / name} fetched and unpacked", options.quiet)
    for name, digest in got.unchecked:
        warn(f"no checksum is published for {name}; its SHA-256 is {digest}")
    if got.by_hand:
        warn(f"{options.name} is not whole yet: {got.by_hand}")
        return EXIT_PARTIAL
    version = f" --layout {options.layout}" if options.layout else ""
    say(f"check it with 'anomseg data verify {options.name} --root {out}{version}'", options.quiet)
    return EXIT_OK
