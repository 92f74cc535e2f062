"""Benchmarks and protocols: what is registered, what presets change, what is printed."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from anomseg.benchmarks import BENCHMARKS, PROTOCOLS, Protocol, get_benchmark, resolve_protocol
from anomseg.data import DATASETS
from anomseg.errors import ConfigError, DataError

NAMES = BENCHMARKS.names()


def test_names_are_those_of_the_design():
    assert set(NAMES) == set(DATASETS.names()) == {
        "road_anomaly", "road_anomaly_21", "road_obstacle_21", "fishyscapes_lost_and_found", "fishyscapes_static",
        "street_hazards", "bdd_anomaly", "camvid", "idd_lite", "cifar10", "pasted", "wilddash", "folder",
        "lost_and_found", "wilddash_2", "wd_pascal", "cityscapes", "vistas_np", "muad", "camvid_ood", "issu", "ade_ood",
        "oodis",
    }  # fmt: skip
    assert PROTOCOLS.names() == ["default", "smiyc", "fishyscapes", "caos", "densehybrid", "pebal"]


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_is_complete(name):
    benchmark = get_benchmark(name)
    assert benchmark.name == name
    assert benchmark.splits[0] == benchmark.protocol.split
    assert benchmark.spec.title
    if name != "folder":
        assert benchmark.spec.licence
        assert benchmark.spec.citation
        assert benchmark.spec.homepage or "built by 'anomseg data" in benchmark.spec.notes


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("preset", ["default", "smiyc", "fishyscapes", "caos", "densehybrid", "pebal"])
def test_every_protocol_can_be_printed_and_stored(name, preset):
    protocol = resolve_protocol(get_benchmark(name), preset)
    assert protocol.name == preset
    values = json.loads(json.dumps(protocol.as_dict()))
    assert set(values) == {field.name for field in dataclasses.fields(Protocol)}
    text = protocol.describe()
    assert "\n" not in text
    assert protocol.split in text
    assert preset in text


def test_presets_change_what_their_communities_do_differently():
    own = get_benchmark("road_anomaly")
    rules = {
        name: (protocol.aggregation, protocol.clean_images, protocol.fpr_rule)
        for name in PROTOCOLS.names()
        for protocol in [resolve_protocol(own, name)]
    }
    assert rules == {
        "default": ("pooled", "keep", "first>="),
        "smiyc": ("pooled", "keep", "first>="),
        "fishyscapes": ("pooled", "keep", "first>="),
        "caos": ("per_image", "drop", "nearest"),
        "densehybrid": ("pooled", "keep", "first>"),
        "pebal": ("pooled", "keep", "nearest"),
    }
    stored = {
        name: (protocol.void, protocol.score_storage, protocol.threshold_source, protocol.ap_rule)
        for name in PROTOCOLS.names()
        for protocol in [resolve_protocol(own, name)]
    }
    assert stored == {
        "default": ((255,), "float32", "best_f1", "step"),
        "smiyc": ((255,), "smiyc", "best_f1", "step"),
        "fishyscapes": ((255,), "float32", "none", "step"),
        "caos": ((), "float32", "none", "step"),
        "densehybrid": ((255,), "float32", "other_half", "step"),
        "pebal": ((255,), "float32", "none", "step"),
    }
    assert "void pixels counted as inliers" in resolve_protocol(own, "caos").describe()
    assert "percentile bins" in resolve_protocol(own, "smiyc").describe()
    assert resolve_protocol(own) == own.protocol


def test_component_sizes_of_the_two_tracks():
    sizes = {name: get_benchmark(name).protocol for name in NAMES}
    assert (sizes["road_anomaly_21"].min_prediction, sizes["road_anomaly_21"].min_anomaly) == (500, 100)
    assert (sizes["road_obstacle_21"].min_prediction, sizes["road_obstacle_21"].min_anomaly) == (50, 10)
    assert not sizes["camvid"].components
    with pytest.raises(ConfigError, match="both component sizes"):
        Protocol("p", "test", "t", min_anomaly=3)


def test_split_and_table_of_a_run_are_on_its_protocol():
    benchmark = get_benchmark("road_anomaly_21")
    protocol = resolve_protocol(benchmark, "caos", split="test", label_values="0:0,9:1")
    assert (protocol.split, protocol.label_table) == ("test", "given (0:0,9:1)")
    assert benchmark.protocol.split == "validation"
    with pytest.raises(DataError, match="its splits are: validation, test"):
        resolve_protocol(benchmark, split="tset")
    assert "0:0,2-255:1" in get_benchmark("road_anomaly").protocol.label_table


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'fishyscapes_static'"):
        get_benchmark("fishyscapes_statik")
    with pytest.raises(ConfigError, match="did you mean 'caos'"):
        resolve_protocol(get_benchmark("camvid"), "chaos")
    with pytest.raises(ConfigError, match="did you mean 'masks'"):
        get_benchmark("folder:mask=a")


def test_protocols_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_benchmark("camvid").protocol.fpr_rule = "nearest"


def test_benchmark_loads_frames_with_its_options(tmp_path):
    for folder, array in (("photos", np.zeros((4, 6, 3), np.uint8)), ("gt", np.full((4, 6), 9, np.uint8))):
        (tmp_path / folder).mkdir()
        Image.fromarray(array).save(tmp_path / folder / "a.png")
    frames = get_benchmark("folder:images=photos;masks=gt;values=0:0,9:1").load_frames(tmp_path)
    assert frames[0].label.tolist() == [[1] * 6] * 4
    frames = get_benchmark("folder:images=photos;masks=gt").load_frames(tmp_path, label_values="9:255")
    assert frames[0].label.max() == 255


def test_listing_benchmarks_does_not_import_torch():
    code = "import sys, anomseg.benchmarks; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
