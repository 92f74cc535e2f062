import io
import pickle
import zipfile

import h5py
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inference_parts import leftovers
from PIL import Image

from anomseg.errors import DataError, FrameError
from anomseg.inference import read_map, readers, write_hdf5, write_mask, write_npy, write_segmentation


@pytest.fixture
def scores() -> np.ndarray:
    return np.random.default_rng(0).normal(-10, 5, (37, 53)).astype(np.float32)


def test_npy_round_trips(tmp_path, scores):
    write_npy(tmp_path / "a.npy", scores)
    assert np.array_equal(read_map(tmp_path / "a.npy", scores.shape), scores)
    assert np.load(tmp_path / "a.npy").dtype == np.float32
    write_npy(tmp_path / "b.npy", scores, "float16")
    assert np.load(tmp_path / "b.npy").dtype == np.float16
    assert np.array_equal(read_map(tmp_path / "b.npy"), scores.astype(np.float16).astype(np.float32))


def test_hdf5_is_the_exchange_format(tmp_path, scores):
    write_hdf5(tmp_path / "snowstorm1_00.578.hdf5", scores)
    with h5py.File(tmp_path / "snowstorm1_00.578.hdf5") as file:
        assert list(file) == ["value"]
        value = file["value"]
        assert (value.dtype, value.shape) == (np.float16, scores.shape)
        assert (value.compression, value.compression_opts) == ("gzip", 9)
    assert np.array_equal(read_map(tmp_path / "snowstorm1_00.578.hdf5"), scores.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("writer", [write_hdf5, lambda path, scores: write_npy(path, scores, "float16")])
def test_scores_beyond_float16_are_refused_not_clipped(tmp_path, writer):
    with pytest.raises(FrameError, match=r"70000.*float16.*float32"):
        writer(tmp_path / "x.hdf5", np.float32([[-70000, 1]]))
    assert list(tmp_path.iterdir()) == []
    writer(tmp_path / "x.hdf5", np.float32([[-65504, 1]]))


def test_masks_are_black_and_white(tmp_path):
    write_mask(tmp_path / "m.png", np.array([[True, False]]))
    image = Image.open(tmp_path / "m.png")
    assert (image.mode, np.asarray(image).tolist()) == ("L", [[255, 0]])


def test_segmentations_keep_indices_and_colours(tmp_path):
    classes = np.uint8([[0, 1], [2, 255]])
    write_segmentation(tmp_path / "s.png", classes, ((1, 2, 3), (4, 5, 6), (7, 8, 9)))
    image = Image.open(tmp_path / "s.png")
    assert image.mode == "P"
    assert np.array_equal(np.asarray(image), classes)
    assert np.asarray(image.convert("RGB"))[:, :, 0].tolist() == [[1, 4], [7, 0]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_tiff(tmp_path, scores, dtype):
    tifffile.imwrite(tmp_path / "a.tiff", scores.astype(dtype))
    assert np.array_equal(read_map(tmp_path / "a.tiff"), scores.astype(dtype).astype(np.float32))


def test_float_tiff_written_by_pillow(tmp_path, scores):
    Image.fromarray(scores).save(tmp_path / "a.tif")
    assert np.array_equal(read_map(tmp_path / "a.tif"), scores)


def test_tiff_without_tifffile_says_what_to_install(tmp_path, scores, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tiff", scores.astype(np.float16))
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(FrameError, match="pip install tifffile"):
        read_map(tmp_path / "a.tiff")


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_are_scaled_to_one(tmp_path, suffix):
    Image.fromarray(np.uint16([[0, 32768, 65535]])).save(tmp_path / f"a.{suffix}")
    assert read_map(tmp_path / f"a.{suffix}") == pytest.approx(np.float32([[0, 32768 / 65535, 1]]))


def test_eight_bit_pictures_are_no_maps(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(FrameError, match="8 bits"):
        read_map(tmp_path / "a.png")


@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 4, 1)])
def test_a_single_channel_is_dropped(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.arange(12, dtype=np.float64).reshape(shape))
    assert np.array_equal(read_map(tmp_path / "a.npy"), np.arange(12, dtype=np.float32).reshape(3, 4))


def test_a_column_of_one_pixel_stays_one(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((1, 1, 5), np.float32))
    assert read_map(tmp_path / "a.npy").shape == (1, 5)
    np.save(tmp_path / "a.npy", np.zeros((5, 1), np.float32))
    assert read_map(tmp_path / "a.npy").shape == (5, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_broken_numbers_are_refused(tmp_path, bad):
    np.save(tmp_path / "a.npy", np.array([[0.0, bad]]))
    with pytest.raises(FrameError, match=r"a\.npy holds 1 NaN or infinite"):
        read_map(tmp_path / "a.npy")


def test_the_size_must_be_that_of_the_image(tmp_path, scores):
    write_npy(tmp_path / "a.npy", scores)
    with pytest.raises(FrameError, match="53x37 pixels, its image 37x53"):
        read_map(tmp_path / "a.npy", (53, 37))


def test_nothing_is_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (exec, ("raise SystemExit('executed')",))

    np.save(tmp_path / "object.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Bomb()))
    with zipfile.ZipFile(tmp_path / "zip.npy", "w") as archive:
        archive.write(tmp_path / "object.npy", "value.npy")
    for name in ("object", "raw", "zip"):
        with pytest.raises(FrameError, match=name):
            read_map(tmp_path / f"{name}.npy")


def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path, monkeypatch):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**7, 10**7)})
    (tmp_path / "a.npy").write_bytes(header.getvalue() + b"\0" * 64)
    with pytest.raises(FrameError):
        read_map(tmp_path / "a.npy")
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset("value", shape=(10**6, 10**6), dtype="f4", chunks=(64, 64))
    with pytest.raises(FrameError, match="claims shape"):
        read_map(tmp_path / "a.hdf5")
    monkeypatch.setattr(readers, "MAX_PIXELS", 10)
    np.save(tmp_path / "b.npy", np.zeros((4, 4)))
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "b.png")
    for name in ("b.npy", "b.png"):
        with pytest.raises(FrameError, match="claims shape"):
            read_map(tmp_path / name)


def test_hdf5_links_out_of_the_file_are_not_followed(tmp_path, scores):
    write_hdf5(tmp_path / "secret.hdf5", scores)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["value"] = h5py.ExternalLink(str(tmp_path / "secret.hdf5"), "value")
    with h5py.File(tmp_path / "b.hdf5", "w") as file:
        file["other"] = scores
    for name, match in (("a", "no dataset"), ("b", "it holds: other")):
        with pytest.raises(FrameError, match=match):
            read_map(tmp_path / f"{name}.hdf5")


@pytest.mark.parametrize(
    "values", [np.array([["a"]]), np.zeros((2, 2), complex), np.zeros((2, 2, 3)), np.zeros((0, 5)), np.float32(3)]
)
def test_other_arrays_are_no_maps(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(FrameError, match=r"a\.npy"):
        read_map(tmp_path / "a.npy")


def test_missing_and_unknown_files(tmp_path):
    with pytest.raises(FrameError, match="does not exist"):
        read_map(tmp_path / "a.npy")
    (tmp_path / "a.mat").write_bytes(b"x")
    with pytest.raises(FrameError, match="unknown type"):
        read_map(tmp_path / "a.mat")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["npy", "hdf5", "tiff", "png"]),
    st.data(),
)
def test_damaged_files_are_frame_errors_and_nothing_else(tmp_path, suffix, data):
    scores = np.arange(64, dtype=np.float32).reshape(8, 8)
    path = tmp_path / f"a.{suffix}"
    {
        "npy": lambda: write_npy(path, scores),
        "hdf5": lambda: write_hdf5(path, scores),
        "tiff": lambda: tifffile.imwrite(path, scores),
        "png": lambda: Image.fromarray(scores.astype(np.uint16)).save(path),
    }[suffix]()
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        values = read_map(path)
    except FrameError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert np.isfinite(values).all()
    assert "\n" not in refusal


def test_a_full_disk_leaves_nothing(tmp_path, scores, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    write_npy(tmp_path / "a.npy", scores)
    monkeypatch.setattr("anomseg.files.os.fsync", full)
    for writer in (write_npy, write_hdf5):
        with pytest.raises(DataError, match="No space left"):
            writer(tmp_path / "a.npy", scores + 1)
    assert np.array_equal(np.load(tmp_path / "a.npy"), scores)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_only_the_named_formats_are_decoded(tmp_path, monkeypatch, suffix):
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    (tmp_path / f"a{suffix}").write_bytes(script)

    def run(*arguments, **options):
        raise AssertionError("an interpreter was started for a file of scores")

    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", run)
    with pytest.raises(FrameError, match=r"cannot be read|not a TIFF") as caught:
        read_map(tmp_path / f"a{suffix}")
    assert "interpreter" not in str(caught.value)
