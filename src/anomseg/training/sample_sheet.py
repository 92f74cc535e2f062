"""Pictures of training samples: what a stage of a recipe would be shown, its labels, and what was pasted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from anomseg.errors import ConfigError, unknown_name
from anomseg.files import atomic_write
from anomseg.segmenters.base import default_palette
from anomseg.training.data_of_stage import StageData
from anomseg.training.labelled_data import LabelledData
from anomseg.training.recipe import Recipe, StageConfig
from anomseg.types import ANOMALY, VOID, UInt8Array

SHEET = "samples.png"
GAP = 4
PASTED_COLOUR, IGNORED_COLOUR = (255, 0, 96), (128, 128, 128)


@dataclass(frozen=True)
class SampleSheet:
    """What was drawn.

    Attributes:
        stage: Name of the stage.
        files: A picture of each sample: image, labels, and where negatives are pasted the outlier map over the image.
        pasted: How many of the samples show something pasted; None where the stage pastes nothing.
    """

    stage: str
    files: tuple[Path, ...]
    pasted: int | None


def draw_samples(
    recipe: Recipe,
    out: str | Path,
    stage: str | None = None,
    count: int = 16,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> SampleSheet:
    """Draw the first training samples of a stage, exactly as its training is shown them.

    Args:
        recipe: The recipe.
        out: Folder of the pictures: ``samples.png`` with all, and each by itself.
        stage: Name of the stage; the first one with labelled data when None. Of a stage that reads the features of
            another one, the samples are those that the features are computed of.
        count: How many.
        on_progress: Called after each.

    Raises:
        ConfigError: An unknown stage, one without labelled data, or a folder of data is not given.
        DataError: Data cannot be found, or a file cannot be written.
    """
    if count < 1:
        raise ConfigError(f"--count {count} draws nothing; give 1 or more")
    config, data = _labelled(recipe, stage)
    crops = data.crops()
    colours = _row_colours(data)
    folder = Path(out)
    pictures, files, pasted = [], [], 0
    for number in range(count):
        sample = crops[number]
        pictures.append(_picture(sample, colours))
        pasted += bool((sample["outlier"] == ANOMALY).any()) if "outlier" in sample else 0
        files.append(folder / f"{config.name}-{number:04d}.png")
        _write(files[-1], pictures[-1])
        if on_progress is not None:
            on_progress(number + 1, count, f"draw {number}")
    _write(folder / SHEET, _sheet(pictures))
    return SampleSheet(config.name, tuple(files), pasted if data.negatives is not None else None)


def _labelled(recipe: Recipe, name: str | None) -> tuple[StageConfig, LabelledData]:
    stages = {stage.name: stage for stage in recipe.stages}
    if name is None:
        first = next((stage for stage in recipe.stages if stage.data.get("sources")), None)
        if first is None:
            raise ConfigError(f"no stage of {recipe.name} has labelled data to draw")
        name = first.name
    if name not in stages:
        raise unknown_name(f"stage of {recipe.name}", name, stages)
    return stages[name], StageData(recipe, stages[name]).labelled


def _row_colours(data: LabelledData) -> UInt8Array:
    """``(R, 3)`` uint8: the colour of each row of the label table, of a set of classes their mean; void is black."""
    taught, sets = data.taught, data.table.sets.numpy()
    palette = np.asarray(taught.palette or default_palette(len(taught.names)), np.float64)
    sizes = sets.sum(axis=1, keepdims=True)
    return np.round(sets @ palette / np.maximum(sizes, 1)).astype(np.uint8)


def _picture(sample: dict[str, Tensor], colours: UInt8Array) -> UInt8Array:
    """Image, labels, and outlier map over the image side by side, ``(h, w, 3)`` uint8."""
    image: UInt8Array = sample["image"].mul(255).round().byte().permute(1, 2, 0).numpy()
    parts = [image, colours[sample["rows"].numpy()]]
    if "outlier" in sample:
        parts.append(_overlaid(image, sample["outlier"].numpy()))
    gap = np.full((image.shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([piece for part in parts for piece in (part, gap)][:-1], 1)


def _overlaid(image: UInt8Array, outlier: NDArray[np.int64]) -> UInt8Array:
    """The image with what is pasted in pink, and what is ignored greyed."""
    mixed = image.astype(np.float64)
    for value, colour in ((ANOMALY, PASTED_COLOUR), (VOID, IGNORED_COLOUR)):
        here = outlier == value
        mixed[here] = (mixed[here] + np.asarray(colour)) / 2
    return np.round(mixed).astype(np.uint8)


def _sheet(pictures: list[UInt8Array]) -> UInt8Array:
    """All pictures in one, in as many columns as make it about square."""
    height, width = pictures[0].shape[:2]
    columns = min(len(pictures), max(1, round((len(pictures) * height / width) ** 0.5)))
    rows = -(-len(pictures) // columns)
    step = (height + 2 * GAP, width + 2 * GAP)
    sheet = np.full((rows * step[0] - 2 * GAP, columns * step[1] - 2 * GAP, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // columns * step[0], number % columns * step[1]
        sheet[top : top + height, left : left + width] = picture
    return sheet


def _write(path: Path, picture: UInt8Array) -> None:
    with atomic_write(path) as stream:
        Image.fromarray(picture).save(stream, "PNG")
