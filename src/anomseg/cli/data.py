"""Check a data set on disk, download it, or paste objects on its frames for testing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomseg.cli import data_download, data_paste
from anomseg.errors import EXIT_ERROR, EXIT_OK, unknown_name

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

ACTIONS = ("verify", "download", "paste")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("action", type=str, help="verify, download, or paste: build frames with pasted objects")
    parser.add_argument("name", type=str, help="benchmark (see 'anomseg list benchmarks')")
    parser.add_argument("--root", type=str, default=None, help="its folder: to verify, to paste on, or to download to")
    parser.add_argument("--out", type=str, default=None, help="folder to download to, or to build; new or empty there")
    parser.add_argument("--split", type=str, default=None, help="which split; the benchmark's own where not given")
    parser.add_argument("--layout", type=str, default=None, help="folder layout, where several could fit")
    parser.add_argument("--label-values", type=str, default=None, help="value table raw:label, such as 0:0,1:1,255:255")
    parser.add_argument("--quiet", action="store_true", help="show problems only")
    data_download.add_arguments(parser)
    data_paste.add_arguments(parser)


def run(options: Namespace) -> int:
    """Verify and print one line a finding, exit code 2 where something is wrong; or download, or paste."""
    if options.action not in ACTIONS:
        raise unknown_name("data action", options.action, ACTIONS)
    if options.action == "paste":
        return data_paste.run(options)
    if options.action == "download":
        return data_download.run(options)
    from anomseg.cli.output import say
    from anomseg.data import dataset_spec, verify

    report = verify(
        options.name,
        root=options.root,
        split=options.split,
        layout=options.layout,
        label_values=options.label_values,
    )
    for line in report.lines():
        say(line, options.quiet and report.ok)
    notes = dataset_spec(options.name).notes
    if notes:
        say(f"note: {notes}", options.quiet)
    return EXIT_OK if report.ok else EXIT_ERROR
