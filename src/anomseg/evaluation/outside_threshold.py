"""Thresholds of another finished run, for open-set figures that do not look at their own frames' labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anomseg.errors import ConfigError, DataError
from anomseg.evaluation.checkpoint import Checkpoint
from anomseg.evaluation.run_folder import RunRecord, read_record
from anomseg.evaluation.states import FOLDER
from anomseg.metrics import PixelCurve

#: What a detector's card says of the frames of a run, and not of the detector.
_OF_THE_RUN = ("overlap", "warnings")


def thresholds_from(directory: str | Path, content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """For each detector of a run, its threshold of 95 % recall in another finished run.

    Detectors are the same where everything that their cards tell of them is: name, parameters, state, network.

    Args:
        directory: A run's folder of results, or the folder of one of its detectors.
        content: Description of the run that wants the thresholds.

    Returns:
        By the detectors' folders: ``threshold``, and whose it is (``benchmark``, ``split``, ``frames``, ``identity``).

    Raises:
        DataError: There is no finished run, or its state of a detector is missing, lacks frames or shows no anomaly.
        ConfigError: It is a shard, of other detectors, or counts frames of this run.
    """
    folder = Path(directory)
    record, only = read_record(folder), None
    if record is None and read_record(folder.parent) is not None:
        record, only, folder = read_record(folder.parent), folder.name, folder.parent
    if record is None:
        raise DataError(f"{directory} holds no run; give the --out of a finished evaluation on another split")
    if record.shard is not None:
        raise ConfigError(f"{directory} is a shard; merge the shards of that run and give the merged folder")
    shared = _images(record.content) & _images(content)
    if shared:
        raise ConfigError(
            f"{directory} was counted on {len(shared)} of these frames; a threshold from outside needs other frames"
        )
    return {name: _threshold(folder, record, only, name, content) for name in content["detectors"]}


def _threshold(
    folder: Path, record: RunRecord, only: str | None, name: str, content: Mapping[str, Any]
) -> dict[str, Any]:
    wanted = _identity(content, name)
    names = [other for other in record.content["detectors"] if only in (None, other)]
    found = next((other for other in names if _identity(record.content, other) == wanted), None)
    if found is None:
        raise ConfigError(
            f"{folder} has no figures of {name} with the same parameters, state and network; it has: {', '.join(names)}"
        )
    state = Checkpoint(folder / found / FOLDER).read()
    if state is None:
        raise DataError(f"{folder / found} has no metric state; evaluate there to the end first")
    curve = PixelCurve.load(state[1]["pixel"])
    missing = set(record.content["frames"]) - {*curve.frames, *state[0]["skipped"], *state[0]["dropped"]}
    if missing:
        raise DataError(f"{folder / found} lacks {len(missing)} of its frames; evaluate there to the end first")
    return {
        "threshold": curve.threshold_at_recall(),
        "benchmark": record.content["benchmark"],
        "split": record.content["split"],
        "held_out": record.content["held_out"],
        "frames": len(record.content["frames"]),
        "identity": record.identity,
    }


def _identity(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    card = content["detectors"][name]
    network = card["network"] if card.get("owns_network") else content["segmenter"]
    return {
        "card": {key: value for key, value in card.items() if key not in _OF_THE_RUN},
        "network": network,
        "size": content["size"],
    }


def _images(content: Mapping[str, Any]) -> set[str]:
    return {prints.partition(":")[0] for prints in content["frames"].values()} - {"unreadable"}
