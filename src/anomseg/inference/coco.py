"""Components of a mask as COCO annotations: run-length encoding, box, area and score of each.

The run-length encoding is that of the COCO data set (Lin et al., "Microsoft COCO", ECCV 2014): pixels are read column
by column, run lengths alternate between outside and inside beginning with outside, and each is written as the
difference from the one two places before it, in base 32 digits of printable characters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import DataError, FrameError
from anomseg.files import read_json, write_json
from anomseg.inference.colour import BoolArray, FloatArray
from anomseg.metrics import label_components

SUFFIX = ".coco.json"
ALL_FILE = f"all{SUFFIX}"
CATEGORY = {"id": 1, "name": "anomaly", "supercategory": "anomaly"}


def encode_rle(mask: Any) -> dict[str, Any]:
    """A mask as compressed COCO run-length encoding.

    Args:
        mask: ``(H, W)``, true inside.

    Returns:
        ``size`` ``[H, W]`` and ``counts``, ASCII text.

    Raises:
        FrameError: It is no map.

    Example:
        >>> encode_rle(np.array([[0, 1], [0, 1]]))
        {'size': [2, 2], 'counts': '22'}
    """
    inside = np.asarray(mask).astype(bool)
    if inside.ndim != 2:
        raise FrameError(f"a mask of shape {inside.shape} is no map (height, width)")
    return _encoded(np.flatnonzero(inside.T.ravel()), inside.shape)


def _encoded(inside: NDArray[np.int64], size: Sequence[int]) -> dict[str, Any]:
    """The encoding of sorted places in a column by column reading."""
    height, width = int(size[0]), int(size[1])
    cuts = np.flatnonzero(np.diff(inside) != 1)
    starts = inside[np.concatenate(([0], cuts + 1))] if inside.size else inside
    stops = inside[np.append(cuts, inside.size - 1)] + 1 if inside.size else inside
    edges = np.concatenate(([0], np.stack([starts, stops], axis=1).ravel()))
    counts = np.diff(edges).tolist()
    if edges[-1] < height * width or not counts:
        counts.append(int(height * width - edges[-1]))
    return {"size": [height, width], "counts": _text(counts)}


def _text(counts: Sequence[int]) -> str:
    letters = []
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            digit, value = value & 31, value >> 5
            # The sign is the highest bit of the last digit, so a digit is the last where the rest only repeats it.
            more = value != (-1 if digit & 16 else 0)
            letters.append(chr(48 + digit + (32 if more else 0)))
    return "".join(letters)


def decode_rle(rle: Mapping[str, Any]) -> BoolArray:
    """The inverse of `encode_rle`; run lengths given as a list of numbers are read too.

    Args:
        rle: ``size`` and ``counts``.

    Returns:
        ``(H, W)`` bool.

    Raises:
        DataError: The encoding is damaged.

    Example:
        >>> decode_rle({"size": [2, 2], "counts": "22"}).astype(int).tolist()
        [[0, 1], [0, 1]]
    """
    try:
        height, width = (int(side) for side in rle["size"])
        text = rle["counts"]
        counts = _numbers(text) if isinstance(text, str) else [int(count) for count in text]
        if min(counts, default=0) < 0 or sum(counts) != height * width:
            raise ValueError(f"runs of {sum(counts)} pixels in a mask of {height}x{width}")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"the run-length encoding is damaged ({error}); write it again") from error
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return inside.reshape(width, height).T


def _numbers(text: str) -> list[int]:
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        digit = ord(letter) - 48
        if not 0 <= digit < 64:
            raise ValueError(f"{letter!r} is no digit")
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("the text ends within a number")
    return counts


def component_annotations(score: FloatArray, mask: BoolArray, *, image_id: int | str = 1) -> list[dict[str, Any]]:
    """Each connected component of a mask as a COCO annotation.

    Args:
        score: ``(H, W)`` anomaly scores.
        mask: ``(H, W)`` bool, what is called anomalous; components are connected over 8 neighbours.
        image_id: Written into each.

    Returns:
        ``segmentation`` (run-length encoding), ``area`` in pixels, ``bbox`` ``[x, y, width, height]``, ``score`` (the
        mean over its pixels), ``category_id`` 1, ``iscrowd`` 0, ``image_id`` and ``id``; the highest score first.

    Raises:
        FrameError: The two differ in shape.

    Example:
        >>> score = np.float32([[0.0, 0.5, 0.0, 1.0]])
        >>> [(one["score"], one["bbox"]) for one in component_annotations(score, score > 0.2)]
        [(1.0, [3, 0, 1, 1]), (0.5, [1, 0, 1, 1])]
    """
    from scipy import ndimage  # noqa: PLC0415 - slow to import, and only needed here

    if score.shape != mask.shape or mask.ndim != 2:
        raise FrameError(f"a map of shape {score.shape} and a mask of {mask.shape} do not belong together")
    numbers, _ = label_components(np.asarray(mask, bool))
    found: list[dict[str, Any]] = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(numbers), 1):
        inside = numbers[rows, columns] == number
        x, y = np.nonzero(inside.T)  # column by column
        place = (x + columns.start) * mask.shape[0] + y + rows.start
        found.append(
            {
                "image_id": image_id,
                "category_id": CATEGORY["id"],
                "segmentation": _encoded(place, mask.shape),
                "area": int(place.size),
                "bbox": [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start],
                "score": float(score[rows, columns][inside].astype(np.float64).mean()),
                "iscrowd": 0,
            }
        )
    found.sort(key=lambda one: -one["score"])
    return [{"id": number, **one} for number, one in enumerate(found, 1)]


def write_coco(path: str | Path, name: str, score: FloatArray, mask: BoolArray, threshold: float) -> None:
    """Write the components of one image as a COCO file of its own.

    Args:
        path: Target file.
        name: Of the image.
        score: ``(H, W)`` anomaly scores.
        mask: ``(H, W)`` bool.
        threshold: From which a pixel was called anomalous, for the record.

    Raises:
        DataError: The file cannot be written.
    """
    image = {"id": 1, "file_name": name, "height": int(mask.shape[0]), "width": int(mask.shape[1])}
    write_json(
        path,
        {
            "info": {"threshold": float(threshold), "score": "mean anomaly score over the component"},
            "images": [image],
            "categories": [CATEGORY],
            "annotations": component_annotations(score, mask),
        },
    )


def join_coco(folder: Path, names: Sequence[str]) -> Path:
    """Put the COCO files of several images into one, images and annotations numbered through.

    Args:
        folder: Where they lie; the joint file ``all.coco.json`` is written there.
        names: Of the images, in the order of their numbers.

    Returns:
        The joint file.

    Raises:
        DataError: A file is missing or damaged, or cannot be written.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, name in enumerate(names, 1):
        content = read_json(folder / f"{name}{SUFFIX}")
        try:
            images.append({**content["images"][0], "id": number})
            for one in content["annotations"]:
                annotations.append({**one, "id": len(annotations) + 1, "image_id": number})
        except (KeyError, IndexError, TypeError) as error:
            raise DataError(f"{folder / name}{SUFFIX} is damaged ({error}); predict again with --overwrite") from error
    write_json(folder / ALL_FILE, {"images": images, "categories": [CATEGORY], "annotations": annotations})
    return folder / ALL_FILE
