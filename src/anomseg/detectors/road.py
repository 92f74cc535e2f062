"""Which classes of a network or data set are road."""

from __future__ import annotations

from collections.abc import Sequence

from anomseg.data import LabelSpace, dataset_spec, label_space
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.types import Frame


def road_classes(classes: Sequence[str]) -> list[int]:
    """Numbers of the classes called road or a synonym of it.

    Args:
        classes: Class names in the order of their numbers.

    Raises:
        CompatibilityError: There is none.

    Example:
        >>> road_classes(["sky", "Road", "car"])
        [1]
    """
    space = LabelSpace("network", tuple(classes))
    found = [index for index in range(len(space)) if space.concepts(index) == ("road",)]
    if not found:
        raise CompatibilityError(
            f"this network has no class called road, drivable or street (its classes: {', '.join(classes) or 'none'}); "
            "use another segmenter or another detector"
        )
    return found


def space_of(frame: Frame) -> LabelSpace | None:
    """The label space of a frame's class map; None without a class map, or where its space is not known.

    It is ``frame.meta["label_space"]`` (a label space or the name of one) or that of ``frame.meta["dataset"]``.
    """
    if not frame.has_classes:
        return None
    space = frame.meta.get("label_space")
    if isinstance(space, LabelSpace):
        return space
    try:
        return label_space(str(space)) if space else dataset_spec(str(frame.meta.get("dataset"))).label_space
    except ConfigError:
        return None
