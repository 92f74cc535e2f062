"""Task 7 of the Medical Segmentation Decathlon: CT of the pancreas and its tumours, in the layout as published."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from anomseg.data.volumes.case import Case
from anomseg.data.volumes.folders import nifti_case, parse_labels, prediction_folder
from anomseg.data.volumes.nifti import is_nifti, stem
from anomseg.errors import ConfigError, DataError
from anomseg.files import read_json

TASK = "Task07_Pancreas"
LABELS = "1:pancreas+2:tumour"
PREDICTIONS = "predictions"
Section = Literal["training", "test"]


def decathlon_cases(
    root: str | Path, predictions: str = PREDICTIONS, section: Section = "training", download: bool = False
) -> list[Case]:
    """Cases of ``Task07_Pancreas``: portal-venous CT, 1 pancreas, 2 tumour.

    The list of cases is the one that MONAI's ``DecathlonDataset`` makes of ``dataset.json``.

    Args:
        root: The folder that holds ``Task07_Pancreas``, or that folder itself.
        predictions: Folder of predicted masks ``pancreas_NNN.nii.gz``, in the task's folder or elsewhere; cases
            without one have no prediction, as for training a generator.
        section: ``training`` has labels, ``test`` has none.
        download: Get the archive first (11 GB), its md5 checked.

    Returns:
        The cases sorted by name.

    Raises:
        ConfigError: MONAI is not installed.
        DataError: The folder has another layout.
    """
    place = Path(root)
    place = place.parent if place.name == TASK else place
    task = place / TASK
    if not download and not (task / "dataset.json").is_file():
        raise DataError(f"{task / 'dataset.json'} does not exist; unpack {TASK}.tar into {place}, or set download=true")
    listed = _listed(place, section, download)
    declared = read_json(task / "dataset.json").get("labels")
    if not isinstance(declared, dict) or {str(key) for key in declared} != {"0", "1", "2"}:
        raise DataError(f"{task / 'dataset.json'} declares the labels {declared}; {TASK} has 0, 1 and 2")
    table, classes = parse_labels(LABELS)
    masks = prediction_folder(task, predictions)
    found = {stem(path): path for path in sorted(masks.iterdir()) if is_nifti(path)} if masks.is_dir() else {}
    cases = []
    for one in sorted(listed, key=lambda item: str(item["image"])):
        image = Path(one["image"])
        if not is_nifti(image):
            continue
        if not image.is_file():
            raise DataError(f"{image} is listed in dataset.json and missing; unpack the archive again")
        truth = Path(one["label"]) if one.get("label") else None
        name = stem(image)
        cases.append(nifti_case(name, image, prediction=found.get(name), truth=truth, table=table, classes=classes))
    if not cases:
        raise DataError(f"{task / 'dataset.json'} lists no case of its section {section}")
    return cases


def _listed(place: Path, section: Section, download: bool) -> list[dict[str, Any]]:
    try:
        from monai.apps import DecathlonDataset  # noqa: PLC0415 - an extra, and heavy
    except ImportError as error:
        raise ConfigError(f"{TASK} is read through MONAI; pip install 'anomseg[medical]'") from error
    try:
        dataset = DecathlonDataset(
            place, TASK, section, transform=_untouched, download=download, val_frac=0.0, cache_num=0
        )
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        raise DataError(f"{place / TASK} is not laid out as published: {' '.join(str(error).split())[:200]}") from error
    # The items of the test section are plain paths in older versions of MONAI.
    return [one if isinstance(one, dict) else {"image": one} for one in dataset.data]


def _untouched(item: Any) -> Any:
    return item
