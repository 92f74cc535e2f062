"""WildDash 2: driving in bad conditions all over the world, with a label policy of its own.

What is relied on, none of it checked on the archive: ``wd_public_02`` holds ``images/<name>.jpg`` and
``labels/<name>.png`` of one channel in policy numbers, and names the numbers in a JSON file beside them, which is read
and never guessed: ``wilddash2-meta.json`` (a list ``labels``), or ``wilddash_public.json`` or ``panoptic.json`` (a
list ``categories``), each with ``id`` and ``name``. Names are compared without case and punctuation. Those of
Cityscapes' classes mean these; ``on rails`` is a train, ``van`` a car, ``pick-up`` a truck, road markings are road, and
the other riders are riders; every other name, the vehicle itself among them, is void. A stored number that the file
does not name is refused. A newer package of the same name stores panoptic colours instead and is not read: convert it
to ``labels`` with the authors' script ``pano2sem.py`` first.
"""

from __future__ import annotations

import re
from pathlib import Path

from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import IMAGE_NAME, FileRule
from anomseg.data.label_space import CITYSCAPES
from anomseg.data.labels import ValueTable
from anomseg.data.layout import Layout
from anomseg.errors import DataError
from anomseg.files import read_json
from anomseg.types import VOID

# Files that name the policy's numbers, and the list in which they do.
_POLICIES = (
    ("wilddash2-meta.json", "labels"),
    ("wilddash_public.json", "categories"),
    ("panoptic.json", "categories"),
)
_ALSO = {
    "onrails": "train",
    "van": "car",
    "pickup": "truck",
    "roadmarking": "road",
    "motorcyclist": "rider",
    "bicyclist": "rider",
    "otherrider": "rider",
}


def policy_table(folder: Path) -> ValueTable:
    """Read what the numbers of the policy mean.

    Args:
        folder: The images' folder; the policy's files are looked for beside it.

    Raises:
        DataError: There is none, or it does not name numbers.
    """
    for name, key in _POLICIES:
        path = folder.parent / name
        if path.is_file():
            return _read(path, key)
    looked = ", ".join(name for name, _ in _POLICIES)
    raise DataError(
        f"{folder.parent} has no file that names the label numbers of WildDash 2; put one of {looked} there"
    )


def _read(path: Path, key: str) -> ValueTable:
    tree = read_json(path)
    listed = tree.get(key) if isinstance(tree, dict) else None
    if not isinstance(listed, list):
        raise DataError(f"{path} has no list {key!r}; take the file of that name from the WildDash 2 archive")
    pairs: dict[int, int] = {VOID: VOID}
    for position, entry in enumerate(listed):
        number = entry.get("id", position if key == "labels" else None) if isinstance(entry, dict) else None
        if not isinstance(number, int) or not isinstance(entry.get("name"), str):
            raise DataError(f"{path}: entry {position} of {key!r} has no number and name; take the file anew")
        if 0 <= number < VOID:
            pairs[number] = _meaning(entry["name"])
    if all(meaning == VOID for meaning in pairs.values()):
        raise DataError(f"{path} names no class of Cityscapes; it is not the policy of WildDash 2")
    mend = f"{path.name} does not name them"
    return ValueTable("WildDash 2 policy", tuple(sorted(pairs.items())), mend)


def _meaning(name: str) -> int:
    plain = _plain(name)
    plain = _plain(_ALSO.get(plain, plain))
    return next((index for index, own in enumerate(CITYSCAPES.names) if _plain(own) == plain), VOID)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.partition("(")[0].lower())


def _layout(name: str, folders: tuple[str, ...], splits: tuple[str, ...]) -> Layout:
    images, labels = (tuple(f"{folder}{kind}" for folder in folders) for kind in ("images", "labels"))
    return Layout(
        name,
        FileRule(images, IMAGE_NAME, f"{images[0]}/*.jpg", images_only=True),
        FileRule(labels, r"(?P<key>[^/]+)\.png", f"{labels[0]}/*.png"),
        splits=splits,
        subroots=("", "wilddash", "WildDash", "wilddash_2"),
        ignored=r".*\.(?:json|txt|md|pdf)",
    )


SPEC = DatasetSpec(
    name="wilddash_2",
    title="WildDash 2",
    splits=(Split("public"), Split("bench", hidden=True, folder="both")),
    default_split="public",
    layouts=(_layout("official", ("wd_{split}_02/", "{split}/"), ()), _layout("flat", ("",), ("public",))),
    table=ValueTable("WildDash 2 policy", ()),
    table_from=policy_table,
    kind="classes",
    label_space=CITYSCAPES,
    licence="terms of the authors, registration needed",
    citation="Zendel et al.: Unifying panoptic segmentation for autonomous driving, CVPR 2022",
    homepage="https://wilddash.cc",
    notes="label numbers are read from the archive's own JSON file; panoptic packages are converted first",
    by_hand=(
        "register at https://wilddash.cc and fetch WildDash 2: wd_public_02.zip goes to a folder wd_public_02 with "
        "images/, labels/ and its JSON files, wd_both_02.zip to wd_both_02"
    ),
)


def wilddash_2() -> DatasetSpec:
    """The declaration of WildDash 2."""
    return SPEC
