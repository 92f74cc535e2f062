"""Detector directories: ``detector.json`` (name, parameters, what it was fitted on) and ``state.safetensors``."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from anomseg._version import __version__
from anomseg.detectors.base import Detector
from anomseg.detectors.calibrated import FILE as CALIBRATION
from anomseg.detectors.calibrated import read_calibration, write_calibration
from anomseg.detectors.fitting import digest_of
from anomseg.detectors.matching import segmenter_matches
from anomseg.errors import CompatibilityError, ConfigError, DataError, unknown_name
from anomseg.files import cannot_write, read_json, sha256_of_file, write_bytes, write_json
from anomseg.registry import DETECTORS, convert_options, option_names
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.saved import CONFIG as NETWORK_CONFIG
from anomseg.segmenters.saved import WEIGHTS, load_saved_segmenter, save_segmenter

CONFIG, STATE, NETWORKS = "detector.json", "state.safetensors", "networks"
OWN = (CONFIG, STATE, NETWORKS, CALIBRATION)
SHIPPED = Path(__file__).parent / "weights"
BESIDE = "stages"
"""What a training keeps in the directory that it writes its detector to; it stays where it is."""
SCHEMA = 1
_ROLE = re.compile(r"[a-z0-9_]{1,40}")


def save_detector(detector: Detector, directory: str | Path, segmenter: Segmenter | None = None) -> None:
    """Write a detector so that `load_detector` gives back one that scores bit for bit the same.

    The directory appears whole or not at all: it is written beside its place and then renamed. One that a training
    works in gets the files one by one, `CONFIG` last, without which it is no detector directory.

    Args:
        detector: A registered detector; one that needs fitting must be fitted.
        directory: Made if missing; an earlier detector in it is replaced.
        segmenter: The network it belongs to, where the detector was not fitted on one. Networks that a detector
            carries are written with it instead.

    Raises:
        CompatibilityError: The detector is not registered or not fitted, its parameters are not plain values, or it
            was fitted on another network than ``segmenter``.
        DataError: The directory holds other files, or cannot be written.
    """
    name = getattr(detector, "registry_name", "")
    if name not in DETECTORS or type(detector) is not DETECTORS.get(name).factory:
        raise CompatibilityError(f"{type(detector).__name__} is not a registered detector, so it could not be loaded")
    detector.require_fitted()
    if detector.flags.owns_network:
        segmenter = None  # it never scores another one
    warning = segmenter_matches(detector, segmenter) if segmenter is not None else None
    if warning is not None:
        raise CompatibilityError(warning)
    networks = detector.networks()
    if detector.flags.owns_network and not networks:
        raise CompatibilityError(f"{name} carries no network yet, so there is nothing to save; name its networks")
    identity = detector.segmenter_identity or (segmenter.identity() if segmenter is not None else None)
    state = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in detector.state().items()}
    check_writable(directory)
    target = Path(directory).absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name[:40]}.", suffix=".part"))
    except OSError as error:
        raise cannot_write(target, error) from error
    try:
        draft.chmod(0o755)
        written = None
        if state:
            write_bytes(draft / STATE, save_tensors(state, metadata={"format": "pt"}))
            written = {"sha256": sha256_of_file(draft / STATE)}
        content = {
            "schema": SCHEMA,
            "detector": name,
            "parameters": detector.get_params(),
            "flags": {key: value for key, value in detector.card().items() if isinstance(value, bool | int)},
            "segmenter": identity,
            "fitted_on": detector.fitted_on,
            "state": written,
            "networks": {role: _write_network(network, draft, role) for role, network in networks.items()},
            "calibration": write_calibration(detector.calibration, draft) if detector.calibration else None,
            "library_version": __version__,
        }
        try:
            write_json(draft / CONFIG, content)
        except (TypeError, ValueError) as error:
            raise CompatibilityError(f"parameters of {name} cannot be written as JSON: {error}") from error
        _swap(draft, target)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_network(network: Segmenter, draft: Path, role: str) -> dict[str, str]:
    """Write a carried network and give the hashes of its files."""
    if not _ROLE.fullmatch(role):
        raise CompatibilityError(f"a network cannot be saved under the role {role!r}; use a-z, 0-9 and _")
    save_segmenter(network, draft / NETWORKS / role, half=_fits_half(network))
    return {file: sha256_of_file(draft / NETWORKS / role / file) for file in (NETWORK_CONFIG, WEIGHTS)}


def _fits_half(network: Segmenter) -> bool:
    """Whether storing at half precision loses nothing, as for networks that a training rounded to it."""
    values = [value for value in network.state_dict().values() if value.is_floating_point()]
    return all(bool((value.half().to(value.dtype) == value).all()) for value in values)


def check_writable(directory: str | Path) -> None:
    """Make sure, before a long fit, that a detector may be saved to a directory.

    Args:
        directory: Missing, empty, or holding an earlier detector and nothing else.

    Raises:
        DataError: It is a file, or holds other files.
    """
    target = Path(directory)
    if not target.exists():
        return
    if not target.is_dir():
        raise DataError(f"{target} is a file; choose another directory for the detector")
    found = sorted(entry.name for entry in target.iterdir() if entry.name != BESIDE)
    strangers = [name for name in found if name not in OWN]
    # A training that was stopped while it wrote leaves files without CONFIG.
    if strangers or (found and not (target / CONFIG).is_file() and not (target / BESIDE).exists()):
        what = f"holds other files ({strangers[0]})" if strangers else "is no detector directory"
        raise DataError(f"{target} {what} and is not replaced; choose another directory for the detector")


def _swap(draft: Path, target: Path) -> None:
    """Put ``draft`` in the place of ``target``; what was there goes only once the new one stands."""
    if not target.exists():
        os.replace(draft, target)  # noqa: PTH105 - named as what it is, the atomic call
        return
    if (target / BESIDE).exists():
        _fill(draft, target)
        return
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name[:40]}.", suffix=".old") as aside:
        earlier = Path(aside) / target.name
        target.rename(earlier)
        try:
            os.replace(draft, target)  # noqa: PTH105
        except BaseException:
            earlier.rename(target)
            raise


def _fill(draft: Path, target: Path) -> None:
    """Move what is in ``draft`` into ``target`` in place of an earlier detector."""
    for name in OWN:  # CONFIG first: from now on, and until its new one is there, this is no detector
        entry = target / name
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
    for name in reversed(OWN):
        if (draft / name).exists():
            os.replace(draft / name, target / name)  # noqa: PTH105


def is_detector_directory(path: str | Path) -> bool:
    """Whether ``path`` is a directory written by `save_detector`."""
    return (Path(path) / CONFIG).is_file()


def shipped_directory(name: str) -> Path | None:
    """Where a detector that comes with the package is saved; None where no such one does."""
    folder = SHIPPED / name
    return folder if name in DETECTORS and is_detector_directory(folder) else None


def load_detector(directory: str | Path) -> Detector:
    """Take back what `save_detector` wrote.

    Args:
        directory: The directory, or ``"bundled"``, the detector that comes with the package.

    Returns:
        The detector, ready to score.

    Raises:
        DataError: The directory or a file in it is missing, damaged or changed.
        ConfigError: An unknown detector, or a parameter with a value that it cannot have.
        CompatibilityError: The state does not fit the detector.
    """
    shipped = shipped_directory(directory) if isinstance(directory, str) else None
    folder = shipped or Path(directory)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a directory; give one written by 'anomseg fit'")
    if not is_detector_directory(folder):
        raise DataError(f"{folder} holds no {CONFIG}; give a directory written by 'anomseg fit'")
    path = folder / CONFIG
    content = _read_config(path)
    name = content["detector"]
    factory = DETECTORS.get(name).factory
    known = option_names(factory) or []
    for key in content["parameters"]:
        if key not in known:
            raise DataError(f"{path}: {unknown_name(f'parameter of {name}', key, known)}")
    try:
        detector: Detector = factory(**convert_options(factory, content["parameters"], name))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if detector.needs_fit and content["state"] is None:
        raise DataError(f"{path} names no state, and {name} cannot score before it is fitted; fit it again")
    try:
        detector.load_state(_read_state(folder, content["state"], detector.maps_state))
        detector.memory_mapped = detector.maps_state
    except CompatibilityError as error:
        raise CompatibilityError(f"{folder / STATE}: {error}") from error
    try:
        detector.load_networks(_read_networks(folder, content.get("networks") or {}))
    except CompatibilityError as error:
        raise CompatibilityError(f"{folder / NETWORKS}: {error}") from error
    detector.calibration = read_calibration(folder, content.get("calibration"), path)
    detector.fitted_on = content["fitted_on"]
    detector.segmenter_identity = content["segmenter"]
    return detector


def _read_config(path: Path) -> dict[str, Any]:
    """Read ``detector.json`` and check everything about it but the parameters' values."""
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("detector"), str):
        raise DataError(f"{path} names no detector; was it written by anomseg?")
    if content.get("schema") != SCHEMA:
        raise DataError(f"{path} has schema {content.get('schema')!r}, this version reads {SCHEMA}; update anomseg")
    for key, kinds in (
        ("parameters", dict),
        ("segmenter", dict | None),
        ("fitted_on", dict | None),
        ("state", dict | None),
    ):
        if key not in content or not isinstance(content[key], kinds):
            raise DataError(f"{path} is damaged: {key!r} is missing or of another kind; fit the detector again")
    networks = content.get("networks") or {}  # absent in directories of earlier versions
    if not isinstance(networks, dict) or not all(
        _ROLE.fullmatch(role) and isinstance(hashes, dict) and set(hashes) == {NETWORK_CONFIG, WEIGHTS}
        for role, hashes in networks.items()
    ):
        raise DataError(f"{path} is damaged: 'networks' does not say what it carries; save the detector again")
    fitted_on = content["fitted_on"]
    if fitted_on is not None:
        prints = fitted_on.get("fingerprints")
        if not isinstance(prints, list) or not all(isinstance(item, str) for item in prints):
            raise DataError(f"{path} is damaged: it does not list the frames it was fitted on; fit the detector again")
        if fitted_on.get("sha256") != digest_of(prints) or fitted_on.get("frames") != len(prints):
            raise DataError(f"{path} was changed: the frames it was fitted on do not have their sha256; fit it again")
    return content


def _read_state(folder: Path, written: Mapping[str, Any] | None, mapped: bool) -> dict[str, Tensor]:
    if written is None:
        return {}
    path = folder / STATE
    if not path.is_file():
        raise DataError(f"{path} is missing; copy the whole directory, or fit the detector again")
    if sha256_of_file(path) != written.get("sha256"):
        raise DataError(f"{path} is damaged: its sha256 is not the one in {CONFIG}; fit the detector again")
    try:
        if mapped:  # private pages: what is written to such a tensor never reaches the file
            with safe_open(path, "pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
        return load_tensors(path.read_bytes())
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"{path} is no safetensors file: {' '.join(str(error).split())}") from error


def _read_networks(folder: Path, written: Mapping[str, Mapping[str, str]]) -> dict[str, Segmenter]:
    found = {}
    for role, hashes in written.items():
        place = folder / NETWORKS / role
        for file, sha256 in hashes.items():
            if not (place / file).is_file():
                raise DataError(f"{place / file} is missing; copy the whole directory, or save the detector again")
            if sha256_of_file(place / file) != sha256:
                raise DataError(f"{place / file} is damaged: its sha256 is not the one in {CONFIG}")
        found[role] = load_saved_segmenter(place)
    return found
