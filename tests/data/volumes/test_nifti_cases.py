"""NIfTI folders: what is read, and what each fault is told as."""

import gzip

import nibabel
import numpy as np
import pytest
from volume_trees import AFFINE, block, ct, pairs, write

from anomseg.data.volumes import load_cases, with_targets
from anomseg.data.volumes.nifti import read_geometry, read_volume, write_volume
from anomseg.errors import ConfigError, DataError, FrameError


def only(root, **more):
    return load_cases("nifti", root, **more)[0]


def test_pairs_are_read_in_slices_rows_columns(tmp_path):
    cases = load_cases("nifti", pairs(tmp_path))
    assert [case.id for case in cases] == ["a", "b"]
    image, prediction, truth = cases[1].decode()
    assert image.shape == (4, 9, 8)
    assert image.dtype == np.float32
    assert cases[1].spacing == (3.0, 2.0, 2.0)
    np.testing.assert_array_equal(image, ct(seed=1).transpose(2, 1, 0))
    np.testing.assert_array_equal(truth, block().transpose(2, 1, 0))
    np.testing.assert_array_equal(prediction, np.roll(block(), 1, 0).transpose(2, 1, 0))
    assert prediction.dtype == np.uint8


def test_another_orientation_of_the_same_mask_is_the_same_mask(tmp_path):
    root = pairs(tmp_path)
    straight = only(root).decode()
    mask = nibabel.load(root / "labels" / "a.nii.gz")
    flipped = mask.as_reoriented(np.array([[1, -1], [0, 1], [2, -1]]))
    nibabel.save(flipped, root / "labels" / "a.nii.gz")
    assert flipped.shape != mask.shape
    np.testing.assert_array_equal(only(root).decode()[2], straight[2])


def shifted():
    affine = AFFINE.copy()
    affine[0, 3] = 5.0
    return affine


@pytest.mark.parametrize(
    ("values", "affine", "told"),
    [
        (block(), shifted(), "lies up to 5 mm from its image"),
        (block(), np.diag([-2.0, 2.0, 3.0, 1.0]), "mm from its image"),
        (block(), np.diag([2.0, 2.0, 5.0, 1.0]), "voxels of 5 x 2 x 2 mm"),
        (block((8, 9, 5)), AFFINE, "has shape"),
        (block(value=7), AFFINE, "the mask holds 7, and known label values are 0, 1"),
        (block().astype(np.float32) / 2, AFFINE, "holds 0.5"),
        (np.full((8, 9, 4), np.nan, np.float32), AFFINE, "holds nan"),
        (np.zeros((8, 9, 4, 2), np.uint8), AFFINE, "4 axes"),
    ],
)
def test_masks_that_do_not_fit(tmp_path, values, affine, told):
    root = pairs(tmp_path, ["a"])
    write(root / "predictions" / "a.nii.gz", values, affine)
    with pytest.raises(FrameError, match=told) as caught:
        only(root).decode()
    assert "\n" not in str(caught.value)


def test_rounded_headers_still_fit(tmp_path):
    root = pairs(tmp_path, ["a"])
    write(root / "labels" / "a.nii.gz", block(), AFFINE + 1e-4)
    assert only(root).decode()[2].any()


def test_images_that_are_no_ct(tmp_path):
    root = pairs(tmp_path, ["a"])
    path = root / "images" / "a.nii.gz"
    broken = ct().astype(np.float32)
    broken[0, 0, :2] = np.nan
    write(path, broken)
    with pytest.raises(FrameError, match="2 voxels are NaN or infinite"):
        only(root).decode()
    rgb = np.zeros((8, 9, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    write(path, rgb)
    with pytest.raises(FrameError, match="colours"):
        only(root).decode()
    write(path, ct(), np.diag([2.0, 2.0, 3.0, 1.0]))
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole[:-200]))
    with pytest.raises(FrameError, match="damaged"):
        only(root).decode()
    path.write_bytes(b"no volume")
    with pytest.raises(FrameError, match="no NIfTI volume"):
        only(root).decode()
    flat = bytearray(whole)
    flat[312:328] = bytes(16)  # the affine's row of z
    path.write_bytes(gzip.compress(bytes(flat)))
    with pytest.raises(FrameError, match="correct the header"):
        only(root).decode()


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 1), (8, 9, 1, 1)])
def test_one_slice_is_a_volume(tmp_path, shape):
    write(tmp_path / "images" / "a.nii", ct(shape))
    write(tmp_path / "labels" / "a.nii.gz", np.ones(shape, np.uint8))
    image, prediction, truth = only(tmp_path).decode()
    assert image.shape == truth.shape == (1, 9, 8)
    assert prediction is None


def test_empty_masks_and_missing_files(tmp_path):
    root = pairs(tmp_path)
    write(root / "predictions" / "a.nii.gz", np.zeros((8, 9, 4), np.uint8))
    (root / "predictions" / "b.nii.gz").unlink()
    (root / "images" / "._a.nii.gz").write_bytes(b"macOS")
    first, second = load_cases("nifti", root)
    assert not first.decode()[1].any()
    assert second.prediction is None
    write(root / "labels" / "c.nii.gz", block())
    with pytest.raises(DataError, match=r"1 of labels have no image \(first: c\)"):
        load_cases("nifti", root)
    with pytest.raises(DataError, match="holds no images"):
        load_cases("nifti", tmp_path / "nothing")


def test_labels_and_targets(tmp_path):
    root = pairs(tmp_path, ["a"])
    both = block()
    both[3, 4, 1] = 2
    write(root / "labels" / "a.nii.gz", both)
    case = load_cases("nifti:labels=1:pancreas+2:tumour", root)[0]
    assert case.classes == ("background", "pancreas", "tumour")
    assert case.decode()[2].max() == 2
    merged = with_targets(case, ("foreground",))
    assert merged.classes == ("background", "foreground")
    assert merged.decode()[2].sum() == (both > 0).sum()
    assert with_targets(case, ("tumour",)) is case
    with pytest.raises(ConfigError, match="did you mean 'tumour'"):
        with_targets(case, ("tumor",))
    for text in ("pancreas", "1:", "a:b", "1:a+1:b"):
        with pytest.raises(ConfigError, match="VALUE:NAME"):
            load_cases(f"nifti:labels={text}", root)


def test_probabilities_are_checked(tmp_path):
    root = pairs(tmp_path, ["a"])
    (root / "probabilities").mkdir()
    path = root / "probabilities" / "a.npy"
    np.save(path, np.full((2, 4, 9, 8), 0.5, np.float16))
    assert only(root).soft().shape == (2, 4, 9, 8)
    np.save(path, np.full((3, 4, 9, 8), 0.5))
    with pytest.raises(FrameError, match="none below 0"):
        only(root).soft()


def test_maps_are_written_where_the_volume_lies(tmp_path):
    affine = np.array([[0, -2.0, 0, 30], [-2.0, 0, 0, 40], [0, 0, 3.0, -9], [0, 0, 0, 1]])
    path = write(tmp_path / "a.nii.gz", ct(), affine)
    geometry = read_geometry(path)
    write_volume(tmp_path / "copy.nii.gz", read_volume(path), geometry)
    np.testing.assert_allclose(read_volume(tmp_path / "copy.nii.gz"), read_volume(path))
    again = read_geometry(tmp_path / "copy.nii.gz")
    assert again.shape == geometry.shape == (4, 8, 9)
    np.testing.assert_allclose(again.affine, geometry.affine)
    # A voxel's value is at the same millimetres in both files.
    source = nibabel.load(path)
    place = np.linalg.inv(nibabel.load(tmp_path / "copy.nii.gz").affine) @ source.affine @ [3, 5, 2, 1]
    x, y, z = np.rint(place[:3]).astype(int)
    assert nibabel.load(tmp_path / "copy.nii.gz").get_fdata()[x, y, z] == source.get_fdata()[3, 5, 2]


def test_parts_and_limits():
    whole = [case.id for case in load_cases("phantoms:count=7")]
    parts = [[case.id for case in load_cases("phantoms:count=7", parts=f"{part}/3")] for part in range(3)]
    assert sorted(name for part in parts for name in part) == whole
    assert [case.id for case in load_cases("phantoms:count=7", parts="0+2/3")] == sorted(parts[0] + parts[2])
    assert len(load_cases("phantoms:count=7", limit=2)) == 2
    # Failures of one phantom are never on both sides.
    left = {case.group for case in load_cases("phantoms:count=4;failures=3", parts="0/2")}
    right = {case.group for case in load_cases("phantoms:count=4;failures=3", parts="1/2")}
    assert not left & right
    for parts in ("1", "2/2", "a/2", "0/0"):
        with pytest.raises(ConfigError, match="parts"):
            load_cases("phantoms:count=4", parts=parts)
    with pytest.raises(ConfigError, match="leave --root out"):
        load_cases("phantoms", "somewhere")
    with pytest.raises(ConfigError, match="give --root"):
        load_cases("nifti")
    with pytest.raises(ConfigError, match="did you mean 'phantoms'"):
        load_cases("phantom")
