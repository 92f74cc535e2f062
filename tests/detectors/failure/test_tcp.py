"""True-class probability: the head learns what the network, or one that has not seen the frame, gives to the truth."""

import math

import pytest
import torch
from tiny import TinySegmenter, scene_of
from tiny_camvid import write_split
from torch.nn import functional as F

from anomseg.data import frame_fingerprint, label_space, load_frames
from anomseg.detectors import create_detector, load_detector
from anomseg.detectors.failure import TCP
from anomseg.detectors.failure.tcp_head import TCPHead
from anomseg.detectors.failure.tcp_stage import NOWHERE, TCPModule, _at_cells
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.files import write_json
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import SegmentationOutput, save_segmenter
from anomseg.segmenters.scene import make_scene
from anomseg.training import train
from anomseg.training.feature_cache import FeatureCache
from anomseg.training.folds import write_prediction
from anomseg.training.options import OptimiserConfig

CAMVID = label_space("camvid").names
RECIPE = """
recipe: tiny-tcp
seed: 3
roots: {{camvid: "{root}"}}
stages:
  - name: tcp
    stage: tcp
    gives: detector
    module: {{start: {network}, feature: auto, hidden: 4}}
    data:
      space: camvid
      sources: [{{benchmark: camvid, split: train}}]
      validation: {{benchmark: camvid, split: val}}
      batch_size: 2
    trainer: {{steps: 30, validate_every: 15, optimiser: adam, schedule: constant, learning_rate: 0.01, weight_decay: 0,
               precision: "32-true", accelerator: cpu}}
"""

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval.*"),
]


def head(channels=6, seed=0):
    torch.manual_seed(seed)
    return TCPHead(channels, 4).eval()


class TestDetector:
    def test_by_hand(self):
        scene, own = scene_of(TinySegmenter(size=(42, 58))), head()
        found = TCP.of(own, "stem").assess(scene)
        guess = own(scene.output.features["stem"])[:, None]
        padded = F.interpolate(guess, scene.images.shape[-2:], mode="bilinear", align_corners=False)
        height, width = scene.input_size
        expected = 1 - F.interpolate(padded[..., :height, :width], (45, 61), mode="bilinear", align_corners=False)[:, 0]
        torch.testing.assert_close(found.error_map, expected)
        assert found.class_quality is None

    def test_state_gives_the_head_back(self):
        detector, scene = TCP.of(head(seed=3), "stem"), scene_of(TinySegmenter())
        again = TCP("stem")
        assert not again.is_fitted
        again.load_state(detector.state())
        assert torch.equal(again.score(scene), detector.score(scene))

    def test_what_cannot_be(self):
        with pytest.raises(CompatibilityError, match="camvid-tcp"):
            create_detector("tcp").assess(scene_of(TinySegmenter()))
        with pytest.raises(CompatibilityError, match="5 channels"):
            TCP.of(head(5), "stem").needs(TinySegmenter())
        with pytest.raises(ConfigError, match="unknown feature"):
            TCP.of(head(), "stme").needs(TinySegmenter())
        for state in ({"something": torch.zeros(3)}, {**head().state_dict(), "last.bias": torch.full((1,), math.nan)}):
            with pytest.raises(CompatibilityError, match="state of tcp"):
                TCP().load_state(state)


def test_loss_is_over_the_cells_whose_class_is_known():
    own = head(2)
    optimiser = OptimiserConfig(steps=2, validate_every=2)
    features = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    target = torch.full((1, 3, 4), NOWHERE)
    target[0, 0, :2] = torch.tensor([0.25, 1.0])
    loss = TCPModule(own, optimiser, 0).loss_of({"features.x": features, "target": target})
    guess = own(features)[0, 0, :2]
    assert loss.item() == pytest.approx(((guess - torch.tensor([0.25, 1.0])) ** 2).mean().item(), rel=1e-5)


@pytest.mark.parametrize("padded", [(48, 64), (44, 64)])
def test_targets_are_read_at_the_middle_of_cells_that_padding_does_not_move(padded):
    rows = torch.linspace(-3, 3, 44).view(1, 1, 44, 1).expand(1, 1, 44, 64)  # a logit that rises from row to row
    logits = F.pad(torch.cat([rows, -rows], 1), (0, 0, 0, padded[0] - 44), value=9.0)
    seen = SegmentationOutput(torch.zeros(1, 2, 6, 8), (48, 64), (44, 64))
    found = _at_cells(SegmentationOutput(logits, padded, (44, 64)), seen, (6, 8))
    middles = torch.tensor([rows[0, 0, row - 1 : row + 1, 0].mean() for row in (4, 12, 20, 28, 36)])
    assert found.shape == (2, 5, 8)
    torch.testing.assert_close(found[0], torch.sigmoid(2 * middles)[:, None].expand(5, 8))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tcp")
    write_split(root / "camvid", "train", 4, [3, 8])
    write_split(root / "camvid", "val", 1, [3, 8])
    torch.manual_seed(0)
    options = {"widths": (4, 4, 4, 4), "bottleneck": 4, "size": (44, 64)}
    save_segmenter(SEGMENTERS.create("pyramid", classes=CAMVID, **options).eval(), root / "network")
    (root / "tiny.yaml").write_text(RECIPE.format(root=root / "camvid", network=root / "network"))
    return root


def write_folds(tree, folder, drop=0):
    """Predictions that give the true class .9 in the even frames and .2 in the odd ones."""
    frames = load_frames("camvid", tree / "camvid", "train")
    entries = {}
    for number, frame in enumerate(frames[drop:]):
        p = torch.full((1, 11, *frame.classes.shape), (0.8 if number % 2 else 0.1) / 10)
        right = torch.from_numpy(frame.classes).long().clamp(max=10)[None, None]
        p.scatter_(1, right, 0.2 if number % 2 else 0.9)
        file = f"{number}.safetensors"
        size = (48, 64)
        write_prediction(folder / file, SegmentationOutput(p.log(), size, size), 10**6)
        entries[frame.id] = {"fold": 0, "file": file, "fingerprint": frame_fingerprint(frame)}
    write_json(
        folder / "folds.json",
        {"schema": 1, "classes": list(CAMVID), "frames": entries, "networks": [{"seen": []}]},
    )


class TestStage:
    def test_from_frames_to_a_detector(self, tree):
        summary = train(tree / "tiny.yaml", tree / "out", quiet=True)
        assert summary["validation"]["val_loss"] < summary["validation_start"]["val_loss"]
        assert summary["out_of_fold"] is False
        detector = load_detector(tree / "out")
        assert isinstance(detector, TCP)
        assert detector.fitted_on["frames"] == 4
        network = SEGMENTERS.create("pyramid", classes=CAMVID, widths=(4, 4, 4, 4), bottleneck=4, size=(44, 64))
        assert summary["feature"] in network.feature_info
        assert detector.get_params() == {"feature": summary["feature"]}

        from anomseg.segmenters import load_segmenter

        network = load_segmenter(str(tree / "network"))
        assert detector.segmenter_identity["sha256"] == network.fingerprint()
        frame = load_frames("camvid", tree / "camvid", "train")[0]
        scene = make_scene([frame.image()], [frame.id], network)
        assert detector.score(scene).shape == (1, 48, 64)

        sample = FeatureCache(tree / "out/stages/tcp/samples").read("crops", 0)
        target = sample["target"].float()
        padded = scene.images.shape[-2:]
        stride = padded[0] // target.shape[0]
        logits = scene.output.upsample(scene.output.logits, scene.input_size)
        known = target != NOWHERE
        rows, columns = (int(x.max()) + 1 for x in known.nonzero().T)
        assert (rows, columns) == (44 // stride, 64 // stride)
        row, column = rows - 1, columns // 2
        below, right = (int((place + 0.5) * stride) for place in (row, column))  # the middle lies between four pixels
        middle = logits[0, :, below - 1 : below + 1, right - 1 : right + 1].mean((1, 2)).softmax(0)
        label = frame.classes[int((row + 0.5) * stride * 48 / 44), int((column + 0.5) * stride)]
        assert target[row, column].item() == pytest.approx(middle[label].item(), abs=1e-3)

    def test_targets_are_those_of_the_folds(self, tree):
        write_folds(tree, tree / "folds")
        change = {"stages.tcp.module.folds": str(tree / "folds"), "stages.tcp.trainer.steps": "15"}
        summary = train(tree / "tiny.yaml", tree / "from-folds", change, quiet=True)
        assert summary["out_of_fold"] is True
        cache = FeatureCache(tree / "from-folds/stages/tcp/samples")
        for number, level in ((0, 0.9), (1, 0.2)):
            target = cache.read("crops", number)["target"].float()
            known = target != NOWHERE
            assert known.float().mean() > 0.6
            middle = target[known].median().item()
            assert middle == pytest.approx(level, abs=0.02)

    def test_folds_of_other_frames_are_told_before_training(self, tree, tmp_path):
        write_folds(tree, tmp_path / "fewer", drop=1)
        with pytest.raises(DataError, match="does not predict"):
            train(
                tree / "tiny.yaml", tmp_path / "out", {"stages.tcp.module.folds": str(tmp_path / "fewer")}, quiet=True
            )

    @pytest.mark.parametrize(
        ("key", "value", "said"),
        [
            ("module.start", "null", "module.start DIR"),
            ("module.feature", "bottlneck", "did you mean"),
            ("module.side", "2", "odd"),
            ("data.augment", "{flip: 0.5}", "as they are"),
            ("gives", "segmenter", "gives: detector"),
        ],
    )
    def test_bad_configurations(self, tree, tmp_path, key, value, said):
        with pytest.raises(ConfigError, match=said) as caught:
            train(tree / "tiny.yaml", tmp_path, {f"stages.tcp.{key}": value}, quiet=True)
        assert "\n" not in str(caught.value)
