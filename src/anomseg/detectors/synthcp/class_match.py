"""Which classes of a segmenter are which of a network that was trained on another one's, by their names."""

from __future__ import annotations

from collections.abc import Sequence

from anomseg.data import label_space_of
from anomseg.errors import CompatibilityError
from anomseg.types import VOID


def matched_classes(classes: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """The place of each class among known ones: of the same name, else of the one name for the same thing.

    Args:
        classes: Class names of a segmenter.
        known: Class names of the other network.

    Returns:
        For each class its place in ``known``; None where it has none.

    Example:
        >>> matched_classes(["road", "tree", "dragon"], ["vegetation", "road"])
        [1, 0, None]
    """
    names = list(known)
    alike = label_space_of(classes).to(label_space_of(names, "the other network")).single().tolist()
    found: list[int | None] = []
    for place, name in enumerate(classes):
        if name in names:
            found.append(names.index(name))
        else:
            found.append(alike[place] if place < VOID and alike[place] != VOID else None)
    return found


def require_classes(classes: Sequence[str], known: Sequence[str], who: str) -> list[int]:
    """`matched_classes`, all of them.

    Args:
        classes: Class names of a segmenter.
        known: Class names of a generator.
        who: Who asks, for messages.

    Raises:
        CompatibilityError: The generator was not trained on one of them.

    Example:
        >>> require_classes(["road", "dragon"], ["road", "sky"], "synthcp")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        anomseg.errors.CompatibilityError: synthcp: the generator has not learned 'dragon', which this...
    """
    found = matched_classes(classes, known)
    unknown = [name for name, place in zip(classes, found, strict=True) if place is None]
    if unknown or not classes:
        more = " and others" if len(unknown) > 3 else ""
        what = f"{', '.join(map(repr, unknown[:3])) or 'any class'}{more}"
        raise CompatibilityError(
            f"{who}: the generator has not learned {what}, which this network predicts; it renders "
            f"{', '.join(known)}: train a generator on this network's classes, or score a network with the generator's"
        )
    return [place for place in found if place is not None]
