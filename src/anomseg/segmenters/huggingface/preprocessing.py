"""What a network wants its pixels to be, read from ``preprocessor_config.json`` as plain facts.

No image processor of transformers is built: those resize in their own ways, and differently without torchvision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from anomseg.errors import ConfigError, DataError
from anomseg.files import read_json
from anomseg.segmenters.base import Size
from anomseg.segmenters.huggingface.families import Moments
from anomseg.segmenters.pixels import check_moments, normalised

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """How an image in [0, 1] becomes the pixel values of a network.

    Attributes:
        mean: Taken off the RGB values in [0, 1].
        std: Then divided by.
        scale: What 1.0 is before that: 1, or 255 where the network takes raw values.
        bgr: The channels are reversed first.
        shortest_edge: The image is resized to this shortest side, its aspect kept; None leaves it as it is.
        longest_edge: Then the longest side is not larger than this; None sets no bound.

    Raises:
        ConfigError: Mean and deviation are no triples, or a deviation or the scale is not larger than 0.
    """

    mean: Triple
    std: Triple
    scale: float = 1.0
    bgr: bool = False
    shortest_edge: int | None = None
    longest_edge: int | None = None

    def __post_init__(self) -> None:
        check_moments(self.mean, self.std)
        if not self.scale > 0:
            raise ConfigError(f"scale is what 1.0 becomes before the mean is taken off, so above 0, got {self.scale}")

    def apply(self, batch: Tensor) -> Tensor:
        """Pixel values of a network, from a batch ``(B, 3, h, w)`` in [0, 1].

        Example:
            >>> import torch
            >>> facts = Preprocessing((1.0, 2.0, 3.0), (1.0, 1.0, 2.0), scale=255.0, bgr=True)
            >>> facts.apply(torch.tensor([0.0, 0.2, 1.0])[None, :, None, None]).flatten().tolist()
            [254.0, 49.0, -1.5]
        """
        return normalised((batch.flip(1) if self.bgr else batch) * self.scale, self.mean, self.std)

    def size(self, image: Size) -> Size:
        """``(height, width)`` an image is resized to.

        Example:
            >>> Preprocessing((0, 0, 0), (1, 1, 1), shortest_edge=1024, longest_edge=2048).size((720, 1280))
            (1024, 1820)
            >>> Preprocessing((0, 0, 0), (1, 1, 1), shortest_edge=512, longest_edge=1024).size((376, 1241))
            (310, 1024)
        """
        ratio = self.shortest_edge / min(image) if self.shortest_edge else 1.0
        if self.longest_edge:
            ratio = min(ratio, self.longest_edge / max(image))
        return max(1, round(image[0] * ratio)), max(1, round(image[1] * ratio))


def read_preprocessing(folder: Path | None, moments: Moments) -> Preprocessing:
    """Facts from the files of a model directory.

    Where the file asks for a fixed size, the aspect of the image is kept all the same: its shorter side becomes the
    shortest edge, its longer one the bound of the longest edge, or twice the side where it is a square, which is the
    shape of road scenes.

    Args:
        folder: Directory with ``preprocessor_config.json`` or ``processor_config.json``; None where there is none.
        moments: Mean and deviation for a directory without either.

    Raises:
        DataError: The file is damaged, or a value in it cannot be used.
    """
    path = (
        next(
            (
                folder / name
                for name in ("preprocessor_config.json", "processor_config.json")
                if (folder / name).is_file()
            ),
            None,
        )
        if folder
        else None
    )
    if path is None:
        return Preprocessing(*moments)
    facts = read_json(path)
    if isinstance(facts, dict) and isinstance(facts.get("image_processor"), dict):
        facts = facts["image_processor"]
    if not isinstance(facts, dict):
        raise DataError(f"{path} holds no preprocessing; expected a JSON object")
    try:
        mean, std = moments
        if facts.get("do_normalize", True):
            mean, std = (
                _triple(facts.get(key, default)) for key, default in (("image_mean", mean), ("image_std", std))
            )
        else:
            mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        factor = float(facts.get("rescale_factor", 1 / 255)) if facts.get("do_rescale", True) else 1.0
        shortest, longest = _edges(facts) if facts.get("do_resize", True) else (None, None)
        # Exactly 1 for the usual factor, which is rounded in some files.
        scale = 1.0 if abs(factor * 255 - 1) < 1e-4 else factor * 255
        return Preprocessing(mean, std, scale, bool(facts.get("do_flip_channel_order", False)), shortest, longest)
    except (TypeError, ValueError, ConfigError) as error:
        raise DataError(f"{path} has a value that cannot be used: {error}") from error


def _triple(value: Any) -> Triple:
    values = [float(item) for item in (value if isinstance(value, list | tuple) else [value] * 3)]
    if len(values) != 3:
        raise ValueError(f"{value} is not three numbers")
    return values[0], values[1], values[2]


def _edges(facts: Mapping[str, Any]) -> tuple[int | None, int | None]:
    size = facts.get("size")
    if isinstance(size, int | float):
        size = {"shortest_edge": size, "longest_edge": facts.get("max_size")}
    elif isinstance(size, list | tuple) and len(size) == 2:
        size = {"height": size[0], "width": size[1]}
    if not isinstance(size, Mapping):
        return None, None
    if "height" in size and "width" in size:
        low, high = sorted((int(size["height"]), int(size["width"])))
        return low, high if high > low else 2 * low
    shortest, longest = size.get("shortest_edge"), size.get("longest_edge")
    if shortest is None:
        return None, int(longest) if longest else None
    return int(shortest), int(longest) if longest else 2 * int(shortest)
