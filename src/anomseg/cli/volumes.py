"""What ``evaluate`` and ``predict`` do with volumes; both hand over to here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomseg.errors import EXIT_ERROR, EXIT_OK, EXIT_PARTIAL, ConfigError, FrameError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonargparse import Namespace

    from anomseg.data.volumes import Case
    from anomseg.detectors.synthcp.volumes import CasePrediction, VolumeDetector


def names_cases(benchmark: str) -> bool:
    """Whether a benchmark is a set of volumes."""
    from anomseg.data.volumes import CASES

    return benchmark.partition(":")[0] in CASES


def names_volumes(inputs: Sequence[str]) -> bool:
    """Whether inputs are volumes."""
    from anomseg.data.volumes.nifti import is_nifti

    return any(is_nifti(one) for one in inputs)


def evaluate(options: Namespace) -> int:
    """Judge the predicted masks of a set of volumes, and compare with their true Dice."""
    from anomseg.cli.output import Progress, say, warn
    from anomseg.data.volumes import load_cases
    from anomseg.evaluation.volumes import evaluate_cases
    from anomseg.report.volume_table import volume_table

    if options.task != "failure":
        raise ConfigError(f"{options.benchmark} is a set of volumes with masks; evaluate it with --task failure")
    _refuse(
        options,
        *("segmenter", "scores", "shard", "held_out", "band", "open_set_from", "label_values", "layout", "size"),
        protocol="default",
        unknown="void",
        keep_maps=False,
    )
    detectors = _open(options)
    cases = load_cases(options.benchmark, options.root, parts=options.split or "", limit=options.limit)
    out = Path(options.out)
    with Progress(f"evaluating on {options.benchmark}", options.quiet) as progress:
        cards = evaluate_cases(
            cases,
            detectors,
            out,
            benchmark=options.benchmark,
            seed=options.seed,
            allow_overlap=options.allow_overlap,
            overwrite=options.overwrite,
            on_progress=progress,
        )
    say(volume_table(cards), options.quiet)
    skipped = {item["frame"]: item["reason"] for card in cards for item in card["skipped"]}
    for reason in skipped.values():
        warn(f"skipped {reason}")
    if not options.no_report:
        _draw(cards, cases, detectors, out)
    return EXIT_PARTIAL if skipped else EXIT_OK


def predict(options: Namespace) -> int:
    """Say the Dice to expect of a volume's mask, and write where it is likely wrong."""
    from anomseg.cli.output import say, warn
    from anomseg.data.volumes.folders import nifti_case, parse_labels
    from anomseg.data.volumes.nifti import stem

    if options.task != "failure":
        raise ConfigError("volumes are judged together with their masks; say --task failure --mask MASK.nii.gz")
    if options.mask is None or len(options.inputs) != 1:
        raise ConfigError("a volume is judged together with its mask; give one volume and --mask MASK.nii.gz")
    _refuse(
        options,
        *("segmenter", "size", "threshold", "false_alarms", "range", "roi", "calibrated"),
        format="png,npy",
        dtype="float32",
        batch_size=1,
    )
    detectors = _open(options)
    image, code = Path(options.inputs[0]), EXIT_OK
    for name, detector in detectors.items():
        classes = detector.setting.classes[1:]
        labels = options.labels or "+".join(f"{value}:{one}" for value, one in enumerate(classes, 1))
        table, names = parse_labels(labels)
        mask = Path(options.mask)
        case = nifti_case(stem(image), image, prediction=mask, truth=None, table=table, classes=names)
        out = Path(options.out) / name if len(detectors) > 1 else Path(options.out)
        try:
            found = detector.predict(case)
        except FrameError as error:
            warn(str(error))
            code = EXIT_ERROR
            continue
        say(_write(out, case, image, detector, found), options.quiet)
        say(f"{name}: results in {out}", options.quiet)
    return code


def _refuse(options: Namespace, *unset: str, **usual: object) -> None:
    """Refuse what would be ignored.

    Args:
        options: What was given.
        *unset: Options that are empty where they are not given.
        **usual: Those that are something else then.

    Raises:
        ConfigError: One of them is given, or a device that is no processor.
    """
    empty: list[object] = [None, [], ""]
    given = [name for name in unset if (value := getattr(options, name, None)) is not False and value not in empty]
    given += [name for name, value in usual.items() if getattr(options, name) != value]
    if given:
        raise ConfigError(f"--{given[0].replace('_', '-')} does not go with volumes; leave it out")
    if options.device not in ("cpu", "auto"):
        raise ConfigError(f"volumes are judged on the processor, not on {options.device!r}; leave --device out")


def _open(options: Namespace) -> dict[str, VolumeDetector]:
    from anomseg.detectors.synthcp.volumes import load_volume_detector
    from anomseg.registry import split_parts

    given = [options.detector] if isinstance(options.detector, str) else list(options.detector or ())
    found: dict[str, VolumeDetector] = {}
    for part in split_parts(given):
        name = Path(part).resolve().name
        number = 2
        while name in found:
            name, number = f"{Path(part).resolve().name}-{number}", number + 1
        found[name] = load_volume_detector(part)
    if not found:
        raise ConfigError("volumes have no default detector; give --detector DIR, trained as phantom-synthcp is")
    return found


def _draw(
    cards: Sequence[dict[str, Any]], cases: Sequence[Case], detectors: dict[str, VolumeDetector], out: Path
) -> None:
    """Foretold against true Dice of each detector, and slices of the cases that it misjudges most and least."""
    import numpy as np

    from anomseg.evaluation.volumes import STATE_FILE
    from anomseg.metrics import ClassQuality
    from anomseg.report.volume_pictures import write_scatter, write_slices

    by_id = {case.id: case for case in cases}
    for card in cards:
        name = card["folder"]
        state = ClassQuality.load(out / name / STATE_FILE)
        predicted, true = state.values()
        kinds = [str(by_id[frame].meta.get("kind", "")) for frame in state.frames for _ in state.names]
        write_scatter(out / name / "dice.png", predicted.ravel(), true.ravel(), kinds, name)
        apart = np.abs(predicted - true).mean(1)
        known = np.flatnonzero(~np.isnan(apart))
        order = known[np.argsort(apart[known])]
        for label, row in (("best", order[:1]), ("worst", order[-1:])):
            for place in row:
                found = detectors[name].predict(by_id[state.frames[place]])
                write_slices(out / name / f"{label}.png", found)


def _write(out: Path, case: Case, image: Path, detector: VolumeDetector, found: CasePrediction) -> str:
    """Write what was found of a volume, and tell it in lines."""
    from anomseg.data.volumes.nifti import read_geometry, write_volume
    from anomseg.files import write_json
    from anomseg.report.volume_pictures import write_slices

    quality = found.failure.class_quality
    assert quality is not None  # noqa: S101 - these detectors judge classes
    dice = {name: round(float(value), 4) for name, value in zip(detector.setting.targets, quality[0], strict=True)}
    empty = [name for name, gone in zip(detector.setting.targets, found.prepared.empty, strict=True) if gone]
    lines = [f"{case.id}: expected Dice of {name} {value:.3f}" for name, value in dice.items() if name not in empty]
    lines += [
        f"{case.id}: the mask holds no {name}; its Dice is 0 where the volume holds one, and undefined where not"
        for name in empty
    ]
    if found.failure.error_map is not None:
        write_volume(out / f"{case.id}_error.nii.gz", found.failure.error_map[0].numpy(), read_geometry(image))
    write_slices(out / f"{case.id}_slices.png", found)
    told = {"case": case.id, "measure": "dice", "expected": dice, "empty": empty, "detector": detector.card()}
    write_json(out / f"{case.id}_failure.json", told)
    return "\n".join(lines)
