"""Steps that train and evaluate what teaches with outliers, each one command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from learned_plan import RUN, Step
from outliers_sets import (
    CLOSED,
    DATA,
    DENSITY,
    FITS,
    HEADLINE,
    LOGITS,
    MEASURES,
    NEGATIVES,
    PASTED,
    SETS,
    UNTRAINED,
    VERSIONS,
    Bench,
    Paths,
    TrainingSet,
    Version,
)
from results_plan import CONTROLS

OF_NETWORKS = ("not_road",)
"""Controls that read a network; the others, whatever the seed, give the same maps."""
SEEDS = (0, 1, 2)
PASTED_CATEGORIES = ("cow", "horse", "sheep", "zebra", "giraffe", "elephant", "bird", "dog")
"""What is pasted for testing: no more than what the regime ``minus_test_categories`` leaves out of training."""
FLOW = "flow"
"""Ending of the folders of runs of a flow alone."""


def pasted_step(paths: Paths) -> Step:
    """Frames of CamVid test with COCO objects, and with objects of CamVid's own as a control."""
    out = paths.root(PASTED)
    words = (
        *("data", "paste", "camvid", "--root", str(paths.data / "camvid"), "--split", "test"),
        *("--objects", f"coco_panoptic={paths.coco}", "--half", "odd", "--inliers", "1", "--out", str(out), "--quiet"),
        *("--categories", ",".join(PASTED_CATEGORIES)),
    )
    return Step("made/pasted", words, out, "manifest.json")


def trainings(paths: Paths) -> list[Step]:
    """All trainings, the most telling first: all versions with seed 0, then the other seeds."""
    steps = [flow_step(one, paths) for one in SETS]
    for seed in SEEDS:
        for version in VERSIONS:
            for one in SETS:
                if seed in version.seeds and one.key in version.sets:
                    steps.append(version_step(version, one, seed, paths))
                    if seed == 0 and version.name in (HEADLINE, "synthetic"):
                        steps.append(version_step(version, one, seed, paths, untrained=True))
    return steps


def flow_step(one: TrainingSet, paths: Paths) -> Step:
    """The training of a flow on a set's images, by likelihood alone."""
    out = paths.flow(one)
    words = ("train", "camvid-flow", "--roots.camvid", str(paths.data / "camvid"))
    held_out = ("--stages.flow.data.held_out", one.taught)
    return Step(f"{one.key}/flow", (*words, *held_out, "--out", str(out), "--quiet"), out, "flow.json")


def version_step(version: Version, one: TrainingSet, seed: int, paths: Paths, *, untrained: bool = False) -> Step:
    """The training of one version, or its pipeline without any optimiser step."""
    name = f"{version.name}-{UNTRAINED}" if untrained else version.name
    out = paths.version(one, seed, name)
    words = ["train", version.recipe, "--roots.camvid", str(paths.data / "camvid"), "--seed", str(seed)]
    needs: tuple[Path, ...] = ()
    if version.recipe == NEGATIVES:
        words += [
            *("--roots.imagenet", str(paths.imagenet)),
            *("--roots.road_anomaly", str(paths.data / "anomaly" / "RoadAnomaly")),
            *("--roots.road_anomaly_21", str(paths.data / "anomaly" / "RoadAnomaly21")),
            *("--stages.features.module.encoder_start", str(paths.weights)),
            *("--stages.features.data.held_out", one.taught),
            # One set of crops for all seeds and for all versions that paste alike.
            *("--stages.features.data.seed", "0"),
            *("--stages.features.module.cache", str(paths.work / "features")),
        ]
    else:
        flow = paths.flow(one)
        words += [
            *("--stages.joint.module.encoder_start", str(paths.weights)),
            *("--stages.joint.data.held_out", one.taught),
            # One flow for all seeds: what the recipe's first stage would train is not taken.
            *("--stages.joint.takes", "[]", "--stages.joint.module.flow", str(flow)),
            *("--stages.flow.data.held_out", one.taught, "--stages.flow.trainer.steps", "0"),
        ]
        needs = (flow / "flow.json",)
    if version.recipe == NEGATIVES and one.held_out:
        # Photographs of what is held out would teach it as an outlier: no vehicles of any kind are cut out.
        words += [f"--{DATA}.sources", "[{negatives: imagenet, exclude: [road]}]"]
    for key, value in version.overrides:
        words += [f"--{key}", value.replace("{data}", str(paths.data))]
    if untrained:
        words += [f"--stages.{version.stage}.trainer.steps", "0"]
    cache = f"{one.key}-{version.cache}" if version.cache else None
    words += ["--out", str(out), "--quiet"]
    return Step(f"{one.key}-{seed}/{name}", tuple(words), out, "detector.json", needs, cache)


def evaluations(paths: Paths) -> list[Step]:
    """All fits and evaluations, in the order of the trainings; what a flow alone says, which takes long, comes last."""
    steps: list[Step] = []
    for seed in SEEDS:
        for one in SETS:
            steps += host_steps(one, seed, paths)
        for version in VERSIONS:
            for one in SETS:
                if seed in version.seeds and one.key in version.sets:
                    steps += version_runs(version, one, seed, paths)
    return [*steps, *(step for one in SETS for step in density_steps(one, paths))]


def density_steps(one: TrainingSet, paths: Paths) -> Iterator[Step]:
    """What the flow of a set says of every benchmark's frames; it reads no network, and there is one for all seeds."""
    host, flow, seed = paths.host(one, SEEDS[0]), paths.flow(one), SEEDS[0]
    needs = (host / "segmenter.json", flow / "flow.json")
    for bench in one.benches:
        yield run_step(bench, one, seed, FLOW, host, [DENSITY.format(flow=flow)], needs, paths)


def host_steps(one: TrainingSet, seed: int, paths: Paths) -> Iterator[Step]:
    """What the network without outliers scores, what is fitted on its features, and the controls."""
    host, first = paths.host(one, seed), seed == SEEDS[0]
    needs = (host / "segmenter.json",)
    fitted = {name: paths.version(one, seed, f"fitted/{name}") for name in (FITS if first else {})}
    data = ("--data", f"camvid={paths.data / 'camvid'}@train")
    extra = ("--held-out", ",".join(one.held_out)) if one.held_out else ()
    for name, out in fitted.items():
        words = ("fit", "--detector", FITS[name], "--segmenter", str(host), *data, *extra, "--out", str(out), "--quiet")
        yield Step(f"{one.key}-{seed}/{name}", words, out, "detector.json", needs)
    plain = [*LOGITS, *(CONTROLS if first else OF_NETWORKS)]
    for bench in one.benches:
        saved = tuple(folder / "detector.json" for folder in fitted.values())
        yield run_step(bench, one, seed, "host", host, [*map(str, fitted.values()), *plain], (*needs, *saved), paths)
    if not one.held_out:
        yield run_step(CLOSED, one, seed, "host", host, [], needs, paths)


def version_runs(version: Version, one: TrainingSet, seed: int, paths: Paths) -> Iterator[Step]:
    """The scores of one version's network, on every benchmark of its set."""
    folder = paths.version(one, seed, version.name)
    own, needs = folder / "networks" / "network", (folder / "detector.json",)
    detectors = [str(folder)]
    if version.name == HEADLINE:
        detectors += [f"noisy_negatives:network={folder};measure={measure}" for measure in MEASURES.values()]
    for bench in one.benches:
        yield run_step(bench, one, seed, version.name, own, detectors, needs, paths)
        if seed == 0 and version.name in (HEADLINE, "synthetic"):
            bare = paths.version(one, seed, f"{version.name}-{UNTRAINED}")
            name, network = f"{version.name}-{UNTRAINED}", bare / "networks" / "network"
            yield run_step(bench, one, seed, name, network, [str(bare)], (bare / "detector.json",), paths)
    if not one.held_out:
        yield run_step(CLOSED, one, seed, version.name, own, [], needs, paths)


def run_step(
    bench: Bench,
    one: TrainingSet,
    seed: int,
    name: str,
    segmenter: Path,
    detectors: Sequence[str],
    needs: tuple[Path, ...],
    paths: Paths,
) -> Step:
    """One evaluation of detectors that share a network's pass."""
    words = ["evaluate", "--benchmark", bench.benchmark, "--root", str(paths.root(bench)), *bench.extra]
    for detector in detectors:
        words += ["--detector", detector]
    out = paths.run(one, seed, bench.name, name)
    words += ["--segmenter", str(segmenter), "--no-report", "--quiet", "--out", str(out)]
    made = (paths.root(bench) / "manifest.json",) if bench is PASTED else ()
    return Step(f"{one.key}-{seed}/{bench.name}-{name}", tuple(words), out, RUN, (*needs, *made))
