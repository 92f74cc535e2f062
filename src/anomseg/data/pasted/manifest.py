"""The frozen record of a folder of pasted frames: what was pasted where, enough to build it again bit-equal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from anomseg.data.pasted.options import BLENDINGS, SHAPES, Blending, PasteOptions, Shape, read_options
from anomseg.errors import ConfigError, DataError
from anomseg.files import read_json, write_json

MANIFEST = "manifest.json"
KIND, SCHEMA = "pasted frames", 1
OBJECT, INLIER_PASTE = "object", "inlier"
MAX_FRAMES, MAX_SIDE, MAX_PASTES = 1_000_000, 65_536, 1_000

_TEXTS = ("kind", "source", "sha256", "category", "shape", "blending")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Paste:
    """One thing that was pasted.

    Attributes:
        kind: ``object`` (an anomaly) or ``inlier`` (of the frames' own classes).
        source: Id of the image it was cut out of: a negative's, or a frame's of the base data set.
        sha256: Of that image's pixels.
        region: Which of that image's regions it is, counted from 0.
        category: What it shows; of an inlier its class.
        box: ``(top, left, bottom, right)`` of the region in its image.
        size: ``(height, width)`` it was brought to.
        place: ``(top, left)`` of it on the frame.
        shape: ``mask`` or ``rectangle``.
        blending: How its border was treated.
        pixels: How many pixels of the frame it covers.
        share: The same as a share of the frame.
    """

    kind: str
    source: str
    sha256: str
    region: int
    category: str
    box: tuple[int, int, int, int]
    size: tuple[int, int]
    place: tuple[int, int]
    shape: Shape
    blending: Blending
    pixels: int
    share: float

    def __post_init__(self) -> None:
        if self.kind not in (OBJECT, INLIER_PASTE):
            raise ConfigError(f"a paste is of kind {OBJECT} or {INLIER_PASTE}, not {self.kind!r}")
        if self.shape not in SHAPES or self.blending not in BLENDINGS:
            raise ConfigError(f"shape {self.shape!r} or blending {self.blending!r} is unknown")
        if not _SHA256.fullmatch(self.sha256) or self.region < 0:
            raise ConfigError("the hash or the number of a region cannot be one")
        top, left, bottom, right = self.box
        if not (0 <= top < bottom <= MAX_SIDE and 0 <= left < right <= MAX_SIDE):
            raise ConfigError(f"the box {self.box} is none")
        if not all(1 <= side <= MAX_SIDE for side in self.size) or not all(0 <= at <= MAX_SIDE for at in self.place):
            raise ConfigError(f"size {self.size} or place {self.place} are out of range")


@dataclass(frozen=True)
class PastedFrame:
    """One frame of the folder.

    Attributes:
        id: Its id, that of the base frame; its files are named after it.
        base_sha256: Of the base frame's pixels.
        sha256: Of the pasted frame's pixels.
        pastes: What was pasted, in order.
    """

    id: str
    base_sha256: str
    sha256: str
    pastes: tuple[Paste, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.id)


@dataclass(frozen=True)
class Manifest:
    """What a folder of pasted frames is.

    Attributes:
        base: The data set pasted on, with its options.
        split: Its split.
        options: How things were chosen, placed and blended, and the seed.
        frames: The frames, in the base's order.
        negatives: What the objects come from: kind of source, half, regime, how many images and regions there were.
        libraries: Versions of the libraries that drew the pixels.
        skipped: Base frames that could not be used, and why.
    """

    base: str
    split: str
    options: PasteOptions
    frames: tuple[PastedFrame, ...]
    negatives: Mapping[str, Any] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)

    def count(self, kind: str) -> int:
        """How many things of a kind were pasted."""
        return sum(paste.kind == kind for frame in self.frames for paste in frame.pastes)


def check_name(name: str) -> str:
    """A frame's id that may name a file: no path, no hidden file, nothing that leaves the folder.

    Raises:
        DataError: It may not.

    Example:
        >>> check_name("0001TP_008550")
        '0001TP_008550'
    """
    parts = re.search(r"[/\\:\x00-\x1f]", name)
    if not isinstance(name, str) or not name or parts or name.startswith(".") or len(name) > 200:
        raise DataError(f"frame id {name!r} of a manifest is no plain file name; build the folder anew")
    return name


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Write the manifest of a folder, atomically."""
    write_json(Path(folder) / MANIFEST, {"kind": KIND, "schema": SCHEMA, **asdict(manifest)})


def read_manifest(path: str | Path) -> Manifest:
    """Read a manifest and check all of it: names stay inside the folder, numbers within their bounds.

    Args:
        path: The file, or the folder that holds it.

    Raises:
        DataError: It is missing, is not one, or is damaged.
    """
    file = Path(path) / MANIFEST if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise DataError(f"{path} holds no {MANIFEST}; build such a folder with 'anomseg data paste'")
    tree = read_json(file)
    if not isinstance(tree, dict) or tree.get("kind") != KIND:
        raise DataError(f"{file} is no manifest of pasted frames; build one with 'anomseg data paste'")
    if tree.get("schema") != SCHEMA:
        raise DataError(f"{file} is of schema {tree.get('schema')}, this version reads {SCHEMA}; build it anew")
    try:
        frames = [_frame(one) for one in _listed(tree.get("frames"), MAX_FRAMES)]
        if len({frame.id for frame in frames}) != len(frames):
            raise DataError("two frames have one id")
        return Manifest(
            _text(tree["base"]),
            _text(tree["split"]),
            read_options(tree["options"]),
            tuple(frames),
            dict(tree["negatives"]),
            {str(name): str(version) for name, version in dict(tree["libraries"]).items()},
            {str(name): str(reason) for name, reason in dict(tree["skipped"]).items()},
        )
    except (ConfigError, DataError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file} is damaged ({error}); build it anew with 'anomseg data paste'") from error


def _frame(tree: Any) -> PastedFrame:
    pastes = [_paste(one) for one in _listed(tree["pastes"], MAX_PASTES)]
    return PastedFrame(_text(tree["id"]), _text(tree["base_sha256"]), _text(tree["sha256"]), tuple(pastes))


def _paste(tree: Any) -> Paste:
    top, left, bottom, right = (_whole(side) for side in tree["box"])
    values: dict[str, Any] = {name: _text(tree[name]) for name in _TEXTS}
    values |= {name: _whole(tree[name]) for name in ("region", "pixels")}
    values |= {name: _pair(tree[name]) for name in ("size", "place")}
    return Paste(box=(top, left, bottom, right), share=float(tree["share"]), **values)


def _listed(value: Any, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError(f"a list of at most {most} was expected")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text was expected, not {value!r}")
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"a whole number was expected, not {value!r}")
    return value


def _pair(value: Any) -> tuple[int, int]:
    first, second = value
    return _whole(first), _whole(second)
