"""Values as a configuration file writes them: texts, whole numbers, paths, sizes, networks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from anomseg.errors import ConfigError, unknown_name
from anomseg.registry import DETECTORS, SEGMENTERS, parse_spec
from anomseg.segmenters.base import Size
from anomseg.segmenters.catalog import why_weightless
from anomseg.segmenters.saved import is_segmenter_directory


def absolute(value: Any, folder: Path) -> Path:
    """A path that starts from a folder where it is relative; ``~`` is the home folder.

    Example:
        >>> str(absolute("data/RoadAnomaly", Path("/configs")))
        '/configs/data/RoadAnomaly'
    """
    path = Path(str(value)).expanduser()
    return path if path.is_absolute() else folder / path


def resolved(text: str, folder: Path) -> str:
    """The text of a detector or network with the relative paths in it resolved.

    A directory, the path after a name's colon and option values that are paths below the folder start from it; values
    that name nothing there stay as they are.

    Args:
        text: ``NAME``, ``NAME:PATH;key=value`` or a directory.
        folder: Where relative paths start.
    """
    name, colon, rest = text.partition(":")
    if name not in DETECTORS and name not in SEGMENTERS:
        found = absolute(text, folder)
        return str(found) if found.exists() else text
    if not colon:
        return text
    items = []
    for item in rest.split(";"):
        key, equals, value = item.partition("=")
        items.append(f"{key}={_paths(value, folder)}" if equals else _paths(item, folder))
    return f"{name}:{';'.join(items)}"


def _paths(value: str, folder: Path) -> str:
    # Several networks of one option are joined by a plus.
    parts = value.split("+")
    return "+".join(str(absolute(part, folder)) if part and absolute(part, folder).exists() else part for part in parts)


def size_of(value: Any, what: str) -> Size | None:
    """A size as ``HEIGHTxWIDTH`` or a list of both.

    Raises:
        ConfigError: It is something else.

    Example:
        >>> size_of("512x1024", "size"), size_of([512, 1024], "size"), size_of(None, "size")
        ((512, 1024), (512, 1024), None)
    """
    if value is None:
        return None
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", value.strip()) if isinstance(value, str) else None
    sides = [int(side) for side in match.groups()] if match else value
    whole = isinstance(sides, list) and len(sides) == 2 and all(type(side) is int and side > 0 for side in sides)
    if not whole:
        raise ConfigError(f"{what}: {value!r} is not HEIGHTxWIDTH, such as 512x1024")
    return sides[0], sides[1]


def checked_segmenter(value: Any, folder: Path) -> str:
    """The text of a network with its paths resolved, refused where no such network can be had.

    Raises:
        ConfigError: It is unknown, or would have random weights.
    """
    text = resolved(text_of(value, "segmenter"), folder)
    reason = why_weightless(text)
    if reason is not None:
        raise ConfigError(reason)
    name = parse_spec(text).name
    if name not in SEGMENTERS and not Path(text).is_dir():
        if "/" in text or "\\" in text:
            raise ConfigError(f"segmenter: there is no directory {text}")
        raise unknown_name("segmenter", name, SEGMENTERS.names())
    if name not in SEGMENTERS and not is_segmenter_directory(text):
        raise ConfigError(f"segmenter: {text} holds no saved network; give a directory that 'anomseg train' wrote")
    return text


def check_keys(entry: Mapping[Any, Any], known: Iterable[str], kind: str) -> None:
    """Refuse keys that mean nothing here, with the nearest known one."""
    for key in entry:
        if key not in known:
            raise unknown_name(kind, str(key), known)


def listed(value: Any) -> list[Any]:
    """A list as it is, a single value as a list of one, nothing as an empty one."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def texts(value: Any, what: str) -> tuple[str, ...]:
    """One text or several."""
    return tuple(text_of(one, what) for one in listed(value))


def text_of(value: Any, what: str) -> str:
    """A text that is not empty, refused in the name of what it stands for."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{what} must be a text, got {value!r}")
    return value.strip()


def whole(value: Any, what: str, *, least: int) -> int:
    """A whole number that is not too small."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{what} must be a whole number from {least}, got {value!r}")
    return value
