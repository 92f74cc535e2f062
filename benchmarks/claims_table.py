"""The claims of the eight systems: verified here, published, or not tested here; verdicts are read, never typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from anomseg.errors import DataError
from anomseg.files import read_json

Json = Mapping[str, Any]
CLAIMS_FILE = Path(__file__).parent / "claims_table.yaml"
WORDS = ("supported", "not supported", "undecided")
UNTESTED = "not tested here"
UNMEASURED = "undecided: not measured yet"
INTRODUCTION = (
    "What the abstracts of the eight systems claim, in our words, with what was found here. A claim of several parts "
    "is supported where all parts are, not supported where none is, else undecided with the parts counted; the figure "
    "is that of the part that speaks most against it. Every verdict is read from the record beside the page linked, "
    "which the command named on that page writes. exact: decidable with what is at hand; proxy: decided on other real "
    "data with the same protocol.",
)


@dataclass(frozen=True)
class Claim:
    """One claim of an abstract.

    Attributes:
        claim: Such as ``K1``.
        system: Whose it is.
        kind: ``exact``, ``proxy`` or ``not here``.
        page: Name of the page that answers it, without its ending.
        says: What is claimed, in our words.
        published: What was published, of claims that are not decidable here.
        commands: What someone with data and weights runs; empty where the page's record says it.
    """

    claim: str
    system: str
    kind: str
    page: str
    says: str
    published: str = ""
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What the records say of one claim.

    Attributes:
        claim: The claim.
        word: ``supported``, ``not supported``, ``undecided`` with or without a reason, or ``not tested here``.
        parts: Entries of the record, one a part.
        linked: Its page is there.
    """

    claim: Claim
    word: str
    parts: tuple[Json, ...]
    linked: bool = False

    @property
    def kind(self) -> str:
        """``supported``, ``not supported``, ``undecided`` or ``not tested here``."""
        return plain_word(self.word)


def read_claims(path: Path = CLAIMS_FILE) -> list[Claim]:
    """All claims, in order."""
    return [
        Claim(**{**entry, "commands": tuple(entry.get("commands") or ())}) for entry in yaml.safe_load(path.read_text())
    ]


def read_answers(docs: Path, claims: Sequence[Claim]) -> list[Answer]:
    """What the records beside the pages say of each claim.

    Args:
        docs: Folder of the pages.
        claims: All claims.

    Raises:
        DataError: A record is damaged.
    """
    records = {page: _record(docs / f"{page}.json") for page in dict.fromkeys(one.page for one in claims)}
    answers = []
    for claim in claims:
        parts = tuple(entry for entry in records[claim.page] if entry["claim"] == claim.claim)
        if claim.kind == "not here" and not any(plain_word(entry["word"]) in WORDS for entry in parts):
            word = UNTESTED
        else:
            word = together([str(entry["word"]) for entry in parts])
        answers.append(Answer(claim, word, parts, (docs / f"{claim.page}.md").is_file()))
    return answers


def _record(path: Path) -> list[Json]:
    if not path.is_file():
        return []
    try:
        return [
            {**entry, "claim": str(entry["claim"]), "word": str(entry["word"])} for entry in read_json(path)["entries"]
        ]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is no record of claims; write it again by the command that its page names") from error


def plain_word(word: str) -> str:
    """A verdict without its reason.

    Example:
        >>> plain_word("undecided: no run"), plain_word("not supported"), plain_word("not measured")
        ('undecided', 'not supported', 'undecided')
    """
    return word if word in ("supported", "not supported", UNTESTED) else "undecided"


def together(words: Sequence[str]) -> str:
    """One word for the parts of a claim.

    Example:
        >>> together(["supported", "supported"]), together(["supported", "not supported", "undecided: no run"])
        ('supported', 'undecided: of 3 parts 1 supported, 1 not supported, 1 undecided')
        >>> together([]), together(["undecided: no run"])
        ('undecided: not measured yet', 'undecided: no run')
    """
    if not words:
        return UNMEASURED
    plain = [plain_word(word) for word in words]
    if len(set(plain)) == 1:
        return words[0] if len(words) == 1 else plain[0]
    counted = ", ".join(f"{plain.count(word)} {word}" for word in (*WORDS, UNTESTED) if word in plain)
    return f"undecided: of {len(words)} parts {counted}"


def claims_section(answers: Sequence[Answer]) -> list[str]:
    """Lines of docs/results.md."""
    lines = ["## Claims", ""]
    for text in INTRODUCTION:
        lines += [text, ""]
    head = ["claim", "system", "says", "kind", "verdict", "the figure that decides", "frames", "seeds", "tier", "page"]
    lines += ["### Verified here", "", *_table(head, (_verified(one) for one in answers if one.kind != UNTESTED))]
    untested = [one for one in answers if one.claim.published]
    lines += ["### Published, not run here", ""]
    rows = ([one.claim.claim, one.claim.system, one.claim.says, one.claim.published] for one in untested)
    lines += _table(["claim", "system", "says", "published"], rows)
    lines += ["### Not tested here", "", "For whoever has the data and the weights:", ""]
    for one in answers:
        if one.kind == UNTESTED:
            lines.append(f"- **{one.claim.claim}** ({one.claim.system}): {commands_of(one)}")
    return [*lines, ""]


def commands_of(answer: Answer) -> str:
    """The commands that would test a claim: of the page's record, else of the list of claims."""
    told = [str(part["why"]) for part in answer.parts if "`anomseg " in str(part.get("why"))]
    if told:
        return "; ".join(told)
    if answer.claim.commands:
        return ", then ".join(f"`{command}`" for command in answer.claim.commands)
    return f"see [{answer.claim.page}]({answer.claim.page}.md)" if answer.linked else "the command is not there yet"


def _verified(answer: Answer) -> list[str]:
    claim, part = answer.claim, telling(answer.parts)
    word, _, reason = answer.word.partition(": ")
    verdict = f"**{word}**" + (f": {reason}" if reason else "")
    link = f"[{claim.page}]({claim.page}.md)" if answer.linked else "-"
    shown = figure_of(part) if part else "-"
    frames = "; ".join(dict.fromkeys(f"{name} {count}" for one in answer.parts for name, count in _frames(one)))
    seeds = ", ".join(str(seed) for seed in sorted({seed for one in answer.parts for seed in one.get("seeds") or ()}))
    tiers = ", ".join(dict.fromkeys(str(one.get("tier") or "cpu") for one in answer.parts))
    cells = [
        claim.claim,
        claim.system,
        claim.says,
        claim.kind,
        verdict,
        shown,
        frames or "-",
        seeds or "-",
        tiers or "-",
    ]
    return [*cells, link]


def _frames(part: Json) -> list[tuple[str, int]]:
    return list((part.get("frames") or {}).items())


def telling(parts: Sequence[Json]) -> Json | None:
    """The part that speaks most against a claim: contradicted before open before holding, one with a figure first."""
    order = {"not supported": 0, "undecided": 1, "supported": 2, UNTESTED: 3}
    ranked = sorted(parts, key=lambda part: (order[plain_word(part["word"])], part.get("value") is None))
    return ranked[0] if ranked else None


def figure_of(part: Json) -> str:
    """A part's figure with its interval, else what it rests on.

    Example:
        >>> figure_of({"figure": "AP of a less b", "value": 0.1, "ci95": [0.05, 0.2]})
        'AP of a less b: +0.1000 [+0.0500, +0.2000]'
    """
    if part.get("value") is None:
        return str(part.get("why") or "-")
    form = (
        "{:+.4f}"
        if any(mark in part["figure"] for mark in (" less ", " - ")) or "difference" in part["figure"]
        else "{:.4f}"
    )
    shown = [form.format(number) for number in (part["value"], *(part.get("ci95") or ()))]
    return f"{part['figure']}: {shown[0]}" + (f" [{shown[1]}, {shown[2]}]" if len(shown) == 3 else "")


def short_table(answers: Sequence[Answer], standing: Mapping[str, str]) -> list[str]:
    """Lines of the README: one row a system.

    Args:
        answers: Of all claims.
        standing: By system what it comes to on the benchmark of the first table, in a few words.
    """
    head = ["system", *WORDS, UNTESTED, "on RoadAnomaly"]
    rows = []
    for system in dict.fromkeys(one.claim.system for one in answers):
        own = [one for one in answers if one.claim.system == system]
        cells = [", ".join(one.claim.claim for one in own if one.kind == word) or "-" for word in (*WORDS, UNTESTED)]
        rows.append([system, *cells, standing.get(system, "not finished")])
    return _table(head, rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return [*lines, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows), ""]
