"""`load_frames`: from the name of a data set and a folder to a list of frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from anomseg.data.classified import classified_frames
from anomseg.data.dataset import DatasetSpec
from anomseg.data.decoding import decode_label
from anomseg.data.labels import ValueTable
from anomseg.data.layout import CLASSES, Record
from anomseg.data.loaders import HeldOutLoader, ImageLoader, MapLoader, OverlayLoader, RegionLoader
from anomseg.data.locate import Located, checked_root, locate
from anomseg.data.specs import dataset_spec
from anomseg.errors import ConfigError, DataError, unknown_name
from anomseg.types import Frame, UInt8Array

HeldOutImages = Literal["keep", "drop", "void"]


def load_frames(
    name: str | DatasetSpec,
    root: str | Path | None = None,
    split: str | None = None,
    layout: str | None = None,
    *,
    held_out: str | Sequence[str] = (),
    held_out_images: HeldOutImages = "keep",
    label_values: str | ValueTable | None = None,
    limit: int | None = None,
) -> list[Frame]:
    """List the frames of a data set; pixels are decoded when asked for.

    Args:
        name: A registered name, with options where it takes any (``folder:images=photos``), or a declaration.
        root: The folder that holds the data set.
        split: Which part; the data set's default one when None.
        layout: How it lies on disk; found out when None.
        held_out: Classes that count as anomalies, by name (a list, or separated by commas): frames then also have
            an anomaly label. Where a data set has such classes of its own, these take their place.
        held_out_images: What becomes of images that show a held-out class: ``keep`` them (for testing), ``drop``
            them, or mark those pixels ``void`` in the class map (for training).
        label_values: What stored label values mean (``"0:0,1:1,255:255"``), instead of the data set's own table.
        limit: At most so many frames, the first ones.

    Returns:
        Frames sorted by id (2 before 10). Ids are unique and hold no path separator; ``meta["path"]`` is the image
        file. Frames without ground truth have ``label`` None. Decoding raises `FrameError`.

    Raises:
        DataError: The folder is missing or empty, no layout fits (the message says what was looked for), or the
            split is unknown (its splits are listed).
        ConfigError: An unknown name, layout, class or label table.
    """
    spec = dataset_spec(name) if isinstance(name, str) else name
    if limit is not None and limit < 1:
        raise ConfigError(f"a limit of {limit} frames leaves nothing; give 1 or more")
    names = [name.strip() for name in held_out.split(",")] if isinstance(held_out, str) else list(held_out)
    anomalous = spec.anomalous(names)
    if held_out_images not in ("keep", "drop", "void"):
        raise unknown_name("value of held_out_images", held_out_images, ("keep", "drop", "void"))
    if spec.collect is not None:
        if label_values is not None:
            raise ConfigError(f"label values do not apply to {spec.name}: its labels are the images' classes")
        part = spec.split(split).name
        found = spec.collect(checked_root(spec, root), part, layout)
        kept = classified_frames(spec.name, part, found, anomalous, held_out_images)[:limit]
        if not kept:
            raise DataError(f"every image of {spec.name} is of a held-out class; nothing is left after dropping them")
        return kept
    located = locate(spec, root, split, layout)
    table = located.table(label_values)
    make = _FrameMaker(spec, located, table, anomalous, held_out_images, located.region)
    frames: list[Frame] = []
    wanted = located.split.shows
    for record in located.records:
        if wanted is not None and shows(record, table, anomalous, located.layout.decode) != wanted:
            continue
        frame = make(record)
        if (
            held_out_images == "drop"
            and anomalous
            and wanted is None
            and shows(record, table, anomalous, located.layout.decode)
        ):
            continue
        frames.append(frame)
        if limit is not None and len(frames) >= limit:
            break
    if not frames:
        raise DataError(_nothing_left(located, names or spec.held_out))
    return frames


@dataclass(frozen=True)
class _FrameMaker:
    spec: DatasetSpec
    located: Located
    table: ValueTable
    anomalous: tuple[int, ...]
    held_out_images: HeldOutImages
    region: Path | None = None

    def __call__(self, record: Record) -> Frame:
        layout = self.located.layout
        image = OverlayLoader(record.image, record.overlay) if layout.overlays else ImageLoader(record.image)
        maps = MapLoader(record.label, record.image, self.table, decode=layout.decode) if record.label else None
        classes: Callable[[], UInt8Array] | None = None
        label: Callable[[], UInt8Array] | None = maps if self.spec.kind == "anomaly" else None
        if maps and self.spec.kind == "classes":
            withheld = self.anomalous if self.held_out_images == "void" else ()
            classes = replace(maps, void=tuple({*self.spec.beyond_classes(self.table), *withheld}))
        beside = {
            name: MapLoader(path, record.image, dict(self.spec.map_tables)[name]) for name, path in record.maps.items()
        }
        if self.spec.kind == "anomaly":
            classes = beside.get(CLASSES)
        if maps and self.anomalous:
            label = HeldOutLoader(maps, self.anomalous)
        if label is not None and self.region is not None:
            label = RegionLoader(label, self.region)
        meta: dict[str, Any] = {
            "path": str(record.image),
            "dataset": self.spec.name,
            "split": self.located.split.name,
            "layout": layout.name,
        }
        if record.label:
            meta["label_path"] = str(record.label)
        if record.overlay:
            meta["overlay_path"] = str(record.overlay)
        meta |= {f"{name}_path": str(path) for name, path in record.maps.items()}
        return Frame(record.id, image, classes, label, self.spec.group_of(record.id), meta)


def shows(
    record: Record,
    table: ValueTable,
    anomalous: Sequence[int],
    decode: Callable[[Path], UInt8Array] = decode_label,
) -> bool:
    """Whether a frame's label, read by ``decode``, has a pixel of these meanings; False without a label.

    Raises:
        FrameError: The label cannot be read.
    """
    if record.label is None:
        return False
    present = np.bincount(decode(record.label).ravel(), minlength=256) > 0
    return bool(np.isin(table.lookup[present], anomalous).any())


def _nothing_left(located: Located, names: Sequence[str]) -> str:
    spec, split = located.spec, located.split
    if split.shows:
        return f"no frame of {spec.name} here shows {', '.join(names)}, so its split {split.name} is empty"
    return f"every frame of {spec.name} shows {', '.join(names)}; nothing is left after dropping them"
