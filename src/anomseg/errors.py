"""Errors that a user can mend: each message is one line that says what is wrong and how to mend it.

The command line prints such a message alone and exits with the error's ``exit_code``; anything else that escapes
is a defect of ours. Exit codes of every command: 0 done, 1 done in part (some inputs were skipped and named),
2 nothing done because the request cannot be carried out, 130 interrupted.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_OK = 0
EXIT_PARTIAL = 1
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


class AnomsegError(Exception):
    """Base of all errors that carry a one-line message for the user."""

    exit_code = EXIT_ERROR


class ConfigError(AnomsegError):
    """A name, option, recipe or combination of options that cannot be used."""


class DataError(AnomsegError):
    """A folder, benchmark or file that as a whole cannot be used."""


class FrameError(AnomsegError):
    """One frame cannot be used (unreadable, wrong size, wrong values, NaN scores): skipped, named and counted."""


class CompatibilityError(AnomsegError):
    """A detector, checkpoint or state that does not fit the network or data it is used with."""


SHOWN_NAMES = 30
"""A list of names longer than this is not written out in a message."""


def unknown_name(kind: str, name: str, known: Iterable[str], listed: str = "") -> ConfigError:
    """Build the error for an unknown name, with the nearest known one suggested.

    Where very many names exist, the message shows the nearest few and says how many there are.

    Args:
        kind: What the name stands for, as the user would say it (``"detector"``).
        name: The name that was given.
        known: All names that exist.
        listed: Where the user finds all of them, for a list too long for the message.

    Returns:
        The error, ready to raise.

    Example:
        >>> print(unknown_name("detector", "enrgy", ["energy", "msp"]))
        unknown detector 'enrgy': did you mean 'energy'? (known: energy, msp)
        >>> layers = [f"layer{index}.conv" for index in range(200)]
        >>> print(unknown_name("feature", "layer77.con", layers, "segmenter.feature_info"))  # doctest: +ELLIPSIS
        unknown feature 'layer77.con': did you mean 'layer77.conv'? (200 known, nearest: layer77.conv, ...
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    hint = f": did you mean {near[0]!r}?" if near else ""
    if len(names) <= SHOWN_NAMES:
        return ConfigError(f"unknown {kind} {name!r}{hint} (known: {', '.join(names)})")
    label = "nearest" if near else "such as"
    all_of_them = f"; all in {listed}" if listed else ""
    shown = ", ".join(near or names[:5])
    return ConfigError(f"unknown {kind} {name!r}{hint} ({len(names)} known, {label}: {shown}{all_of_them})")
