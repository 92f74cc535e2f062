"""Reading result cards (the content of ``metrics.json``) for display: names, figures, intervals; nulls everywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from anomseg.detectors.catalog import detector_names
from anomseg.report.columns import Card, Figure, number, section

MISSING = "-"


def decimals(value: float | None, digits: int = 3) -> str:
    """A figure as text.

    Example:
        >>> decimals(0.12349), decimals(None), decimals(-0.0001)
        ('0.123', '-', '0.000')
    """
    # Adding zero turns a negative zero, left by rounding, into zero.
    return MISSING if value is None else f"{round(value, digits) + 0.0:.{digits}f}"


def with_interval(figure: Figure, card: Card) -> str:
    """A figure with its interval, ``0.123 [0.101, 0.149]``."""
    limits = figure.interval(card)
    text = decimals(figure.of(card))
    return text if limits is None or text == MISSING else f"{text} [{limits[0]:.3f}, {limits[1]:.3f}]"


def best(figure: Figure, cards: Sequence[Card]) -> float | None:
    """The best value among cards that are no controls, to the shown precision."""
    values = [value for card in cards if not is_control(card) and (value := figure.of(card)) is not None]
    if not values:
        return None
    return round(min(values) if figure.lower_is_better else max(values), 3)


def detector_name(card: Card) -> str:
    """The name of the row: the detector's folder in the results, else its registry name, else the network's."""
    if card.get("folder"):
        return str(card["folder"])
    for key in ("detector", "segmenter"):
        part = card.get(key)
        name = part.get("name") if isinstance(part, Mapping) else part
        if name:
            return str(name)
    return "detector"


def row_names(cards: Sequence[Card]) -> list[str]:
    """Row names of several cards; equal ones are numbered, as the folders of results are."""
    seen: Counter[str] = Counter()
    names = []
    for card in cards:
        name = detector_name(card)
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return names


def is_control(card: Card) -> bool:
    """Whether the row is a control that sees no network, or no more than a class map."""
    detector = card.get("detector")
    if not isinstance(detector, Mapping):
        return isinstance(detector, str) and detector in detector_names("control")
    return bool(detector.get("control")) or detector.get("name") in detector_names("control")


def ordered(cards: Sequence[Card]) -> list[Card]:
    """Detectors first, controls after them, each in the order given."""
    return sorted(cards, key=is_control)


def one_line(value: Any) -> str:
    """A protocol, a segmenter or any other part of a card as one readable line."""
    if value is None:
        return MISSING
    if isinstance(value, Mapping):
        return "; ".join(f"{key} {one_line(item)}" for key, item in value.items() if item not in (None, {}, [], ""))
    if isinstance(value, (list, tuple)):
        return ", ".join(one_line(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def protocol_line(card: Card) -> str:
    """Name and version of the protocol, then all its rules; empty where the card has none."""
    protocol = card.get("protocol")
    if protocol is None:
        return ""
    if not isinstance(protocol, Mapping):
        return one_line(protocol)
    rest = {key: value for key, value in protocol.items() if key not in ("name", "version")}
    name = " ".join(str(protocol[key]) for key in ("name", "version") if protocol.get(key) is not None)
    rules = one_line(rest)
    return f"{name}: {rules}" if name and rules else name or rules


def segmenter_line(card: Card) -> str:
    """Name, working size (height x width), short hash and way of running of the network; empty where there is none."""
    segmenter = card.get("segmenter")
    if segmenter is None:
        return ""
    if not isinstance(segmenter, Mapping):
        return one_line(segmenter)
    parts = [str(segmenter.get("name") or "network")]
    size = card.get("size") or segmenter.get("size")
    if isinstance(size, Sequence) and len(size) == 2:
        parts.append(f"{size[0]}x{size[1]}")  # height first, as --size takes it
    if segmenter.get("sha256"):
        parts.append(f"sha256 {str(segmenter['sha256'])[:12]}")
    execution = segmenter.get("execution")
    if isinstance(execution, Mapping):
        parts.append("run with " + ", ".join(f"{key} {one_line(value)}" for key, value in execution.items()))
    encoder = section(section(segmenter, "origin"), "encoder")
    if encoder.get("file"):
        parts.append(f"encoder from {one_line(encoder['file'])}")
    return ", ".join(parts)


def data_line(card: Card) -> str:
    """Benchmark, frames, labelled pixels and prevalence."""
    pixels = section(card, "pixels")
    name = " ".join(one_line(card[key]) for key in ("benchmark", "split") if card.get(key) is not None)
    parts = [name or MISSING, f"{one_line(card.get('frames'))} frames"]
    skipped = card.get("skipped")
    if isinstance(skipped, Sequence) and not isinstance(skipped, str) and skipped:
        parts.append(f"{len(skipped)} skipped")
    counts = [
        f"{key} {pixels[key]:,}"
        for key in ("inlier", "anomaly", "right", "wrong", "void")
        if number(pixels.get(key)) is not None
    ]
    if counts:
        parts.append("pixels: " + ", ".join(counts))
    parts.append(f"prevalence {decimals(number(card.get('prevalence')), 4)}")
    return "; ".join(parts)


def common_lines(cards: Sequence[Card]) -> list[str]:
    """What stands under every table: data, protocol and network, each distinct line once."""
    lines = []
    for heading, describe in CONDITIONS:
        lines += [f"{heading}: {line}" for line in dict.fromkeys(describe(card) for card in cards) if line]
    return lines


def closed_set_line(card: Card) -> str:
    """Closed-set quality of the network, over all frames and by sequence; empty where it was not measured."""
    part = section(card, "segmentation")
    if number(part.get("miou")) is None:
        return ""
    groups = section(part, "by_group")
    shares = [("", part), *((f"{name}: ", section(groups, name)) for name in groups)]
    return "; ".join(
        f"{name}mIoU {decimals(number(group.get('miou')))}, accuracy {decimals(number(group.get('accuracy')))}"
        for name, group in shares
    )


def misclassified_line(card: Card) -> str:
    """How many inliers the network misclassifies; empty where that was not measured."""
    base = number(section(section(card, "misclassified"), "share_of_false_positives").get("base"))
    return "" if base is None else f"{decimals(base)} of the judged inliers"


def interval_line(card: Card) -> str:
    """Why there are no intervals; empty where there are."""
    reason = card.get("pixel_ci95_reason") or card.get("failure_ci95_reason")
    return f"none, {reason}" if reason else ""


def quality_line(card: Card) -> str:
    """What foretold quality is measured in, and which classes it cannot be told of; empty where there is none."""
    part = section(card, "class_quality")
    if not part:
        return ""
    unscored = part.get("unscored") or []
    told = f"; not told of {one_line(unscored)}, whose pixels other classes share" if unscored else ""
    return f"{one_line(part.get('measure'))} of the classes that an image shows{told}"


CONDITIONS = (
    ("data", data_line),
    ("protocol", protocol_line),
    ("segmenter", segmenter_line),
    ("closed-set segmentation", closed_set_line),
    ("misclassified", misclassified_line),
    ("foretold quality", quality_line),
    ("intervals", interval_line),
)
