"""The terms of joint training: divergences, pasting, and which network each term moves."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from joint_toys import module_of, toy_batch

from anomseg.detectors.synthetic_outliers.divergence import DIVERGENCES, divergence_to_uniform
from anomseg.detectors.synthetic_outliers.pasting import draw_size, paste, sides_between
from anomseg.errors import AnomsegError, ConfigError


def test_divergences_of_the_facts():
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    p = logits.softmax(1)
    assert p[0].tolist() == pytest.approx([0.6652, 0.2447, 0.0900], abs=5e-5)
    told = {kind: divergence_to_uniform(logits, kind).item() for kind in DIVERGENCES}
    assert told == pytest.approx({"js": 0.0687, "kl": 0.3090, "reverse_kl": 0.2662}, abs=5e-5)
    cross_entropy = -(p.log() / 3).sum().item()
    assert cross_entropy == pytest.approx(1.4076, abs=5e-5)
    assert cross_entropy == pytest.approx(told["kl"] + math.log(3), abs=1e-6)
    for kind in DIVERGENCES:
        assert divergence_to_uniform(torch.full((1, 5), 0.7), kind).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("classes", "wanted"), [(3, 0.3183), (19, 0.5887)])
def test_divergence_of_a_certain_prediction(classes, wanted):
    certain = torch.zeros(1, classes)
    certain[0, 1] = 1e4
    assert divergence_to_uniform(certain, "js").item() == pytest.approx(wanted, abs=5e-5)
    assert wanted < math.log(2)
    assert divergence_to_uniform(certain, "reverse_kl").item() == pytest.approx(math.log(classes), abs=1e-5)
    assert divergence_to_uniform(certain, "kl").item() > 1000  # infinite in the limit


@pytest.mark.parametrize("kind", DIVERGENCES)
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e2, 1e4])
def test_gradients_are_finite_at_any_logits(kind, scale):
    logits = (scale * torch.randn(8, 11, generator=torch.Generator().manual_seed(0))).requires_grad_()
    divergence_to_uniform(logits, kind).sum().backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_a_constant_does_not_matter_and_temperature_divides(kind):
    logits = torch.randn(5, 7, 2, 2, generator=torch.Generator().manual_seed(1))
    one = divergence_to_uniform(logits, kind, 2.0)
    assert one.shape == (5, 2, 2)
    torch.testing.assert_close(divergence_to_uniform(logits + 3, kind, 2.0), one, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(divergence_to_uniform(logits / 2, kind), one, atol=1e-6, rtol=1e-5)


def test_an_unknown_divergence_is_told_the_nearest():
    with pytest.raises(ConfigError, match="reverse_kl"):
        divergence_to_uniform(torch.zeros(1, 2), "reverse_k")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(12, 20), st.integers(12, 20), st.integers(0, 10**6))
def test_a_paste_changes_its_rectangle_and_nothing_else(height, width, below, beside, seed):
    torch.manual_seed(seed)
    images, patches = torch.rand(3, 3, below, beside), 2 + torch.rand(3, 3, height, width)
    before = images.clone()
    pasted = paste(images, patches)
    assert torch.equal(images, before)
    assert pasted.covered.sum((1, 2)).tolist() == [height * width] * 3
    for row in range(3):
        inside = pasted.covered[row]
        assert torch.equal(pasted.images[row][:, ~inside], before[row][:, ~inside])
        assert torch.equal(pasted.images[row][:, inside].view(3, height, width), patches[row])
        assert torch.equal(before[row][:, inside].view(3, height, width), pasted.content[row])


def test_places_are_uniform_and_each_images_own():
    torch.manual_seed(0)
    covered = paste(torch.zeros(4000, 3, 6, 5), torch.ones(4000, 3, 4, 4)).covered
    corners = covered.flatten(1).float().argmax(1)
    places, counts = corners.unique(return_counts=True)
    assert places.tolist() == [0, 1, 5, 6, 10, 11]
    assert counts.min() > 4000 / 6 * 0.85


def test_a_patch_larger_than_the_image_is_refused():
    with pytest.raises(ConfigError, match="20x4 does not fit"):
        paste(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 20, 4))


def test_sides_are_multiples_of_eight_and_of_what_the_flow_divides_by():
    assert sides_between((16, 216), 4) == list(range(16, 217, 8))
    assert sides_between((1, 64), 16) == [16, 32, 48, 64]
    assert sides_between((20, 30), 2) == [24]
    with pytest.raises(ConfigError, match="no multiple of 8"):
        sides_between((17, 23), 4)
    torch.manual_seed(0)
    drawn = {draw_size((16, 24, 32)) for _ in range(200)}
    assert drawn == {(height, width) for height in (16, 24, 32) for width in (16, 24, 32)}


def moved(module, term):
    """Largest gradient of a term with respect to the segmenter and to the flow."""
    found = []
    for part in (module.segmenter, module.flow):
        parameters = [one for one in part.parameters() if one.requires_grad]
        gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        found.append(max((float(one.abs().max()) for one in gradients if one is not None), default=0.0))
    return found


@pytest.mark.parametrize("paste_it", [True, False])
@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_the_divergence_moves_both_networks(divergence, paste_it):
    module = module_of(divergence=divergence, paste=paste_it)
    torch.manual_seed(0)
    terms = module.terms(toy_batch())
    assert all(value > 0 for value in moved(module, terms.divergence))
    segmenter, flow = moved(module, terms.bits)
    assert segmenter == 0
    assert flow > 0
    segmenter, flow = moved(module, terms.classes)
    assert segmenter > 0
    assert flow == 0  # pixels beside a sample see it, and yet teach the flow nothing


@pytest.mark.parametrize("paste_it", [True, False])
def test_the_flow_gets_the_divergences_own_gradient(paste_it):
    module = module_of(paste=paste_it)
    batch, parameters = toy_batch(), list(module.flow.parameters())
    torch.manual_seed(0)
    passed_on = torch.autograd.grad(module.terms(batch).divergence, parameters, allow_unused=True)
    torch.manual_seed(0)
    size = draw_size(module.sides) if paste_it else tuple(batch["image"].shape[-2:])
    samples = module.samples(len(batch["image"]), size)
    read = paste(batch["image"], samples) if paste_it else None
    images = read.images if read is not None else torch.cat([batch["image"], samples])
    logits = module.segmenter.training_logits(images)[0]
    covered = read.covered if read is not None else torch.ones_like(batch["rows"], dtype=torch.bool)
    divergence = module._doubt(logits[-len(covered) :], covered)[0]
    for one, other in zip(passed_on, torch.autograd.grad(divergence, parameters, allow_unused=True), strict=True):
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("paste_it", [True, False])
def test_detached_the_divergence_moves_the_network_alone(paste_it):
    module = module_of(detached=True, paste=paste_it)
    torch.manual_seed(0)
    terms = module.terms(toy_batch())
    segmenter, flow = moved(module, terms.divergence)
    assert segmenter > 0
    assert flow == 0
    assert moved(module, terms.bits)[1] > 0


def test_a_frozen_encoder_lets_the_gradient_through_to_the_flow():
    module = module_of(network="erfnet_pyramid", frozen=True)
    torch.manual_seed(0)
    terms = module.terms(toy_batch())
    assert moved(module, terms.divergence)[1] > 0
    assert not any(one.requires_grad for one in module.segmenter.encoder.parameters())


def test_covered_pixels_teach_no_class():
    """Cross-entropy and divergence against a plain loop over the very pixels."""
    module = module_of(sizes=(16, 16)).eval()
    batch = toy_batch()
    torch.manual_seed(3)
    terms = module.terms(batch)
    torch.manual_seed(3)
    size = draw_size(module.sides)
    pasted = paste(batch["image"], module.samples(len(batch["image"]), size))
    with torch.no_grad():
        main, early = module.segmenter.training_logits(pasted.images)
        covered, losses, odd = pasted.covered, [[], []], []
        for which, logits in enumerate((main, early)):
            whole = torch.nn.functional.interpolate(logits, covered.shape[-2:], mode="bilinear", align_corners=False)
            for image, row, column in torch.nonzero(torch.ones_like(covered)).tolist():
                p = whole[image, :, row, column].log_softmax(0)
                label = int(batch["rows"][image, row, column])
                if covered[image, row, column]:
                    if which == 0:
                        m = (p.exp() + 1 / len(p)) / 2
                        odd.append(
                            float((p.exp() * (p - m.log())).sum() / 2 + (-m.log() - math.log(len(p))).mean() / 2)
                        )
                elif label:
                    losses[which].append(-float(p[label - 1]))
    mean = [sum(one) / len(one) for one in losses]
    assert terms.classes.item() == pytest.approx(mean[0] + 0.4 * mean[1], rel=1e-4)
    assert terms.divergence.item() == pytest.approx(sum(odd) / len(odd), rel=1e-3)


def test_likelihood_is_of_the_covered_content():
    module = module_of(sizes=(16, 16))
    batch = toy_batch()
    seen = []
    module.bits = lambda images: seen.append(images) or images.mean((1, 2, 3))
    torch.manual_seed(4)
    module.terms(batch)
    torch.manual_seed(4)
    again = paste(batch["image"], module.samples(len(batch["image"]), draw_size(module.sides)))
    assert torch.equal(seen[0], again.content)
    for row, inside in enumerate(again.covered):
        assert torch.equal(seen[0][row].flatten(1), batch["image"][row][:, inside])


@pytest.mark.parametrize("paste_it", [True, False])
def test_black_around_an_image_is_not_learned(paste_it):
    """Padding is no inlier content: it costs few bits, so the flow would learn to draw it."""
    module = module_of(paste=paste_it, sizes=(24, 24))
    batch = toy_batch(3)
    for name in ("image", "rows"):
        batch[name][1, ..., :16] = 0  # any patch of 24 on 32 columns reaches into it
    batch["image"][2, ..., :16, :16] = 0  # black, and not from end to end
    batch["rows"][2, :16, :16] = 0
    seen = []
    module.bits = lambda images: seen.append(images) or images.mean((1, 2, 3))
    torch.manual_seed(4)
    module.terms(batch)
    assert len(seen[0]) == 2
    batch["image"][:, ..., :16] = 0
    batch["rows"][..., :16] = 0
    assert module.terms(batch).bits == 0


def test_batch_norms_do_not_learn_from_samples():
    module = module_of(network="image_classifier", paste=False).train()
    assert module.segmenter.training
    before = {name: value.clone() for name, value in module.segmenter.named_buffers()}
    assert before
    module.terms(toy_batch())
    assert all(torch.equal(before[name], value) for name, value in module.segmenter.named_buffers())


def test_a_flow_that_diverged_is_told_in_one_line():
    module = module_of()
    with torch.no_grad():
        next(module.flow.parameters()).fill_(float("nan"))
    with pytest.raises(AnomsegError, match=r"^the flow diverged at step 0: .*flow_trainer\.learning_rate") as caught:
        module.terms(toy_batch())
    assert "\n" not in str(caught.value)
