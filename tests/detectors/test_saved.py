"""Detector directories: what is in them, and what happens to them when something goes wrong."""

import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tiny import TinySegmenter, made_frames, scene_of

from anomseg._version import __version__
from anomseg.detectors import (
    Detector,
    anomaly_maps,
    check_writable,
    create_detector,
    load_detector,
    overlapping_frames,
    save_detector,
    segmenter_matches,
)
from anomseg.detectors import saved as saved_module
from anomseg.detectors.posthoc import Energy
from anomseg.errors import AnomsegError, CompatibilityError, DataError
from anomseg.files import sha256_of_file


@pytest.fixture(scope="module")
def segmenter() -> TinySegmenter:
    return TinySegmenter()


@pytest.fixture
def sml(segmenter) -> Detector:
    return create_detector("sml").fit(segmenter, made_frames(3))


@pytest.fixture
def folder(sml, tmp_path) -> Path:
    save_detector(sml, tmp_path / "runs" / "sml")
    return tmp_path / "runs" / "sml"


def edit(folder: Path, **changes) -> None:
    content = json.loads((folder / "detector.json").read_text())
    content.update(changes)
    (folder / "detector.json").write_text(json.dumps(content))


def test_what_is_written(folder, segmenter, sml):
    assert sorted(path.name for path in folder.iterdir()) == ["detector.json", "state.safetensors"]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["sml"]
    content = json.loads((folder / "detector.json").read_text())
    assert content["detector"] == "sml"
    assert content["parameters"] == sml.get_params()
    assert content["segmenter"] == segmenter.identity()
    assert content["fitted_on"]["frames"] == 3
    assert len(content["fitted_on"]["fingerprints"]) == 3
    assert content["library_version"] == __version__
    assert content["calibration"] is None
    assert content["state"]["sha256"] == sha256_of_file(folder / "state.safetensors")
    assert content["flags"]["needs_fit"] is True


def test_without_state_or_network(tmp_path):
    save_detector(create_detector("energy", temperature=2.0), tmp_path / "energy")
    assert [path.name for path in (tmp_path / "energy").iterdir()] == ["detector.json"]
    loaded = load_detector(tmp_path / "energy")
    assert loaded.temperature == 2.0
    assert loaded.segmenter_identity is None


def test_an_earlier_detector_is_replaced_whole(folder):
    save_detector(create_detector("energy"), folder)
    assert [path.name for path in folder.iterdir()] == ["detector.json"]
    assert load_detector(folder).registry_name == "energy"
    assert [path.name for path in folder.parent.iterdir()] == ["sml"]


def test_an_empty_directory_is_taken(tmp_path, sml):
    (tmp_path / "empty").mkdir()
    save_detector(sml, tmp_path / "empty")
    load_detector(tmp_path / "empty")


def test_other_directories_and_files_are_not_touched(folder, sml, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("a")
    (folder / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("b")
    check_writable(tmp_path / "new")
    for target in (tmp_path / "photos", folder, tmp_path / "file"):
        with pytest.raises(DataError):
            check_writable(target)
    for target in (tmp_path / "photos", folder, tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError) as caught:
            save_detector(sml, target)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "photos" / "a.jpg").read_text() == "a"
    assert (folder / "notes.txt").read_text() == "mine"
    assert load_detector(folder).registry_name == "sml"
    (tmp_path / "stray").mkdir()
    (tmp_path / "stray" / "state.safetensors").write_text("whose?")
    with pytest.raises(DataError, match="no detector directory"):
        save_detector(sml, tmp_path / "stray")


@pytest.mark.parametrize("moment", ["write_json", "write_bytes", "_swap"])
@pytest.mark.parametrize("accident", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_crash_leaves_what_was_there(folder, sml, moment, accident, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*args, **options):
        raise accident

    monkeypatch.setattr(saved_module, moment, fail)
    for target in (folder, folder.parent / "new"):
        with pytest.raises(DataError if isinstance(accident, OSError) else KeyboardInterrupt):
            save_detector(sml, target)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["sml"]


def test_a_failed_swap_puts_the_earlier_one_back(folder, sml, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    monkeypatch.setattr(saved_module, "write_json", lambda path, value: Path(path).write_text(json.dumps(value)))
    monkeypatch.setattr(saved_module, "write_bytes", lambda path, data: Path(path).write_bytes(data))
    with pytest.raises(DataError, match="No space left"):
        save_detector(sml, folder)
    monkeypatch.undo()
    assert load_detector(folder).registry_name == "sml"
    assert [path.name for path in folder.parent.iterdir()] == ["sml"]


def test_only_registered_detectors_are_saved(tmp_path):
    class Mine(Energy):
        """Would come back as plain energy."""

    class Nameless(Detector):
        """Has no name at all."""

    for detector in (Mine(), Nameless()):
        with pytest.raises(CompatibilityError, match="not a registered detector"):
            save_detector(detector, tmp_path / "x")


def test_saving_with_another_network_is_refused(sml, tmp_path):
    with pytest.raises(CompatibilityError, match="another network"):
        save_detector(sml, tmp_path / "x", TinySegmenter(seed=5))
    assert list(tmp_path.iterdir()) == []


def test_segmenter_matches(folder, segmenter):
    loaded = load_detector(folder)
    assert segmenter_matches(loaded, segmenter) is None
    assert segmenter_matches(loaded, None) is None
    assert segmenter_matches(create_detector("msp"), segmenter) is None
    warning = segmenter_matches(loaded, TinySegmenter(seed=5))
    assert "fitted on another network" in warning
    assert "\n" not in warning


def test_overlapping_frames(folder):
    loaded = load_detector(folder)
    fitted, fresh = made_frames(3), made_frames(2, start=500)
    assert overlapping_frames(loaded, fresh) == []
    assert overlapping_frames(loaded, [fresh[0], fitted[1], fresh[1]]) == [fitted[1].id]
    assert overlapping_frames(create_detector("msp"), fitted) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detector": "smll"}, "did you mean 'sml'"),
        ({"detector": "os:system"}, "unknown detector"),
        ({"detector": 5}, "names no detector"),
        ({"schema": 2}, "schema 2"),
        ({"parameters": {"smothing": True}}, "did you mean 'smoothing'"),
        ({"parameters": {"upsample": "sideways"}}, "upsample"),
        ({"parameters": {"minimum_variance": "thin"}}, "minimum_variance"),
        ({"parameters": {"minimum_variance": -1}}, "minimum_variance"),
        ({"parameters": []}, "'parameters'"),
        ({"segmenter": "erfnet"}, "'segmenter'"),
        ({"state": None}, "cannot score before it is fitted"),
        ({"state": {"sha256": "0" * 64}}, "sha256"),
        ({"fitted_on": {}}, "does not list the frames"),
        ({"fitted_on": {"frames": 0, "sha256": "0" * 64, "fingerprints": []}}, "was changed"),
        ({"calibration": {"rule": "quantile"}}, "calibration"),
    ],
)
def test_changed_settings_are_noticed(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(AnomsegError, match=message) as caught:
        load_detector(folder)
    assert "\n" not in str(caught.value)
    assert "detector.json" in str(caught.value) or "detector" in changes


def test_hiding_a_frame_it_was_fitted_on_is_noticed(folder):
    content = json.loads((folder / "detector.json").read_text())
    content["fitted_on"]["fingerprints"].pop()
    content["fitted_on"]["frames"] -= 1
    edit(folder, fitted_on=content["fitted_on"])
    with pytest.raises(DataError, match="was changed"):
        load_detector(folder)


def test_state_of_another_width_or_kind(folder):
    state = folder / "state.safetensors"
    for tensors in (
        {"mean": torch.zeros(3), "variance": torch.ones(4), "count": torch.ones(4, dtype=torch.int64)},
        {"road": torch.zeros(18, 32)},
    ):
        save_file(tensors, state)
        edit(folder, state={"sha256": sha256_of_file(state)})
        with pytest.raises(CompatibilityError, match=r"state\.safetensors: the state of sml"):
            load_detector(folder)
    narrow = {"mean": torch.zeros(3), "variance": torch.ones(3), "count": torch.ones(3, dtype=torch.int64)}
    save_file(narrow, state)
    edit(folder, state={"sha256": sha256_of_file(state)})
    with pytest.raises(CompatibilityError, match="fitted with 3 classes"):
        load_detector(folder).needs(TinySegmenter())
    with pytest.raises(CompatibilityError, match="3"):
        anomaly_maps(load_detector(folder), scene_of(TinySegmenter()))


def test_missing_and_damaged_files(folder, tmp_path):
    with pytest.raises(DataError, match="not a directory"):
        load_detector(tmp_path / "nowhere")
    state = (folder / "state.safetensors").read_bytes()
    (folder / "state.safetensors").write_bytes(state[:-8])
    with pytest.raises(DataError, match="damaged"):
        load_detector(folder)
    (folder / "state.safetensors").write_bytes(b"\x80\x04pickle?")
    edit(folder, state={"sha256": sha256_of_file(folder / "state.safetensors")})
    with pytest.raises(DataError, match="no safetensors file"):
        load_detector(folder)
    (folder / "state.safetensors").unlink()
    with pytest.raises(DataError, match="is missing"):
        load_detector(folder)
    (folder / "detector.json").write_text('{"detector": "sml"')
    with pytest.raises(DataError, match="JSON"):
        load_detector(folder)
    (folder / "detector.json").unlink()
    with pytest.raises(DataError, match=r"no detector\.json"):
        load_detector(folder)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = ("schema", "detector", "parameters", "segmenter", "fitted_on", "state", "calibration")


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(KEYS),
    inner=st.sampled_from(["", "sha256", "fingerprints", "frames", "upsample"]),
    value=json_values,
)
def test_no_content_makes_it_fall_over(folder, key, inner, value):
    """Whatever stands in the file, it loads or says in one line why not."""
    original = (folder / "detector.json").read_text()
    content = json.loads(original)
    if inner and isinstance(content[key], dict):
        content[key][inner] = value
    else:
        content[key] = value
    (folder / "detector.json").write_text(json.dumps(content))
    try:
        load_detector(folder)
    except AnomsegError as error:
        message = str(error)
    else:
        message = ""
    finally:
        (folder / "detector.json").write_text(original)
    assert "\n" not in message


def test_a_detector_is_written_beside_the_stages_of_its_training(tmp_path):
    log = tmp_path / "run" / "stages" / "net" / "log.csv"
    log.parent.mkdir(parents=True)
    log.write_text("step\n")
    save_detector(create_detector("energy", temperature=2.0), tmp_path / "run")
    (tmp_path / "run" / "networks").mkdir()
    save_detector(create_detector("energy", temperature=3.0), tmp_path / "run")
    assert load_detector(tmp_path / "run").temperature == 3.0
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["detector.json", "stages"]
    assert log.read_text() == "step\n"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    (tmp_path / "run" / "detector.json").unlink()  # as if it had been stopped while writing
    (tmp_path / "run" / "state.safetensors").write_bytes(b"half")
    save_detector(create_detector("energy"), tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["detector.json", "stages"]
    (tmp_path / "run" / "notes.txt").touch()
    with pytest.raises(DataError, match="other files"):
        save_detector(create_detector("energy"), tmp_path / "run")
