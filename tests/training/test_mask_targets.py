"""Masks of a class map against a pixel-by-pixel reading of it."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from anomseg.training.mask_targets import class_masks

SETS = torch.tensor(
    [
        [False, False, False],  # void
        [True, False, False],
        [False, True, False],
        [False, False, True],
        [False, True, False],  # the same class, of another data set
        [True, False, True],  # several classes
    ]
)


@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=2, max_size=4))
def test_every_pixel_lies_in_the_mask_of_its_class_and_in_no_other(pixels):
    rows = torch.tensor(pixels)
    found = class_masks(rows, SETS)
    classes = {int(SETS[row].int().argmax()) for row in rows.unique() if SETS[row].any()}
    if not classes:
        assert found is None
        return
    masks, taught = found
    assert taught.tolist() == sorted(classes)
    for y, line in enumerate(pixels):
        for x, row in enumerate(line):
            own = SETS[row].nonzero().flatten().tolist()
            assert [int(kind) for mask, kind in zip(masks, taught, strict=True) if mask[y, x] == 1] == own
            assert masks[:, y, x].sum() == len(own)


def test_an_image_with_a_label_of_several_classes_has_no_masks():
    assert class_masks(torch.tensor([[1, 5]]), SETS) is None
