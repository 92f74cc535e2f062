"""Which feature maps of a network the levels are."""

from __future__ import annotations

from collections.abc import Sequence

from anomseg.detectors.features import AUTO, feature_names
from anomseg.errors import CompatibilityError, ConfigError, unknown_name
from anomseg.segmenters.base import Segmenter

AUTO_LEVELS = 3
_SAME_AS_ANOTHER = "_linear"


def level_names(text: str, segmenter: Segmenter, offered: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the feature maps that an option stands for.

    Args:
        text: Names joined by ``+``; ``"auto"`` is every map offered, or else the last three that the network names,
            maps before an activation left out.
        segmenter: The network.
        offered: Maps that are at hand, where not all are.

    Raises:
        CompatibilityError: The network names no feature maps.
        ConfigError: A map by that name does not exist.
    """
    if not segmenter.has_features:
        raise CompatibilityError(
            f"pgan reads feature maps, and {segmenter.title or segmenter.registry_name} names none; use a network "
            "whose layers can be asked for"
        )
    known = segmenter.feature_info
    if text.strip() == AUTO:
        return tuple(offered) or tuple(name for name in known if not name.endswith(_SAME_AS_ANOTHER))[-AUTO_LEVELS:]
    names = feature_names(text)
    if not names:
        raise ConfigError(f"levels must be auto, or names of feature maps joined by +, got {text!r}")
    for name in names:
        if name not in known:
            raise unknown_name(f"feature of {segmenter.registry_name}", name, known, "segmenter.feature_info")
    return names
