"""What a page of claims says, as JSON beside it: other pages read verdicts there, and none is copied by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from knn_tables import deciding
from knn_verdicts import Check, Verdict
from learned_verdicts import Part, by_set

from anomseg.files import write_json

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """One part of a claim, answered.

    Attributes:
        claim: Such as ``K1``.
        says: The part in short.
        word: ``supported``, ``not supported``, ``undecided`` with or without a reason, or ``not tested here``.
        why: What the word rests on.
        figure: What the deciding figure is of; empty where no single one decides.
        value: That figure.
        ci95: Its interval; empty where there is none.
        frames: Frames that it was measured on, by set.
        seeds: Seeds that were trained.
        tier: ``cpu`` or ``gpu``.
    """

    claim: str
    says: str
    word: str
    why: str = ""
    figure: str = ""
    value: float | None = None
    ci95: tuple[float, ...] = ()
    frames: Mapping[str, int] | None = None
    seeds: tuple[int, ...] = ()
    tier: str = "cpu"


class Told(Protocol):
    """An answer as the pages have it."""

    @property
    def claim(self) -> str:
        """Which claim."""

    @property
    def says(self) -> str:
        """The claim in short."""

    @property
    def word(self) -> str:
        """The verdict."""

    @property
    def why(self) -> str:
        """What it rests on."""


def write_record(doc: Path, entries: Iterable[Entry]) -> None:
    """Write the entries beside their page: ``claims-x.json`` for ``claims-x.md``."""
    write_json(doc.with_suffix(".json"), {"schema": 1, "page": doc.name, "entries": [asdict(one) for one in entries]})


def of_answer(answer: Told, frames: Mapping[str, int] | None = None, seeds: Sequence[int] = ()) -> Entry:
    """An answer that rests on no single check."""
    return Entry(answer.claim, answer.says, answer.word, answer.why, frames=frames, seeds=tuple(seeds))


def of_part(part: Part, studies: Sequence[Json]) -> Entry:
    """A part of a claim with the check that decides it, and the frames and seeds of its sets.

    Args:
        part: Answered on several sets.
        studies: What it was answered from.
    """
    used = {one.network for one in part.verdicts}
    own = {title: found for title, found in by_set(studies).items() if title in used}
    frames = {title: int(found[0]["frames"]) for title, found in own.items() if found[0].get("frames")}
    seeds = sorted({int(one["seed"]) for found in own.values() for one in found if one.get("seed") is not None})
    return _decided(part.claim, part.says, part.word, part.verdicts, frames, seeds)


def of_verdicts(
    claim: str, says: str, word: str, verdicts: Sequence[Verdict], frames: Mapping[str, int], seeds: Sequence[int]
) -> Entry:
    """A claim with one verdict a network.

    Args:
        claim: Such as ``K1``.
        says: The claim in short.
        word: What the verdicts come to together.
        verdicts: One a network.
        frames: Frames by network.
        seeds: Seeds of the networks.
    """
    kept = {name: count for name, count in frames.items() if any(one.network == name for one in verdicts)}
    return _decided(claim, says, word, verdicts, kept, seeds)


def _decided(
    claim: str, says: str, word: str, verdicts: Sequence[Verdict], frames: Mapping[str, int], seeds: Sequence[int]
) -> Entry:
    checks = [check for one in verdicts for check in one.checks]
    kept = sum(check.answer == "yes" for check in checks)
    why = f"{kept} of {len(checks)} checks on {len(verdicts)} sets or networks hold" if checks else "no run"
    found = telling_check(verdicts)
    if found is None:
        return Entry(claim, says, word, why, frames=frames, seeds=tuple(seeds))
    network, check = found
    # A check without figures has NaN, which is no JSON.
    value = check.value if check.value == check.value else None
    return Entry(claim, says, word, why, f"{network}: {check.what}", value, tuple(check.ci95), frames, tuple(seeds))


def telling_check(verdicts: Sequence[Verdict]) -> tuple[str, Check] | None:
    """Of the checks that decide on each network the one that speaks most against the claim, and the network."""
    order = {"no": 0, "?": 1, "yes": 2}
    pairs = [(one.network, check) for one in verdicts if (check := deciding(one)) is not None]
    return min(pairs, key=lambda pair: (order[pair[1].answer], pair[1].slack), default=None)
