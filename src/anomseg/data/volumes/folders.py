"""Folders of NIfTI files as cases: images beside masks of the same names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from anomseg.data.volumes.case import FOREGROUND, Case, Mask, Volume
from anomseg.data.volumes.nifti import (
    NiftiGeometry,
    check_aligned,
    is_nifti,
    read_geometry,
    read_mask,
    read_volume,
    stem,
)
from anomseg.errors import ConfigError, DataError, FrameError

IMAGES, PREDICTIONS, LABELS, PROBABILITIES = "images", "predictions", "labels", "probabilities"


def nifti_cases(root: str | Path, labels: str = f"1:{FOREGROUND}", predictions: str = PREDICTIONS) -> list[Case]:
    """Cases of a folder with ``images/``, ``predictions/`` and ``labels/`` of equal names.

    Args:
        root: The folder. ``predictions`` and ``labels`` may each be missing; ``probabilities`` may hold soft
            predictions, ``NAME.npy`` ``(C, D, H, W)`` with the axes of `NiftiGeometry`.
        labels: Values of the masks besides 0 and what they stand for: ``"1:pancreas+2:tumour"``.
        predictions: Name of the folder of predicted masks, or its path where it lies elsewhere.

    Returns:
        The cases sorted by name, nothing but headers read.

    Raises:
        ConfigError: The labels cannot be read.
        DataError: There are no images, or masks without an image.
    """
    folder = Path(root)
    images = _files(folder / IMAGES)
    if not images:
        raise DataError(f"{folder} holds no {IMAGES}/*.nii.gz; put each volume into {IMAGES}/, its masks beside it")
    table, classes = parse_labels(labels)
    masks = {LABELS: _files(folder / LABELS), PREDICTIONS: _files(prediction_folder(folder, predictions))}
    for what, found in masks.items():
        astray = sorted(found.keys() - images.keys())
        if astray:
            raise DataError(
                f"{folder}: {len(astray)} of {what} have no image (first: {astray[0]}); names must be equal"
            )
    return [
        nifti_case(
            name,
            image,
            prediction=masks[PREDICTIONS].get(name),
            truth=masks[LABELS].get(name),
            table=table,
            classes=classes,
            soft=folder / PROBABILITIES / f"{name}.npy",
        )
        for name, image in images.items()
    ]


def nifti_case(
    name: str,
    image: Path,
    *,
    prediction: Path | None,
    truth: Path | None,
    table: Mapping[int, int],
    classes: tuple[str, ...],
    soft: Path | None = None,
) -> Case:
    """One case of NIfTI files; masks are checked against the image when they are decoded.

    Args:
        name: Its id.
        image: The CT.
        prediction: The mask that is judged.
        truth: The true mask.
        table: Class index of each value of the masks.
        classes: Names of the classes.
        soft: An array of probabilities; passed over where there is no such file.
    """
    try:
        spacing = read_geometry(image).spacing
    except FrameError:  # told when it is decoded, so that the other cases are not lost for it
        spacing = (float("nan"),) * 3
    decode = {"prediction": prediction, "labels": truth}
    masks: dict[str, Callable[[], Mask] | None] = {
        what: None if path is None else partial(_aligned_mask, path, image, table) for what, path in decode.items()
    }
    soft = soft if soft is not None and soft.is_file() else None
    return Case(
        name,
        partial(read_volume, image),
        masks["prediction"],
        masks["labels"],
        spacing,
        meta={"path": str(image), "masks": [None if path is None else str(path) for path in (prediction, truth, soft)]},
        classes=classes,
        soft=None if soft is None else partial(_probabilities, soft, len(classes)),
    )


def parse_labels(text: str) -> tuple[dict[int, int], tuple[str, ...]]:
    """Read ``VALUE:NAME+VALUE:NAME``: which class each value of a mask is; values with one name are one class.

    Returns:
        Class index of each value, 0 among them, and the names of the classes, the background first.

    Raises:
        ConfigError: It is something else.

    Example:
        >>> parse_labels("1:pancreas+2:tumour")
        ({0: 0, 1: 1, 2: 2}, ('background', 'pancreas', 'tumour'))
    """
    table, names = {0: 0}, ["background"]
    for part in text.replace(",", "+").split("+"):
        value, colon, name = (piece.strip() for piece in part.partition(":"))
        if not colon or not value.isdecimal() or not name or int(value) in table:
            raise ConfigError(f"labels {text!r} is not VALUE:NAME+VALUE:NAME, such as 1:pancreas+2:tumour")
        if name not in names:
            names.append(name)
        table[int(value)] = names.index(name)
    return table, tuple(names)


def prediction_folder(root: Path, predictions: str) -> Path:
    """The folder of predicted masks: one in ``root``, or a path of its own."""
    return root / predictions if (root / predictions).is_dir() else Path(predictions)


def _files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {stem(path): path for path in sorted(folder.iterdir()) if is_nifti(path)}


def _aligned_mask(path: Path, image: Path, table: Mapping[int, int]) -> Mask:
    place: NiftiGeometry = read_geometry(path)
    check_aligned(read_geometry(image), place, str(path))
    return read_mask(path, table)


def _probabilities(path: Path, classes: int) -> Volume:
    try:
        values = np.load(path, allow_pickle=False).astype(np.float32)
    except (OSError, ValueError) as error:
        raise FrameError(f"{path} is no array of probabilities: {' '.join(str(error).split())[:160]}") from error
    if values.ndim != 4 or len(values) != classes or not (np.isfinite(values).all() and values.min(initial=0) >= 0):
        raise FrameError(f"{path} has shape {values.shape}; probabilities are ({classes}, D, H, W), none below 0")
    return values
