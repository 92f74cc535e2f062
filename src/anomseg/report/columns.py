"""Columns of results tables: where a figure and its interval stand in a result card (``metrics.json``)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Card = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """One column of a results table.

    Attributes:
        section: Key of the card that holds it.
        key: Key within the section.
        label: Heading.
        lower_is_better: Whether small is good.
    """

    section: str
    key: str
    label: str
    lower_is_better: bool = False

    def of(self, card: Card) -> float | None:
        """Its value on a card; None where the card has none."""
        return number(section(card, self.section).get(self.key))

    def interval(self, card: Card) -> tuple[float, float] | None:
        """Its 95 % interval on a card; None where there is none."""
        return _pair(section(card, f"{self.section}_ci95").get(self.key))


@dataclass(frozen=True)
class Difference(Figure):
    """Pooled AP less that of a control on the same frames, from the ``comparison`` part of a card."""

    def of(self, card: Card) -> float | None:
        """The difference; None for the control itself."""
        return number(section(section(card, self.section), self.key).get("ap"))

    def interval(self, card: Card) -> tuple[float, float] | None:
        """Its paired 95 % interval."""
        return _pair(section(section(card, self.section), self.key).get("ci95"))


@dataclass(frozen=True)
class Nested(Figure):
    """A figure whose section lies deeper in the card: ``section`` is a path with dots.

    Attributes:
        limits: Key of its interval in the ``ci95`` of the path's first part; empty where there is none.
    """

    limits: str = ""

    def of(self, card: Card) -> float | None:
        """Its value; None where the card has none."""
        part: Mapping[str, Any] = card
        for name in self.section.split("."):
            part = section(part, name)
        return number(part.get(self.key))

    def interval(self, card: Card) -> tuple[float, float] | None:
        """Its 95 % interval; None where there is none."""
        intervals = section(section(card, self.section.partition(".")[0]), "ci95")
        return _pair(intervals.get(self.limits)) if self.limits else None


def _pair(limits: Any) -> tuple[float, float] | None:
    if isinstance(limits, Mapping):
        limits = (limits.get("low"), limits.get("high"))
    if not isinstance(limits, Sequence) or isinstance(limits, str) or len(limits) != 2:
        return None
    low, high = number(limits[0]), number(limits[1])
    return None if low is None or high is None else (low, high)


POOLED = (
    Figure("pixel", "ap", "AP"),
    Figure("pixel", "nap", "nAP"),
    Figure("pixel", "auroc", "AUROC"),
    Figure("pixel", "fpr95", "FPR95", lower_is_better=True),
    Figure("pixel", "best_f1", "best F1"),
)
COMPONENT = (
    Figure("component", "siou", "sIoU"),
    Figure("component", "ppv", "PPV"),
    Figure("component", "f1_star", "F1*"),
    Figure("mdm", "value", "MDM"),
    Figure("mdm_calibrated", "value", "MDM calibrated"),
)
PER_IMAGE = (
    Figure("per_image_mean", "ap", "AP per image"),
    Figure("per_image_mean", "auroc", "AUROC per image"),
    Figure("per_image_mean", "fpr95", "FPR95 per image", lower_is_better=True),
)
CLASSES = (
    Nested("misclassified", "efpr95", "EFPR", lower_is_better=True, limits="efpr95"),
    Nested("misclassified", "cfpr95", "CFPR", lower_is_better=True, limits="cfpr95"),
    Nested(
        "misclassified.share_of_false_positives",
        "misclassified",
        "of FP at 5 %",
        lower_is_better=True,
        limits="share",
    ),
    Nested("open_set", "closed_miou", "closed mIoU"),
    Nested("open_set.at_tpr95", "miou", "open mIoU"),
)
OWN_CLASSES = (
    Nested("open_set.at_best_f1", "miou", "open mIoU at best F1 (oracle)"),
    Nested("open_set.two_fold", "miou", "open mIoU at the other half's threshold"),
    Nested("open_set.at_other_run", "miou", "open mIoU at another run's threshold"),
    Nested("own_segmentation", "closed_miou", "own closed mIoU"),
    Nested("own_segmentation.at_tpr95", "miou", "own open mIoU"),
)
PROBABILITY = (
    Nested("probability", "ece", "ECE", lower_is_better=True),
    Nested("probability", "ece_equal_mass", "ECE, equal mass", lower_is_better=True),
    Nested("probability", "brier", "Brier", lower_is_better=True),
    Nested("probability", "brier_of_prevalence", "Brier of prevalence", lower_is_better=True),
)
FAILURE = (
    Figure("failure", "aupr_error", "AUPR-Error"),
    Figure("failure", "nap", "nAP"),
    Figure("failure", "aupr_success", "AUPR-Success"),
    Figure("failure", "auroc", "AUROC"),
    Figure("failure", "fpr95", "FPR95, mean over images", lower_is_better=True),
    Figure("failure", "fpr95_pooled", "FPR95, pooled", lower_is_better=True),
)
QUALITY = (
    Nested("class_quality", "mae", "MAE", lower_is_better=True, limits="mae"),
    Nested("class_quality", "std", "STD", lower_is_better=True),
    Nested("class_quality", "pearson", "Pearson", limits="pearson"),
    Nested("class_quality", "spearman", "Spearman", limits="spearman"),
    Nested("class_quality.image", "mae", "MAE of images", lower_is_better=True, limits="image_mae"),
    Nested("class_quality.image", "pearson", "Pearson of images", limits="image_pearson"),
    Nested("class_quality.image", "spearman", "Spearman of images", limits="image_spearman"),
)
FIGURES = (*POOLED, *COMPONENT, *PER_IMAGE)


def differences(cards: Sequence[Card]) -> list[Figure]:
    """One column for each control that the cards were compared with."""
    controls = dict.fromkeys(str(control) for card in cards for control in section(card, "comparison"))
    return [Difference("comparison", control, f"AP - {control}") for control in controls]


@dataclass(frozen=True)
class Band(Figure):
    """A figure on a band around anomalous objects; ``section`` is the band's width in pixels, as cards write it."""

    def of(self, card: Card) -> float | None:
        """Its value; None where the card has none."""
        return number(self._part(card).get(self.key))

    def interval(self, card: Card) -> tuple[float, float] | None:
        """Its 95 % interval; None where there is none."""
        return _pair(section(self._part(card), "ci95").get(self.key))

    def _part(self, card: Card) -> Mapping[str, Any]:
        return section(section(card, "bands"), self.section)


def bands(cards: Sequence[Card]) -> list[Figure]:
    """AP and FPR95 of each band that the cards have."""
    widths = dict.fromkeys(str(width) for card in cards for width in section(card, "bands"))
    return [
        Band(width, key, f"{label} within {width} px", lower_is_better=key == "fpr95")
        for width in widths
        for key, label in (("ap", "AP"), ("fpr95", "FPR95"))
    ]


@dataclass(frozen=True)
class OfClass(Figure):
    """A figure of foretold quality of one class; ``section`` is the class."""

    def of(self, card: Card) -> float | None:
        """Its value; None where the card has none."""
        return number(section(section(section(card, "class_quality"), "classes"), self.section).get(self.key))

    def interval(self, card: Card) -> tuple[float, float] | None:
        """None: single classes have too few images."""
        del card
        return None


def classes_of(key: str, cards: Sequence[Card]) -> list[Figure]:
    """One figure of foretold quality for each class that the cards have."""
    names = dict.fromkeys(str(name) for card in cards for name in section(section(card, "class_quality"), "classes"))
    return [OfClass(name, key, name, lower_is_better=key == "mae") for name in names]


def shown(figures: Sequence[Figure], cards: Sequence[Card]) -> list[Figure]:
    """The figures that at least one card has."""
    return [figure for figure in figures if any(figure.of(card) is not None for card in cards)]


def section(card: Card, key: str) -> Mapping[str, Any]:
    """A part of a card; empty where it is missing or null."""
    part = card.get(key)
    return part if isinstance(part, Mapping) else {}


def number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None
