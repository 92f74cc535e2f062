"""How figures are written in the tables of the learned methods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def number(value: float | None, limits: Sequence[float] = (), sign: bool = False, digits: int = 3) -> str:
    """A figure with its interval; AP has four digits, because it is small where anomalies are rare.

    Example:
        >>> number(0.1234, (0.1, 0.2)), number(None), number(0.002, sign=True, digits=4)
        ('0.123 [0.100, 0.200]', '-', '+0.0020')
    """
    if value is None:
        return "-"
    form = f"{{:{'+' if sign else ''}.{digits}f}}"
    shown = form.format(value)
    return f"{shown} [{form.format(limits[0])}, {form.format(limits[1])}]" if limits else shown


def spread(values: Sequence[float | None], digits: int = 3) -> str:
    """Mean with the least and the greatest over seeds.

    Example:
        >>> spread([0.1, 0.3]), spread([0.1], 4), spread([None])
        ('0.200 (0.100 to 0.300)', '0.1000', '-')
    """
    found = over_seeds(values)
    if found is None:
        return "-"
    several = sum(value is not None for value in values) > 1
    shown = [number(value, digits=digits) for value in found]
    return f"{shown[0]} ({shown[1]} to {shown[2]})" if several else shown[0]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose first column is text and whose others are figures."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


def over_seeds(values: Iterable[float | None]) -> tuple[float, float, float] | None:
    """Mean, least and greatest of a figure over seeds; None where no seed has it.

    Example:
        >>> over_seeds([0.5, None, 0.25])
        (0.375, 0.25, 0.5)
    """
    kept = [value for value in values if value is not None]
    return (sum(kept) / len(kept), min(kept), max(kept)) if kept else None
