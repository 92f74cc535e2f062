"""The names of all detectors, and how a name becomes a detector."""

from __future__ import annotations

from typing import Any

from anomseg.detectors.base import Detector
from anomseg.registry import DETECTORS, Spec, parse_spec

DEFAULT_DETECTOR = "energy"

_POSTHOC = "anomseg.detectors.posthoc"

DETECTORS.register("msp", f"{_POSTHOC}:MSP", "one minus the maximum softmax probability", tags=["posthoc", "bounded"])
DETECTORS.register("max_logit", f"{_POSTHOC}:MaxLogit", "minus the maximum logit", tags=["posthoc"])
DETECTORS.register("entropy", f"{_POSTHOC}:Entropy", "entropy of the softmax, over ln C", tags=["posthoc", "bounded"])
DETECTORS.register("energy", f"{_POSTHOC}:Energy", "free energy, minus logsumexp of the logits", tags=["posthoc"])


def detector_names(tag: str | None = None) -> list[str]:
    """Names of all registered detectors, or of those that carry ``tag``.

    Args:
        tag: Such as ``"posthoc"``, ``"fitted"``, ``"control"``, ``"no-network"`` or ``"bounded"``.

    Example:
        >>> detector_names("posthoc")
        ['msp', 'max_logit', 'entropy', 'energy']
    """
    return DETECTORS.names(tag)


def create_detector(spec: str | Spec, **options: Any) -> Detector:
    """Build a detector by its name.

    Args:
        spec: A registered name, or the command-line form ``name:key=value;key=value``.
        **options: Constructor options as Python values; they win over those in the text.

    Returns:
        A detector, not fitted.

    Raises:
        ConfigError: The name or an option is unknown, or a value does not fit; the nearest name is suggested.

    Example:
        >>> create_detector("energy", temperature=2.0)
        Energy(temperature=2.0, upsample='logits', check_logits=True)
        >>> create_detector("energy:temperature=2;upsample=score")
        Energy(temperature=2.0, upsample='score', check_logits=True)
    """
    spec = parse_spec(spec) if isinstance(spec, str) else spec
    if spec.path is None and not spec.options:
        return DETECTORS.create(spec.name, **options)
    texts = {key: value for key, value in spec.options.items() if key not in options}
    written = DETECTORS.create_from(Spec(spec.name, spec.path, texts))
    if not options:
        return written
    return DETECTORS.create(spec.name, **{**written.get_params(), **options})
