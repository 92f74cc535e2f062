"""The ``anomseg`` command: parse, hand over to one thin command module, turn errors into one line and an exit code."""

from __future__ import annotations

import difflib
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, TextIO

from jsonargparse import ArgumentParser, Namespace

from anomseg._version import __version__
from anomseg.errors import EXIT_ERROR, EXIT_INTERRUPTED, AnomsegError, unknown_name
from anomseg.registry import plain_reason

COMMANDS = (
    "demo",
    "predict",
    "fit",
    "calibrate",
    "train",
    "samples",
    "evaluate",
    "compare",
    "merge",
    "against",
    "submit",
    "profile",
    "prototypes",
    "export",
    "list",
    "data",
)

EPILOG = (
    "Segmenters and detectors are written NAME, NAME:PATH or NAME:key=value;key=value, and commas separate several. "
    "Exit codes: 0 done, 1 done in part (skipped inputs are named), 2 nothing done, 130 interrupted."
)


class Parser(ArgumentParser):
    """A parser that complains in one line, as every other error here does.

    Attributes:
        more: Gives further lines of help; asked only when help is shown.
    """

    more: Callable[[], str] | None = None

    def format_help(self, *formatter: Any, **options: Any) -> str:
        """The help, with those lines at its end."""
        return super().format_help(*formatter, **options) + (self.more() if self.more is not None else "")

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong with the arguments and where help is, then exit."""
        # Of a command's argument the parser of all commands is told; the error knows whose it is.
        parser = getattr(ex, "subcommand_parser", None) or self
        reason = plain_reason(message).replace("unrecognized arguments", "unknown options")
        missing = re.fullmatch(r"the following arguments are required: (.+)", reason)
        if missing:
            command = missing[1].partition(".")[0]
            for action in self._actions:
                if isinstance(action.choices, dict):
                    parser = action.choices.get(command, parser)
            flags = {action.dest: (action.option_strings or [action.dest.upper()])[0] for action in parser._actions}
            dests = [name.removeprefix(f"{command}.") for name in missing[1].split(", ")]
            reason = f"missing: {', '.join(flags.get(dest, dest) for dest in dests)}"
        for token in re.findall(r"(?<!\S)--[\w-]+", reason):
            near = difflib.get_close_matches(token, parser._option_string_actions, n=1)
            reason += f" (did you mean {near[0]}?)" if near and near[0] != token else ""
        prog = parser.prog.replace(" [options]", "")
        self.exit(EXIT_ERROR, f"anomseg: {reason.rstrip('.')}; see '{prog} --help'\n")


def build_parser() -> ArgumentParser:
    """The whole command line; importing it loads no numerical library."""
    parser = Parser(
        prog="anomseg",
        description="Anomaly segmentation for any segmentation network: heat maps, thresholds, benchmark figures.",
        epilog=EPILOG,
        version=__version__,
    )
    commands = parser.add_subcommands(dest="command", required=True)
    for name in COMMANDS:
        module = import_module(f"anomseg.cli.{name}")
        summary = str(module.__doc__).strip().splitlines()[0]
        sub = Parser(description=summary, epilog=EPILOG)
        module.add_arguments(sub)
        sub.more = getattr(module, "more_help", None)
        sub.add_argument("--debug", action="store_true", help="show the full traceback of an error")
        commands.add_subcommand(name, sub, help=summary)
    return parser


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    arguments = list(argv)
    overrides: list[str] = []
    if arguments[:1] in (["train"], ["samples"], ["compare"]):
        from anomseg.cli.train import split_overrides

        arguments, overrides = split_overrides(arguments, import_module(f"anomseg.cli.{arguments[0]}").KNOWN)
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        error = unknown_name("command", arguments[0], COMMANDS)
        return _complain(str(error), error.exit_code)
    parsed: Namespace = build_parser().parse_args(arguments)
    options = parsed[parsed.command]
    if overrides:
        options.overrides = overrides
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
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


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Our own warnings in one line, as errors are; those of libraries are for developers, who see them in Python."""
    del lineno, file, line
    if issubclass(category, UserWarning) and Path(filename).is_relative_to(Path(__file__).parent.parent):
        sys.stderr.write(f"anomseg: {' '.join(str(message).split())}\n")


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
