"""Average precision of whole negative images against the inliers of a data set, at equal numbers of pixels.

Bevandić, Krešo, Oršić and Šegvić, "Dense open-set recognition based on training with noisy negative images"
(arXiv 2101.09193): negative images are drawn until they have as many pixels as the data set, often, and the mean and
the deviation of AP are reported. Prevalence is one half by construction, so chance is .5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import ConfigError, DataError
from anomseg.metrics.counts import Keys, run_lengths, score_keys
from anomseg.metrics.inputs import check_finite
from anomseg.metrics.pixel import PixelCurve

REPEATS = 50


@dataclass(frozen=True)
class EqualPixelsResult:
    """Average precision over draws of negative images.

    Attributes:
        mean: Mean over the draws.
        std: Standard deviation over the draws (of them, not of a population they stand for).
        aps: AP of each draw.
        pixels: Inlier pixels, and as many negative ones in each draw.
        images: Least and greatest number of negative images in a draw.
    """

    mean: float
    std: float
    aps: tuple[float, ...]
    pixels: int
    images: tuple[int, int]


def equal_pixel_ap(
    inliers: PixelCurve,
    negatives: Sequence[str],
    read: Callable[[str], NDArray[np.float32]],
    *,
    repeats: int = REPEATS,
    seed: int = 0,
    on_draw: Callable[[int, int], None] | None = None,
) -> EqualPixelsResult:
    """Draw negative images until their pixels are as many as the inliers, and compare; again and again.

    Images are drawn without replacement, and of the last one a random part of its pixels, so that both numbers are
    the same. Every draw has a generator of its own, from the seed and its number: neither the order of the names nor
    the number of repeats changes it.

    Args:
        inliers: A state whose inliers count; its anomalous pixels do not. Merged shards will do.
        negatives: Names of the negative images, all of whose pixels are anomalies.
        read: Gives the score map of each, ``(H, W)`` finite float32.
        repeats: Draws.
        seed: Of the draws.
        on_draw: Told after each draw how many are done, and how many there are.

    Raises:
        DataError: There is no inlier, or all negative images together have fewer pixels than the inliers.
        ConfigError: There is nothing to repeat, or a name occurs twice.
        FrameError: A map holds NaN or infinity.

    Example:
        >>> curve = PixelCurve()
        >>> curve.update([[0.1, 0.2, 0.3]], [[0, 0, 0]], "street")
        >>> maps = {"a": np.full((1, 2), 0.9, np.float32), "b": np.full((2, 1), 0.5, np.float32)}
        >>> result = equal_pixel_ap(curve, list(maps), maps.get, repeats=3)
        >>> result.mean, result.std, result.pixels, result.images
        (1.0, 0.0, 3, (2, 2))
    """
    names = sorted(negatives)
    if repeats < 1:
        raise ConfigError(f"{repeats} repeats draw nothing; give 1 or more")
    if len(set(names)) != len(names):
        raise ConfigError("two negative images have one name; give each its own")
    if inliers.inlier == 0:
        raise DataError("no inlier pixel to compare negative images with; check the data set's labels")
    aps, images = [], []
    for repeat in range(repeats):
        keys, drawn = _draw(names, read, inliers.inlier, np.random.default_rng([seed, repeat]))
        aps.append(inliers.ap_against(*run_lengths(keys)))
        images.append(drawn)
        if on_draw is not None:
            on_draw(repeat + 1, repeats)
    return EqualPixelsResult(
        float(np.mean(aps)), float(np.std(aps)), tuple(aps), inliers.inlier, (min(images), max(images))
    )


def _draw(
    names: Sequence[str],
    read: Callable[[str], NDArray[np.float32]],
    pixels: int,
    generator: np.random.Generator,
) -> tuple[Keys, int]:
    """Ascending keys of exactly ``pixels`` scores, and from how many images they are."""
    keys = np.empty(pixels, np.uint32)
    filled, drawn = 0, 0
    for index in generator.permutation(len(names)):
        score = np.asarray(read(names[index]), np.float32).ravel()
        check_finite(score, names[index])
        left = pixels - filled
        if score.size > left:
            score = score[generator.choice(score.size, left, replace=False)]
        keys[filled : filled + score.size] = score_keys(score)
        filled, drawn = filled + score.size, drawn + 1
        if filled == pixels:
            keys.sort()
            return keys, drawn
    raise DataError(
        f"{len(names)} negative images have {filled} pixels, fewer than the {pixels} inliers they are to match; give "
        "more of them, larger ones, or fewer frames"
    )
