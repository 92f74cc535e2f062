"""Scores on queries against loops over pixels and queries, and the facts that they are accepted by."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anomseg import scores
from anomseg.errors import CompatibilityError
from anomseg.scores import masks

SCORES = (scores.mask_semantic, scores.rba, scores.eam, scores.uno)


def made(seed: int, batch: int = 2, queries: int = 5, columns: int = 6, size=(3, 4), scale: float = 3.0):
    generator = torch.Generator().manual_seed(seed)
    classes = scale * torch.randn(batch, queries, columns, generator=generator)
    return classes, scale * torch.randn(batch, queries, *size, generator=generator)


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


def by_hand(name: str, classes: torch.Tensor, mask: torch.Tensor, image: int, y: int, x: int):
    """The formula of one pixel, in plain Python."""
    queries = [softmax(row) for row in classes[image].tolist()]
    sigma = [1 / (1 + math.exp(-value)) for value in mask[image, :, y, x].tolist()]
    pairs = list(zip(queries, sigma, strict=True))
    if name == "eam":
        return 1 - sum(s * max(p[:-1]) for p, s in pairs)
    if name == "uno":
        return -sum(s * (max(p[:-2]) - p[-2]) for p, s in pairs)
    claims = [sum(p[c] * s for p, s in pairs) for c in range(classes.shape[2] - 1)]
    return claims if name == "mask_semantic" else -sum(math.tanh(claim) for claim in claims)


@pytest.mark.parametrize("score", SCORES, ids=lambda score: score.__name__)
def test_equal_to_the_formula_pixel_by_pixel(score):
    classes, mask = made(0)
    result = score(classes, mask)
    for image in range(2):
        for y in range(3):
            for x in range(4):
                wanted = torch.tensor(by_hand(score.__name__, classes, mask, image, y, x))
                torch.testing.assert_close(result[image, ..., y, x], wanted)


def test_acceptance_facts():
    queries = torch.tensor([[[3.0, 0, 0, 0], [0, 0, 3.0, 0]]])
    mask = torch.tensor([0.9, 0.8]).logit().view(1, 2, 1, 1)
    assert scores.uno(queries, mask).item() == pytest.approx(-0.0827, abs=5e-5)
    assert scores.eam(queries, mask).item() == pytest.approx(-0.4791, abs=5e-5)
    # One query that surely claims a pixel, with L = (.9, .1, 0).
    classes = torch.tensor([[[0.9, 0.1, 1e-30, 1e-30]]]).log()
    sure = torch.full((1, 1, 1, 1), 100.0)
    torch.testing.assert_close(scores.mask_semantic(classes, sure)[0, :, 0, 0], torch.tensor([0.9, 0.1, 0.0]))
    assert scores.rba(classes, sure).item() == pytest.approx(-0.8160, abs=5e-5)


def test_what_nobody_claims_is_zero_and_positive_zero():
    classes, _ = made(1)
    nothing = torch.full((2, 5, 3, 4), -1e4)
    for score in (scores.mask_semantic, scores.rba, scores.uno):
        result = score(classes, nothing)
        assert (result == 0).all()
        assert not result.signbit().any()
    assert (scores.eam(classes, nothing) == 1).all()


def test_the_no_object_column_is_in_the_softmax_but_claims_nothing():
    """Dropping it before the softmax would let a query that sees nothing claim all of a pixel."""
    classes = torch.tensor([[[0.0, 0.0, 20.0]]])
    claims = scores.mask_semantic(classes, torch.full((1, 1, 1, 1), 50.0))
    assert claims.shape == (1, 2, 1, 1)
    assert claims.max() < 1e-8


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), queries=st.integers(1, 9), columns=st.integers(3, 8), scale=st.floats(0.1, 30))
def test_order_of_queries_and_ranges(seed, queries, columns, scale):
    classes, mask = made(seed, queries=queries, columns=columns, scale=scale)
    order = torch.randperm(queries, generator=torch.Generator().manual_seed(seed))
    for score in SCORES:
        torch.testing.assert_close(score(classes[:, order], mask[:, order]), score(classes, mask), atol=2e-6, rtol=1e-5)
    rba, eam, uno = (score(classes, mask) for score in SCORES[1:])
    slack = 1e-5 * queries
    assert rba.max() <= 0
    assert rba.min() >= -(columns - 1)
    assert eam.max() <= 1 + slack
    assert eam.min() >= 1 - queries - slack
    assert uno.abs().max() <= queries + slack


def test_pieces_and_batches_change_nothing(monkeypatch):
    classes, mask = made(3, size=(7, 9))
    whole = [score(classes, mask) for score in SCORES]
    monkeypatch.setattr(masks, "PIECE", 5 * 8)  # eight pixels a piece, 63 is no multiple of it
    for score, expected in zip(SCORES, whole, strict=True):
        torch.testing.assert_close(score(classes, mask), expected)
        assert torch.equal(score(classes[1:], mask[1:]), score(classes, mask)[1:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    classes, mask = (tensor.to(dtype) for tensor in made(4))
    for score in SCORES:
        result = score(classes, mask)
        assert result.dtype == torch.float32
        assert torch.equal(result, score(classes.float(), mask.float()))


def test_double_precision_beside_single():
    classes, mask = made(4)
    for score in SCORES:
        assert score(classes.double(), mask.double()).dtype == torch.float64
        torch.testing.assert_close(
            score(classes, mask.double()), score(classes.double(), mask.double()), atol=1e-6, rtol=0
        )


def test_gradients_flow_to_both_arguments():
    for score in SCORES:
        classes, mask = (tensor.double().requires_grad_() for tensor in made(5, 1, 3, 4, (2, 2)))
        assert torch.autograd.gradcheck(score, (classes, mask))


def test_no_intermediate_is_as_large_as_the_masks(monkeypatch):
    """At 100 queries and 1024 x 2048 pixels a second tensor of that shape would be 800 MB."""
    monkeypatch.setattr(masks, "PIECE", 1000)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.untyped_storage().data_ptr() != given_storage:
                largest = max(largest, result.numel())
            return result

    classes, mask = made(6, 1, 50, 6, (40, 40))
    given_storage = mask.untyped_storage().data_ptr()
    with Watch():
        scores.rba(classes, mask)
    assert largest <= max(1000, 40 * 40)


@pytest.mark.parametrize(
    ("classes", "mask"),
    [((2, 5), (2, 5, 3, 4)), ((2, 5, 6), (2, 4, 3, 4)), ((1, 5, 6), (2, 5, 3, 4)), ((2, 5, 1), (2, 5, 3, 4))],
)
def test_shapes_that_do_not_belong_together(classes, mask):
    for score in SCORES:
        with pytest.raises(CompatibilityError, match="class logits"):
            score(torch.zeros(classes), torch.zeros(mask))
    with pytest.raises(CompatibilityError, match="3 columns"):
        scores.uno(torch.zeros(1, 2, 2), torch.zeros(1, 2, 3, 3))
    with pytest.raises(CompatibilityError, match="floating point"):
        scores.rba(torch.zeros(1, 2, 2), torch.zeros(1, 2, 3, 3, dtype=torch.int64))
