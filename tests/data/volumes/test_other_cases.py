"""The published layout of the decathlon's pancreas, the real slices, overlaps and the working grid."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from volume_trees import block, decathlon, write

from anomseg.data.volumes import Case, WorkingGrid, dice_overlap, load_cases, resample
from anomseg.data.volumes import grid as grid_module
from anomseg.errors import ConfigError, DataError, FrameError


def test_decathlon(tmp_path):
    decathlon(tmp_path)
    task = tmp_path / "Task07_Pancreas"
    write(task / "predictions" / "pancreas_002.nii.gz", block(value=2))
    cases = load_cases("msd_pancreas", tmp_path)
    assert [case.id for case in cases] == ["pancreas_001", "pancreas_002", "pancreas_003"]
    assert cases[0].classes == ("background", "pancreas", "tumour")
    assert cases[0].prediction is None
    _, prediction, truth = cases[1].decode()
    assert set(np.unique(truth)) == {0, 1, 2}
    assert prediction.max() == 2
    assert [case.id for case in load_cases("msd_pancreas", task)] == [case.id for case in cases]
    test = load_cases("msd_pancreas:section=test", tmp_path)
    assert [case.id for case in test] == ["pancreas_900"]
    assert test[0].truth is None
    (task / "imagesTr" / "pancreas_003.nii.gz").unlink()
    with pytest.raises(DataError, match="unpack the archive again"):
        load_cases("msd_pancreas", tmp_path)


def test_another_layout_is_told(tmp_path):
    with pytest.raises(DataError, match=r"unpack Task07_Pancreas\.tar"):
        load_cases("msd_pancreas", tmp_path)
    decathlon(tmp_path)
    (tmp_path / "Task07_Pancreas" / "dataset.json").write_text("{}")
    with pytest.raises(DataError, match="laid out as published"):
        load_cases("msd_pancreas", tmp_path)


def test_slices_are_three_stacks_of_unknown_scans(tmp_path):
    image = np.arange(15 * 4 * 4, dtype=np.int16).reshape(15, 4, 4)
    np.savez(tmp_path / "pancreas_slices.npz", image=image, mask=(image % 2).astype(np.uint8))
    cases = load_cases("pancreas_slices", tmp_path)
    assert [case.id for case in cases] == ["stack-0", "stack-1", "stack-2"]
    np.testing.assert_array_equal(cases[1].decode()[0], image[5:10].astype(np.float32))
    assert "not established" in cases[0].meta["provenance"]
    assert cases[0].prediction is None
    np.savez(tmp_path / "pancreas_slices.npz", image=image[:14], mask=image[:14])
    with pytest.raises(DataError, match="no stacks of 5"):
        load_cases("pancreas_slices", tmp_path)


def test_real_slices(shared_data):
    cases = load_cases("pancreas_slices", shared_data / "ct")
    assert [int(case.decode()[2].any((1, 2)).sum()) for case in cases] == [5, 5, 5]


def test_real_volume(shared_data, tmp_path):
    source = shared_data / "ct"
    for name, file in (("images", "example_ct_sm"), ("labels", "example_seg")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "case.nii.gz").symlink_to(source / f"{file}.nii.gz")
    case = load_cases("nifti", tmp_path)[0]
    with pytest.raises(FrameError, match="known label values are 0, 1"):
        case.decode()
    assert case.image().shape == (30, 101, 122)
    labels = "+".join(f"{value}:organs" for value in range(1, 118))
    truth = load_cases(f"nifti:labels={labels}", tmp_path)[0].decode()[2]
    assert 0.1 < truth.mean() < 0.9


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=20))
def test_dice_is_that_of_sets(pairs):
    first, second = (np.array(column, np.uint8) for column in zip(*pairs, strict=True))
    for index, value in zip((1, 2), dice_overlap(first, second, [1, 2]), strict=True):
        left, right = ({n for n, one in enumerate(part) if one == index} for part in (first, second))
        if left or right:
            assert value == pytest.approx(2 * len(left & right) / (len(left) + len(right)))
        else:
            assert np.isnan(value)


def test_a_mask_of_another_shape_or_index_is_refused():
    image = np.zeros((2, 3, 4), np.float32)
    for mask in (np.zeros((2, 3, 5), np.uint8), np.full((2, 3, 4), 2, np.uint8)):
        with pytest.raises(FrameError):
            Case("a", lambda: image, lambda mask=mask: mask, None, (1, 1, 1)).decode()
    with pytest.raises(FrameError, match="NaN"):
        Case("a", lambda: image + np.nan, None, None, (1, 1, 1)).decode()


def test_resampling_keeps_means_and_size():
    values = torch.rand(2, 6, 8, 10)
    small = resample(values, (3, 4, 5))
    assert small.shape == (2, 3, 4, 5)
    torch.testing.assert_close(small.mean((1, 2, 3)), values.mean((1, 2, 3)))
    assert resample(values, (6, 16, 4)).shape == (2, 6, 16, 4)
    assert resample(values[:, :1], (4, 8, 10)).shape == (2, 4, 8, 10)
    torch.testing.assert_close(resample(values, (6, 8, 10)), values)


def test_a_layout_is_made_class_by_class(monkeypatch):
    seen = []

    def recorded(values, size):
        seen.append(len(values))
        return resample(values, size)

    monkeypatch.setattr(grid_module, "resample", recorded)
    mask = np.random.default_rng(0).integers(0, 3, (5, 9, 8)).astype(np.uint8)
    layout = WorkingGrid((2, 12, 4)).layout(mask, (slice(0, 5), slice(0, 9), slice(0, 8)), 3)
    hot = torch.from_numpy((mask[None] == np.arange(3)[:, None, None, None]).astype(np.float32))
    assert torch.equal(layout, resample(hot, (2, 12, 4)))
    assert seen == [1, 1, 1]  # all at once, a whole scan would take gigabytes


def test_grid():
    grid = WorkingGrid((2, 4, 4), (-100.0, 100.0))
    volume = np.full((4, 8, 8), 50.0, np.float32)
    volume[:2] = -500
    box = grid.region(None, volume.shape, (1, 1, 1))
    image = grid.image(volume, box)
    torch.testing.assert_close(image[0], torch.full((4, 4), -1.0))
    torch.testing.assert_close(image[1], torch.full((4, 4), 0.5))
    mask = np.zeros((4, 8, 8), np.uint8)
    mask[2:, 2:6, 2:6] = 2
    layout = grid.layout(mask, box, 3)
    torch.testing.assert_close(layout.sum(0), torch.ones(2, 4, 4))
    assert layout[2].sum() == 4
    np.testing.assert_array_equal(grid.mask(mask, box, 3)[1].numpy()[1:3, 1:3], 2)
    # The region follows the mask, its margin is in millimetres, and a map goes back to where it was.
    near = WorkingGrid((2, 4, 4), margin=2.0)
    assert near.region(mask, mask.shape, (4.0, 1.0, 2.0)) == (slice(1, 4), slice(0, 8), slice(1, 7))
    assert near.region(np.zeros_like(mask), mask.shape, (1, 1, 1)) == tuple(slice(0, side) for side in mask.shape)
    part = near.region(mask, mask.shape, (4.0, 1.0, 2.0))
    back = near.back(torch.ones(2, 4, 4), part, mask.shape)
    assert back.shape == mask.shape
    assert back.sum() == 3 * 8 * 6
    for wrong in ({"size": (0, 4, 4)}, {"window": (5.0, 5.0)}, {"margin": -1.0}):
        with pytest.raises(ConfigError):
            WorkingGrid(**wrong)
