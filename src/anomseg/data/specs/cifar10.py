"""CIFAR-10: small photographs of ten kinds of things, each image of one class.

Two layouts are read: folders of images by class, and the binary version of the official files. The official version
for Python is refused: it is pickled, and unpickling a file runs whatever it says.

There is no validation split. Ours is every tenth training image of each class in the order of the files, and ``train``
is the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from anomseg.data.archive import Archive
from anomseg.data.classified import Classified, Collection, PackedImage, StoredImage
from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.decoding import is_image_file
from anomseg.data.file_rules import walk
from anomseg.data.label_space import CIFAR10
from anomseg.data.labels import class_table
from anomseg.data.layout import natural_key
from anomseg.errors import DataError, unknown_name

HOMEPAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
LAYOUTS = ("folders", "binary")
_SIDE, _TENTH = (32, 32), 10
_RECORD = 1 + 3 * _SIDE[0] * _SIDE[1]
_BATCHES = {"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)}
_OFFICIAL = {"train": 45000, "val": 5000, "trainval": 50000, "test": 10000}
_SUBROOTS = ("", "cifar10", "CIFAR-10", "cifar-10-batches-bin", "cifar10_subset")


def collect(root: Path, split: str, layout: str | None = None) -> Collection:
    """The images of one split.

    Args:
        root: The folder that holds the data set.
        split: ``train``, ``val``, ``trainval`` or ``test``.
        layout: ``folders`` or ``binary``; found out when None.

    Raises:
        DataError: Neither layout is there, it is the pickled version, or a file is damaged.
        ConfigError: An unknown layout.
    """
    if layout is not None and layout not in LAYOUTS:
        raise unknown_name("layout of cifar10", layout, LAYOUTS)
    part = "test" if split == "test" else "train"
    for subroot in _SUBROOTS:
        folder = root / subroot
        if layout in (None, "folders") and any((folder / part / name).is_dir() for name in CIFAR10.names):
            return Collection("folders", _of_split(_in_folders(folder / part), split))
        if layout in (None, "binary") and any((folder / name).is_file() for name in _BATCHES[part]):
            return Collection("binary", _of_split(_in_batches(folder, _BATCHES[part]), split), _OFFICIAL[split])
    for folder in (root, root / "cifar-10-batches-py"):
        if (folder / "data_batch_1").is_file() or (folder / "test_batch").is_file():
            raise DataError(
                f"{folder} is CIFAR-10's Python version, whose pickles could run code and are never opened; get the "
                f"binary version (cifar-10-binary.tar.gz) from {HOMEPAGE}"
            )
    raise DataError(
        f"{root} holds no cifar10 (split {split}); looked for folders: {part}/<class>/*; binary: {_BATCHES[part][0]}"
    )


def _in_folders(folder: Path) -> list[Classified]:
    """All images below ``folder/<class>``; a class without images is told."""
    found = []
    for index, name in enumerate(CIFAR10.names):
        paths = [path for path in walk(folder / name, 0) if is_image_file(path)] if (folder / name).is_dir() else []
        if not paths:
            raise DataError(f"{folder} holds no images of the class {name}; its folders are named after the classes")
        found += [Classified(f"{path.stem}_{name}", StoredImage(path), index) for path in paths]
    if len({one.id for one in found}) < len(found):
        raise DataError(f"two images below {folder} differ in nothing but their file type; remove one of them")
    return sorted(found, key=lambda one: natural_key(one.id))


def _in_batches(folder: Path, names: Sequence[str]) -> list[Classified]:
    """All images of these files, in their order."""
    found = []
    for name in names:
        path = folder / name
        if not path.is_file():
            raise DataError(f"{folder} lacks {name}; unpack CIFAR-10's binary version anew")
        size = path.stat().st_size
        if size == 0 or size % _RECORD:
            raise DataError(f"{path} has {size} bytes, no multiple of {_RECORD}: it is cut short; unpack it anew")
        labels = np.memmap(path, np.uint8, "r").reshape(-1, _RECORD)[:, 0]
        if int(labels.max()) >= len(CIFAR10):
            raise DataError(f"{path} has the class {labels.max()}, above 9: it is no file of CIFAR-10")
        found += [
            Classified(f"{path.stem}_{row:05d}", PackedImage(path, row, 1, _SIDE), int(label))
            for row, label in enumerate(labels)
        ]
    return found


def _of_split(images: Sequence[Classified], split: str) -> tuple[Classified, ...]:
    """Those of a split: of each class every tenth training image is for validation."""
    if split in ("trainval", "test"):
        return tuple(images)
    seen = [0] * len(CIFAR10)
    chosen = []
    for one in images:
        if (seen[one.index] % _TENTH == 0) == (split == "val"):
            chosen.append(one)
        seen[one.index] += 1
    return tuple(chosen)


SPEC = DatasetSpec(
    name="cifar10",
    title="CIFAR-10",
    splits=tuple(Split(name) for name in _OFFICIAL),
    default_split="test",
    layouts=(),
    table=class_table("cifar10", len(CIFAR10)),
    kind="classes",
    label_space=CIFAR10,
    collect=collect,
    licence="none stated; photographs from the web",
    citation="Krizhevsky: Learning multiple layers of features from tiny images, 2009",
    homepage=HOMEPAGE,
    archives=(
        Archive(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "cifar-10-batches-bin",
            "c32a1d4ab5d03f1284b67883e8d87530",
        ),
    ),
    notes="the split val is ours: every tenth training image of each class; trainval holds all of them",
)


def cifar10() -> DatasetSpec:
    """The declaration of CIFAR-10."""
    return SPEC
