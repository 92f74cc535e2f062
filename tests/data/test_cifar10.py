import pickle

import numpy as np
import pytest
from PIL import Image

from anomseg.benchmarks import get_benchmark
from anomseg.data import load_frames, verify
from anomseg.data.label_space import CIFAR10
from anomseg.errors import ConfigError, DataError, FrameError
from anomseg.registry import BENCHMARKS


def write_folders(root, count=10, parts=("train", "test")):
    for part in parts:
        for index, name in enumerate(CIFAR10.names):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.full((32, 32, 3), 20 * index + number, np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{number:04d}.png")


def write_batch(path, labels, seed=0):
    """The official record: one byte of class, 1024 of red, 1024 of green, 1024 of blue, row by row."""
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 32, 32, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        for label, image in zip(labels, pixels, strict=True):
            stream.write(bytes([label]) + b"".join(image[..., channel].tobytes() for channel in range(3)))
    return pixels


def write_binary(root, count=20):
    labels = [number % 10 for number in range(count)]
    batches = [write_batch(root / f"data_batch_{batch}.bin", labels, batch) for batch in range(1, 6)]
    return np.concatenate(batches), write_batch(root / "test_batch.bin", labels, 9)


def test_folders_are_frames_of_one_class_each(tmp_path):
    write_folders(tmp_path)
    frames = load_frames("cifar10", tmp_path, "test")
    assert len(frames) == 100
    assert len({frame.id for frame in frames}) == 100
    for frame in frames:
        name = frame.id.split("_")[1]
        assert frame.classes.shape == (32, 32)
        assert (frame.classes == CIFAR10.names.index(name)).all()
        assert frame.image()[0, 0, 0] // 20 == CIFAR10.names.index(name)
        assert frame.label is None
    # The first few show every class.
    assert {frame.id.split("_")[1] for frame in load_frames("cifar10", tmp_path, "test", limit=10)} == set(
        CIFAR10.names
    )


def test_validation_is_a_tenth_of_the_training_images(tmp_path):
    write_folders(tmp_path, 20)
    ids = {split: {frame.id for frame in load_frames("cifar10", tmp_path, split)} for split in ("train", "val")}
    assert not ids["train"] & ids["val"]
    assert ids["train"] | ids["val"] == {frame.id for frame in load_frames("cifar10", tmp_path, "trainval")}
    assert len(ids["val"]) == 20
    assert {one.split("_")[1] for one in ids["val"]} == set(CIFAR10.names)


def test_held_out_classes_are_the_anomalies(tmp_path):
    write_folders(tmp_path)
    frames = load_frames("cifar10", tmp_path, "test", held_out="cat,truck")
    odd = {frame.id.split("_")[1] for frame in frames if (frame.label == 1).all()}
    assert odd == {"cat", "truck"}
    assert all((frame.label == frame.label[0, 0]).all() for frame in frames)
    dropped = load_frames("cifar10", tmp_path, "train", held_out=["cat"], held_out_images="drop")
    assert len(dropped) == 9 * 9
    void = load_frames("cifar10", tmp_path, "train", held_out=["cat"], held_out_images="void")
    assert {int(frame.classes[0, 0]) for frame in void if "cat" in frame.id} == {255}
    assert {int(frame.classes[0, 0]) for frame in void if "cat" not in frame.id} == set(range(10)) - {3}
    with pytest.raises(ConfigError, match="airplane"):
        load_frames("cifar10", tmp_path, held_out="airplan")
    with pytest.raises(DataError, match="nothing is left"):
        load_frames("cifar10", tmp_path, held_out=list(CIFAR10.names), held_out_images="drop")


@pytest.mark.parametrize("below", ["", "cifar-10-batches-bin"])
def test_binary_files_give_the_pixels_that_were_written(tmp_path, below):
    train, test = write_binary(tmp_path / below)
    frames = load_frames("cifar10", tmp_path, "trainval")
    assert len(frames) == 100
    for frame, pixels in zip(frames, train, strict=True):
        assert np.array_equal(frame.image(), pixels)
    assert [int(frame.classes[5, 7]) for frame in frames[:12]] == [*range(10), 0, 1]
    assert np.array_equal(load_frames("cifar10", tmp_path)[3].image(), test[3])


def test_images_of_one_file_have_fingerprints_of_their_own(tmp_path):
    from anomseg.data import frame_fingerprint

    write_binary(tmp_path)
    prints = {frame_fingerprint(frame) for frame in load_frames("cifar10", tmp_path, "trainval")}
    assert len(prints) == 100


@pytest.mark.parametrize("below", ["", "cifar-10-batches-py"])
def test_pickles_are_refused_and_not_opened(tmp_path, below):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was opened",))

    (tmp_path / below).mkdir(exist_ok=True)
    for name in ("data_batch_1", "test_batch"):
        (tmp_path / below / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DataError, match=r"binary version.*cifar-10-binary") as caught:
        load_frames("cifar10", tmp_path)
    assert "\n" not in str(caught.value)


def test_damaged_files_are_told(tmp_path):
    write_binary(tmp_path)
    whole = (tmp_path / "test_batch.bin").read_bytes()
    (tmp_path / "test_batch.bin").write_bytes(whole[:-5])
    with pytest.raises(DataError, match="cut short"):
        load_frames("cifar10", tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(b"\x0b" + whole[1:])
    with pytest.raises(DataError, match="above 9"):
        load_frames("cifar10", tmp_path)
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_3\.bin"):
        load_frames("cifar10", tmp_path, "train")
    (tmp_path / "test_batch.bin").write_bytes(whole)
    frames = load_frames("cifar10", tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(whole[:5000])
    with pytest.raises(FrameError, match="cut short"):
        frames[-1].image()


def test_nothing_of_it_is_told_with_what_was_looked_for(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match=r"<class>.*test_batch\.bin"):
        load_frames("cifar10", tmp_path)
    write_folders(tmp_path, 2)
    for path in (tmp_path / "test" / "dog").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="class dog"):
        load_frames("cifar10", tmp_path)
    with pytest.raises(ConfigError, match="binary"):
        load_frames("cifar10", tmp_path, layout="binari")
    with pytest.raises(ConfigError, match="label values"):
        load_frames("cifar10", tmp_path, label_values="0:0")


def test_verify_counts_and_reads_every_image(tmp_path):
    write_folders(tmp_path, 10)
    report = verify("cifar10", tmp_path)
    assert report.ok
    assert {count.split: count.found for count in report.counts} == {
        "train": 90, "val": 10, "trainval": 100, "test": 100,
    }  # fmt: skip
    (tmp_path / "test" / "dog" / "0003.png").write_bytes(b"\x89PNG nothing")
    problems = verify("cifar10", tmp_path, "test").problems
    assert [problem.kind for problem in problems] == ["unreadable"]
    write_binary(tmp_path / "binary")
    kinds = {problem.kind for problem in verify("cifar10", tmp_path / "binary").problems}
    assert kinds == {"count"}


def test_it_is_a_benchmark():
    assert "cifar10" in BENCHMARKS
    assert get_benchmark("cifar10").spec.anomalous(["automobile"]) == (1,)


def test_the_subset_at_hand(shared_data, tmp_path):
    import zipfile

    with zipfile.ZipFile(shared_data / "cifar10_subset.zip") as archive:
        names = [name for name in archive.namelist() if name.startswith("test/")]
        archive.extractall(tmp_path, names)
    frames = load_frames("cifar10", tmp_path, held_out=["cat", "dog", "horse", "deer"])
    assert len(frames) == 2000
    assert frames[0].image().shape == (32, 32, 3)
    assert sum(int(frame.label[0, 0]) for frame in frames[:100]) == 40
