"""The folder of results: which run it holds, so that a run resumes there and another one is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomseg._version import __version__
from anomseg.errors import ConfigError, DataError
from anomseg.files import read_json, write_json

RUN_FILE = "run.json"
Shard = tuple[int, int]


def identity_of(content: Mapping[str, Any]) -> str:
    """SHA-256 of a run's description, the same on every machine: 64 hexadecimal digits.

    Args:
        content: JSON-ready description of the run; its ``warnings`` and ``parameter_counts`` decide no figure and do
            not count.
    """
    # Both are for readers; a new one must not disown results that it does not change.
    deciding = {key: value for key, value in content.items() if key not in ("warnings", "parameter_counts")}
    text = json.dumps(deciding, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class RunRecord:
    """What ``run.json`` says.

    Attributes:
        content: Description of everything that decides the figures, the same for all shards of a run.
        folders: Folders of results beside the file.
        shard: ``(index, count)`` where this folder holds one shard; None for the whole run.
        merged_from: How many shards were merged into this folder; 0 for a run of its own.
    """

    content: Mapping[str, Any]
    folders: tuple[str, ...]
    shard: Shard | None = None
    merged_from: int = 0

    @property
    def identity(self) -> str:
        """Hash of the content."""
        return identity_of(self.content)

    def write(self, out: Path) -> None:
        """Write ``run.json`` into the folder, atomically."""
        record = {
            "schema": 1,
            "identity": self.identity,
            "shard": list(self.shard) if self.shard else None,
            "merged_from": self.merged_from,
            "folders": list(self.folders),
            "library_version": __version__,
            "run": dict(self.content),
        }
        write_json(out / RUN_FILE, record)


def read_record(out: str | Path) -> RunRecord | None:
    """Read a folder's ``run.json``; None where there is none.

    Raises:
        DataError: It is damaged.
    """
    path = Path(out) / RUN_FILE
    if not path.is_file():
        return None
    data = read_json(path)
    try:
        shard = (int(data["shard"][0]), int(data["shard"][1])) if data["shard"] else None
        folders = tuple(str(name) for name in data["folders"])
        record = RunRecord(dict(data["run"]), folders, shard, int(data["merged_from"]))
        detectors = set(record.content.get("detectors") or {})
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"{path} is damaged; choose another --out or delete it") from error
    # Folders of a file become paths here and in a merge, so none may lead elsewhere.
    leads_out = any(Path(name).name != name or name == ".." for name in folders) or not detectors <= set(folders)
    if record.identity != data.get("identity") or leads_out:
        raise DataError(f"{path} is damaged; choose another --out or delete it")
    return record


def claim(out: Path, record: RunRecord, *, overwrite: bool) -> bool:
    """Take a folder for a run.

    Args:
        out: The folder; made if missing.
        record: The run that wants it.
        overwrite: Remove the results of the run that is there, whichever it is.

    Returns:
        Whether an earlier attempt at the same run is continued.

    Raises:
        ConfigError: The folder holds another run, or folders of no run stand where results would go.
    """
    existing = read_record(out) if not overwrite else _readable_record(out)
    if existing is not None and overwrite:
        release(out, existing)
        existing = None
    if existing is not None:
        if existing.identity != record.identity:
            raise ConfigError(
                f"{out} holds another run ({', '.join(differences(existing.content, record.content))} differ); "
                "give --overwrite to replace it, or another --out"
            )
        if (existing.shard, existing.merged_from) != (record.shard, record.merged_from):
            held = f"shard {existing.shard[0]}/{existing.shard[1]}" if existing.shard else "all of it"
            raise ConfigError(f"{out} holds {held} of this run; give --overwrite to replace it, or another --out")
        return True
    for name in record.folders:
        if (out / name).exists() and any((out / name).iterdir() if (out / name).is_dir() else [name]):
            raise ConfigError(f"{out / name} is in the way and belongs to no run; choose another --out or remove it")
    record.write(out)
    return False


def release(out: Path, record: RunRecord) -> None:
    """Remove a run's own results; whatever else lies in the folder stays."""
    for name in record.folders:
        shutil.rmtree(out / name, ignore_errors=True)
    (out / RUN_FILE).unlink(missing_ok=True)


def _readable_record(out: Path) -> RunRecord | None:
    try:
        return read_record(out)
    except DataError:
        (out / RUN_FILE).unlink(missing_ok=True)
        return None


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Sequence[str]:
    """Names of the parts in which two runs differ, in the order of the first.

    Example:
        >>> differences({"split": "val", "seed": 0}, {"split": "test", "seed": 0})
        ['split']
    """
    return [key for key in dict.fromkeys((*one, *other)) if one.get(key) != other.get(key)] or ["nothing known"]
