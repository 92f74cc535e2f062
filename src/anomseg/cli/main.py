"""The ``anomseg`` command: parse, hand over to one thin command module, turn errors into one line and an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from jsonargparse import ArgumentParser, Namespace

from anomseg._version import __version__
from anomseg.errors import EXIT_ERROR, EXIT_INTERRUPTED, AnomsegError

COMMANDS = ("demo", "predict", "fit", "train", "evaluate", "merge", "list", "data")

EPILOG = (
    "Segmenters and detectors are written NAME, NAME:PATH or NAME:key=value;key=value, and commas separate several. "
    "Exit codes: 0 done, 1 done in part (skipped inputs are named), 2 nothing done, 130 interrupted."
)


def build_parser() -> ArgumentParser:
    """The whole command line; importing it loads no numerical library."""
    parser = ArgumentParser(
        prog="anomseg",
        description="Anomaly segmentation for any segmentation network: heat maps, thresholds, benchmark figures.",
        epilog=EPILOG,
        version=__version__,
    )
    commands = parser.add_subcommands(dest="command", required=True)
    for name in COMMANDS:
        module = import_module(f"anomseg.cli.{name}")
        summary = str(module.__doc__).strip().splitlines()[0]
        sub = ArgumentParser(description=summary, epilog=EPILOG)
        module.add_arguments(sub)
        sub.add_argument("--debug", action="store_true", help="show the full traceback of an error")
        commands.add_subcommand(name, sub, help=summary)
    return parser


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    arguments = list(argv)
    overrides: list[str] = []
    if arguments[:1] == ["train"]:
        from anomseg.cli.train import split_overrides

        arguments, overrides = split_overrides(arguments)
    parsed: Namespace = build_parser().parse_args(arguments)
    options = parsed[parsed.command]
    if overrides:
        options.overrides = overrides
    try:
        return int(import_module(f"anomseg.cli.{parsed.command}").run(options))
    except KeyboardInterrupt:
        return _complain(
            "interrupted; what was finished is kept, run the same command again to go on", EXIT_INTERRUPTED
        )
    except AnomsegError as error:
        if options.debug:
            traceback.print_exc()
        return _complain(str(error), error.exit_code)
    except Exception as error:
        if options.debug:
            traceback.print_exc()
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return _complain(f"unexpected {text} (run again with --debug for the traceback)", EXIT_ERROR)


def _complain(text: str, code: int) -> int:
    sys.stderr.write(f"anomseg: {text}\n")
    return code


def main() -> None:
    """Entry point of the console script."""
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output is gone (``anomseg list | head``): nothing is left to say.
        sys.stderr.close()
        code = 0
    sys.exit(code)


if __name__ == "__main__":
    main()
