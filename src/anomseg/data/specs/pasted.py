"""Frames on which objects have been pasted, as `anomseg data paste` writes them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import IMAGE_NAME, FileRule
from anomseg.data.labels import BINARY_VOID, class_table
from anomseg.data.layout import CLASSES, Layout
from anomseg.data.pasted.control import CONTROL, CONTROL_TABLE
from anomseg.data.pasted.manifest import MANIFEST, read_manifest
from anomseg.errors import DataError
from anomseg.registry import parse_spec

_MAP_NAME = r"(?P<key>[^/]+)\.png"


def pasted(base: str = "camvid") -> DatasetSpec:
    """A folder of pasted frames: images, anomaly labels, class maps, and maps of the pasted inliers.

    Args:
        base: The data set whose frames were pasted on; its classes and sequences are the pasted frames' own.

    Raises:
        ConfigError: There is no such data set.
    """
    from anomseg.data.specs import dataset_spec  # noqa: PLC0415 - the registry that lists this module

    ground = dataset_spec(base)
    space = ground.label_space
    classes = ((CLASSES, class_table(ground.name, len(space))),) if space else ()
    layout = Layout(
        "pasted",
        FileRule(("images",), IMAGE_NAME, "images/*.png", images_only=True),
        FileRule(("labels_masks",), _MAP_NAME, "labels_masks/*.png"),
        maps=tuple((name, FileRule((name,), _MAP_NAME, f"{name}/*.png")) for name, _ in (*classes, (CONTROL, None))),
    )
    return DatasetSpec(
        name="pasted",
        title=f"objects pasted on frames of {ground.name}",
        splits=(Split("all"),),
        default_split="all",
        layouts=(layout,),
        table=BINARY_VOID,
        label_space=space,
        map_tables=(*classes, (CONTROL, CONTROL_TABLE)),
        check=partial(_check, base=ground.name),
        group=ground.group,
        licence=f"that of {ground.name} and of the images that the objects come from",
        citation="after WD-Pascal: Bevandić, Krešo, Oršić, Šegvić: Simultaneous semantic segmentation and outlier "
        "detection in presence of domain shift, GCPR 2019",
        by_hand="build it of another data set with 'anomseg data paste'",
        notes=f"built by 'anomseg data paste'; {MANIFEST} says what was pasted where",
    )


def _check(folder: Path, base: str) -> None:
    """Refuse a folder without a manifest, or one whose frames are of another data set."""
    found = read_manifest(folder).base
    if parse_spec(found).name != base:
        raise DataError(f"{folder} holds frames of {found}; name it pasted:base={found}")
