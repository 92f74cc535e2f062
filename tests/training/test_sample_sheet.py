"""Pictures of training samples are those that the training is shown."""

import numpy as np
import pytest
import yaml
from PIL import Image
from tiny_camvid import write_split

from anomseg.cli.main import run
from anomseg.data import label_space
from anomseg.errors import ConfigError
from anomseg.training import load_recipe
from anomseg.training.data_of_stage import StageData
from anomseg.training.sample_sheet import GAP, draw_samples

CROP = (32, 40)


@pytest.fixture
def recipe(tmp_path):
    for split in ("train", "val"):
        write_split(tmp_path / "camvid", split, 3, [3, 8])
    negatives = {
        "sources": [{"negatives": "synthetic:count=6"}],
        "regime": "synthetic_only",
        "paste": {"share": 1.0, "area": [0.1, 0.2]},
    }
    data = {
        "space": "camvid",
        "sources": [{"benchmark": "camvid"}],
        "validation": {"benchmark": "camvid", "split": "val"},
        "augment": {"crop": list(CROP), "scale": [0.9, 1.0]},
    }
    stages = [
        {"name": "plain", "stage": "segmentation", "data": data},
        {"name": "cut", "stage": "features", "data": {**data, "negatives": negatives}},
        {"name": "heads", "stage": "segmentation", "takes": ["cut"], "data": {"batch_size": 2}},
    ]
    tree = {"recipe": "tiny", "roots": {"camvid": str(tmp_path / "camvid")}, "stages": stages}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_each_picture_shows_image_labels_and_what_is_pasted(recipe, tmp_path):
    plan = load_recipe(recipe)
    drawn = draw_samples(plan, tmp_path / "out", "heads", 5)
    assert drawn.pasted == 5
    crops = StageData(plan, plan.stages[1]).labelled.crops()
    palette = np.asarray(label_space("camvid").palette)
    for number, path in enumerate(drawn.files):
        picture, sample = np.asarray(Image.open(path)), crops[number]
        assert picture.shape == (CROP[0], 3 * CROP[1] + 2 * GAP, 3)
        image, labels, overlaid = (picture[:, part * (CROP[1] + GAP) :][:, : CROP[1]] for part in range(3))
        assert np.abs(image / 255 - sample["image"].permute(1, 2, 0).numpy()).max() < 1e-3
        rows, outlier = sample["rows"].numpy(), sample["outlier"].numpy()
        assert (labels[rows == 0] == 0).all()
        assert (labels[rows > 0] == palette[rows[rows > 0] - 1]).all()
        assert (overlaid[outlier == 0] == image[outlier == 0]).all()
        assert (overlaid[outlier == 1] != image[outlier == 1]).any(axis=1).mean() > 0.9
    assert Image.open(tmp_path / "out" / "samples.png").width > CROP[1]


def test_stages_without_negatives_and_wrong_requests(recipe, tmp_path):
    plan = load_recipe(recipe)
    drawn = draw_samples(plan, tmp_path / "out", count=2)
    assert (drawn.stage, drawn.pasted) == ("plain", None)
    assert np.asarray(Image.open(drawn.files[0])).shape[1] == 2 * CROP[1] + GAP
    with pytest.raises(ConfigError, match="did you mean 'heads'"):
        draw_samples(plan, tmp_path / "out", "head")
    with pytest.raises(ConfigError, match="--count"):
        draw_samples(plan, tmp_path / "out", count=0)


def test_the_command_takes_overrides_of_the_recipe(recipe, tmp_path, capsys):
    rest = ["--stage", "cut", "--count", "3", "--out", str(tmp_path / "out")]
    share = ["--stages.cut.data.negatives.paste.share", "0.0"]
    assert run(["samples", str(recipe), *rest, *share]) == 0
    assert "3 samples of cut, 0 with something pasted" in capsys.readouterr().out
    assert len(list((tmp_path / "out").glob("cut-*.png"))) == 3
    assert (
        run(["samples", str(recipe), "--stages.cut.data.batch", "3", "--out", str(tmp_path / "x"), "--stage", "cut"])
        == 2
    )
    assert "batch_size" in capsys.readouterr().err
