"""From in-distribution frames to a bank that is ready to be searched and saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from anomseg.detectors.base import Progress
from anomseg.detectors.features import feature_map, feature_names
from anomseg.detectors.fitting import FitLog
from anomseg.detectors.knn.bank import Balance, BankPass, bank_digest, chosen_frames, layer_scale
from anomseg.detectors.knn.compression import compress
from anomseg.detectors.knn.compression_loss import HELD, compression_loss
from anomseg.detectors.knn.stored import all_finite
from anomseg.detectors.targets import Labels
from anomseg.errors import ConfigError, DataError
from anomseg.scores.neighbors import NeighborReduction
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import Frame

Watch = Callable[[Frame, Scene], None]


@dataclass(frozen=True)
class BankRecipe:
    """How a bank is made: the options of `KNN` that matter to it, under their own names."""

    stride: int
    scaling: Literal["none", "layer"]
    k: int
    reduction: NeighborReduction
    rows: int
    images: int
    balance: Balance
    labels: Labels
    compress: Literal["none", "kmeans", "coreset"]
    compressed_rows: int
    store: Literal["float32", "float16"]
    seed: int


@dataclass(frozen=True)
class DrawnBank:
    """What a pass over in-distribution frames gives.

    Attributes:
        state: The bank ``(M, D)``, and the scale ``(D,)`` where layers are scaled.
        record: What goes into ``fitted_on``.
        spread: Features of a second sample, of all valid cells, scaled like the bank.
    """

    state: dict[str, Tensor]
    record: dict[str, Any]
    spread: Tensor


def draw_bank(
    recipe: BankRecipe,
    detector: str,
    segmenter: Segmenter,
    feature: str,
    frames: Iterable[Frame],
    *,
    size: Size | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
    spread: int = 0,
) -> DrawnBank:
    """Go through the frames once and make the bank.

    Args:
        recipe: How.
        detector: Registry name of the detector it is for.
        segmenter: The network.
        feature: Name of its feature map, or several joined by ``+``.
        frames: See `Detector.fit`.
        size: See `Detector.fit`.
        progress: See `Detector.fit`.
        watch: Shown every frame whose features can be used; a `FrameError` out of it skips the frame.
        spread: Cells of the second sample.

    Raises:
        DataError: No frame could be used, or there are fewer valid cells than k.
        ConfigError: Features do not fit into float16, or the bank is smaller than it should be compressed to.
    """
    names = feature_names(feature)
    held = HELD if recipe.compress != "none" else 0
    gathered = BankPass(
        segmenter, recipe.rows, recipe.balance, recipe.labels, recipe.seed, detector, held=held, spread=spread
    )

    def use(frame: Frame, scene: Scene) -> None:
        vectors, classes = gathered.read(frame, scene, feature_map(scene, feature, recipe.stride))
        if watch is not None:
            watch(frame, scene)
        gathered.add(frame.id, vectors, classes)

    log = FitLog(detector)
    chosen = chosen_frames(frames, recipe.images, recipe.seed)
    log.run(segmenter, chosen, use, features=names, size=size, progress=progress)
    record = log.record(segmenter, feature=feature, **gathered.record())
    bank, others = gathered.bank(), [gathered.held(), gathered.spread()]
    record["warnings"] = _shortage(recipe, detector, len(bank), gathered.valid)
    state: dict[str, Tensor] = {}
    if recipe.scaling == "layer":
        scale = layer_scale(bank, [segmenter.feature_info[name].channels for name in names])
        bank, others = bank.mul_(scale), [one * scale if len(one) else one for one in others]
        state["scale"] = scale
    if recipe.compress != "none":
        small = compress(bank, recipe.compressed_rows, recipe.compress, recipe.seed)
        record["compression"] = compression_loss(others[0], bank, small, recipe.k, recipe.reduction)
        bank = small
    state["bank"] = _stored(recipe, detector, bank)
    record["bank"] = {"rows": len(bank), "sha256": bank_digest(state["bank"], state.get("scale"))}
    return DrawnBank(state, record, others[1])


def _shortage(recipe: BankRecipe, detector: str, rows: int, valid: int) -> list[str]:
    """Refuse a bank that cannot be searched; a warning where it is smaller than was asked."""
    if rows < recipe.k:
        seen = f"{rows} valid cells for a bank, fewer than k={recipe.k}" if rows else "no valid cell"
        raise DataError(f"the frames to fit {detector} on have {seen}; give frames with in-distribution pixels")
    if valid >= recipe.rows:
        return []
    return [
        f"the frames have {valid} valid cells, fewer than rows={recipe.rows}, so the bank was drawn from all of them; "
        "give more frames for a larger one"
    ]


def _stored(recipe: BankRecipe, detector: str, bank: Tensor) -> Tensor:
    if recipe.store == "float32":
        return bank
    half = bank.to(torch.float16)
    if not all_finite(half):
        raise ConfigError(
            f"{detector}: features of up to {float(bank.abs().max()):.3g} do not fit into float16; "
            "fit with store=float32"
        )
    return half
