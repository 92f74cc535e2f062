"""StreetHazards: driving in a simulator, with objects in the test towns that no training town has (CAOS).

Stored values are class numbers from 1; 14 is the anomaly. Two choices are ours where the publication is silent. A
stored 0 is void: both public loaders subtract one in a way that makes it the ignored label. And every pixel that is
not void counts, "unlabeled" (the sky, mostly) and "other" included, as in the reference evaluation; other protocols
leave those classes out, which `void` is for.
"""

from __future__ import annotations

from anomseg.data.archive import Archive
from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import FileRule
from anomseg.data.label_space import STREET_HAZARDS
from anomseg.data.labels import ValueTable
from anomseg.data.layout import Layout
from anomseg.types import VOID

ANOMALOUS = len(STREET_HAZARDS)

_ARCHIVES = "https://people.eecs.berkeley.edu/~hendrycks"

# Each town has a folder, so the numbers that name files are unique only with it.
_NAME = r"(?P<key1>[^/]+)/(?P<key2>[^/]+)\.png"


def street_hazards(void: str | None = None) -> DatasetSpec:
    """The declaration of StreetHazards.

    Args:
        void: Classes that do not count, separated by commas: ``other`` is the protocol of twelve classes,
            ``unlabeled,other`` another one.

    Raises:
        ConfigError: It has no such class; the nearest name is suggested.
    """
    left_out = {STREET_HAZARDS.index(name.strip()) for name in (void or "").split(",") if name.strip()}
    pairs = tuple((index + 1, VOID if index in left_out else index) for index in range(ANOMALOUS))
    return DatasetSpec(
        name="street_hazards",
        title="StreetHazards",
        splits=(
            Split("train", 5125, folder="training"),
            Split("val", 1031, folder="validation"),
            Split("test", 1500, folder="test"),
        ),
        default_split="test",
        layouts=(
            Layout(
                "official",
                FileRule(_folders("images"), _NAME, "{train,test}/images/{split}/<town>/*.png", 1, images_only=True),
                FileRule(_folders("annotations"), _NAME, "{train,test}/annotations/{split}/<town>/*.png", 1),
                # The two archives are often unpacked each in a folder of its own name.
                subroots=("", "street_hazards", "StreetHazards", "streethazards_train", "streethazards_test"),
                ignored=r".*\.odgt",
            ),
        ),
        table=ValueTable(
            f"StreetHazards less {void}" if left_out else "StreetHazards",
            ((0, VOID), *pairs, (ANOMALOUS + 1, ANOMALOUS), (VOID, VOID)),
        ),
        kind="classes",
        label_space=STREET_HAZARDS,
        anomalies=(ANOMALOUS,),
        group=r"([^_]+)_.*",
        licence="terms of the authors",
        citation="Hendrycks et al.: Scaling out-of-distribution detection for real-world settings, ICML 2022",
        homepage="https://github.com/hendrycks/anomaly-seg",
        notes=(
            "published figures are means over images, those without an anomaly left out; towns are disjoint: "
            "1 to 3 train, 4 val, 5 and 6 test (some copies merge the last two in one folder t5-6)"
        ),
        archives=(
            Archive(f"{_ARCHIVES}/streethazards_train.tar", "train", "cd2d1a8649848afb85b5059d227d2090"),
            Archive(f"{_ARCHIVES}/streethazards_test.tar", "test", "8c547c1346b00c21b2483887110bfea7"),
        ),
    )


def _folders(kind: str) -> tuple[str, ...]:
    return f"train/{kind}/{{split}}", f"test/{kind}/{{split}}", f"{kind}/{{split}}"
