"""CamVid-OOD: CamVid's test frames with animals pasted on them (Besnier et al. 2021).

What is relied on, from the authors' code and unverified on the data: images in ``test_ood/``, labels in
``testannot_ood/`` under the same names, in CamVid's eleven numbers with 11 for void and 12 for the anomaly; ``train``
and ``val`` lie beside them in SegNet's layout.
"""

from __future__ import annotations

from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import IMAGE_NAME, FileRule
from anomseg.data.label_space import CAMVID
from anomseg.data.labels import ValueTable
from anomseg.data.layout import Layout
from anomseg.types import VOID

ANOMALOUS = len(CAMVID)

SPEC = DatasetSpec(
    name="camvid_ood",
    title="CamVid-OOD, CamVid with pasted animals",
    splits=(Split("train", 367), Split("val", 101), Split("test", 233, folder="test_ood")),
    default_split="test",
    layouts=(
        Layout(
            "official",
            FileRule(("{split}",), IMAGE_NAME, "{split}/*", images_only=True),
            FileRule(("{split}annot", "testannot_ood"), r"(?P<key>[^/]+)\.png", "testannot_ood/*.png"),
            subroots=("", "CamVid_OOD", "CamVid-OOD", "camvid_ood", "CamVid", "CamVidOOD"),
        ),
    ),
    table=ValueTable(
        "CamVid-OOD", (*((value, value) for value in range(ANOMALOUS)), (11, VOID), (12, ANOMALOUS), (VOID, VOID))
    ),
    kind="classes",
    label_space=CAMVID,
    anomalies=(ANOMALOUS,),
    group=r"([^_]+)_.*",
    licence="CC BY-NC 4.0 (CamVid)",
    citation="Besnier, Bursuc, Picard, Briot: Triggering failures: out-of-distribution detection by learning from "
    "local adversarial attacks in semantic segmentation, ICCV 2021",
    homepage="https://github.com/valeoai/obsnet",
    notes="anomalies are pasted; layout and numbers are those of the authors' code, unverified on the data",
    by_hand=(
        "follow the link to CamVid OOD at https://github.com/valeoai/obsnet and put test_ood/ and testannot_ood/ in "
        "one folder, beside train/, trainannot/, val/ and valannot/ of CamVid where these are wanted"
    ),
)


def camvid_ood() -> DatasetSpec:
    """The declaration of CamVid-OOD."""
    return SPEC
