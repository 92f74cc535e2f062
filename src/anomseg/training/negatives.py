"""The negatives that a recipe's stage pastes on its images: found once, a tenth of them kept for validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from anomseg.data import load_frames
from anomseg.data.negatives import REGIMES, Negative, PasteConfig, Paster, load_negatives, mix_negatives
from anomseg.data.negatives.duplicates import NearDuplicates, Screened
from anomseg.errors import ConfigError, DataError, unknown_name
from anomseg.registry import parse_spec
from anomseg.training.bounds import check_bounds
from anomseg.training.recipe import configure
from anomseg.types import ANOMALY, INLIER, VOID, UInt8Array

KEPT_BACK = 10
"""Of all sources in a row every so many negatives are pasted on validation images only."""
PASTED = 254
"""The label of pasted pixels while a crop is made; no label space has so many classes."""


@dataclass(frozen=True)
class NegativeSourceConfig:
    """One source of negatives in the mixture.

    Attributes:
        negatives: Kind of source, with options where it takes any; its folder is the recipe's root of that name.
        root: Its folder, where two sources are of one kind.
        half: Only images with an ``even`` or ``odd`` number.
        share: Share of the pastes drawn from it, relative to the other sources.
        limit: At most so many negatives.
        exclude: Categories that are not cut out; the source's own default where not given.
    """

    negatives: str
    root: str | None = None
    half: str | None = None
    share: float = 1.0
    limit: int | None = None
    exclude: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_bounds("share", self.share, 0)


@dataclass(frozen=True)
class NegativesConfig:
    """What is pasted on the images of a stage.

    Attributes:
        sources: Where the negatives are from.
        regime: Which of them may be learned from: ``all``, ``minus_test_categories`` or ``synthetic_only``.
        evaluation: Data sets whose images' near-duplicates are left out, as far as the recipe has their folders.
        paste: How they are pasted.
        tries: A crop that shows nothing of what was pasted is cut anew at most so often.
    """

    sources: Sequence[Mapping[str, Any]] = ()
    regime: str = "minus_test_categories"
    evaluation: Sequence[str] = ("road_anomaly", "road_anomaly_21")
    paste: Mapping[str, Any] = field(default_factory=dict)
    tries: int = 20

    def __post_init__(self) -> None:
        check_bounds("tries", self.tries, 1)


class NegativeData:
    """The negatives of a stage, and what pastes them.

    Args:
        config: What is wanted.
        roots: The recipe's folders.
        stage: Name of the stage, for messages.

    Raises:
        ConfigError: The configuration is not valid.
    """

    def __init__(self, config: Mapping[str, Any], roots: Mapping[str, str | None], stage: str) -> None:
        what = f"{stage}.data.negatives"
        self.config = configure(NegativesConfig, config, what)
        if not self.config.sources:
            raise ConfigError(f"{what}.sources is empty; name at least one source of negatives")
        if self.config.regime not in REGIMES:
            raise unknown_name("regime of negatives", self.config.regime, REGIMES)
        self.sources = [configure(NegativeSourceConfig, one, f"{what}.sources") for one in self.config.sources]
        if not any(one.share for one in self.sources):
            raise ConfigError(f"{what}.sources: every share is 0; give one of them more")
        self.paste = configure(PasteConfig, self.config.paste, f"{what}.paste")
        self.roots = roots
        self._found: tuple[list[Negative], list[float]] | None = None
        self._record: dict[str, Any] = {}

    def find(self) -> tuple[list[Negative], list[float]]:
        """All negatives that may be used, and how likely each is drawn; found once.

        Raises:
            ConfigError: A folder is not given.
            DataError: A folder cannot be used, or nothing is left of a source.
        """
        if self._found is None:
            known, checked = self._evaluation()
            groups: list[tuple[list[Negative], float]] = []
            counts: dict[str, int] = {}
            repeated = unreadable = 0
            for one in self.sources:
                found = self._load(one)
                screened = known.screen(found) if known is not None else Screened(found, [], [])
                fresh = screened.kept
                if len(fresh) < 2:
                    raise DataError(f"{len(fresh)} negatives of {one.negatives} are left; at least 2 are needed")
                repeated += len(screened.duplicates)
                unreadable += len(screened.unreadable)
                counts[one.negatives] = counts.get(one.negatives, 0) + len(fresh)
                groups.append((fresh, one.share))
            self._record = {
                "regime": self.config.regime,
                "images": counts,
                "near_duplicates_left_out": repeated,
                "unreadable_left_out": unreadable,
                "compared_with": checked,
            }
            self._found = mix_negatives(groups)
        return self._found

    def paster(self, validation: bool = False) -> Paster:
        """What pastes the negatives of training, or those kept for validation."""
        negatives, weights = self.find()
        # Every validation image gets some, so that its figures say how well pasted things are found.
        config = replace(self.paste, share=1.0, pure=0.0) if validation else self.paste
        drawn = [index for index, weight in enumerate(weights) if weight]
        # Of few negatives the last one is kept, which training then does not see either.
        kept = {index for index in drawn if index % KEPT_BACK == KEPT_BACK - 1} or {drawn[-1]}
        chosen = [index for index in range(len(negatives)) if (index in kept) is validation]
        return Paster([negatives[index] for index in chosen], config, [weights[index] for index in chosen])

    def names(self) -> list[str]:
        """Which negatives are used, for what depends on all of them."""
        return [f"{negative.source}/{negative.id}" for negative in self.find()[0]]

    def record(self) -> dict[str, Any]:
        """What was read, for the record of a training."""
        self.find()
        return dict(self._record)

    def _load(self, source: NegativeSourceConfig) -> list[Negative]:
        name = parse_spec(source.negatives).name
        root = source.root or self.roots.get(name)
        if not root and name != "synthetic":
            raise ConfigError(f"the recipe needs the folder of {name}: add --roots.{name} DIR")
        return load_negatives(
            source.negatives,
            root,
            regime=self.config.regime,
            half=source.half,
            limit=source.limit,
            exclude=source.exclude,
        )

    def _evaluation(self) -> tuple[NearDuplicates | None, list[str]]:
        """The images that negatives are compared with, and of which data sets they are."""
        named = [name for name in self.config.evaluation if self.roots.get(parse_spec(name).name)]
        folders = {name: self.roots[parse_spec(name).name] for name in named}
        frames = [frame for name, folder in folders.items() for frame in load_frames(name, root=folder or "")]
        return (NearDuplicates(frames) if frames else None), named


def paste_on(
    image: UInt8Array, classes: UInt8Array, paster: Paster, rng: np.random.Generator
) -> tuple[UInt8Array, UInt8Array]:
    """Paste on an image, and say so in its class map: `PASTED` on pasted pixels, void where nothing is to be learned.

    Args:
        image: ``(H, W, 3)`` uint8.
        classes: ``(H, W)`` uint8.
        paster: What pastes.
        rng: Source of all randomness.

    Returns:
        Image and class map of the same size.
    """
    pasted = paster.paste(image, rng)
    if pasted.pure:
        classes = np.full_like(classes, VOID)
    classes = np.where(pasted.outlier == INLIER, classes, VOID).astype(np.uint8)
    classes[pasted.outlier == ANOMALY] = PASTED
    return pasted.image, classes


def outlier_labels(classes: UInt8Array) -> UInt8Array:
    """``(H, W)`` uint8: 1 where a class map says pasted, 255 where it says void, 0 elsewhere."""
    return np.where(classes == PASTED, ANOMALY, np.where(classes == VOID, VOID, INLIER)).astype(np.uint8)
