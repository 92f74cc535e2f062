"""Which maps of the two networks of K5 are compared, and on what."""

import sys
from pathlib import Path

import pytest

from anomseg.errors import ConfigError
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import save_segmenter

CLAIMS = Path(__file__).parents[2] / "benchmarks" / "claims"
SEGFORMER = {
    "model_type": "segformer", "depths": [1, 1, 2, 2], "hidden_sizes": [8, 8, 8, 16], "strides": [4, 2, 2, 1],
    "num_attention_heads": [1, 1, 1, 2], "sr_ratios": [8, 4, 1, 1], "decoder_hidden_size": 8,
}  # fmt: skip


@pytest.fixture
def claims(monkeypatch):
    monkeypatch.syspath_prepend(str(CLAIMS))
    before = set(sys.modules)
    import knn
    import knn_networks

    yield knn, knn_networks
    for name in set(sys.modules) - before:
        if name.partition("_")[0] == "knn":
            del sys.modules[name]


def transformer(classes):
    return SEGMENTERS.create("hf", classes=classes, architecture=SEGFORMER, random_weights=True, size=(64, 64))


def test_of_blocks_the_last_of_each_coarse_stage_is_tried(claims):
    inner = {f"stage{stage}.block1.{part}" for stage in (3, 4) for part in ("query", "key", "value", "output")}
    found = claims[1].tried(transformer("camvid").feature_info)
    assert set(found) == {"stage2", "stage3", "stage4", "decoder", *inner}
    small = SEGMENTERS.create("pyramid", classes=["a", "b"], widths=[8, 8, 8, 8], bottleneck=8)
    assert claims[1].tried(small.feature_info) == ("stage8", "stage16", "bottleneck", "decoder8", "decoder4")


def test_a_class_that_was_not_taught_is_the_anomaly(claims, tmp_path):
    whole = transformer("camvid")
    for name, classes in (("all", whole.classes), ("fewer", whole.classes[:-1])):
        save_segmenter(transformer(list(classes)), tmp_path / name)
    options = claims[0].parsed(
        ["--data", "d", "--only", "transformer"]
        + [word for name in ("all", "fewer") for word in ("--transformer", str(tmp_path / name))]
        + [word for name in ("all", "fewer") for word in ("--convolution", str(tmp_path / name))]
    )
    both = claims[0].networks(options)
    assert [(one.key, one.test.key, one.bank.key) for one in both] == [
        ("transformer", "road_anomaly", "camvid-train"),
        ("transformer-no-bicyclist", "camvid-test", "camvid-train-drop"),
    ]
    options.convolution.pop()
    with pytest.raises(ConfigError, match="in pairs"):
        claims[0].networks(options)
