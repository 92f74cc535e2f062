"""What is settled of a failure run before any work: its frames, its rules, and who judges each network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

from anomseg.benchmarks import Benchmark, Protocol
from anomseg.errors import CompatibilityError, ConfigError, DataError, unknown_name
from anomseg.evaluation.failure.judging import FailureJudge, Unknown, judgeable
from anomseg.evaluation.judging import Comparison
from anomseg.segmenters import Segmenter
from anomseg.types import Frame

_RIGHT = "0 right, 1 wrong, 255 void: the predicted class against "
_UNKNOWN: dict[str, str] = {
    "void": "pixels that the network has no class for, and anomalies, are void",
    "wrong": "pixels that the network has no class for, and anomalies, are wrong",
}


def failure_frames(bench: Benchmark, frames: Sequence[Frame], split: str) -> tuple[Frame, ...]:
    """The frames as this task reads them.

    Raises:
        DataError: None of them has a class map.
    """
    if bench.spec.label_space is None or not any(frame.has_classes for frame in frames):
        raise DataError(
            f"no frame of {bench.name} (split {split}) has a class map, so nothing says where a segmentation is wrong; "
            "evaluate failure detection on a data set with classes, such as camvid"
        )
    return tuple(judgeable(frame) for frame in frames)


def failure_protocol(rules: Protocol, bench: Benchmark, held_out: Sequence[str], unknown: Unknown) -> Protocol:
    """A protocol's rules as far as they mean anything here: all frames count, pooled, without components.

    Raises:
        ConfigError: ``unknown`` is none of the rules.
    """
    if unknown not in get_args(Unknown):
        raise unknown_name("rule for unknown pixels", unknown, get_args(Unknown))
    held = f" ({', '.join(held_out)} held out)" if held_out else ""
    return replace(
        rules,
        label_table=f"{_RIGHT}{bench.name}'s{held}; {_UNKNOWN[unknown]}",
        clean_images="keep",
        aggregation="pooled",
        min_prediction=None,
        min_anomaly=None,
    )


def failure_judges(
    compare: Comparison, networks: Mapping[str, Segmenter | None], bench: Benchmark, unknown: Unknown
) -> dict[str, FailureJudge]:
    """Who judges the network of each detector, by folder; one for all that share it.

    Raises:
        CompatibilityError: A detector has no network, or its network shares no class with the data set.
    """
    judges: dict[int, FailureJudge] = {}
    for name, network in networks.items():
        if network is None:
            raise CompatibilityError(
                f"{name} stands for no network whose segmentation could be wrong; give --segmenter"
            )
        table = compare.table(network)
        if table is None:
            raise CompatibilityError(
                f"none of the classes of {network.title or network.registry_name} ({_listed(network.classes)}) is one "
                f"of {bench.name}'s, so nothing says where it is wrong; use a network of these classes"
            )
        judges.setdefault(id(network), FailureJudge(table, unknown))
    return {name: judges[id(network)] for name, network in networks.items()}


def refuse_options(*, scores: bool, bands: bool, open_set_from: bool) -> None:
    """Refuse options that only mean something where anomalies are looked for.

    Raises:
        ConfigError: One of them was given.
    """
    if scores:
        raise ConfigError(
            "failure detection judges a network's own segmentation, so maps alone do not do; give --segmenter and "
            "--detector instead of --scores"
        )
    for given, option in ((bands, "--band"), (open_set_from, "--open-set-from")):
        if given:
            raise ConfigError(f"{option} is about anomalies and goes with --task anomaly only; leave it out")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
