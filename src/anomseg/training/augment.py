"""Label-safe augmentation of one image and its class map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from anomseg.data.distortion import balanced, gamma_corrected, grained, jittered, recompressed, refocused
from anomseg.errors import ConfigError
from anomseg.training.bounds import check_bounds
from anomseg.types import VOID, UInt8Array


@dataclass(frozen=True)
class AugmentConfig:
    """How training crops are made.

    Attributes:
        crop: ``(height, width)`` of the crop.
        scale: Range of the random scale.
        scale_law: How it is drawn: ``log`` favours no factor over its inverse, ``uniform`` is that of most papers.
        pad: What fills a crop that exceeds the scaled image: ``edge`` repeats its last pixels, right and below;
            ``black`` lies around it.
        flip: Probability of a horizontal flip.
        colour: Strength of brightness, contrast and saturation jitter (0.4: factors from 0.6 to 1.4).
        gamma: Strength of the random gamma (0.3: exponents from 1/1.3 to 1.3).
        aspect: Strength of a random stretch (0.15: width over height changes by up to 15 % either way).
        white: Strength of a random white balance (0.1: factors of the channels from about 0.9 to 1.1).
        focus: Probability of a blur or a sharpening.
        jpeg: Probability of a compression as JPEG.
        grain: Probability of noise.
    """

    crop: tuple[int, int] = (240, 320)
    scale: tuple[float, float] = (0.6, 1.4)
    scale_law: Literal["log", "uniform"] = "log"
    pad: Literal["edge", "black"] = "edge"
    flip: float = 0.5
    colour: float = 0.35
    gamma: float = 0.3
    aspect: float = 0.0
    white: float = 0.0
    focus: float = 0.0
    jpeg: float = 0.0
    grain: float = 0.0

    def __post_init__(self) -> None:
        check_bounds("crop", self.crop, 1)
        check_bounds("scale", self.scale, 0.01, 100)
        check_bounds("flip", self.flip, 0, 1)
        check_bounds("colour", self.colour, 0, 1)
        for name in ("gamma", "aspect", "white"):
            check_bounds(name, getattr(self, name), 0)
        for name in ("focus", "jpeg", "grain"):
            check_bounds(name, getattr(self, name), 0, 1)
        if self.scale[0] > self.scale[1]:
            raise ConfigError(f"scale goes from the smaller to the larger, got {list(self.scale)}")


def augment(
    image: UInt8Array, classes: UInt8Array, config: AugmentConfig, rng: np.random.Generator, magnify: float = 1.0
) -> tuple[UInt8Array, UInt8Array]:
    """Scale, crop, flip and recolour.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        classes: ``(H, W)`` uint8; it is only moved, never interpolated.
        config: What to do.
        rng: Source of every random choice.
        magnify: Factor of the scale, for images whose size is not what the range of scales was chosen for.

    Returns:
        Image and class map of ``config.crop``'s size; where the crop exceeds the image, padding and void.
    """
    height, width = classes.shape
    low, high = config.scale
    if config.scale_law == "uniform":
        scale = float(rng.uniform(low, high))
    else:
        scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    scale *= magnify
    stretch = float(np.exp(rng.uniform(-1, 1) * np.log1p(config.aspect) / 2)) if config.aspect else 1.0
    size = (max(round(height * scale / stretch), 1), max(round(width * scale * stretch), 1))
    top, left = (int(rng.integers(0, max(have - want, 0) + 1)) for have, want in zip(size, config.crop, strict=True))
    # Resizing only the part of the source under the crop costs a fraction of resizing all of it.
    bottom, right = min(top + config.crop[0], size[0]), min(left + config.crop[1], size[1])
    box = (left / size[1] * width, top / size[0] * height, right / size[1] * width, bottom / size[0] * height)
    target = (right - left, bottom - top)
    picture = Image.fromarray(image).resize(target, Image.Resampling.BILINEAR, box=box)
    labels = np.asarray(Image.fromarray(classes).resize(target, Image.Resampling.NEAREST, box=box))
    pixels = _recolour(picture, config, rng)
    if rng.random() < config.flip:
        pixels, labels = pixels[:, ::-1], labels[:, ::-1]
    below, beside = config.crop[0] - target[1], config.crop[1] - target[0]
    if below or beside:
        above, before = (below // 2, beside // 2) if config.pad == "black" else (0, 0)
        around = ((above, below - above), (before, beside - before))
        pixels = np.pad(pixels, (*around, (0, 0)), mode="edge" if config.pad == "edge" else "constant")
        labels = np.pad(labels, around, constant_values=VOID)
    # Writeable, because tensors share this memory.
    return np.require(pixels, requirements=["C", "W"]), np.require(labels, requirements=["C", "W"])


def _recolour(picture: Image.Image, config: AugmentConfig, rng: np.random.Generator) -> UInt8Array:
    pixels: UInt8Array = np.asarray(jittered(picture, config.colour, rng) if config.colour else picture)
    if config.white:
        pixels = balanced(pixels, config.white, rng)
    if config.gamma:
        pixels = gamma_corrected(pixels, config.gamma, rng)
    for probability, change in ((config.focus, refocused), (config.jpeg, recompressed), (config.grain, grained)):
        if probability and rng.random() < probability:
            pixels = change(pixels, rng)
    return pixels
