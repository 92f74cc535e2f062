"""Result cards of failure detection in volumes as a plain table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MISSING = "-"


def volume_table(cards: Sequence[Mapping[str, Any]]) -> str:
    """Foretold against true Dice of each detector, with intervals, and what was not scored.

    Args:
        cards: Contents of ``metrics.json``.
    """
    rows = [("detector", "cases", "MAE", "STD", "Pearson [95 %]", "Spearman [95 %]", "AUPR-Error")]
    for card in cards:
        quality = card["class_quality"]
        limits = quality.get("ci95") or {}
        voxels = card.get("voxels") or {}
        rows.append(
            (
                str(card["folder"]),
                str(card["frames"]),
                _number(quality["mae"]),
                _number(quality["std"]),
                _with_interval(quality["pearson"], limits.get("pearson")),
                _with_interval(quality["spearman"], limits.get("spearman")),
                _number(voxels.get("aupr_error")),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    first = cards[0]
    targets = ", ".join(first["class_quality"]["classes"])
    lines += ["", f"foretold Dice of {targets} on {first['benchmark']}; {first['groups']} groups are resampled"]
    for target, gone in first["undefined"].items():
        lines.append(f"{len(gone)} cases have no {target} in either mask: Dice is undefined there and not scored")
    for card in cards:
        if card.get("overlap"):
            lines.append(f"{card['folder']} was fitted on {card['overlap']} of these cases")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}"


def _with_interval(value: float | None, limits: Sequence[float] | None) -> str:
    return _number(value) + (f" [{limits[0]:.3f}, {limits[1]:.3f}]" if value is not None and limits else "")
