"""Names and colours of the classes of a network that brings none."""

from __future__ import annotations

from collections.abc import Sequence

from anomseg.data.label_space import label_space
from anomseg.errors import CompatibilityError

Palette = Sequence[Sequence[int]]


def require_several(classes: Sequence[str]) -> None:
    """Refuse a network of one class: its scores would be constants, and nothing in the maps would show it.

    Raises:
        CompatibilityError: As said.
    """
    if len(classes) < 2:
        raise CompatibilityError(
            "a network with one class cannot be unsure between classes; scores need the logits of two or more"
        )


def default_classes(count: int, palette: Palette | None = None) -> tuple[Sequence[str], Palette | None]:
    """Cityscapes' class names and colours where there are nineteen, else ``class_0`` and so on.

    Args:
        count: Number of classes.
        palette: Colours that go before Cityscapes' own.

    Example:
        >>> default_classes(2)
        (['class_0', 'class_1'], None)
        >>> default_classes(19)[0][0]
        'road'
    """
    cityscapes = label_space("cityscapes")
    if count == len(cityscapes.names):
        return cityscapes.names, palette or cityscapes.palette
    return [f"class_{index}" for index in range(count)], palette
