"""WD-Pascal: animals of Pascal VOC pasted on WildDash. A recipe and no archive, so it is built from a seed.

``anomseg data paste wilddash --recipe wd_pascal --half all`` builds it; the manifest that this writes freezes what was
pasted where, and builds the same pixels again. Pixels without a class in WildDash count as inliers, since the
publication labels all that is not pasted 0 (`void=void` leaves them out). Also read is the form in which a survey
saved its own draw: ``img/<n>_img.png`` with ``label/<n>_label.npy``, 1 where pasted; that layout is unverified.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from anomseg.data.dataset import DatasetSpec
from anomseg.data.file_rules import FileRule
from anomseg.data.labels import ValueTable
from anomseg.data.layout import Layout
from anomseg.data.pasted.manifest import MANIFEST, read_manifest
from anomseg.data.pasted.options import RECIPES
from anomseg.data.specs.pasted import pasted
from anomseg.errors import DataError, FrameError, unknown_name
from anomseg.registry import parse_spec
from anomseg.types import INLIER, VOID, UInt8Array

BASE, RECIPE = "wilddash", "wd_pascal"
_LARGEST = 100_000_000


def decode_array(path: Path) -> UInt8Array:
    """Read a label map of whole numbers 0 to 255 from a NumPy file, without unpickling anything.

    Raises:
        FrameError: It cannot be read, or holds something else.
    """
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FrameError(f"label {path} cannot be read as a NumPy array: {' '.join(str(error).split())}") from error
    if not isinstance(values, np.ndarray):
        values.close()
        raise FrameError(f"label {path} is a NumPy archive of several arrays, not one array")
    if values.ndim != 2 or values.dtype.kind not in "biuf" or not 0 < values.size <= _LARGEST:
        raise FrameError(f"label {path} holds {values.dtype} of shape {values.shape}, not a map of class numbers")
    whole = np.asarray(values, np.float64)
    if not (np.isfinite(whole).all() and (whole == np.round(whole)).all() and whole.min() >= 0 and whole.max() <= 255):
        raise FrameError(f"label {path} holds values that are no whole numbers from 0 to 255")
    return whole.astype(np.uint8)


SAVED = Layout(
    "saved",
    FileRule(("img",), r"(?P<key>[0-9]+)_img\.[^./]+", "img/*_img.png", images_only=True),
    FileRule(("label",), r"(?P<key>[0-9]+)_label\.npy", "label/*_label.npy"),
    subroots=("", "wd-pascal", "wd_pascal"),
    decode=decode_array,
)


def wd_pascal(void: Literal["inlier", "void"] = "inlier") -> DatasetSpec:
    """The declaration of WD-Pascal.

    Args:
        void: What pixels without a class in WildDash are: ``inlier`` as published, or ``void``.

    Raises:
        ConfigError: It is neither.
    """
    if void not in ("inlier", "void"):
        raise unknown_name("value of void", void, ("inlier", "void"))
    spec = pasted(BASE)
    return replace(
        spec,
        name="wd_pascal",
        title="WD-Pascal, Pascal VOC's animals pasted on WildDash",
        layouts=(*spec.layouts, SAVED),
        table=ValueTable("WD-Pascal", ((0, 0), (1, 1), (VOID, INLIER if void == "inlier" else VOID))),
        check=_check,
        licence="terms of WildDash and Pascal VOC",
        citation="Bevandić, Krešo, Oršić, Šegvić: Simultaneous semantic segmentation and outlier detection in presence "
        "of domain shift, GCPR 2019",
        homepage="https://wilddash.cc",
        notes="a random draw: report the mean over several seeds, and keep the manifests",
        by_hand=(
            "get WildDash 1 (see 'anomseg data download wilddash') and Pascal VOC 2007, then 'anomseg data paste "
            f"{BASE} --root WILDDASH --objects pascal_voc=VOC2007 --recipe {RECIPE} --half all --seed 0 --out DIR'"
        ),
    )


def _check(folder: Path) -> None:
    """Refuse a folder that was built by another recipe or on another data set."""
    if not (folder / MANIFEST).is_file() and any((folder / name / "img").is_dir() for name in SAVED.subroots):
        return
    manifest = read_manifest(folder)
    if parse_spec(manifest.base).name != BASE:
        raise DataError(f"{folder} holds frames of {manifest.base}, WD-Pascal is of {BASE}; name pasted instead")
    if replace(manifest.options, seed=0) != RECIPES[RECIPE]:
        raise DataError(f"{folder} was built by other rules than the recipe {RECIPE}; name pasted:base={BASE} instead")
