"""Configurations of comparisons: what they mean, and one line for each way in which they cannot be used."""

import pytest
import yaml
from compare_parts import write_config, write_frames, write_network

from anomseg.compare import read_config, template
from anomseg.compare.rows import SYSTEMS, default_kind
from anomseg.errors import ConfigError, DataError
from anomseg.registry import DETECTORS


@pytest.fixture
def place(tmp_path):
    write_network(tmp_path / "network")
    write_frames(tmp_path / "frames", count=1)
    return tmp_path


def test_relative_paths_start_from_the_file(place, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    config = read_config(write_config(place, fit={"data": "road_anomaly_21=frames@test"}, reference="msp"))
    assert config.segmenter == str(place / "network")
    assert config.benchmarks[0].root == place / "frames"
    assert config.fit is not None
    assert config.fit.data == (f"road_anomaly_21={place / 'frames'}@test",)
    assert config.costs is None


def test_a_root_of_the_command_line_goes_before_the_file(place, tmp_path_factory):
    other = write_frames(tmp_path_factory.mktemp("other"), count=1)
    config = read_config(write_config(place), {"road_anomaly_21": str(other)})
    assert config.benchmarks[0].root == other


def test_titles_kinds_and_numbers(place):
    rows = ["msp", "msp:upsample=score", {"detector": "energy", "title": "free energy", "kind": "method"}, "not_road"]
    config = read_config(write_config(place, detectors=rows))
    assert [(row.title, row.kind) for row in config.rows] == [
        ("msp", "baseline"),
        ("msp-2", "baseline"),
        ("free energy", "method"),
        ("not_road", "control"),
    ]
    assert all(default_kind(name) == "method" for name in SYSTEMS if name in DETECTORS)


BAD = {
    "task": ({"task": "failures"}, "unknown task 'failures': did you mean 'failure'?"),
    "key": ({"segmentor": "bundled"}, "unknown entry 'segmentor': did you mean 'segmenter'?"),
    "segmenter": ({"segmenter": "bundeld"}, "unknown segmenter 'bundeld': did you mean 'bundled'?"),
    "weightless": ({"segmenter": "pyramid"}, "pyramid has no weights of its own"),
    "detector": (
        {"detectors": ["energy", "enrgy"]},
        r"detectors\[1\]: unknown detector 'enrgy': did you mean 'energy'?",
    ),
    "option": ({"detectors": ["energy:temp=2"]}, r"detectors\[0\]: unknown option of detector energy 'temp'"),
    "directory": ({"detectors": ["runs/none"]}, r"detectors\[0\]: there is no directory runs/none"),
    "empty": ({"detectors": []}, "at least one detector"),
    "row key": ({"detectors": [{"detector": "msp", "titel": "x"}]}, "unknown key 'titel': did you mean 'title'?"),
    "kind": ({"detectors": [{"detector": "msp", "kind": "contrl"}]}, "unknown kind 'contrl': did you mean 'control'?"),
    "twice": ({"detectors": [{"detector": "msp", "title": "a"}, {"detector": "energy", "title": "a"}]}, "'a' already"),
    "fit": ({"detectors": ["knn:k=3"]}, r"detectors\[0\]: knn has to be fitted first"),
    "reference": ({"reference": "enrgy"}, "unknown row 'enrgy': did you mean 'energy'?"),
    "root": ({"benchmark": {"name": "road_anomaly_21", "root": "nowhere"}}, "there is no folder .*nowhere"),
    "no root": ({"benchmark": "road_anomaly_21"}, "give --root.road_anomaly_21 DIR"),
    "benchmark": ({"benchmark": {"name": "road_anomly", "root": "frames"}}, "did you mean 'road_anomaly'?"),
    "protocol": ({"benchmark": {"name": "road_anomaly_21", "root": "frames", "protocol": "coas"}}, "mean 'caos'"),
    "split": ({"benchmark": {"name": "road_anomaly_21", "root": "frames", "split": "tset"}}, "unknown split of road"),
    "size": ({"benchmark": {"name": "road_anomaly_21", "root": "frames", "size": "big"}}, "is not HEIGHTxWIDTH"),
    "titles": ({"benchmark": None, "benchmarks": [{"name": "road_anomaly_21", "root": "frames"}] * 2}, "not both"),
    "bench option": ({"benchmark": {"name": "road_anomaly_21:a=3", "root": "frames"}}, "unknown option of benchmark"),
    "held out": (
        {"benchmark": {"name": "camvid", "root": "frames", "held_out": ["bicylist"]}},
        "unknown class of camvid 'bicylist': did you mean 'bicyclist'",
    ),
    "bands": (
        {"task": "failure", "benchmark": {"name": "camvid", "root": "frames", "bands": [3]}},
        "go with task: anomaly only",
    ),
    "no network": ({"segmenter": "frames"}, "frames holds no saved network"),
    "fit split": ({"fit": "road_anomaly_21=frames@trian"}, "unknown split of road_anomaly_21 'trian'"),
    "costs": ({"costs": {"repeats": 0}}, "repeats of costs must be a whole number from 1"),
    "seed": ({"seed": "a"}, "seed must be a whole number from 0"),
    "fit data": ({"fit": "camvid=nowhere@train"}, "with a folder that is there"),
}


@pytest.mark.parametrize(("content", "told"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_used_is_told_in_one_line(place, content, told):
    with pytest.raises(ConfigError, match=told) as caught:
        read_config(write_config(place, **content))
    assert "\n" not in str(caught.value)
    assert "compare.yaml: " in str(caught.value)


def test_two_benchmarks_need_titles(place):
    both = [{"name": "road_anomaly_21", "root": "frames"}] * 2
    path = write_config(place)
    content = yaml.safe_load(path.read_text())
    del content["benchmark"]
    path.write_text(yaml.safe_dump({**content, "benchmarks": both}))
    with pytest.raises(ConfigError, match="two benchmarks are called 'road_anomaly_21'"):
        read_config(path)


def test_no_yaml_and_no_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_config(tmp_path / "none.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [")
    with pytest.raises(ConfigError, match="is not YAML"):
        read_config(bad)


def test_an_unknown_root_is_refused(place):
    with pytest.raises(ConfigError, match="unknown --root 'road_anomaly': did you mean 'road_anomaly_21'"):
        read_config(write_config(place), {"road_anomaly": "x"})


def test_the_template_has_every_detector_and_can_be_read(place):
    text = template()
    missing = [name for name in DETECTORS.names() if f"- {name} " not in text]
    assert not missing
    (place / "RoadAnomaly").mkdir()
    path = place / "template.yaml"
    path.write_text(text)
    config = read_config(path)
    assert {"msp", "chance", "position_prior"} <= {row.registry_name for row in config.rows}
