"""Maskomaly against facts verified with the published code, and against a plain rewriting of the formula."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from anomseg.errors import CompatibilityError
from anomseg.scores import maskomaly, maskomaly_resized, query_roles
from anomseg.scores import maskomaly as maskomaly_function

CLASSES = 19


def class_logits_of(confidences: dict[int, tuple[int, float]], queries: int = 100) -> torch.Tensor:
    """Logits under which a query gives its class this probability; the others are surely void."""
    probabilities = torch.zeros(1, queries, CLASSES + 1, dtype=torch.float64)
    probabilities[..., CLASSES] = 1
    for query, (label, p) in confidences.items():
        probabilities[0, query] = (1 - p) / CLASSES
        probabilities[0, query, label] = p
    return probabilities.log()


def the_toy() -> tuple[torch.Tensor, torch.Tensor]:
    classes = class_logits_of({5: (0, 0.9), 6: (1, 0.8), 7: (2, 0.6), 49: (19, 0.95), 19: (19, 0.7)})
    masks = torch.zeros(1, 100, 1, 6, dtype=torch.float64)
    masks[0, 5, 0] = torch.tensor([1, 0.5, 0, 0, 0, 0])
    masks[0, 6, 0] = torch.tensor([0, 0.5, 0, 0, 0, 0.05])
    masks[0, 7, 0] = torch.tensor([0, 0, 1, 0, 0, 0.05])
    masks[0, 49, 0] = torch.tensor([0, 0, 0, 1, 0, 0])
    masks[0, 19, 0] = torch.tensor([0, 0, 0, 0, 1, 0])
    return classes, masks.logit()


def plain(classes, masks, ground=(), anomaly=(), reject=0.7, border=0.1, weight=0.6):
    """The formula word for word, with all pairs of masks, one image, float64."""
    p, k = classes.double().softmax(-1).max(-1)
    m = masks.double().sigmoid()
    known = [q for q in range(len(p)) if k[q] != classes.shape[-1] - 1]
    confident = {q for q in known if p[q] > reject} | set(ground)
    s = torch.ones(m.shape[1:], dtype=torch.float64)
    for q in confident:
        s = torch.minimum(s, 1 - p[q] * m[q])
    for one, other in itertools.combinations(known, 2):
        s[(m[one] > border) & (m[other] > border)] = 0
    a = torch.zeros_like(s)
    for q in anomaly:
        a = torch.maximum(a, p[q] * m[q])
    return weight * s + (1 - weight) * a


def test_the_verified_example():
    classes, masks = the_toy()
    expected = torch.tensor([[0.06, 0, 0.6, 0.98, 0.18, 0.576]], dtype=torch.float64)
    score = maskomaly(classes, masks, [19, 24], [49, 31, 83, 32])
    torch.testing.assert_close(score[0], expected, atol=1e-8, rtol=0)
    assert maskomaly(classes.float(), masks.float(), [19, 24], [49, 31, 83, 32]).dtype == torch.float32


def test_nobody_claims_anything():
    classes = class_logits_of({})
    masks = torch.full((1, 100, 3, 4), -200.0)
    score = maskomaly(classes.float(), masks)
    assert torch.equal(score, torch.full((1, 3, 4), 0.6))
    # Sure masks of void queries that nobody names count for nothing either.
    assert torch.equal(maskomaly(classes.float(), -masks), torch.full((1, 3, 4), 0.6))


def test_a_confidence_of_exactly_one():
    """The published statistics index a list of ten by int(10 p) and end there."""
    classes = torch.full((1, 2, 4), -1e4)
    classes[0, :, 1] = 1e4
    assert query_roles(classes).confidence.tolist() == [[1.0, 1.0]]
    score = maskomaly(classes, torch.tensor([[[[50.0, -50.0]], [[-50.0, -50.0]]]]))
    assert score.tolist() == [[[0.0, pytest.approx(0.6)]]]


def test_any_number_of_queries():
    """The published code has the number 100 in it."""
    for count in (0, 1, 7, 300):
        generator = torch.Generator().manual_seed(count)
        classes, masks = torch.randn(1, count, 6, generator=generator), torch.randn(1, count, 4, 5, generator=generator)
        torch.testing.assert_close(maskomaly(classes, masks)[0], plain(classes[0], masks[0]).float())


@st.composite
def cases(draw):
    seed = draw(st.integers(0, 2**20))
    generator = torch.Generator().manual_seed(seed)
    queries, height, width = draw(st.integers(1, 12)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    classes = torch.randn(1, queries, 5, generator=generator) * draw(st.sampled_from([0.5, 3.0, 8.0]))
    masks = torch.randn(1, queries, height, width, generator=generator) * draw(st.sampled_from([0.1, 3.0, 30.0]))
    some = st.lists(st.integers(0, queries - 1), max_size=3)
    options = {
        "reject": draw(st.sampled_from([0.0, 0.5, 0.7, 1.0])),
        "border": draw(st.sampled_from([0.1, 0.5, 1.0])),
        "weight": draw(st.sampled_from([0.0, 0.6, 1.0])),
    }
    return classes, masks, draw(some), draw(some), options


@settings(max_examples=150, deadline=None)
@given(cases(), st.integers(1, 40))
def test_equal_to_the_formula_with_all_pairs(case, piece):
    classes, masks, ground, anomaly, options = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(maskomaly_function.__globals__, "CPU_PIECE", piece)
        score = maskomaly(classes, masks, ground, anomaly, **options)
    truth = plain(classes[0], masks[0], ground, anomaly, **options)
    torch.testing.assert_close(score[0].double(), truth, atol=1e-6, rtol=0)
    assert score.min() >= 0
    assert score.max() <= 1


@settings(max_examples=80, deadline=None)
@given(cases(), st.sampled_from([(1, 1), (4, 4), (2, 3), (8, 8)]), st.integers(1, 300), st.booleans())
def test_resized_masks_equal_masks_resized_before(case, factor, piece, crop):
    """Bands and what is skipped in them change no value but by how kernels round at other lengths."""
    classes, masks, ground, anomaly, options = case
    size = (masks.shape[2] * factor[0], masks.shape[3] * factor[1])
    kept = (max(1, size[0] - 3), max(1, size[1] - 2)) if crop else size
    reject = options.pop("reject")
    roles = query_roles(classes, ground, anomaly, reject)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(maskomaly_function.__globals__, "CPU_PIECE", piece)
        score = maskomaly_resized(roles, masks, size, kept, **options)
    assert score.shape == (1, *kept)
    big = F.interpolate(masks, size, mode="bilinear", align_corners=False)[..., : kept[0], : kept[1]]
    clear = ((big.sigmoid() - options["border"]).abs() > 1e-5).all(1)  # elsewhere rounding may make a border
    expected = maskomaly(classes, big, ground, anomaly, reject, **options)
    torch.testing.assert_close(score[clear], expected[clear], atol=1e-6, rtol=0)


def test_sizes_that_are_no_multiples():
    generator = torch.Generator().manual_seed(3)
    classes, masks = torch.randn(1, 9, 5, generator=generator) * 4, torch.randn(1, 9, 7, 9, generator=generator) * 5
    big = F.interpolate(masks, (31, 40), mode="bilinear", align_corners=False)[..., :29, :38]
    score = maskomaly_resized(query_roles(classes, [1], [2]), masks, (31, 40), (29, 38))
    torch.testing.assert_close(score[0].double(), plain(classes[0], big[0], [1], [2]), atol=1e-6, rtol=0)


@settings(max_examples=60, deadline=None)
@given(cases(), st.randoms())
def test_queries_and_their_numbers_permuted_together(case, random):
    classes, masks, ground, anomaly, options = case
    order = list(range(classes.shape[1]))
    random.shuffle(order)
    place = {query: position for position, query in enumerate(order)}
    permuted = maskomaly(
        classes[:, order], masks[:, order], [place[q] for q in ground], [place[q] for q in anomaly], **options
    )
    assert torch.equal(permuted, maskomaly(classes, masks, ground, anomaly, **options))


@settings(max_examples=60, deadline=None)
@given(cases(), st.data())
def test_growing_a_rejecting_mask_never_raises_the_score(case, data):
    classes, masks, ground, _, options = case
    rejecting = query_roles(classes, ground, [], options["reject"]).rejecting[0].nonzero()[:, 0].tolist()
    if rejecting:
        grown = masks.clone()
        grown[0, data.draw(st.sampled_from(rejecting))] += data.draw(st.floats(0, 20))
        before, after = (maskomaly(classes, found, ground, **options) for found in (masks, grown))
        assert bool((after <= before + 1e-6).all())


def test_a_border_of_one_is_none_and_confidence_plays_no_part_in_borders():
    classes = class_logits_of({0: (3, 0.3), 1: (4, 0.3)}, 3)  # known, but sure of nothing
    masks = torch.full((1, 3, 1, 2), 0.9, dtype=torch.float64).logit()
    masks[..., 1, 0, 1] = -50
    assert maskomaly(classes, masks).tolist() == [[[0.0, 0.6]]]
    assert maskomaly(classes, masks, border=1.0).tolist() == [[[0.6, 0.6]]]
    # Void queries make no borders, whoever names them.
    void = class_logits_of({0: (3, 0.3)}, 3)
    assert maskomaly(void, masks, anomaly_queries=[]).tolist() == [[[0.6, 0.6]]]


def test_what_matters_is_the_union():
    classes = class_logits_of({5: (0, 0.9), 6: (1, 0.5)}, 12)
    roles = query_roles(classes, [2], [9, 5])
    assert roles.matter[0].nonzero()[:, 0].tolist() == [2, 5, 6, 9]
    assert roles.rejecting[0].nonzero()[:, 0].tolist() == [2, 5]
    # Masks of the others may hold anything.
    masks = torch.randn(1, 12, 4, 4, dtype=torch.float64)
    other = masks.clone()
    other[0, [0, 1, 3, 4, 7, 8, 10, 11]] = float("nan")
    assert torch.equal(maskomaly(classes, masks, [2], [9, 5]), maskomaly(classes, other, [2], [9, 5]))


def test_nan_is_not_hidden():
    classes = class_logits_of({0: (0, 0.9), 1: (1, 0.9), 2: (2, 0.9)}, 3)
    masks = torch.full((1, 3, 2, 2), 9.0)
    masks[0, 1, 0, 0] = float("nan")
    masks[0, 2] = -9.0
    assert maskomaly(classes, masks, border=1.0).isnan().tolist() == [[[True, False], [False, False]]]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(kind):
    classes, masks = (torch.randn(2, 6, *shape).to(kind) for shape in ((5,), (4, 6)))
    score = maskomaly(classes, masks, [0], [1])
    assert torch.equal(score, maskomaly(classes.float(), masks.float(), [0], [1]))


def test_images_of_a_batch_do_not_mix():
    generator = torch.Generator().manual_seed(1)
    classes, masks = torch.randn(3, 8, 6, generator=generator) * 4, torch.randn(3, 8, 5, 7, generator=generator) * 4
    together = maskomaly(classes, masks, [1], [2])
    for row in range(3):
        assert torch.equal(together[row : row + 1], maskomaly(classes[[row]], masks[[row]], [1], [2]))


@pytest.mark.parametrize(
    ("classes", "masks", "named", "reason"),
    [
        (torch.zeros(1, 3, 4), torch.zeros(1, 3, 2, 2), [3], "query 3 does not exist: this network has 3 queries"),
        (torch.zeros(1, 3, 4), torch.zeros(1, 3, 2, 2), [-1], "query -1 does not exist"),
        (torch.zeros(1, 3, 4), torch.zeros(1, 4, 2, 2), [], "mask logits"),
        (torch.zeros(1, 3, 4), torch.zeros(3, 2, 2), [], "mask logits"),
        (torch.zeros(1, 3, 1), torch.zeros(1, 3, 2, 2), [], "class logits"),
        (torch.zeros(1, 3, 4, dtype=torch.int64), torch.zeros(1, 3, 2, 2), [], "class logits"),
    ],
)
def test_what_does_not_fit_is_refused(classes, masks, named, reason):
    for ground, anomaly in ((named, []), ([], named)):
        with pytest.raises(CompatibilityError, match=reason):
            maskomaly(classes, masks, ground, anomaly)


def test_no_map_is_held_of_many_queries(monkeypatch):
    """Whatever the number of queries and the size, what is interpolated at a time is a band of one of them."""
    made = []
    plain_interpolate = F.interpolate
    monkeypatch.setitem(maskomaly_function.__globals__, "CPU_PIECE", 4096)
    monkeypatch.setattr(F, "interpolate", lambda x, **o: made.append(plain_interpolate(x, **o)) or made[-1])
    generator = torch.Generator().manual_seed(0)
    classes, masks = torch.randn(1, 50, 6, generator=generator), torch.randn(1, 50, 64, 128, generator=generator)
    maskomaly_resized(query_roles(classes, [], list(range(50))), masks, (256, 512))
    assert max(found.numel() for found in made) <= 3 * 4096 + 2 * 4 * 512
