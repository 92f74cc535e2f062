"""Facts of preprocessing, read as plain JSON, and what becomes of them."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anomseg.errors import DataError
from anomseg.segmenters import load_segmenter, make_scene
from anomseg.segmenters.huggingface import FAMILIES, Preprocessing
from anomseg.segmenters.huggingface.families import HALF, input_divisor
from anomseg.segmenters.huggingface.preprocessing import read_preprocessing
from anomseg.segmenters.pixels import IMAGENET


def _facts(tmp_path, name="preprocessor_config.json", **facts):
    (tmp_path / name).write_text(json.dumps(facts))
    return read_preprocessing(tmp_path, IMAGENET)


@pytest.mark.parametrize(
    ("facts", "edges"),
    [
        ({"size": {"height": 512, "width": 512}}, (512, 1024)),
        ({"size": {"height": 512, "width": 1024}}, (512, 1024)),
        ({"size": {"width": 512, "height": 1024}}, (512, 1024)),
        ({"size": [640, 640]}, (640, 1280)),
        ({"size": 512}, (512, 1024)),
        ({"size": 800, "max_size": 1333}, (800, 1333)),
        ({"size": {"shortest_edge": 1024, "longest_edge": 2048}}, (1024, 2048)),
        ({"size": {"shortest_edge": 800}}, (800, 1600)),
        ({"size": {"longest_edge": 640}}, (None, 640)),
        ({"size": {"height": 512, "width": 512}, "do_resize": False}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_sizes_keep_the_aspect(tmp_path, facts, edges):
    read = _facts(tmp_path, **facts)
    assert (read.shortest_edge, read.longest_edge) == edges


def test_values(tmp_path):
    assert read_preprocessing(None, HALF) == Preprocessing(*HALF)
    read = _facts(tmp_path, image_mean=[0.1, 0.2, 0.3], image_std=[1, 2, 3], rescale_factor=0.00392156862745098)
    assert (read.mean, read.std, read.scale, read.bgr) == ((0.1, 0.2, 0.3), (1, 2, 3), 1.0, False)
    assert _facts(tmp_path, do_normalize=False).mean == (0, 0, 0)
    assert _facts(tmp_path, do_normalize=False).std == (1, 1, 1)
    assert _facts(tmp_path, do_rescale=False, image_mean=[120] * 3).scale == 255
    assert _facts(tmp_path, rescale_factor=1 / 127.5).scale == pytest.approx(2)
    assert _facts(tmp_path, do_flip_channel_order=True).bgr
    assert _facts(tmp_path, image_mean=0.5, image_std=0.5).mean == (0.5, 0.5, 0.5)
    # Labels alone are reduced by one in ADE20K's training; nothing here reads the switch.
    assert _facts(tmp_path, do_reduce_labels=True) == Preprocessing(*IMAGENET)


def test_the_processor_file_of_several_parts(tmp_path):
    read = _facts(tmp_path, "processor_config.json", image_processor={"size": 320, "image_mean": [0, 0, 0]})
    assert (read.shortest_edge, read.mean) == (320, (0, 0, 0))


@pytest.mark.parametrize(
    "facts",
    [
        {"image_mean": [1, 2]},
        {"image_std": [0, 1, 1]},
        {"size": {"shortest_edge": "big"}},
        {"image_mean": "x"},
        {"rescale_factor": 0},
    ],
)
def test_damaged_facts(tmp_path, facts):
    with pytest.raises(DataError, match="preprocessor_config") as caught:
        _facts(tmp_path, **facts)
    assert "\n" not in str(caught.value)


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 1500), st.integers(1, 3000))
def test_edges_bound_the_size_and_keep_the_aspect(height, width, shortest, longest):
    facts = Preprocessing(*IMAGENET, shortest_edge=shortest, longest_edge=longest)
    size = facts.size((height, width))
    assert min(size) <= max(1, shortest)
    assert max(size) <= max(longest, 1)
    ratio = min(shortest / min(height, width), longest / max(height, width))
    assert abs(size[0] - max(1, height * ratio)) <= 0.5 + 1e-6
    assert abs(size[1] - max(1, width * ratio)) <= 0.5 + 1e-6


def test_a_directory_s_facts_reach_the_network_and_options_go_before_them(saved_segformer, tmp_path):
    folder = shutil.copytree(saved_segformer, tmp_path / "copy")
    facts = {"image_mean": [0.1] * 3, "image_std": [0.2] * 3, "size": {"shortest_edge": 64, "longest_edge": 100}}
    (folder / "preprocessor_config.json").write_text(json.dumps(facts))
    image = [np.random.default_rng(0).integers(0, 256, (128, 192, 3), np.uint8)]
    segmenter = load_segmenter(f"hf:{folder}")
    scene = make_scene(image, ["a"], segmenter)
    assert scene.input_size == (64, 96)
    torch.testing.assert_close(segmenter.preprocessing.apply(scene.images), (scene.images - 0.1) / 0.2)
    assert segmenter.identity()["mean"] == [0.1] * 3
    assert segmenter.identity()["shortest_edge"] == 64
    other = load_segmenter(f"hf:{folder};mean=[0,0,0];std=[1,1,1];scale=255;bgr=true;shortest_edge=0;longest_edge=0")
    scene = make_scene(image, ["a"], other)
    assert scene.input_size == (128, 192)
    assert torch.equal(other.preprocessing.apply(scene.images), scene.images.flip(1) * 255)
    assert load_segmenter(f"hf:{folder};size=[32,64]").working_size((128, 192)) == (32, 64)
    assert other.working_size((128, 192), (64, 64)) == (64, 64)


@pytest.mark.parametrize(
    ("family", "architecture", "divisor"),
    [
        ("segformer", {"model_type": "segformer", "patch_sizes": [7, 3, 3, 3], "depths": [2, 2]}, 32),
        ("beit", {"model_type": "beit", "patch_size": 16}, 16),
        ("upernet", {"backbone_config": {"model_type": "swin", "patch_size": 4, "depths": [2, 2]}}, 32),
        ("upernet", {"backbone_config": {"model_type": "dinov2", "patch_size": 14}}, 14),
        ("mask2former", {"backbone_config": {"model_type": "swin", "patch_size": 4, "depths": [2]}}, 32),
        ("mask2former", {"backbone_config": {"model_type": "dinov2", "patch_size": 14}}, 224),
        ("eomt", {"model_type": "eomt", "patch_size": 16, "image_size": 640}, 640),
    ],
)
def test_padding_by_architecture(family, architecture, divisor):
    assert input_divisor(architecture, FAMILIES[family]) == divisor
