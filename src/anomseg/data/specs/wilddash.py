"""WildDash 1: driving in bad conditions all over the world, with labels for the validation part alone.

What is relied on where the publication is silent: a frame is ``<name>_100000.png`` with ``<name>_100000_labelIds.png``
beside it, in Cityscapes' label numbers, of which those that Cityscapes leaves out of training are void here too; the
archives ``wd_val_01`` and ``wd_bench_01`` are read in folders of these names, of ``val`` and ``bench``, and the
validation part also right at the root. The labels of the benchmark part, and which of its images are negative, are
not public; `anomseg.metrics.NegativeImagesIoU` has the rule for those who hold them. The second edition is another
data set with numbers of its own, `wilddash_2`.
"""

from __future__ import annotations

from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import FileRule
from anomseg.data.label_space import CITYSCAPES
from anomseg.data.layout import Layout
from anomseg.data.specs.cityscapes import label_ids_table

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
    table=label_ids_table("WildDash"),
    kind="classes",
    label_space=CITYSCAPES,
    licence="terms of the authors, registration needed",
    citation="Zendel et al.: WildDash - Creating Hazard-Aware Benchmarks, ECCV 2018",
    homepage="https://wilddash.cc",
    notes="the first edition; the second one, wilddash_2, stores other numbers",
    by_hand=(
        "register at https://wilddash.cc and fetch WildDash 1: wd_val_01.zip goes to a folder wd_val_01, "
        "wd_bench_01.zip to wd_bench_01"
    ),
)


def wilddash() -> DatasetSpec:
    """The declaration of WildDash 1."""
    return SPEC
