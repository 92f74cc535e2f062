"""BDD-Anomaly: the 10 000 images of BDD100K with class labels, some classes being the anomalies (CAOS).

Its splits are no lists of files. An image of BDD100K's training or validation part that shows an anomalous class goes
to ``test``; the others stay in ``train`` and ``val``, so no anomaly is ever trained on, not even as void.

Choices of ours where the publications disagree or are silent: trains and motorcycles are the anomalies, since the
counts 6688, 951 and 361 that come of it are those of the first publication (with bicycles, as others do, it is 6280,
910 and 810); pixels that BDD100K leaves unlabelled (12 to 19 % of an image) are void, where the reference evaluation
counts them as inliers (``other=inlier``); and the masks of BDD100K's newer archives are read as well as those that the
benchmark's authors ship, as both hold the nineteen classes of Cityscapes.
"""

from __future__ import annotations

from typing import Literal

from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import FileRule
from anomseg.data.label_space import CITYSCAPES
from anomseg.data.labels import ValueTable
from anomseg.data.layout import Layout
from anomseg.errors import ConfigError, unknown_name
from anomseg.types import VOID

# What an unlabelled pixel becomes where it counts: no class, and no void.
_OTHER = 254

# Frames of train, val and test by what is anomalous.
_COUNTS = {
    frozenset({"train", "motorcycle"}): (6688, 951, 361),
    frozenset({"train", "motorcycle", "bicycle"}): (6280, 910, 810),
}

_IMAGES = FileRule(
    ("seg/images", "bdd100k/seg/images", "images/10k", "bdd100k/images/10k", "images"),
    # Test images of BDD100K have no labels and belong to no split, but are no strangers.
    r"(?P<key1>train|val|test)/(?P<key2>[^/]+)\.[^./]+",
    "seg/images/{train,val}/*.jpg",
    depth=1,
    images_only=True,
)


def bdd_anomaly(anomalous: str = "train,motorcycle", other: Literal["void", "inlier"] = "void") -> DatasetSpec:
    """The declaration of BDD-Anomaly.

    Args:
        anomalous: Classes of Cityscapes that are the anomalies, separated by commas.
        other: What unlabelled pixels are in testing: ``void``, or ``inlier`` as in the reference evaluation.

    Raises:
        ConfigError: There is no such class (the nearest is suggested), none is named, or ``other`` is neither.
    """
    names = tuple(CITYSCAPES.names[CITYSCAPES.index(part.strip())] for part in anomalous.split(",") if part.strip())
    if not names:
        raise ConfigError("bdd_anomaly: anomalous names no class; write for instance anomalous=train,motorcycle")
    if other not in ("void", "inlier"):
        raise unknown_name("value of other", other, ("void", "inlier"))
    unlabelled = VOID if other == "void" else _OTHER
    train, val, test = _COUNTS.get(frozenset(names), (None, None, None))
    count = len(CITYSCAPES)
    return DatasetSpec(
        name="bdd_anomaly",
        title="BDD-Anomaly",
        splits=(
            Split("train", train, keys="train_.*", shows=False),
            Split("val", val, keys="val_.*", shows=False),
            Split("test", test, keys="(?:train|val)_.*", shows=True),
        ),
        default_split="test",
        layouts=(
            _layout("official", ("seg/labels", "bdd100k/seg/labels"), "_train_id"),
            _layout("shifted", ("seg/train_labels", "bdd100k/seg/train_labels"), "_train_id"),
            _layout("bdd100k", ("labels/sem_seg/masks", "bdd100k/labels/sem_seg/masks"), ""),
        ),
        table=ValueTable("BDD-Anomaly", (*((value, value) for value in range(count)), (VOID, unlabelled))),
        tables=(
            # The authors' second copy: everything raised by two, unlabelled pixels 1.
            (
                "shifted",
                ValueTable("BDD-Anomaly (shifted)", ((1, unlabelled), *((value + 2, value) for value in range(count)))),
            ),
        ),
        kind="classes",
        label_space=CITYSCAPES,
        held_out=names,
        licence="terms of BDD100K",
        citation="Hendrycks et al.: Scaling out-of-distribution detection for real-world settings, ICML 2022",
        homepage="https://github.com/hendrycks/anomaly-seg",
        notes=(
            "which split a frame is of is read from its label, which takes a minute or so; two definitions are in use, "
            "so compare counts of train, val and test first: 6688, 951, 361 with trains and motorcycles unknown, "
            "6280, 910, 810 with bicycles too"
        ),
        by_hand=(
            "register at https://www.vis.xyz/bdd100k/ and fetch its 10K images to bdd100k/seg/images/{train,val}; "
            "labels are in https://github.com/hendrycks/anomaly-seg: its folder seg/ goes beside bdd100k/"
        ),
    )


def _layout(name: str, folders: tuple[str, ...], ending: str) -> Layout:
    label = rf"(?P<key1>train|val)/(?P<key2>[^/]+){ending}\.png"
    shown = f"{folders[0]}/{{train,val}}/*{ending}.png"
    return Layout(name, _IMAGES, FileRule(folders, label, shown, depth=1), select=True, ignored=r".*\.(?:txt|md|json)")
