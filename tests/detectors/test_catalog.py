"""Names, options as text, and directories in place of names."""

import pytest

from anomseg.detectors import DEFAULT_DETECTOR, create_detector, detector_names, resolve_detector, save_detector
from anomseg.errors import ConfigError, DataError
from anomseg.registry import Spec


def test_default_detector_exists():
    assert DEFAULT_DETECTOR in detector_names()


def test_names_by_tag():
    assert detector_names("control") == ["chance", "position_prior", "local_contrast", "not_road"]
    assert detector_names("no-network") == ["chance", "position_prior", "local_contrast"]
    fitted = ["sml", "temperature_scaling", "mahalanobis", "gmm", "knn", "cdnp", "quality_regression"]
    assert detector_names("fitted") == fitted


@pytest.mark.parametrize("name", ["enrgy", "MSP", "softmax", "sml:x", "", "a/b:c=d"])
def test_unknown_names_and_misplaced_paths(name):
    with pytest.raises(ConfigError) as caught:
        create_detector(name)
    assert "\n" not in str(caught.value)


def test_suggestions():
    with pytest.raises(ConfigError, match="did you mean 'energy'"):
        create_detector("enrgy")
    with pytest.raises(ConfigError, match="did you mean 'temperature'"):
        create_detector("energy", temprature=2.0)
    with pytest.raises(ConfigError, match="did you mean 'temperature'"):
        create_detector("energy:temprature=2")


def test_options_as_text_are_typed():
    sml = create_detector("sml:boundary_suppression=false;upsample=score;minimum_variance=1e-3")
    assert sml.get_params() == {
        "boundary_suppression": False,
        "smoothing": True,
        "upsample": "score",
        "unbiased": False,
        "minimum_variance": 1e-3,
        "check_logits": True,
    }
    assert create_detector(Spec("energy", None, {"temperature": "2"})).temperature == 2.0
    assert create_detector("energy:temperature=2;upsample=score", temperature=3.0).get_params() == {
        "temperature": 3.0,
        "upsample": "score",
        "check_logits": True,
        "of": "",
    }


@pytest.mark.parametrize(
    "text", ["energy:temperature=warm", "energy:temperature=0", "msp:upsample=never", "chance:seed=1.5", "msp:a=1"]
)
def test_values_that_do_not_fit(text):
    with pytest.raises(ConfigError) as caught:
        create_detector(text)
    assert "\n" not in str(caught.value)


def test_resolve(tmp_path, monkeypatch):
    detector = create_detector("energy", temperature=2.0)
    assert resolve_detector(detector) is detector
    assert resolve_detector("energy:temperature=2").temperature == 2.0
    save_detector(detector, tmp_path / "msp")
    monkeypatch.chdir(tmp_path)
    assert resolve_detector("msp").registry_name == "msp"
    assert resolve_detector("./msp").registry_name == "energy"
    assert resolve_detector(tmp_path / "msp").temperature == 2.0
    with pytest.raises(ConfigError, match="options are fixed"):
        resolve_detector("./msp", temperature=1.0)
    with pytest.raises(DataError, match="not a directory"):
        resolve_detector("runs/missing")
