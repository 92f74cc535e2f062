"""ADE-OoD: photographs of all kinds of scenes in which ADE20K's 150 classes are known (Galesso et al. 2024).

What is relied on, from the authors' code and unverified on the data: ``images/<name>.jpg`` with
``annotations/<name>_mask.png``, of one channel, in which 1 is the anomaly, 0 an inlier and 255 void. How many images
there are is not checked.
"""

from __future__ import annotations

from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import IMAGE_NAME, FileRule
from anomseg.data.labels import ValueTable
from anomseg.data.layout import Layout

SPEC = DatasetSpec(
    name="ade_ood",
    title="ADE-OoD",
    splits=(Split("test"),),
    default_split="test",
    layouts=(
        Layout(
            "official",
            FileRule(("images",), IMAGE_NAME, "images/*.jpg", images_only=True),
            FileRule(("annotations",), r"(?P<key>[^/\\]+)_mask\.png", "annotations/*_mask.png"),
            subroots=("", "ADE-OoD", "ade_ood", "ADE_OoD"),
            ignored=r".*\.(?:txt|md|json)",
        ),
    ),
    table=ValueTable("ADE-OoD", ((0, 0), (1, 1), (255, 255))),
    licence="terms of ADE20K and of Open Images",
    citation="Galesso, Schröppel, Driss, Brox: Diffusion for out-of-distribution detection on road scenes and beyond, "
    "ECCV 2024",
    homepage="https://ade-ood.github.io/",
    notes="anomaly is defined against ADE20K's 150 classes; layout and values as in the authors' code, unverified",
    by_hand="download it from https://ade-ood.github.io/ and unpack it: images/ and annotations/ lie side by side",
)


def ade_ood() -> DatasetSpec:
    """The declaration of ADE-OoD."""
    return SPEC
