"""Published recipes on small trees of their data sets, with a small network: from class maps to benchmark figures."""

import json

import numpy as np
import pytest
from PIL import Image

from anomseg.detectors import load_detector
from anomseg.evaluation import evaluate
from anomseg.training import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval.*"),
]


def put(image, label, values, seed):
    """Bands of the values, and a picture as grey as they are high."""
    stored = np.repeat(np.resize(np.repeat(np.array(values, np.uint8), 12), 48)[:, None], 64, 1)
    noise = np.random.default_rng(seed).integers(0, 20, (48, 64, 3))
    pixels = (stored[..., None].astype(int) * 11 % 230 + noise).astype(np.uint8)
    for path, array in ((image, pixels), (label, stored)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)


def street_hazards(root):
    frames = (
        ("train", "training", "t1", (1, 2, 8, 9)), ("train", "training", "t2", (1, 10, 8, 11)),
        ("train", "validation", "t4", (1, 2, 8, 11)),
        ("test", "test", "t5", (1, 2, 8, 14)), ("test", "test", "t6", (1, 14, 8, 9)), ("test", "test", "t6", (1, 8)),
    )  # fmt: skip
    for number, (archive, part, town, values) in enumerate(frames):
        image, label = (root / archive / kind / part / town / f"{number}.png" for kind in ("images", "annotations"))
        put(image, label, values, number)
    return {"train": 2, "val": 1}


def bdd_anomaly(root):
    frames = (
        ("train", "a", (10, 2, 0, 13)), ("train", "b", (10, 8, 0, 11)), ("train", "c", (10, 17, 0, 13)),
        ("val", "d", (10, 2, 0, 13)), ("val", "e", (10, 2, 0, 16)),
    )  # fmt: skip
    for number, (part, name, values) in enumerate(frames):
        put(
            root / "seg/images" / part / f"{name}.jpg",
            root / "seg/labels" / part / f"{name}_train_id.png",
            values,
            number,
        )
    return {"train": 2, "val": 1}


@pytest.mark.parametrize(
    ("recipe", "write"), [("street-hazards-pans", street_hazards), ("bdd-anomaly-pans", bdd_anomaly)]
)
def test_from_class_maps_to_figures(tmp_path, recipe, write):
    name = write.__name__
    counts = write(tmp_path / "data")
    small = {
        "options.size": [48, 64], "options.backbone": "resnet18", "options.bottleneck": 8, "options.width": 8,
    }  # fmt: skip
    summary = train(
        recipe,
        tmp_path / "out",
        {
            f"roots.{name}": str(tmp_path / "data"),
            **{f"stages.pans.module.{key}": value for key, value in small.items()},
            "stages.pans.data.workers": 0,
            "stages.pans.data.augment.crop": [32, 48],
            "stages.pans.trainer.steps": 2,
            "stages.pans.trainer.validate_every": 1,
            "stages.pans.trainer.accelerator": "cpu",
        },
        quiet=True,
    )
    assert summary["data"] == {f"{name}/{split}": count for split, count in counts.items()}
    detector = load_detector(tmp_path / "out")
    assert len(detector.segmenter.classes) == (13 if name == "street_hazards" else 17)
    (card,) = evaluate(name, tmp_path / "data", None, [detector], tmp_path / "figures")
    assert card["protocol"]["aggregation"] == "per_image"
    assert 0 < card["per_image_mean"]["ap"] <= 1
    # The clean image of StreetHazards is left out.
    assert card["frames"] == card["per_image_mean"]["frames"] == 2
    assert card["pixels"]["anomaly"] == 2 * 12 * 64
    told = json.loads(next((tmp_path / "figures").glob("*/metrics.json")).read_text())
    assert not [text for text in told.get("warnings", ()) if "taught" in text]


def test_noisy_negatives_from_class_maps_to_figures(tmp_path):
    street_hazards(tmp_path / "data")
    summary = train(
        "street-hazards-noisy-negatives",
        tmp_path / "out",
        {
            "roots.street_hazards": str(tmp_path / "data"),
            "stages.heads.module.options.size": [64, 96],
            "stages.heads.module.options.growth": 2,
            "stages.heads.module.options.ladder": [8, 6, 6, 4],
            "stages.heads.data.negatives.sources": [{"negatives": "synthetic:count=30;side=32"}],
            "stages.heads.data.negatives.regime": "all",
            "stages.heads.data.workers": 0,
            "stages.heads.data.batch_size": 2,
            "stages.heads.data.augment.crop": [64, 64],
            "stages.heads.trainer.steps": 2,
            "stages.heads.trainer.validate_every": 1,
            "stages.heads.trainer.accelerator": "cpu",
        },
        quiet=True,
    )
    assert summary["validation"]["val_outlier_ap"] > 0
    detector = load_detector(tmp_path / "out")
    assert len(detector.segmenter.classes) == 13
    assert detector.segmenter.outlier.layers == ("ladder4",)
    (card,) = evaluate("street_hazards", tmp_path / "data", None, [detector], tmp_path / "figures")
    assert card["detector"]["uses_negatives"]
    assert 0 < card["per_image_mean"]["ap"] <= 1
