"""The benchmarks: each a data set and the protocol that its figures are published under."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from anomseg.benchmarks.protocol import Protocol, caos
from anomseg.data import DatasetSpec, ValueTable, dataset_spec, load_frames
from anomseg.data.specs.bdd_anomaly import bdd_anomaly as bdd_anomaly_spec
from anomseg.data.specs.folder import folder as folder_spec
from anomseg.data.specs.issu import issu as issu_spec
from anomseg.data.specs.lost_and_found import lost_and_found as lost_and_found_spec
from anomseg.data.specs.oodis import oodis as oodis_spec
from anomseg.data.specs.pasted import pasted as pasted_spec
from anomseg.data.specs.street_hazards import street_hazards as street_hazards_spec
from anomseg.data.specs.wd_pascal import wd_pascal as wd_pascal_spec
from anomseg.registry import BENCHMARKS, PROTOCOLS, parse_spec
from anomseg.types import Frame

# Component sizes of SegmentMeIfYouCan: (predicted, anomalous) pixels below which a component does not count.
_ANOMALY_TRACK = (500, 100)
_OBSTACLE_TRACK = (50, 10)


@dataclass(frozen=True)
class Benchmark:
    """A data set with the protocol that its figures are made under.

    Attributes:
        spec: The data set.
        protocol: Its own protocol, on its default split.
    """

    spec: DatasetSpec
    protocol: Protocol

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return self.spec.name

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of its splits, the default one first."""
        names = [split.name for split in self.spec.splits]
        return (self.spec.default_split, *(name for name in names if name != self.spec.default_split))

    def load_frames(
        self,
        root: str | Path | None,
        split: str | None = None,
        layout: str | None = None,
        *,
        held_out: str | Sequence[str] = (),
        label_values: str | ValueTable | None = None,
        limit: int | None = None,
    ) -> list[Frame]:
        """Its frames; see `anomseg.data.load_frames`."""
        return load_frames(self.spec, root, split, layout, held_out=held_out, label_values=label_values, limit=limit)


def _benchmark(name: str, components: tuple[int, int] | None) -> Benchmark:
    return _of(dataset_spec(name), components)


def _of(spec: DatasetSpec, components: tuple[int, int] | None) -> Benchmark:
    smallest = components or (None, None)
    protocol = Protocol(
        "default", spec.default_split, _table_text(spec), min_prediction=smallest[0], min_anomaly=smallest[1]
    )
    return Benchmark(spec, protocol)


def _table_text(spec: DatasetSpec, label_values: str | ValueTable | None = None) -> str:
    if label_values is None and spec.kind == "classes":
        return spec.told()
    table = spec.table_for(spec.layouts[0], label_values)
    return f"{table.name} ({table})"


def road_anomaly() -> Benchmark:
    """RoadAnomaly, all sixty frames."""
    return _benchmark("road_anomaly", _ANOMALY_TRACK)


def road_anomaly_21() -> Benchmark:
    """SegmentMeIfYouCan's anomaly track."""
    return _benchmark("road_anomaly_21", _ANOMALY_TRACK)


def road_obstacle_21() -> Benchmark:
    """SegmentMeIfYouCan's obstacle track."""
    return _benchmark("road_obstacle_21", _OBSTACLE_TRACK)


def fishyscapes_lost_and_found() -> Benchmark:
    """Fishyscapes Lost & Found; component sizes of the obstacle track, as SegmentMeIfYouCan uses for LostAndFound."""
    return _benchmark("fishyscapes_lost_and_found", _OBSTACLE_TRACK)


def fishyscapes_static() -> Benchmark:
    """Fishyscapes Static."""
    return _benchmark("fishyscapes_static", _ANOMALY_TRACK)


def lost_and_found(variant: Literal["obstacle", "anomaly"] = "obstacle") -> Benchmark:
    """LostAndFound as SegmentMeIfYouCan evaluates it.

    Args:
        variant: ``obstacle``: the free road and what lies on it; ``anomaly``: the whole image less the vehicle.
    """
    benchmark = _of(lost_and_found_spec(variant), _OBSTACLE_TRACK if variant == "obstacle" else _ANOMALY_TRACK)
    if not benchmark.spec.roi:
        return benchmark
    roi = f"the whole image less the vehicle ({benchmark.spec.roi})"
    return replace(benchmark, protocol=replace(benchmark.protocol, roi=roi))


def street_hazards(void: str | None = None) -> Benchmark:
    """StreetHazards under the rules of its publication: a mean over images, those without an anomaly left out.

    Args:
        void: Classes that do not count, separated by commas (``other`` for the protocol of twelve classes).
    """
    return _caos(street_hazards_spec(void))


def bdd_anomaly(anomalous: str = "train,motorcycle", other: Literal["void", "inlier"] = "void") -> Benchmark:
    """BDD-Anomaly under the rules of its publication: a mean over images, all of which show an anomaly.

    Args:
        anomalous: Classes that are the anomalies, separated by commas.
        other: What unlabelled pixels are.
    """
    return _caos(bdd_anomaly_spec(anomalous, other))


def _caos(spec: DatasetSpec) -> Benchmark:
    benchmark = _of(spec, None)
    # What the loader calls void is the user's choice here, so it stays out under the benchmark's own rules.
    return replace(benchmark, protocol=replace(caos(benchmark.protocol), name="default", void=benchmark.protocol.void))


def camvid() -> Benchmark:
    """CamVid: held-out classes are the anomalies; without any, only closed-set figures."""
    return _benchmark("camvid", None)


def idd_lite() -> Benchmark:
    """IDD-Lite: held-out classes are the anomalies; without any, only closed-set figures."""
    return _benchmark("idd_lite", None)


def cifar10() -> Benchmark:
    """CIFAR-10: images of held-out classes are the anomalies, as whole images; without any, only closed-set figures."""
    return _benchmark("cifar10", None)


def wilddash() -> Benchmark:
    """WildDash 1: held-out classes are the anomalies; without any, only closed-set figures."""
    return _benchmark("wilddash", None)


def wilddash_2() -> Benchmark:
    """WildDash 2: held-out classes are the anomalies; without any, only closed-set figures."""
    return _benchmark("wilddash_2", None)


def wd_pascal(void: Literal["inlier", "void"] = "inlier") -> Benchmark:
    """WD-Pascal, a draw of it that ``anomseg data paste`` wrote.

    Args:
        void: What pixels without a class in WildDash are.
    """
    return _of(wd_pascal_spec(void), _ANOMALY_TRACK)


def cityscapes() -> Benchmark:
    """Cityscapes: held-out classes are the anomalies; without any, only closed-set figures."""
    return _benchmark("cityscapes", None)


def vistas_np() -> Benchmark:
    """Vistas-NP: persons and riders are the anomalies."""
    return _benchmark("vistas_np", None)


def muad() -> Benchmark:
    """MUAD: six classes that are never trained on are the anomalies."""
    return _benchmark("muad", None)


def camvid_ood() -> Benchmark:
    """CamVid-OOD: pasted animals are the anomalies."""
    return _benchmark("camvid_ood", None)


def issu(track: Literal["anomaly", "obstacle"] = "anomaly") -> Benchmark:
    """ISSU; component sizes of SegmentMeIfYouCan's tracks, whose code its own is made from.

    Args:
        track: ``anomaly``: all of the image; ``obstacle``: the road and what is unknown.
    """
    return _of(issu_spec(track), _ANOMALY_TRACK if track == "anomaly" else _OBSTACLE_TRACK)


def ade_ood() -> Benchmark:
    """ADE-OoD."""
    return _benchmark("ade_ood", None)


def oodis(part: Literal["fishyscapes", "road_anomaly", "road_obstacle"] = "fishyscapes") -> Benchmark:
    """OoDIS as anomaly maps; `anomseg.metrics.InstanceAP` has the figures of its instances.

    Args:
        part: Which of its three sets of frames.
    """
    return _of(oodis_spec(part), _ANOMALY_TRACK if part == "road_anomaly" else _OBSTACLE_TRACK)


def pasted(base: str = "camvid") -> Benchmark:
    """Frames with pasted objects, as ``anomseg data paste`` writes them.

    Args:
        base: The data set whose frames were pasted on.
    """
    return _of(pasted_spec(base), _ANOMALY_TRACK)


def folder(images: str | None = None, masks: str | None = None, values: str | None = None) -> Benchmark:
    """Images and masks of one's own.

    Args:
        images: The folder of images below the root.
        masks: The folder of masks below the root.
        values: What mask values mean, ``"0:0,255:1"``.
    """
    return _of(folder_spec(images, masks, values), _ANOMALY_TRACK)


def get_benchmark(name: str) -> Benchmark:
    """Look a benchmark up.

    Args:
        name: Its name, with options where it takes any (``folder:images=photos;values=0:0,255:1``).

    Raises:
        ConfigError: The name or an option is unknown; the nearest known one is suggested.

    Example:
        >>> get_benchmark("road_obstacle_21").protocol.min_anomaly
        10
    """
    return BENCHMARKS.create_from(parse_spec(name))


def resolve_protocol(
    benchmark: Benchmark,
    name: str = "default",
    *,
    split: str | None = None,
    label_values: str | ValueTable | None = None,
) -> Protocol:
    """The benchmark's protocol under a community's rules.

    Args:
        benchmark: Whose labels and component sizes stay.
        name: ``default`` for its own rules, else a registered preset.
        split: The part that is evaluated, where it is not the benchmark's default one.
        label_values: The user's label table, where there is one.

    Raises:
        ConfigError: There is no such protocol (the nearest name is suggested), or the label table cannot be read.
        DataError: There is no such split.

    Example:
        >>> resolve_protocol(get_benchmark("road_anomaly"), "caos").fpr_rule
        'nearest'
    """
    protocol: Protocol = PROTOCOLS.get(name).factory(benchmark.protocol)
    protocol = replace(protocol, split=benchmark.spec.split(split).name)
    return (
        protocol if label_values is None else replace(protocol, label_table=_table_text(benchmark.spec, label_values))
    )
