"""Names of the detectors of failures in volumes, and their directories: ``volume.json`` and ``state.safetensors``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from anomseg._version import __version__
from anomseg.detectors.fitting import digest_of
from anomseg.detectors.synthcp.volumes.base import VolumeDetector
from anomseg.detectors.synthcp.volumes.setting import VolumeSetting
from anomseg.errors import CompatibilityError, DataError
from anomseg.files import read_json, sha256_of_file, write_bytes, write_json
from anomseg.registry import Registry

CONFIG, STATE = "volume.json", "state.safetensors"
SCHEMA = 1

VOLUME_DETECTORS = Registry("detector of failures in volumes")
for _name, _target, _summary in (
    ("synthcp_volume", "comparing:SynthCPVolume", "CT and mask compared with the CT that the mask is rendered as"),
    ("direct_volume", "comparing:DirectVolume", "CT and mask alone: the baseline without a rendering"),
    ("shape_vae", "shape_vae:ShapeVAEDetector", "how well an autoencoder of true masks gives the mask back"),
    ("volume_uncertainty", "regressed:VolumeUncertainty", "entropy of the prediction's probabilities inside its mask"),
):
    VOLUME_DETECTORS.register(_name, f"anomseg.detectors.synthcp.volumes.{_target}", _summary)


def save_volume_detector(detector: VolumeDetector, directory: str | Path) -> None:
    """Write a detector so that `load_volume_detector` gives it back bit for bit.

    Args:
        detector: Ready to judge.
        directory: Made if missing; an earlier detector in it is replaced.
    """
    target = Path(directory)
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in detector.state().items()}
    write_bytes(target / STATE, save_tensors(state, metadata={"format": "pt"}))
    write_json(
        target / CONFIG,
        {
            "schema": SCHEMA,
            "detector": detector.registry_name,
            "setting": detector.setting.to_json(),
            "options": detector.options(),
            "fitted_on": detector.fitted_on,
            "sha256": sha256_of_file(target / STATE),
            "library_version": __version__,
        },
    )


def is_volume_detector(path: str | Path) -> bool:
    """Whether ``path`` is a directory written by `save_volume_detector`."""
    return (Path(path) / CONFIG).is_file()


def load_volume_detector(directory: str | Path) -> VolumeDetector:
    """Take back what `save_volume_detector` wrote.

    Raises:
        DataError: There is none, or a file is missing or damaged.
        ConfigError: It names a detector that does not exist.
        CompatibilityError: Its parts do not fit each other.
    """
    place = Path(directory)
    if not is_volume_detector(place):
        raise DataError(
            f"{place} holds no {CONFIG}; failures in volumes are found by directories that 'anomseg train' wrote, such "
            "as those of phantom-synthcp"
        )
    content = _read_config(place / CONFIG)
    path = place / STATE
    if not path.is_file() or sha256_of_file(path) != content.get("sha256"):
        raise DataError(f"{path} is missing or not the one that {CONFIG} names; copy the whole directory again")
    try:
        state = load_tensors(path.read_bytes())
        setting = VolumeSetting.from_json(content["setting"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{place} is damaged: {' '.join(str(error).split())}; train the detector again") from error
    kind: type[VolumeDetector] = VOLUME_DETECTORS.get(content["detector"]).factory  # type: ignore[assignment]
    try:
        detector = kind.rebuild(setting, content["options"], state)
    except (CompatibilityError, TypeError) as error:
        raise CompatibilityError(f"{place}: {error}") from error
    detector.fitted_on = content["fitted_on"]
    return detector


def _read_config(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("detector"), str):
        raise DataError(f"{path} names no detector; was it written by anomseg?")
    if content.get("schema") != SCHEMA:
        raise DataError(f"{path} has schema {content.get('schema')!r}, this version reads {SCHEMA}; update anomseg")
    if not isinstance(content.get("setting"), dict) or not isinstance(content.get("options"), dict):
        raise DataError(f"{path} is damaged: setting or options are missing; train the detector again")
    fitted_on = content.setdefault("fitted_on", None)
    if fitted_on is not None:
        prints = fitted_on.get("fingerprints") if isinstance(fitted_on, dict) else None
        if not isinstance(prints, list) or digest_of(prints) != fitted_on.get("sha256"):
            raise DataError(f"{path} was changed: the cases it was fitted on do not have their sha256; train it again")
    return content
