"""Generated scenes as frames and as files."""

from functools import lru_cache

import numpy as np
import pytest
from PIL import Image

from anomseg.data.generated import dataset, generate_scene, generated_frames, write_dataset
from anomseg.errors import ConfigError
from anomseg.types import Frame


def test_frames_are_drawn_only_when_asked_and_once_for_image_and_labels(monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return generate_scene(*arguments)

    monkeypatch.setattr(dataset, "_remembered", lru_cache(maxsize=4)(counted))
    frames = generated_frames(1000, size=(64, 80))
    assert len(frames) == 1000
    assert all(isinstance(frame, Frame) for frame in frames)
    assert frames[7].id == "scene-0007"
    assert frames[7].cluster == "scene-0007"
    assert frames[7].has_label
    assert frames[7].has_classes
    assert calls == []
    image, label, classes = frames[7].image(), frames[7].label, frames[7].classes
    assert len(calls) == 1
    assert image.shape == (64, 80, 3)
    assert ((classes == 255) == (label == 1)).all()
    image[:] = 0
    assert frames[7].image().any()


def test_a_frame_does_not_depend_on_how_many_there_are_but_on_the_seed():
    short, long, other = (
        generated_frames(1, size=(64, 64)),
        generated_frames(5, size=(64, 64)),
        generated_frames(1, 1, (64, 64)),
    )
    assert (short[0].image() == long[0].image()).all()
    assert (short[0].image() != other[0].image()).any()
    seeds = {frame.meta["seed"] for start in range(20) for frame in generated_frames(50, start)}
    assert len(seeds) == 1000


def test_clean_frames_have_ground_truth_of_zeros():
    for frames in (generated_frames(1, size=(64, 64), clean=True), generated_frames(1, size=(64, 64), objects=0)):
        assert frames[0].has_label
        assert not frames[0].label.any()


def test_written_files_decode_to_the_frames(tmp_path):
    files = write_dataset(tmp_path / "set", 2, seed=3, size=(72, 96))
    assert [file.name for file in files] == ["0.png", "1.png"]
    found = sorted(path.relative_to(tmp_path / "set").as_posix() for path in (tmp_path / "set").rglob("*.*"))
    assert found == [f"{folder}/{k}.png" for folder in ("classes", "images", "labels_masks") for k in (0, 1)]
    for k, frame in enumerate(generated_frames(2, 3, (72, 96))):
        assert (np.asarray(Image.open(files[k])) == frame.image()).all()
        assert (np.asarray(Image.open(tmp_path / "set" / "labels_masks" / f"{k}.png")) == frame.label).all()
        assert (np.asarray(Image.open(tmp_path / "set" / "classes" / f"{k}.png")) == frame.classes).all()


def test_unknown_layouts_and_negative_counts_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="repackaged"):
        write_dataset(tmp_path, 1, layout="official")
    with pytest.raises(ConfigError, match="negative"):
        generated_frames(-1)
    assert list(tmp_path.iterdir()) == []
