"""The rows of a comparison: which detector, what it stands for, and on which network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from anomseg.compare.values import checked_segmenter, resolved
from anomseg.detectors import create_detector
from anomseg.detectors.saved import CONFIG, is_detector_directory
from anomseg.errors import ConfigError, unknown_name
from anomseg.files import read_json
from anomseg.inference.inputs import safe_name
from anomseg.registry import DETECTORS, parse_spec

Kind = Literal["method", "baseline", "control"]
KINDS: tuple[Kind, ...] = ("method", "baseline", "control")
SYSTEMS = (
    "maskomaly",
    "knn",
    "cdnp",
    "pans",
    "pgan",
    "dicnet",
    "noisy_negatives",
    "synthetic_outliers",
    "synthcp",
)
"""Registry names of the published systems, whose rows are methods where nothing else is said."""
_KEYS = ("detector", "title", "kind", "segmenter")


@dataclass(frozen=True)
class Row:
    """One row of a comparison.

    Attributes:
        title: Its name in tables; unique.
        detector: Name with options, or a saved directory; paths resolved.
        kind: ``method``, ``baseline`` or ``control``.
        registry_name: Registered name of the detector.
        segmenter: The network it scores where that differs from the comparison's; None elsewhere.
        fit: It has to be fitted before it scores.
    """

    title: str
    detector: str
    kind: Kind
    registry_name: str
    segmenter: str | None = None
    fit: bool = False

    @property
    def folder(self) -> str:
        """Its folder in the results of a run."""
        return safe_name(self.title)


def read_rows(items: Any, folder: Path, *, fitted: bool) -> tuple[Row, ...]:
    """Check the detectors of a configuration.

    Args:
        items: A list of names, directories, or of mappings with ``detector``, ``title``, ``kind``, ``segmenter``.
        folder: Where relative paths start.
        fitted: There is data to fit on, so that detectors may be named which have to be fitted.

    Raises:
        ConfigError: One of them cannot be used; the message says which.
    """
    if not isinstance(items, Sequence) or isinstance(items, str) or not items:
        raise ConfigError("detectors must be a list with at least one detector")
    rows: list[Row] = []
    for place, item in enumerate(items):
        try:
            rows.append(_row(item, folder, fitted, rows))
        except ConfigError as error:
            raise ConfigError(f"detectors[{place}]: {error}") from error
    return tuple(rows)


def _row(item: Any, folder: Path, fitted: bool, before: Sequence[Row]) -> Row:
    entry = {"detector": item} if isinstance(item, str) else item
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{item!r} is neither a detector nor detector: NAME with more keys")
    for key in entry:
        if key not in _KEYS:
            raise unknown_name("key", str(key), _KEYS)
    text = entry.get("detector")
    if not isinstance(text, str) or not text.strip():
        raise ConfigError("a detector is missing; write detector: NAME or detector: DIRECTORY")
    text = resolved(text.strip(), folder)
    name, needs_fit = described(text)
    if needs_fit and not fitted:
        raise ConfigError(
            f"{name} has to be fitted first; name the directory that 'anomseg fit' saved, or give "
            "fit: {data: camvid=DIR@train}"
        )
    kind = kind_of(entry["kind"]) if "kind" in entry else default_kind(name)
    taken = {one.title for one in before} | {one.folder for one in before}
    title = entry.get("title")
    if title is not None and (not isinstance(title, str) or not title.strip()):
        raise ConfigError(f"title must be a text, got {title!r}")
    if title is not None and (title.strip() in taken or safe_name(title.strip()) in taken):
        raise ConfigError(f"there is a row {title!r} already; give each its own title")
    shown = title.strip() if title is not None else _numbered(_plain_title(text, name), taken)
    segmenter = entry.get("segmenter")
    own = checked_segmenter(segmenter, folder) if segmenter is not None else None
    return Row(shown, text, kind, name, own, needs_fit)


def described(text: str) -> tuple[str, bool]:
    """Registry name of a detector and whether it has to be fitted before it scores; loads no weights.

    Raises:
        ConfigError: Its name or an option is unknown, or there is no such directory.

    Example:
        >>> described("energy:temperature=2"), described("knn:k=3")
        (('energy', False), ('knn', True))
    """
    name = parse_spec(text).name
    if name in DETECTORS:
        detector = create_detector(text)
        trained = "trained" in DETECTORS.get(name).tags
        return name, detector.needs_fit and not trained and not detector.flags.owns_network
    if is_detector_directory(text):
        return str(read_json(Path(text) / CONFIG).get("detector")), False
    if Path(text).is_dir():
        raise ConfigError(f"{text} holds no saved detector; give a directory that 'anomseg fit' or 'train' wrote")
    if "/" in text or "\\" in text:
        raise ConfigError(f"there is no directory {text}")
    raise unknown_name("detector", name, DETECTORS.names())


def kind_of(value: Any) -> Kind:
    """What a row says that it stands for.

    Raises:
        ConfigError: It is none of the kinds.
    """
    for kind in KINDS:
        if value == kind:
            return kind
    raise unknown_name("kind", str(value), KINDS)


def default_kind(name: str) -> Kind:
    """What a detector stands for where the configuration does not say.

    Example:
        >>> [default_kind(name) for name in ("dicnet", "msp", "chance")]
        ['method', 'baseline', 'control']
    """
    if name in SYSTEMS:
        return "method"
    return "control" if name in DETECTORS and "control" in DETECTORS.get(name).tags else "baseline"


def _plain_title(text: str, name: str) -> str:
    return name if parse_spec(text).name in DETECTORS else Path(text).name


def _numbered(title: str, taken: set[str]) -> str:
    number, shown = 1, title
    while shown in taken or safe_name(shown) in taken:
        number += 1
        shown = f"{title}-{number}"
    return shown
