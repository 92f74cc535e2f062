"""WildDash 1: driving in bad conditions all over the world, with labels for the validation part alone.

What is relied on where the publication is silent: a frame is ``<name>_100000.png`` with ``<name>_100000_labelIds.png``
beside it, in Cityscapes' label numbers, of which those that Cityscapes leaves out of training are void here too; the
archives ``wd_val_01`` and ``wd_bench_01`` are read in folders of these names, of ``val`` and ``bench``, and the
validation part also right at the root. The labels of the benchmark part, and which of its images are negative, are
not public; `anomseg.metrics.NegativeImagesIoU` has the rule for those who hold them. The second edition is another
data set with numbers of its own and is not read.
"""

from __future__ import annotations

from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import FileRule
from anomseg.data.label_space import CITYSCAPES
from anomseg.data.labels import ValueTable
from anomseg.data.layout import Layout
from anomseg.types import VOID

# Numbers of Cityscapes' nineteen classes in the order of the classes; 255 is -1 in eight bits.
_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_VOID_IDS = (*range(7), 9, 10, 14, 15, 16, 18, 29, 30, VOID)

_FOLDERS = ("wd_{split}_01", "{split}")
_OTHER_FILES = r".*_100000_(?:labelTrainIds|instanceIds|color)\.png|.*\.(?:json|txt|md|pdf)"

SPEC = DatasetSpec(
    name="wilddash",
    title="WildDash 1",
    splits=(Split("val"), Split("bench", hidden=True)),
    default_split="val",
    layouts=(
        Layout(
            "official",
            FileRule(_FOLDERS, r"(?P<key>[^/]+)_100000\.png", "wd_{split}_01/*_100000.png", images_only=True),
            FileRule(_FOLDERS, r"(?P<key>[^/]+)_100000_labelIds\.png", "wd_{split}_01/*_100000_labelIds.png"),
            subroots=("", "wilddash", "WildDash"),
            ignored=_OTHER_FILES,
        ),
        Layout(
            "flat",
            FileRule(("",), r"(?P<key>[^/]+)_100000\.png", "*_100000.png", images_only=True),
            FileRule(("",), r"(?P<key>[^/]+)_100000_labelIds\.png", "*_100000_labelIds.png"),
            splits=("val",),
            ignored=_OTHER_FILES,
        ),
    ),
    table=ValueTable(
        "WildDash", (*((stored, index) for index, stored in enumerate(_IDS)), *((stored, VOID) for stored in _VOID_IDS))
    ),
    kind="classes",
    label_space=CITYSCAPES,
    licence="terms of the authors, registration needed",
    citation="Zendel et al.: WildDash - Creating Hazard-Aware Benchmarks, ECCV 2018",
    homepage="https://wilddash.cc",
    notes="the first edition; the second one stores other numbers",
)


def wilddash() -> DatasetSpec:
    """The declaration of WildDash 1."""
    return SPEC
