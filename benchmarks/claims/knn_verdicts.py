"""From intervals to words: whether a claim is supported, not supported or undecided. Nothing here is typed by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from knn_cache import PARAMETRIC
from knn_density import CONTROLS, DENSITIES

Word = Literal["supported", "not supported", "undecided"]
Answer = Literal["yes", "no", "?"]
Json = Mapping[str, Any]
MARGIN = 0.02
"""AP that may be lost (K1) or moved (K2) without counting; set before anything was measured."""
LEAST_AP = 0.1
"""Below it the margin is too wide to say that nothing was lost: such a check stays open."""
FEW_IMAGES = "20"


@dataclass(frozen=True)
class Check:
    """One comparison that a claim rests on.

    Attributes:
        what: In words.
        value: The figure.
        ci95: Its interval; empty where there is none.
        answer: ``yes`` where the interval says so, ``no`` where it says the contrary, else ``?``.
        slack: How far the interval's worse end is on the right side of the bar; negative on the wrong side.
    """

    what: str
    value: float
    ci95: tuple[float, ...]
    answer: Answer
    slack: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """What a claim comes to on one network.

    Attributes:
        claim: Such as ``K1``.
        network: Its title.
        word: The verdict.
        checks: What it rests on; all must hold.
    """

    claim: str
    network: str
    word: Word
    checks: tuple[Check, ...]


def above(limits: Sequence[float], bar: float = 0.0) -> Answer:
    """Whether a figure lies above a bar, by its interval.

    Example:
        >>> above((0.01, 0.2)), above((-0.2, -0.01)), above((-0.1, 0.1)), above(())
        ('yes', 'no', '?', '?')
    """
    if not limits:
        return "?"
    return "yes" if limits[0] > bar else "no" if limits[1] <= bar else "?"


def within(limits: Sequence[float], margin: float = MARGIN) -> Answer:
    """Whether a figure lies within a margin of 0, by its interval.

    Example:
        >>> within((-0.01, 0.01)), within((0.03, 0.2)), within((0.01, 0.05))
        ('yes', 'no', '?')
    """
    if not limits:
        return "?"
    if -margin < limits[0] and limits[1] < margin:
        return "yes"
    return "no" if limits[1] <= -margin or limits[0] >= margin else "?"


def all_of(answers: Iterable[Answer]) -> Word:
    """A claim of several parts: supported where all hold, not supported where one is contradicted.

    Example:
        >>> all_of(["yes", "yes"]), all_of(["yes", "?"]), all_of(["no", "?"]), all_of([])
        ('supported', 'undecided', 'not supported', 'undecided')
    """
    found = list(answers)
    if "no" in found:
        return "not supported"
    return "supported" if found and all(one == "yes" for one in found) else "undecided"


def over_networks(words: Sequence[Word]) -> str:
    """One line for all networks.

    Example:
        >>> over_networks(["supported", "supported"]), over_networks(["supported", "undecided"])
        ('supported', 'undecided: supported on 1, not supported on 0, undecided on 1 of 2 networks')
    """
    if words and len(set(words)) == 1:
        return words[0]
    kinds: tuple[Word, ...] = ("supported", "not supported", "undecided")
    counted = ", ".join(f"{kind} on {sum(word == kind for word in words)}" for kind in kinds)
    return f"undecided: {counted} of {len(words)} networks" if words else "not measured"


def exceeds(what: str, value: float, limits: Sequence[float], bar: float = 0.0) -> Check:
    """A check that a figure lies above a bar."""
    return Check(what, value, tuple(limits), above(limits, bar), limits[0] - bar if limits else 0.0)


def stays(what: str, value: float, limits: Sequence[float], margin: float = MARGIN) -> Check:
    """A check that a figure lies within a margin of 0."""
    slack = margin - max(abs(limit) for limit in limits) if limits else 0.0
    return Check(what, value, tuple(limits), within(limits, margin), slack)


def _gain(what: str, difference: Json, bar: float = 0.0) -> Check:
    return exceeds(what, difference["ap"]["value"], difference["ap"]["ci95"], bar)


def _constant(what: str, difference: Json) -> Check:
    return stays(what, difference["ap"]["value"], difference["ap"]["ci95"])


def telling(check: Check, ap: float) -> Check:
    """A check of a margin, left open where AP itself is so small that the margin says nothing.

    Example:
        >>> telling(stays("x", 0.0, (-0.01, 0.01)), 0.008).answer
        '?'
    """
    if check.answer != "yes" or ap >= LEAST_AP:
        return check
    return replace(check, what=f"{check.what} (AP of {ap:.3f} is too small for this margin)", answer="?")


def _verdict(claim: str, network: str, checks: Sequence[Check]) -> Verdict:
    return Verdict(claim, network, all_of(check.answer for check in checks), tuple(checks))


def small_banks(network: str, images: Json, timing: Json, rows: int = 10_000) -> Verdict:
    """K1: few images are nearly as good as all, in every draw, and a search costs less than the forward pass."""
    checks = []
    for draw, counts in images["draws"].items():
        if FEW_IMAGES in counts:
            found = counts[FEW_IMAGES]
            what = f"AP of {FEW_IMAGES} images less all, draw {draw}, above -{MARGIN}"
            checks.append(telling(_gain(what, found["less_all"], -MARGIN), found["figures"]["ap"]))
    if str(rows) in timing["search"]:
        search, forward = sorted(timing["search"][str(rows)]), sorted(timing["forward"])
        left = (forward[0] - search[-1], forward[-1] - search[0])
        middle = forward[len(forward) // 2] - search[len(search) // 2]
        what = f"seconds of a forward pass less those of the search of {rows} rows (least and most over frames)"
        checks.append(exceeds(what, middle, left))
    return _verdict("K1", network, checks)


def robust(network: str, sweep: Json, everything: Json | None) -> Verdict:
    """K2: no k and no number of rows moves AP by the margin."""
    checks = [
        telling(_constant(f"AP of rows/k {key} less the chosen, within {MARGIN}", found), sweep["figures"][key]["ap"])
        for key, found in sweep["differences"].items()
    ]
    if everything:
        few, many = everything["rows"]
        what = f"AP of {few} rows less all {many}, within {MARGIN}"
        checks.append(telling(_constant(what, everything["difference"]), everything["figures"]["all"]["ap"]))
    return _verdict("K2", network, checks)


def combines(network: str, headline: Json) -> Verdict:
    """K3: the sum beats each of its two parts, for every parametric score."""
    wanted = [f"cdnp:{name} - {other}" for name in PARAMETRIC for other in (name, "knn")]
    return _verdict("K3", network, [_gain(name, headline["differences"][name]) for name in wanted])


def beats_parametric_density(network: str, headline: Json) -> Verdict:
    """K4: k-NN beats each parametric density of the same features."""
    wanted = [f"knn - {name}" for name in DENSITIES]
    return _verdict("K4", network, [_gain(name, headline["differences"][name]) for name in wanted])


def transformer_suits(names: str, comparison: Json) -> Verdict:
    """K5: k-NN on the transformer's features beats that on the convolutional network's."""
    return _verdict("K5", names, [_gain("knn, transformer less convolution", comparison["knn"])])


def leaves_primary(network: str, equal: Json) -> Verdict:
    """K6: logits are equal to the last bit with and without the detector."""
    answer: Answer = "yes" if equal["equal"] == equal["frames"] else "no"
    what = f"frames of {equal['frames']} with bit-equal logits and classes"
    return _verdict("K6", network, [Check(what, float(equal["equal"]), (), answer)])


def beats_controls(network: str, headline: Json, name: str = "knn") -> Verdict:
    """Whether a score works at all: above every control."""
    wanted = [f"{name} - {control}" for control in CONTROLS]
    return _verdict("works", network, [_gain(one, headline["differences"][one]) for one in wanted])
