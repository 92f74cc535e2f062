"""Cases go through every detector once, decoded once; what was found before is not done again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from anomseg.data.volumes import Case, case_fingerprint, dice_overlap, file_fingerprints
from anomseg.detectors.synthcp.volumes import VolumeDetector
from anomseg.errors import CompatibilityError, ConfigError, DataError, FrameError
from anomseg.evaluation.volumes.card import CARD_FILE, finish_cards
from anomseg.evaluation.volumes.state import VolumeState
from anomseg.files import read_json
from anomseg.inference.provenance import digest, state_hash
from anomseg.metrics import ClassQuality

Report = Callable[[int, int], None]


def evaluate_cases(
    cases: Sequence[Case],
    detectors: Mapping[str, VolumeDetector],
    out: str | Path,
    *,
    benchmark: str,
    seed: int = 0,
    allow_overlap: bool = False,
    overwrite: bool = False,
    on_progress: Report | None = None,
) -> list[dict[str, Any]]:
    """Judge predicted masks and compare with their true Dice.

    Args:
        cases: With predictions and true masks; those without are skipped and named.
        detectors: By the name that their results are filed under.
        out: Folder of results: ``<name>/metrics.json``, ``cases.csv`` and ``quality.npz`` each. Detectors that are
            done there are not judged again.
        benchmark: What the cases are, for the cards.
        seed: Of the intervals' resampling.
        allow_overlap: Go on when a detector was fitted on some of the cases; its card says so.
        overwrite: Replace another run's results.
        on_progress: Called after each case with how many are done, and of how many.

    Returns:
        The cards, in the order of the detectors.

    Raises:
        DataError: A detector was fitted on some of the cases, or no case could be used.
        ConfigError: The folder holds another run's results.
        CompatibilityError: Cases name other classes than a detector judges, or detectors judge different targets.
    """
    out = Path(out)
    overlaps = {name: check_unseen(detector, cases, allow_overlap) for name, detector in detectors.items()}
    _check_targets(detectors)
    base: dict[str, Any] = {"benchmark": benchmark, "cases": [case.id for case in cases], "seed": seed}
    files = {case.id: found for case in cases if (found := file_fingerprints(case))}
    if files:  # generated cases are what their benchmark says
        base["files"] = files
    identities = {
        name: digest({**base, "detector": one.card(), "state": state_hash(one.state())})
        for name, one in detectors.items()
    }
    cards: dict[str, dict[str, Any]] = {}
    for name in detectors:
        if (out / name / CARD_FILE).is_file() and not overwrite:
            card = read_json(out / name / CARD_FILE)
            if card.get("identity") != identities[name]:
                raise ConfigError(f"{out / name} holds the results of another run; choose another --out or --overwrite")
            cards[name] = card
    states = {
        name: VolumeState(ClassQuality(one.setting.targets, "dice"))
        for name, one in detectors.items()
        if name not in cards
    }
    for done, case in enumerate(cases if states else (), 1):
        _judge(case, {name: detectors[name] for name in states}, states)
        if on_progress is not None:
            on_progress(done, len(cases))
    if states:
        told = {
            name: {**base, "detector": detectors[name].card(), "overlap": overlaps[name], "identity": identities[name]}
            for name in states
        }
        cards |= finish_cards(out, states, told, {case.id: case for case in cases}, known=[*cards])
    return [cards[name] for name in detectors]


def check_unseen(detector: VolumeDetector, cases: Sequence[Case], allow: bool = False) -> int:
    """How many cases a detector was fitted on.

    Raises:
        DataError: There are some, and that is not allowed.
    """
    seen = frozenset((detector.fitted_on or {}).get("fingerprints", ()))
    both = [case.id for case in cases if seen and case_fingerprint(case) in seen]
    if both and not allow:
        raise DataError(
            f"{detector.registry_name} was fitted on {len(both)} of {len(cases)} cases (first: {both[0]}); take "
            "others, or say --allow-overlap"
        )
    return len(both)


def _check_targets(detectors: Mapping[str, VolumeDetector]) -> None:
    targets = {detector.setting.targets for detector in detectors.values()}
    if len(targets) > 1:
        told = "; ".join(", ".join(names) for names in sorted(targets))
        raise CompatibilityError(f"these detectors judge different targets ({told}); evaluate them one by one")


def _judge(case: Case, detectors: Mapping[str, VolumeDetector], states: Mapping[str, VolumeState]) -> None:
    try:
        held, dice, wrong = _decoded(case, next(iter(detectors.values())))
    except FrameError as error:
        for state in states.values():
            state.skipped[case.id] = str(error)
        return
    for name, detector in detectors.items():
        state, started = states[name], time.perf_counter()
        try:
            found = detector.predict(held)
        except FrameError as error:
            state.skipped[case.id] = str(error)
            continue
        state.seconds += time.perf_counter() - started
        quality = found.failure.class_quality
        assert quality is not None  # noqa: S101 - these detectors judge classes
        state.quality.update(quality[0].numpy(), dice, case.id, case.cluster)
        if found.failure.error_map is not None:
            state.voxels.update(found.failure.error_map[0].numpy(), wrong, case.id, case.cluster)
        for target, value in zip(detector.setting.targets, dice, strict=True):
            if np.isnan(value):
                state.undefined.setdefault(target, []).append(case.id)


def _decoded(case: Case, detector: VolumeDetector) -> tuple[Case, np.ndarray, np.ndarray]:
    """The case with its arrays at hand, the true Dice of each target, and which voxels are wrong about a target."""
    adopted = detector.setting.adopt(case)
    image, prediction, truth = adopted.decode()
    if prediction is None or truth is None:
        lacking = "prediction" if prediction is None else "true mask"
        raise FrameError(f"{case.id} has no {lacking}, so there is nothing to compare")
    indices = detector.setting.indices
    dice = dice_overlap(prediction, truth, indices)
    wrong = np.zeros(truth.shape, bool)
    for index in indices:
        wrong |= (prediction == index) != (truth == index)
    held = replace(adopted, image=lambda: image, prediction=lambda: prediction, truth=lambda: truth)
    return held, dice, wrong.astype(np.uint8)
