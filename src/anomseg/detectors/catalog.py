"""The names of all detectors, and how a name becomes a detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anomseg.detectors.base import Detector
from anomseg.detectors.saved import load_detector
from anomseg.errors import ConfigError
from anomseg.registry import DETECTORS, Spec, parse_spec

#: What scores where nobody names a detector; decided here and nowhere else.
DEFAULT_DETECTOR = "bundled"
#: What scores where a network is named and no detector: one that reads that network, whatever it is.
DEFAULT_OF_A_NETWORK = "energy"

for _name, _target, _summary, _tags in (
    ("msp", "posthoc:MSP", "one minus the maximum softmax probability", ("posthoc", "bounded")),
    ("max_logit", "posthoc:MaxLogit", "minus the maximum logit", ("posthoc",)),
    ("entropy", "posthoc:Entropy", "entropy of the softmax, over ln C", ("posthoc", "bounded")),
    ("energy", "posthoc:Energy", "free energy, minus logsumexp of the logits", ("posthoc",)),
    ("sml", "sml:SML", "standardized max logits, suppressed at boundaries and smoothed", ("fitted",)),
    (
        "temperature_scaling",
        "temperature:TemperatureScaling",
        "a score at the temperature under which in-distribution labels are likeliest",
        ("fitted", "labels", "bounded"),
    ),
    (
        "odin",
        "odin:ODIN",
        "maximum softmax probability at a temperature, after a step of the image towards confidence",
        ("multi-pass", "bounded"),
    ),
    ("mc_dropout", "mc_dropout:MCDropout", "entropy of several passes with dropout sampled", ("multi-pass", "bounded")),
    (
        "ensemble",
        "ensemble:Ensemble",
        "entropy of several networks' mean prediction: ensemble:members=DIR+DIR",
        ("multi-pass", "network-option", "bounded"),
    ),
    ("void_class", "void_class:VoidClass", "probability of the network's void output", ("void", "bounded")),
    (
        "mahalanobis",
        "mahalanobis:Mahalanobis",
        "distance of a feature to the nearest class's Gaussian",
        ("fitted", "features"),
    ),
    ("gmm", "mixture:GaussianMixture", "likelihood of a feature under one mixture a class", ("fitted", "features")),
    (
        "knn",
        "knn:KNN",
        "distance of a feature to the nearest ones of in-distribution frames (DNP)",
        ("fitted", "features"),
    ),
    (
        "cdnp",
        "knn:CDNP",
        "distance to in-distribution features and a score of the logits, each over its range, added up",
        ("fitted", "features"),
    ),
    ("rba", "mask_scores:RbA", "rejected by all: mask transformers, minus the sum of tanh of class claims", ("masks",)),
    ("eam", "mask_scores:EAM", "mask transformers, masks weighted by how sure of a class they are", ("masks",)),
    ("uno", "mask_scores:UNO", "mask transformers with a negative class: uncertainty and that class", ("masks",)),
    (
        "maskomaly",
        "maskomaly:Maskomaly",
        "mask transformers: what no confident mask claims, and what anomaly queries claim",
        ("masks", "bounded"),
    ),
    (
        "pans",
        "pans:PAnS",
        "how unlike every class prototype of its own network, one with a cosine classifier: pans:network=DIR",
        ("network-option", "bounded"),
    ),
    (
        "pgan",
        "pgan:PGAN",
        "PGAN-style reconstruction: how unlike every class prototype over several features of any network",
        ("trained", "features", "bounded"),
    ),
    (
        "dicnet",
        "dicnet:DiCNet",
        "how far a student's guess of its teacher's features is from them: anomseg train camvid-dicnet",
        ("features", "trained"),
    ),
    (
        "noisy_negatives",
        "noisy_negatives:NoisyNegatives",
        "what its own network, trained on pasted negatives, calls an outlier: noisy_negatives:network=DIR",
        ("network-option", "bounded"),
    ),
    (
        "dense_hybrid",
        "dense_hybrid:DenseHybrid",
        "free energy plus the log-probability of an outlier head",
        ("outlier-head",),
    ),
    (
        "flow_likelihood",
        "synthetic_outliers:FlowLikelihood",
        "bits that a Real NVP needs for the patch around a pixel: flow_likelihood:flow=DIR",
        ("trained",),
    ),
    (
        "synthetic_outliers",
        "synthetic_outliers:SyntheticOutliers",
        "doubt of a network that has learned to doubt a flow's samples: synthetic_outliers:network=DIR",
        ("network-option", "bounded"),
    ),
    (
        "synthcp",
        "synthcp:SynthCP",
        "how unlike the image a rendering of its predicted classes is: synthcp:generator=DIR",
        ("trained", "features"),
    ),
    (
        "direct_prediction",
        "synthcp:DirectPrediction",
        "where a segmentation is likely wrong, from image and prediction: anomseg train camvid-direct-prediction",
        ("trained",),
    ),
    (
        "tcp",
        "failure:TCP",
        "one minus what a head guesses the probability of the true class to be: anomseg train camvid-tcp",
        ("trained", "features", "bounded"),
    ),
    (
        "quality_regression",
        "failure:QualityRegression",
        "where a segmentation is likely wrong by entropy, msp or MC dropout, and the IoU that this has meant so far",
        ("fitted", "labels", "bounded"),
    ),
    (
        "bundled",
        "bundled:Bundled",
        "small network with an outlier head, shipped with the package (non-commercial weights)",
        ("network-option", "weights", "bounded"),
    ),
    ("chance", "controls:Chance", "control: uniform noise", ("control", "no-network", "bounded")),
    (
        "position_prior",
        "position_prior:PositionPrior",
        "control: the position in the picture alone; fitted, the frequency of road there",
        ("control", "no-network", "fittable"),
    ),
    (
        "local_contrast",
        "controls:LocalContrast",
        "control: difference of grey to its surroundings",
        ("control", "no-network", "bounded"),
    ),
    ("not_road", "controls:NotRoad", "control: one minus the probability of road", ("control", "bounded")),
):
    DETECTORS.register(_name, f"anomseg.detectors.{_target}", _summary, tags=_tags)


def detector_names(tag: str | None = None) -> list[str]:
    """Names of all registered detectors, or of those that carry ``tag``.

    Args:
        tag: ``"posthoc"``, ``"fitted"`` (has to be), ``"fittable"`` (may be), ``"labels"`` (fitted on frames with
            class maps only), ``"control"``, ``"no-network"``, ``"multi-pass"``, ``"network-option"`` (carries networks
            that options name), ``"void"``, ``"features"``, ``"masks"``, ``"outlier-head"`` (reads those),
            ``"bounded"`` (in [0, 1] as it comes), ``"trained"`` (comes out of a training stage, ready to score) or
            ``"weights"`` (comes with the package).

    Example:
        >>> detector_names("posthoc")
        ['msp', 'max_logit', 'entropy', 'energy']
    """
    return DETECTORS.names(tag)


def is_fitted_on_frames(detector: Detector) -> bool:
    """Whether a detector has anything to fit: it must be, or may be, fitted.

    Example:
        >>> is_fitted_on_frames(create_detector("sml")), is_fitted_on_frames(create_detector("msp"))
        (True, False)
    """
    tags = DETECTORS.get(detector.registry_name).tags if detector.registry_name in DETECTORS else frozenset()
    return detector.needs_fit or "fittable" in tags


def default_detector(*, network_named: bool = False) -> str:
    """The detector that is meant where none is named; the only place that decides it.

    Args:
        network_named: A network to be scored was named, which a detector with a network of its own would pass over.
    """
    return DEFAULT_OF_A_NETWORK if network_named else DEFAULT_DETECTOR


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
        Energy(temperature=2.0, upsample='logits', check_logits=True, of='')
        >>> create_detector("energy:temperature=2;upsample=score")
        Energy(temperature=2.0, upsample='score', check_logits=True, of='')
    """
    spec = parse_spec(spec) if isinstance(spec, str) else spec
    if spec.path is None and not spec.options:
        return DETECTORS.create(spec.name, **options)
    texts = {key: value for key, value in spec.options.items() if key not in options}
    written = DETECTORS.create_from(Spec(spec.name, spec.path, texts))
    if not options:
        return written
    return DETECTORS.create(spec.name, **{**written.get_params(), **options})


def resolve_detector(what: str | Path | Spec | Detector, **options: Any) -> Detector:
    """Whatever a user may write for a detector: a name with options, or a directory with a saved one.

    Args:
        what: A registered name, ``name:key=value``, a directory written by `save_detector`, or a detector at hand.
            A registered name goes before a directory of that name; write ``./name`` for the latter.
        **options: Constructor options, for a name.

    Raises:
        ConfigError: An unknown name or option, or options given for a saved detector.
        DataError: A directory that holds no detector.

    Example:
        >>> resolve_detector("msp")
        MSP(upsample='logits', check_logits=True, of='')
    """
    if isinstance(what, Detector):
        return what
    if isinstance(what, Spec):
        return create_detector(what, **options)
    name = str(what).partition(":")[0]
    if name in DETECTORS or not ("/" in name or "\\" in name or Path(what).is_dir()):
        return create_detector(str(what), **options)
    if options:
        raise ConfigError(f"{what} is a saved detector, whose options are fixed: {', '.join(options)} cannot be set")
    return load_detector(what)
