"""The names people import: none may appear or vanish unannounced, and importing must stay light."""

import subprocess
import sys

import pytest

import anomseg

EXPECTED = [
    "AnomsegError",
    "Detector",
    "Frame",
    "Needs",
    "Prediction",
    "Scene",
    "SegmentationOutput",
    "Segmenter",
    "__version__",
    "create_detector",
    "evaluate",
    "generate_scene",
    "generated_frames",
    "load_detector",
    "load_frames",
    "load_segmenter",
    "make_scene",
    "merge",
    "predict",
    "predict_to_directory",
    "save_detector",
    "save_segmenter",
    "train",
]


def test_names():
    assert sorted(anomseg.__all__) == sorted(EXPECTED)
    assert len(anomseg.__all__) <= 30


@pytest.mark.parametrize("name", EXPECTED)
def test_each_name_resolves_and_is_described(name):
    thing = getattr(anomseg, name)
    assert isinstance(thing, str) or thing.__doc__


def test_unknown_names_fail_as_usual():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        anomseg.nothing  # noqa: B018


def test_pure_functions_of_the_design_are_there():
    for name in (
        "msp",
        "max_logit",
        "entropy",
        "energy",
        "js_to_uniform",
        "kl_from_uniform",
        "standardized_max_logit",
        "sml_suppress_and_smooth",
    ):
        assert callable(getattr(anomseg.scores, name))
    for name in ("PixelCurve", "ComponentScore", "maximal_detection_margin", "SegmentationIoU", "OpenSetIoU"):
        assert callable(getattr(anomseg.metrics, name))


def test_help_loads_no_numerical_library():
    code = (
        "import sys; from anomseg.cli.main import build_parser; build_parser().format_help(); "
        "print([m for m in ('torch', 'matplotlib', 'scipy', 'h5py', 'lightning', 'transformers') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "[]"
