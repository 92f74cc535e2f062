"""Losses fall on one image, and a training equals a plain loop of the same equations."""

import copy

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import Dataset

from anomseg.detectors.pgan import PrototypeExtractor
from anomseg.detectors.pgan.initialise import initialise
from anomseg.detectors.pgan.module import PGANModule
from anomseg.detectors.pgan.objective import Labels, Weights, level_losses, prototype_losses
from anomseg.detectors.pgan.options import PGANConfig
from anomseg.errors import ConfigError
from anomseg.segmenters import Segmenter
from anomseg.training.loop import run_training
from anomseg.training.options import OptimiserConfig

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
]
CLASSES, PARENTS = 4, (0, 0, 1, 2)
# Row 0 is void, rows 1 to 4 one class each, row 5 stands for two.
SETS = torch.zeros(6, CLASSES, dtype=torch.bool)
SETS[1:5] = torch.eye(CLASSES, dtype=torch.bool)
SETS[5, [1, 2]] = True
ROW_WEIGHTS = torch.tensor([0.0, 1.0, 2.0, 1.0, 0.5, 0.3])
SGD = OptimiserConfig(
    steps=20,
    optimiser="sgd",
    schedule="poly",
    learning_rate=0.05,
    weight_decay=1e-4,
    clip=0.0,
    validate_every=20,
    precision="32-true",
    channels_last=False,
    accelerator="cpu",
)


class Crops(Dataset):
    """Made features of two levels, whose values tell the class, and labels at four times their size."""

    def __init__(self, count=3):
        generator = torch.Generator().manual_seed(0)
        colours = torch.randn(6, 5, generator=generator)
        self.samples = []
        for _ in range(count):
            cells = torch.randint(0, 6, (6, 8), generator=generator)
            fine = colours[cells].permute(2, 0, 1) + 0.3 * torch.randn(5, 6, 8, generator=generator)
            rows = cells.repeat_interleave(4, 0).repeat_interleave(4, 1)
            coarse = torch.cat([fine, fine.square()])[:, ::2, ::2]
            classes = torch.where((rows > 0) & (rows < 5), rows - 1, 255)
            self.samples.append({"features.a": fine, "features.b": coarse, "rows": rows, "classes": classes})

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, number):
        return dict(self.samples[number % len(self.samples)])


def batch_of(*numbers):
    samples = [Crops()[number] for number in numbers]
    return {name: torch.stack([one[name] for one in samples]) for name in samples[0]}


def labels_of(batch):
    return Labels(batch["rows"], SETS, ROW_WEIGHTS)


def extractor_of(learnable, per_class=2, **options):
    torch.manual_seed(0)
    return PrototypeExtractor([5, 10], CLASSES, per_class, 6, learnable=learnable, parents=PARENTS, **options)


def module_of(extractor, optimiser=SGD, **options):
    update = "learned" if extractor.learnable else "ema"
    config = PGANConfig(update=update, momentum=0.9, loss_stride=2, **options)
    host = Segmenter([str(index) for index in range(CLASSES)])
    return PGANModule(extractor, host, ("a", "b"), SETS, ROW_WEIGHTS, config, optimiser, seed=0)


def plain_losses(extractor, level, embedding, rows):
    """The equations of docs/pgan.md, pixel by pixel and class by class."""
    unit, prototypes = F.normalize(embedding, dim=1), extractor.prototypes[level]
    cosines = torch.einsum("bdhw,kmd->bkmhw", unit, prototypes)
    size = rows.shape[-2:]
    parents = F.normalize(
        torch.stack([prototypes[:2].mean((0, 1)), prototypes[2].mean(0), prototypes[3].mean(0)]), dim=1
    )
    up = F.interpolate(10 * cosines.amax(2), size, mode="bilinear", align_corners=False)[..., ::2, ::2]
    up_parents = torch.einsum("bdhw,pd->bphw", unit, parents)
    up_parents = F.interpolate(10 * up_parents, size, mode="bilinear", align_corners=False)[..., ::2, ::2]
    read = rows[:, ::2, ::2]
    total, total_parent, weight = 0.0, 0.0, 0.0
    parent_sets = {5: [0, 1], **{row: [PARENTS[row - 1]] for row in range(1, 5)}}
    class_sets = {5: [1, 2], **{row: [row - 1] for row in range(1, 5)}}
    for row in range(1, 6):
        here = read == row
        w = ROW_WEIGHTS[row]
        p = up.softmax(1)[:, class_sets[row]].sum(1)[here]
        q = up_parents.softmax(1)[:, parent_sets[row]].sum(1)[here]
        total, total_parent = total - w * p.log().sum(), total_parent - w * q.log().sum()
        weight = weight + w * here.sum()
    height, width = embedding.shape[-2:]
    tall, wide = size[0] // height, size[1] // width
    cells = rows[:, tall // 2 :: tall, wide // 2 :: wide]
    contrast, compact, moved = [], [], []
    for index in range(CLASSES):
        where = (cells == index + 1).nonzero().tolist()
        if len(where) < prototypes.shape[1]:
            continue
        own = torch.stack([cosines[b, :, :, y, x] for b, y, x in where])
        plan = (own[:, index].detach() / 0.05).exp()
        for _ in range(3):
            plan = plan / plan.sum(0)
            plan = plan / plan.sum(1, keepdim=True)
        for (b, y, x), here, slot in zip(where, own, plan.argmax(1).tolist(), strict=True):
            contrast.append(here.flatten().logsumexp(0) - here[index, slot])
            compact.append((1 - here[index, slot]).square())
            if here.amax(1).argmax() == index:
                moved.append((index, slot, unit[b, :, y, x].detach()))
    losses = {
        "segmentation": total / weight,
        "parent": 0.5 * total_parent / weight,
        "contrast": 0.01 * torch.stack(contrast).mean(),
        "compactness": 0.001 * torch.stack(compact).mean(),
    }
    return losses, moved


@pytest.mark.parametrize("per_class", [1, 3])
def test_each_loss_is_its_equation(per_class):
    extractor, batch = extractor_of(True, per_class), batch_of(0, 1)
    embeddings = extractor.embed([batch["features.a"], batch["features.b"]])
    for level, embedding in enumerate(embeddings):
        found, _ = level_losses(extractor, level, embedding, labels_of(batch), Weights(), stride=2)
        expected, _ = plain_losses(extractor, level, embedding, batch["rows"])
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("learnable", [False, True])
def test_twenty_steps_equal_a_plain_loop(learnable, tmp_path):
    extractor = extractor_of(learnable)
    plain = copy.deepcopy(extractor)
    run_training(module_of(extractor), Crops(), Crops(), folder=tmp_path, batch_size=2, quiet=True)
    decayed = [one for one in plain.parameters() if one.ndim > 1 and one.requires_grad]
    rest = [one for one in plain.parameters() if one.ndim <= 1 and one.requires_grad]
    groups = [{"params": decayed, "weight_decay": 1e-4}, {"params": rest, "weight_decay": 0.0}]
    optimiser = torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True)
    crops = Crops()
    for step in range(20):
        samples = [crops[2 * step], crops[2 * step + 1]]
        batch = {name: torch.stack([one[name] for one in samples]) for name in samples[0]}
        embeddings = plain.embed([batch["features.a"], batch["features.b"]])
        loss, updates = 0.0, []
        for level, embedding in enumerate(embeddings):
            losses, moved = plain_losses(plain, level, embedding, batch["rows"])
            loss = loss + sum(losses.values()) / 2
            updates.append(moved)
            if learnable:
                flat = plain.prototypes[level].flatten(0, 1)
                pairs = F.normalize(flat, dim=1) @ F.normalize(flat, dim=1).T
                apart = (pairs - 0.2).clamp_min(0).square()[~torch.eye(len(flat), dtype=torch.bool)]
                loss = loss + 0.1 * apart.mean() / 2
        for group in optimiser.param_groups:
            group["lr"] = 0.05 * (1 - step / 20) ** 0.9
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for own, moved in zip(plain.prototypes, updates, strict=True):
                if learnable:
                    own.copy_(own / own.norm(dim=2, keepdim=True))
                    continue
                for index, slot in {(index, slot) for index, slot, _ in moved}:
                    gathered = torch.stack([e for i, s, e in moved if (i, s) == (index, slot)]).sum(0)
                    new = 0.9 * own[index, slot] + 0.1 * gathered / gathered.norm()
                    own[index, slot] = new / new.norm()
    for (name, found), expected in zip(extractor.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-3, msg=name)


LOSSES = {
    "segmentation": Weights(1, 0, 0, 0, 0),
    "parent": Weights(0, 1, 0, 0, 0),
    "contrast": Weights(0, 0, 1, 0, 0),
    "compactness": Weights(0, 0, 0, 1, 0),
    "separation": Weights(0, 0, 0, 0, 1),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("learnable", [False, True])
def test_each_loss_falls_on_one_image(name, learnable):
    if name == "separation" and not learnable:
        pytest.skip("it moves learned prototypes alone")
    extractor, batch = extractor_of(learnable), batch_of(0)
    optimiser = torch.optim.Adam([one for one in extractor.parameters() if one.requires_grad], lr=0.01)

    def loss():
        embeddings = extractor.embed([batch["features.a"], batch["features.b"]])
        parts = dict(prototype_losses(extractor, LOSSES[name]))
        for level, embedding in enumerate(embeddings):
            found, _ = level_losses(extractor, level, embedding, labels_of(batch), LOSSES[name])
            parts |= {f"{one}{level}": value for one, value in found.items()}
        assert parts
        return torch.stack(list(parts.values())).sum()

    first = loss().item()
    for _ in range(60):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
        extractor.normalise()
    assert loss().item() < 0.7 * first


def test_separation_acts_on_learned_prototypes_alone():
    with pytest.raises(ConfigError, match="learned"):
        prototype_losses(extractor_of(False), Weights(separation=0.1))
    assert prototype_losses(extractor_of(False), PGANConfig().weights()) == {}
    assert PGANConfig(update="learned").weights().separation == 0.1
    assert prototype_losses(extractor_of(True), PGANConfig(update="learned").weights())["separation"].requires_grad


def test_averages_get_no_gradient_and_learned_prototypes_do():
    for learnable in (False, True):
        extractor, batch = extractor_of(learnable), batch_of(0)
        losses, _, _ = module_of(extractor).losses(batch)
        sum(losses.values()).backward()
        assert [one.grad is not None for one in extractor.prototypes] == [learnable] * 2
        assert all(one.grad is not None for one in extractor.projections.parameters())


def test_labels_that_stand_for_several_classes_move_no_prototype():
    extractor, batch = extractor_of(False), batch_of(0)
    batch["rows"][:] = 5
    losses, _, assigned = module_of(extractor).losses(batch)
    assert losses["segmentation"] > 0
    assert losses["contrast"] == losses["compactness"] == 0
    assert all(len(one.slots) == 0 for one in assigned)


def test_labels_that_may_be_a_class_without_prototypes_teach_nothing():
    extractor = extractor_of(False)
    extractor.present[2] = False
    batch = batch_of(0, 1)
    batch["rows"][:] = 5  # class 1 or 2
    embeddings = extractor.embed([batch["features.a"], batch["features.b"]])
    for level, embedding in enumerate(embeddings):
        losses, assigned = level_losses(extractor, level, embedding, labels_of(batch), Weights(parent=0))
        assert not (assigned.slots >= 0).any()
        assert all(value.item() == 0 for value in losses.values())


def test_an_empty_class_leaves_its_prototypes_to_the_last_bit(tmp_path):
    extractor = extractor_of(False)
    crops = Crops()
    for sample in crops.samples:
        sample["rows"][sample["rows"] == 3] = 0  # class 2
    before = [one.detach().clone() for one in extractor.prototypes]
    optimiser = OptimiserConfig(**{**vars(SGD), "steps": 2, "validate_every": 2})
    run_training(module_of(extractor, optimiser), crops, crops, folder=tmp_path, batch_size=2, quiet=True)
    for old, new in zip(before, extractor.prototypes, strict=True):
        assert torch.equal(old[2], new[2])
        assert not torch.equal(old, new)
        torch.testing.assert_close(new.norm(dim=2), torch.ones(CLASSES, 2))


def test_the_support_set_places_prototypes_at_masked_averages():
    extractor = PrototypeExtractor([5], CLASSES, projection="identity")
    samples = [Crops()[number] for number in range(3)]
    initialise(extractor, [([one["features.a"][None]], labels_of({"rows": one["rows"][None]})) for one in samples])
    for index in range(CLASSES):
        means = []
        for one in samples:
            up = F.interpolate(one["features.a"][None], one["rows"].shape, mode="bilinear", align_corners=False)[0]
            here = one["rows"] == index + 1
            if here.any():
                means.append(up[:, here].sum(1) / (here.sum() + 1e-5))
        expected = F.normalize(torch.stack(means).mean(0), dim=0)
        torch.testing.assert_close(extractor.prototypes[0][index, 0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("per_class", [1, 3])
def test_first_prototypes_of_a_projection_add_up_to_zero_and_segment_at_once(per_class):
    extractor = extractor_of(False, per_class)
    samples = [Crops()[number] for number in range(3)]
    levels = [[one["features.a"][None], one["features.b"][None]] for one in samples]
    kept = copy.deepcopy(extractor)
    initialise(
        extractor, [(maps, labels_of({"rows": one["rows"][None]})) for maps, one in zip(levels, samples, strict=True)]
    )
    for one in extractor.prototypes:
        torch.testing.assert_close(one.norm(dim=2), torch.ones(CLASSES, per_class))
    right = {"before": 0, "after": 0}
    for maps, one in zip(levels, samples, strict=True):
        cells = one["rows"][2::4, 2::4]
        known = (cells > 0) & (cells < 5)
        for name, network in (("before", kept), ("after", extractor)):
            right[name] += int((network(maps)[0].argmax(0)[known] == cells[known] - 1).sum())
    assert right["after"] > 1.3 * right["before"]
    other = extractor_of(False, per_class)
    initialise(
        other, [(maps, labels_of({"rows": one["rows"][None]})) for maps, one in zip(levels, samples, strict=True)]
    )
    assert all(
        torch.equal(a, b) for a, b in zip(extractor.state_dict().values(), other.state_dict().values(), strict=True)
    )
